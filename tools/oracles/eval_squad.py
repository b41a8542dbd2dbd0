"""Golden file for SQuAD v2 (src/lathe/eval/metrics/squad.*).

The reference is squad_metrics.py of transformers 4.57.1, which keeps the official script's scoring.
Usage: eval_squad.py SQUAD_METRICS.py DATA.json OUT.json
SQUAD_METRICS.py is transformers/data/metrics/squad_metrics.py of that version, DATA.json any file in
SQuAD v2's form; of the latter only its hash, aggregates and hashes of scores go into the golden file.
The predictions for DATA are made by perturb(), which tests/eval/metric_squad_test.cc repeats.
Seed of the made-up rows: 20.
"""
import hashlib
import importlib.util
import json
import random
import sys
import types


def load_reference(path):
    """The module alone: what it imports from transformers only serves other functions."""
    for name in ["ref", "ref.data", "ref.data.metrics", "ref.models", "ref.models.bert", "ref.utils"]:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = []
    sys.modules["ref.models.bert"].BasicTokenizer = None
    logger = types.SimpleNamespace(info=print, warning=print)
    sys.modules["ref.utils"].logging = types.SimpleNamespace(get_logger=lambda name: logger)
    spec = importlib.util.spec_from_file_location("ref.data.metrics.squad_metrics", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WORDS = ("the a an The AN river Amber keeper's lamp-post 42 3.14 U.S. café naïve CAFÉ Ångström ΟΔΟΣ "
         "İzmir the\u0301 北京 москва МОСКВА e.g. (north) “quoted” — - … « » a_b the_ _a 7,000 $5 50% "
         "tea-the a's an' ªthe ²a the\u200ball the\u00a0sea x\u3000y émigré ﬁsh \u0130 1st").split(" ")


def made_up(rng):
    rows = []
    fixed = [([], ""), ([], "x"), ([], "the"), ([""], ""), (["the"], ""), (["the", "a fox"], "fox"),
             (["..."], "!"), (["fox"], ""), (["a"], "A."), (["The  Fox"], "fox"),
             (["fox fox den"], "fox den den"), (["an apple", "apples"], "Apple!")]
    for golds, prediction in fixed:
        rows.append((golds, prediction))
    while len(rows) < 160:
        gold = [" ".join(rng.choices(WORDS, k=rng.randint(1, 6))) for _ in range(rng.randint(0, 3))]
        prediction = rng.choice(gold + [""]).split(" ")
        for _ in range(rng.randint(0, 3)):
            what = rng.randint(0, 3)
            if what == 0:
                prediction.insert(rng.randint(0, len(prediction)), rng.choice(WORDS))
            elif what == 1 and prediction:
                prediction.pop(rng.randrange(len(prediction)))
            elif what == 2:
                prediction = [w.upper() for w in prediction]
            else:
                rng.shuffle(prediction)
        rows.append((gold, rng.choice([" ", "  ", "\t", "\n", "\u00a0"]).join(prediction)))
    return rows


ASCII_UPPER = {c: c - 32 for c in range(ord("a"), ord("z") + 1)}


def perturb(i, gold, other):
    """The prediction for question i: gold is its first gold answer or "", other the one before."""
    words = gold.split(" ")
    return [gold, "the " + gold + ".", gold.translate(ASCII_UPPER), " ".join(words[1:]), " ".join(words[:-1]), other,
            "", gold + " " + other, " ".join(reversed(words)), "An " + gold + " (a)",
            gold.replace(" ", "  "), gold[: len(gold) // 2]][i % 12]


def na_probability(i):
    return (i * 7919 % 1000) / 1000


def evaluate(ref, rows, threshold):
    """rows: (golds, prediction, no-answer probability)."""
    examples = [types.SimpleNamespace(qas_id=i, answers=[{"text": g} for g in golds])
                for i, (golds, _, _) in enumerate(rows)]
    predictions = {i: p for i, (_, p, _) in enumerate(rows)}
    probabilities = {i: q for i, (_, _, q) in enumerate(rows)}
    exact, f1 = ref.get_raw_scores(examples, predictions)
    total = dict(ref.squad_evaluate(examples, predictions, probabilities, threshold))
    return exact, f1, total


def main():
    ref = load_reference(sys.argv[1])
    rows = [(g, p, na_probability(i)) for i, (g, p) in enumerate(made_up(random.Random(20)))]
    exact, f1, total = evaluate(ref, rows, 1.0)
    golden = {
        "generator": "transformers 4.57.1 squad_metrics, Python " + sys.version.split()[0],
        "rows": [{"golds": g, "prediction": p, "na_probability": q, "exact": exact[i], "f1": f1[i],
                  "normalized": ref.normalize_answer(p)} for i, (g, p, q) in enumerate(rows)],
        "aggregate": total,
        "aggregate_threshold_0.6": evaluate(ref, rows, 0.6)[2],
    }

    raw = open(sys.argv[2], "rb").read()
    data, other = [], "nothing yet"
    for article in json.loads(raw)["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                golds = [a["text"] for a in question["answers"]]
                gold = golds[0] if golds else ""
                i = len(data)
                data.append((golds, perturb(i, gold, other), na_probability(i)))
                other = gold or other
    exact, f1, total = evaluate(ref, data, 1.0)
    lines = "".join(f"{exact[i]} {f1[i]:.17g} {ref.normalize_answer(p)}\n"
                    for i, (_, p, _) in enumerate(data))
    golden["data"] = {"sha256": hashlib.sha256(raw).hexdigest(), "n": len(data), "aggregate": total,
                      "lines_sha256": hashlib.sha256(lines.encode()).hexdigest()}
    with open(sys.argv[3], "w", encoding="utf-8") as out:
        json.dump(golden, out, ensure_ascii=True, indent=0)
        out.write("\n")


main()
