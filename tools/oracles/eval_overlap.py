"""Golden file for ROUGE, BLEU, chrF and the Porter stemmer (src/lathe/eval/metrics).

The references are rouge-score 0.1.2 (with nltk 3.10.4's stemmer) and sacrebleu 2.6.0.
Usage: eval_overlap.py SHARED_DATA_FOLDER OUT.json       Seed of the made-up texts: 5.
Of the data only scores go into the golden file.
"""
import hashlib
import json
import logging
import pathlib
import random
import re
import sys

import nltk
import sacrebleu
from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF

KINDS = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
WORDS = ("the a river keeper's lamp-post 42 3.14 1,000 U.S. café Ångström ΟΔΟΣ İzmir 北京 москва e.g. "
         "(north) “quoted” — - ... 5-6 x- -y & &amp; &quot; &lt;b&gt; <skipped> a,b .5 5. ,, !? $5 50% "
         "running runs ran happily happiness relational flies died agreed controlling geology it's "
         "\u212aelvin tea\u00a0cup [x] {y} a_b `q` 'r' s/t u:v w;z #1 @me *n* +o =p ^q |r ~s \\t").split(" ")
ROOTS = ("act agre analog archaeolog beaut bl bus calm canon cap care color com conflat control creat "
         "cr decid depend differ dy electr enjo ev fail fam feed fil fizz fl form free fulf gen geo "
         "glor hap happ hes hiss hop hopp hum ident irrit ll mot nat new objec oper organ out pl play "
         "pre pres prob proc quick rad rat rel reliev rev roll s sens si siz sk sky spr st succ syzyg "
         "tan the theo tr trac triplic troubl try un up val vex viet w wh x y yell yy z").split(" ")
SUFFIXES = ("- s es ies ied ed eed ing ings y ly ally alli ational tional enci anci izer bli abli entli "
            "eli ousli ization ation ator alism iveness fulness ousness aliti iviti biliti fulli logi "
            "icate ative alize iciti ical ful ness al ance ence er ic able ible ant ement ment ent ion "
            "sion tion ou ism ate iti ous ive ize e ll lle ss sses yed ying ee aed iing bled ated ized "
            "nning lling x9 ationally tionally ousnessalli").split(" ")


def sentence(rng):
    return rng.choice([" ", " ", " ", "\u00a0", "  "]).join(rng.choices(WORDS, k=rng.randint(0, 14)))


def disturb(rng, text):
    words = text.split(" ")
    for _ in range(rng.randint(0, 4)):
        what = rng.randint(0, 3)
        at = rng.randint(0, len(words))
        if what == 0:
            words.insert(at, rng.choice(WORDS))
        elif what == 1 and words:
            words.pop(at % len(words))
        elif what == 2:
            words[at:at] = words[: rng.randint(0, 4)]
        else:
            words = words[at:] + words[:at]
    return " ".join(words)


def made_up(rng):
    rows = [{"references": ["a b c"], "candidate": ""}, {"references": [""], "candidate": "a b c"},
            {"references": [""], "candidate": ""}, {"references": ["x"], "candidate": "x"},
            {"references": ["a b", "a b c d"], "candidate": "a b c"},
            {"references": ["a b c\na b\n\nd"], "candidate": "\nb a c\nd a\n"}]
    while len(rows) < 110:
        lines = [sentence(rng) for _ in range(rng.randint(1, 3))]
        references = ["\n".join(lines)]
        if rng.random() < 0.4:
            references.append(disturb(rng, references[0]))
        candidate = disturb(rng, "\n".join(rng.sample(lines, len(lines))))
        rows.append({"references": references, "candidate": candidate})
    return rows


def rouge_row(scorer, references, candidate):
    scores = scorer.score_multi(references, candidate)
    return [[scores[k].precision, scores[k].recall, scores[k].fmeasure] for k in KINDS]


def translation_figures(folder, system):
    read = lambda name: (folder / name).read_text(encoding="utf-8").split("\n")[:-1]
    hypotheses = read(f"wmt17_en_de.sys.{system}.de")
    references = [read("wmt17_en_de.ref.de")]
    bleu = BLEU()
    stats = bleu._extract_corpus_statistics(hypotheses, references)
    lines = "".join(" ".join(map(str, s)) + "\n" for s in stats)
    return {"bleu": bleu.corpus_score(hypotheses, references).score,
            "bleu_stats_sha256": hashlib.sha256(lines.encode()).hexdigest(),
            "chrf": CHRF().corpus_score(hypotheses, references).score,
            "chrf++": CHRF(word_order=2).corpus_score(hypotheses, references).score}


