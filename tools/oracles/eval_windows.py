"""Golden file for the windows of the perplexity conventions (src/lathe/eval/metrics/perplexity.*).

lm-eval: lm-evaluation-harness 0.4.13's own get_rolling_token_windows (has to be importable). The
other three are simulated from the published procedures on token lists 0, 1, 2, …, and with made-up
losses, loss(i) = 1 + (i * 37 % 101) / 101 for token i. Each result lists the scored tokens and the
tokens fed, window by window, and the perplexity.
Usage: eval_windows.py OUT.json
"""
import json
import math
import re
import sys

from lm_eval.utils import get_rolling_token_windows

BOS = -1


def loss(token):
    return 1 + (token * 37 % 101) / 101


def lm_eval(n, window):
    fed, scored = [], []
    for inputs, predicted in get_rolling_token_windows(list(range(n)), BOS, window, 1):
        fed.append(inputs)
        scored.append(predicted)
    return fed, scored, [len(s) for s in scored]


def hf_stride(n, window, stride):
    """Labels equal inputs; those of counted tokens are masked; the model shifts them by one."""
    fed, scored, weights = [], [], []
    previous_end = 0
    for begin in range(0, n, stride):
        end = min(begin + window, n)
        target_length = end - previous_end
        labels = list(range(begin, end))
        labels[:-target_length] = [None] * len(labels[:-target_length])
        valid = sum(label is not None for label in labels)
        fed.append(list(range(begin, end - 1)))
        scored.append([label for label in labels[1:] if label is not None])
        weights.append(valid - 1)
        previous_end = end
        if end == n:
            break
    return fed, scored, weights


def llama_cpp(n, window, add_bos):
    fed, scored = [], []
    for chunk in range(n // window):
        tokens = list(range(chunk * window, (chunk + 1) * window))
        targets = [tokens[j + 1] for j in range(window // 2, window - 1)]
        if add_bos:
            tokens[0] = BOS
        fed.append(tokens[:-1])
        scored.append(targets)
    return fed, scored, [len(s) for s in scored]


def papers(n, window):
    chunks = [list(range(i * window, (i + 1) * window)) for i in range(n // window)]
    return [c[:-1] for c in chunks], [c[1:] for c in chunks], [window - 1] * len(chunks)


def row(convention, n, result, **parameters):
    fed, scored, weights = result
    kept = [(f, s, w) for f, s, w in zip(fed, scored, weights) if w > 0]
    total = sum(sum(map(loss, s)) / len(s) * w for _, s, w in kept)
    return {"convention": convention, "n": n, **parameters,
            "fed": [[f[0], f[-1], len(f)] for f, _, _ in kept],
            "scored": [[s[0], s[-1], len(s)] for _, s, _ in kept], "weights": [w for _, _, w in kept],
            "perplexity": math.exp(total / sum(w for _, _, w in kept)) if kept else None}


def main():
    rows = []
    for window in [2, 3, 8, 9]:
        for n in sorted({window, window + 1, 2 * window - 1, 2 * window, 2 * window + 1, 5 * window + 2}):
            rows.append(row("papers", n, papers(n, window), window=window))
    for window, stride in [(8, 4), (8, 8), (8, 1), (8, 3), (2, 1), (2, 2), (9, 7)]:
        for n in range(2, 3 * window + 2):
            rows.append(row("hf-stride", n, hf_stride(n, window, stride), window=window, stride=stride))
    for window in [3, 4, 8, 9]:
        for n in [2 * window, 2 * window + 1, 3 * window - 1, 3 * window]:
            for add_bos in [False, True]:
                rows.append(row("llama.cpp", n, llama_cpp(n, window, add_bos), window=window, add_bos=add_bos))
    for window in [1, 2, 5, 8]:
        for n in range(0, 3 * window + 3):
            rows.append(row("lm-eval", n, lm_eval(n, window), window=window))
    texts = ["", " ", "a", "a b", " a b\n", "a\n\n b\tc", "\u00a0x\u3000y", "a\u200bb", "\x1ca\x1fb"]
    golden = {"generator": "lm-eval 0.4.13, Python " + sys.version.split()[0], "rows": rows,
              "words": [[t, len(re.split(r"\s+", t))] for t in texts]}
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        json.dump(golden, out, ensure_ascii=True, separators=(",", ":"))
        out.write("\n")


main()
