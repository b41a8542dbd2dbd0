# SPDX-License-Identifier: Apache-2.0
"""Golden file for src/lathe/eval/metrics/statistics.*: more than 1,000 cases of each test.

p-values of McNemar's exact test from scipy's binomial test, Holm's correction from statsmodels, digits of paired
bootstraps from NumPy's quantile over the resamples that base/rng.h draws, their p-values by Davison and Hinkley 1997,
section 4.2.3. The inputs are drawn from base/rng.h too (generator repeated in eval_statistics.py), so that only results
stand in the file; tests/eval/statistics_many_test.cc draws the same.
Usage: eval_statistics_many.py OUT.json
"""
import json
import sys

import numpy as np
import scipy
import scipy.stats
import statsmodels
from statsmodels.stats.multitest import multipletests

from eval_statistics import MASK, Rng

CASES, FAMILIES, RESAMPLES = 1200, 300, 50


def mcnemar(rng):
    out = []
    for _ in range(CASES):
        most = 1 + rng.below(400)
        b, c = rng.below(most), rng.below(most)
        out.append(scipy.stats.binomtest(b, b + c).pvalue if b + c else 1.0)
    return out


def holm(rng):
    out = []
    for _ in range(FAMILIES):
        scale = 1 << (4 * rng.below(4))  # families of small and of large p-values
        p = [rng.below(1 << 20) / (1 << 20) / scale for _ in range(1 + rng.below(9))]
        out.append(multipletests(p, method="holm")[1].tolist())
    return out


def paired(rng):
    """Scores in steps of 1/8, so that sums and means are exact up to the last division."""
    out = []
    for case in range(CASES):
        n = 2 + rng.below(19)
        base = [rng.below(9) / 8 for _ in range(n)]
        variant = [b + (rng.below(5) - 2) / 8 for b in base]
        draws = []
        for r in range(RESAMPLES):
            own = Rng((case * 0xD1342543DE82EF95 + r * 0x9E6C63D0876A9A35) & MASK)
            indices = [own.below(n) for _ in range(n)]
            draws.append(sum(variant[i] - base[i] for i in indices) / n)
        tail = 1 + min(sum(d <= 0 for d in draws), sum(d >= 0 for d in draws))
        p = min(1.0, 2 * tail / (RESAMPLES + 1))
        out.append(np.quantile(draws, [0.025, 0.975]).tolist() + [1.0 if base == variant else p])
    return out


def main():
    golden = {"generator": f"scipy {scipy.__version__}, statsmodels {statsmodels.__version__}, NumPy {np.__version__}",
              "resamples": RESAMPLES, "mcnemar": mcnemar(Rng(21)), "holm": holm(Rng(22)), "paired": paired(Rng(23))}
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        json.dump(golden, out, separators=(",", ":"))
        out.write("\n")


main()
