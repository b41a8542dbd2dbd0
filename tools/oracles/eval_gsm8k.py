"""Golden file for GSM8K's extraction (src/lathe/eval/metrics/gsm8k.*).

The reference is lm-evaluation-harness 0.4.13 itself: its RegexFilter and its exact_match, with the
patterns of tasks gsm8k (version 3) and gsm8k_cot. lm-eval has to be importable.
Usage: eval_gsm8k.py OUT.json       Seed of the random rows: 8. Well over 1,000 texts, all different.
"""
import json
import random
import sys

from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters.extraction import RegexFilter

FILTERS = {
    "strict": RegexFilter(r"#### (\-?[0-9\.\,]+)"),
    "flexible": RegexFilter(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", group_select=-1),
    "strict_cot": RegexFilter(r"The answer is (\-?[0-9\.\,]+)."),
}
IGNORE = [",", "\\$", "(?s).*#### ", "\\.$"]

BY_HAND = [
    "She has 3 + 4 = 7 apples.\n#### 7", "#### 1,234", "#### -5", "#### $18", "####18", "#### ", "",
    "#### 18.", "#### 18.00", "#### 3 or\n#### 4", "first #### x then #### 9", "The answer is 42.",
    "The answer is 42", "The answer is 4\n", "The answer is -4\nQ", "The answer is -12\nQ",
    "The answer is 1,000.50.\n", "The answer is .\n", "The answer is ..\n", "The answer is 7!",
    "The answer is The answer is 3.", "so $5.00 and then -$7", "costs $", "costs $$", "-", "--3", "-3-4",
    "3-4", "1.", ".", "..", "a.b", "half: 1/2", "50%", "10:30", "x=5,", "5, 6, 7.", "$1,000,000.00.",
    "- 5", "−5", "５", "#### ５", "#### 5５", "#### \u00a05", "#### 5\u00a0", "\n\n#### 12\n\n",
    "#### 12 ####", "##### 12", "######## 12", "#### -", "#### --1", "#### ,", "#### ,5", "#### 1.2.3",
    "It is 12\u2009000.", "Answer: seven", "7 apples, so the total is 14. Hooray", "#### 0", "#### 00",
    "$0.5", ".5", "-.5", "-$.5", "1e5", "1,2", "#### 1 2", "So 8\r\n#### 8\r\n", "tab\t#### 9\t",
]
GOLDS = ["7", "#### 7", "so 3+4=<<3+4=7>>7\n#### 7", "1,234", "#### 1,234", "$18", "18.", "-5", "18",
         "x\n#### 9", "42", "#### 3", "5", "12", "0", "A#### B", "9\n", "9.\n", "9..", "#### 1\n#### 2",
         "ΑΣ", "#### #### 6", "14", "1000.50"]


def number(rng):
    n = rng.choice([rng.randrange(10), rng.randrange(1000), rng.randrange(10**7)])
    text = rng.choice([str(n), f"{n:,}", f"{n:,}.{rng.randrange(100):02}", f"{n}.", f"{n / 7:.3f}", f"{n}%", f"{n}/3"])
    return rng.choice(["", "", "", "-", "\u2212", "- ", "\u2013"]) + rng.choice(["", "", "$", "$ ", "\u20ac", "\u00a3"]) + text


def sentence(rng):
    """An answer as models write them: several numbers, money, signs that only look like a minus, or no number at all."""
    words = ["so that is", "She pays", "minus", "equals", "twelve", "of the", "apples", "in total,", "which leaves", "each."]
    parts = [number(rng) if rng.random() < 0.5 else rng.choice(words) for _ in range(rng.randint(2, 7))]
    if rng.random() < 0.1:
        parts = [rng.choice(words) for _ in range(4)]
    end = rng.choice(["", "", "\n#### " + number(rng), "\n####" + number(rng), " The answer is " + number(rng) + rng.choice([".", "", "\n", "!"]),
                      "\nTherefore, the answer is " + number(rng) + ".", "\n#### " + number(rng) + "\n\nQ: " + number(rng),
                      " = **" + number(rng) + "**", " \\boxed{" + number(rng) + "}"])
    return " ".join(parts) + end


def main():
    rng = random.Random(8)
    pieces = list("0123456789") + ["-", "$", ".", ",", " ", "\n", "#### ", "The answer is ", "x", "é"]
    texts = BY_HAND + ["".join(rng.choices(pieces, k=rng.randint(1, 14))) for _ in range(700)]
    texts = list(dict.fromkeys(texts + [sentence(rng) for _ in range(700)]))
    rows = []
    for i, text in enumerate(texts):
        row = {"text": text}
        for name, regex in FILTERS.items():
            row[name] = regex.apply([[text]], [{}])
            row[name] = list(row[name])[0][0]
        gold = GOLDS[i % len(GOLDS)]
        if i % 3 == 0:
            gold = row["flexible"]  # so that many are right
        row["gold"] = gold
        row["right"] = [bool(exact_match_hf_evaluate([row[name]], [gold], IGNORE, ignore_case=True)
                             ["exact_match"]) for name in FILTERS]
        rows.append(list(row.values()))
    golden = {"generator": "lm-eval 0.4.13, Python " + sys.version.split()[0], "columns": list(row), "rows": rows,
              "golds": [[g, normalize(g)] for g in GOLDS]}
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        json.dump(golden, out, ensure_ascii=True, separators=(",", ":"))
        out.write("\n")


def normalize(text):
    """exact_match normalizes inside; what it compares is found by trying."""
    import re
    for pattern in IGNORE:
        text = re.sub(pattern, "", text)
    return text.lower()


main()