def summary_figures(path, stemmer):
    scorer = rouge_scorer.RougeScorer(KINDS, use_stemmer=stemmer)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    totals = [0.0] * len(KINDS)
    for row in rows:
        scores = scorer.score(row["summary1"], row["summary2"])
        totals = [t + scores[k].fmeasure for t, k in zip(totals, KINDS)]
    return [t / len(rows) for t in totals]


def summary_lines(path, stemmer):
    """Hash of every score of every pair of the summaries that three people wrote."""
    scorer = rouge_scorer.RougeScorer(KINDS, use_stemmer=stemmer)
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for a, b in [(1, 2), (1, 3), (2, 3)]:
            scores = rouge_row(scorer, [row[f"summary{a}"]], row[f"summary{b}"])
            lines.append(" ".join("%.17g" % x for score in scores for x in score) + "\n")
    return {"n": len(lines), "sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}


def main():
    logging.getLogger("sacrebleu").setLevel(logging.ERROR)  # it advises on sentence scores
    shared = pathlib.Path(sys.argv[1])
    rows = made_up(random.Random(5))
    plain = rouge_scorer.RougeScorer(KINDS)
    stemmed = rouge_scorer.RougeScorer(KINDS, use_stemmer=True)
    bleu, sentence_chrf = BLEU(), [CHRF(), CHRF(word_order=2)]
    for row in rows:
        references, candidate = row["references"], row["candidate"]
        row["rouge"] = rouge_row(plain, references, candidate)
        row["rouge_stemmed"] = rouge_row(stemmed, references, candidate)
        row["tokens_13a"] = bleu.tokenizer(candidate.rstrip())
        row["bleu_stats"] = [int(x) for x in bleu._extract_corpus_statistics(
            [candidate], [[r] for r in references])[0]]
        row["bleu"] = bleu.sentence_score(candidate, references).score
        row["chrf"] = [m.sentence_score(candidate, references).score for m in sentence_chrf]
    single = [r for r in rows if len(r["references"]) == 1]
    hypotheses, references = [r["candidate"] for r in single], [[r["references"][0] for r in single]]

    stem = PorterStemmer().stem
    words = [root + ("" if suffix == "-" else suffix) for root in ROOTS for suffix in SUFFIXES]
    shakespeare = (shared / "text/tinyshakespeare.txt").read_text(encoding="utf-8").lower()
    vocabulary = sorted(set(re.findall("[a-z]+", shakespeare)))
    digest = lambda ws: hashlib.sha256("".join(stem(w) + "\n" for w in ws).encode()).hexdigest()
    irregular = sorted(PorterStemmer().pool)
    golden = {
        "generator": f"rouge-score 0.1.2, nltk {nltk.__version__}, sacrebleu {sacrebleu.__version__}",
        "rows": rows,
        "corpus": {"bleu": bleu.corpus_score(hypotheses, references).score,
                   "chrf": [m.corpus_score(hypotheses, references).score for m in sentence_chrf]},
        "stemmer": {"roots": ROOTS, "suffixes": SUFFIXES, "n": len(words), "sha256": digest(words),
                    "irregular": [[w, stem(w)] for w in irregular],
                    "sample": [[w, stem(w)] for w in words[::37]],
                    "shakespeare_n": len(vocabulary), "shakespeare_sha256": digest(vocabulary)},
        "wmt17": {s: translation_figures(shared / "translation", s)
                  for s in ["uedin-nmt.4722", "online-A.0"]},
        "dialogsum": [summary_figures(shared / "summarization/dialogsum.test.jsonl", stemmer)
                      for stemmer in [False, True]],
        "dialogsum_lines": [summary_lines(shared / "summarization/dialogsum.test.jsonl", stemmer)
                            for stemmer in [False, True]],
    }
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        json.dump(golden, out, ensure_ascii=True, separators=(",", ":"))
        out.write("\n")


main()
