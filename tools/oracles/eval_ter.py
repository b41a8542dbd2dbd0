# SPDX-License-Identifier: Apache-2.0
"""Golden file for TER and the text statistics (src/lathe/eval/metrics/ter.*, text_statistics.*).

TER from sacrebleu 2.6.0, on the made-up texts of overlap.json and on two systems of WMT17; the
statistics from nltk's n-grams and scipy's entropy. Usage: eval_ter.py OVERLAP.json SHARED_DATA OUT.json
"""
import collections
import hashlib
import json
import pathlib
import sys

import nltk
import sacrebleu
import scipy.stats
from sacrebleu.metrics import TER


def statistics(text):
    words = text.split()
    share = lambda n: (lambda g: len(set(g)) / len(g) if g else 1.0)(list(nltk.ngrams(words, n)))
    counts = list(collections.Counter(words).values())
    return [len(words), len(text), share(1), share(2), 1 - share(4),
            float(scipy.stats.entropy(counts, base=2)) if counts else 0.0]


def main():
    overlap, shared = json.loads(pathlib.Path(sys.argv[1]).read_text()), pathlib.Path(sys.argv[2])
    ter = TER()
    rows = []
    for row in overlap["rows"]:
        stats = ter._extract_corpus_statistics([row["candidate"]], [[r] for r in row["references"]])[0]
        rows.append([*map(float, stats), ter.sentence_score(row["candidate"], row["references"]).score])
    read = lambda name: (shared / "translation" / name).read_text(encoding="utf-8").split("\n")[:-1]
    reference = read("wmt17_en_de.ref.de")
    wmt = {}
    for system in ["uedin-nmt.4722", "online-A.0"]:
        stats = ter._extract_corpus_statistics(read(f"wmt17_en_de.sys.{system}.de"), [reference])
        lines = "".join(f"{int(edits)} {int(length)}\n" for edits, length in stats)
        wmt[system] = {"ter": ter._aggregate_and_compute(stats).score,
                       "stats_sha256": hashlib.sha256(lines.encode()).hexdigest()}
    texts = [r["candidate"] for r in overlap["rows"]] + ["a b a b a b a b a b", "x " * 40, ""]
    golden = {"generator": f"sacrebleu {sacrebleu.__version__}, nltk {nltk.__version__}", "rows": rows, "wmt17": wmt,
              "extra_texts": texts[len(overlap["rows"]):], "statistics": [statistics(t) for t in texts]}
    with open(sys.argv[3], "w", encoding="utf-8") as out:
        json.dump(golden, out, separators=(",", ":"))
        out.write("\n")


main()
