"""Golden file for src/lathe/eval/metrics/statistics.*.

Two kinds: the digits of small bootstraps, with the generator of base/rng.h repeated here in Python
and NumPy's quantile; and intervals from NumPy's own generator with 400,000 resamples (seed 11), to
which many resamples of ours have to come close. Binomial tails are exact, in rationals.
Usage: eval_statistics.py OUT.json
"""
import fractions
import json
import math
import sys

import numpy as np
import scipy.stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

MASK = (1 << 64) - 1


class Rng:
    """xoshiro256** seeded by splitmix64."""

    def __init__(self, seed):
        self.s = []
        for _ in range(4):
            seed = (seed + 0x9E3779B97F4A7C15) & MASK
            z = seed
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
            self.s.append(z ^ (z >> 31))

    def next(self):
        s = self.s
        rotate = lambda x, k: ((x << k) | (x >> (64 - k))) & MASK
        result = (rotate((s[1] * 5) & MASK, 7) * 9) & MASK
        t = (s[1] << 17) & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotate(s[3], 45)
        return result

    def below(self, n):
        return int((self.next() >> 11) * 2.0**-53 * n)


def ours(n, statistic, seed, resamples):
    values = []
    for r in range(resamples):
        rng = Rng((seed * 0xD1342543DE82EF95 + r * 0x9E6C63D0876A9A35) & MASK)
        values.append(statistic([rng.below(n) for _ in range(n)]))
    return np.quantile(values, [0.025, 0.975]).tolist()


def total(values, indices):
    out = 0.0
    for i in indices:
        out += values[i]
    return out


def numpys(statistic, n, rng, resamples=400_000):
    values = np.concatenate([statistic(rng.integers(0, n, (4000, n))) for _ in range(resamples // 4000)])
    return np.quantile(values, [0.025, 0.975]).tolist()


def mcnemar(b, c):
    n, k = b + c, min(b, c)
    tail = fractions.Fraction(sum(math.comb(n, i) for i in range(k + 1)), 2**n)
    return float(min(fractions.Fraction(1), 2 * tail))


def connor(b, c):
    """Connor 1987, equation for paired proportions, two-sided 5 %, power 80 %; scipy's quantiles."""
    za, zb = scipy.stats.norm.ppf(0.975), scipy.stats.norm.ppf(0.8)
    return math.ceil(((za * math.sqrt(b + c) + zb * math.sqrt(b + c - (b - c) ** 2)) / abs(b - c)) ** 2)


def decisive(mean, deviation, comparisons=1):
    """One-sample normal test, statsmodels; its far tail is below the rounding up."""
    n = NormalIndPower().solve_power(abs(mean) / deviation, alpha=0.05 / comparisons, power=0.8, ratio=0, alternative="two-sided")
    return max(2, math.ceil(n))


def wilson(k, n):
    z = 1.959963984540054
    p = k / n
    a, b, c = 1 + z * z / n, -(2 * p + z * z / n), p * p  # the two roots of (p - x)² = z² x (1 - x) / n
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return [(-b - root) / (2 * a), (-b + root) / (2 * a)]


def main():
    rng = np.random.default_rng(11)
    scores = rng.normal(50, 20, 40).round(3)
    losses = rng.gamma(9, 40, 40).round(3)
    tokens = rng.integers(50, 200, 40).astype(float)
    other = (losses * rng.normal(1.02, 0.03, 40)).round(3)
    base, variant = rng.integers(0, 2, 40).astype(float), rng.integers(0, 2, 40).astype(float)
    n = 40
    ratio = lambda i: (total(losses, i) / total(tokens, i), total(other, i) / total(tokens, i))
    golden = {
        "generator": "NumPy " + np.__version__ + ", Python " + sys.version.split()[0],
        "scores": scores.tolist(), "losses": losses.tolist(), "other": other.tolist(),
        "tokens": tokens.tolist(), "base": base.tolist(), "variant": variant.tolist(),
        "resamples": 300,
        "exact": [{
            "seed": seed,
            "mean": ours(n, lambda i: total(scores, i) / n, seed, 300),
            "paired": ours(n, lambda i: total(variant - base, i) / n, seed, 300),
            "ratio": ours(n, lambda i: ratio(i)[0], seed, 300),
            "paired_ratio": ours(n, lambda i: ratio(i)[1] - ratio(i)[0], seed, 300),
            "paired_perplexity": ours(n, lambda i: math.exp(ratio(i)[1]) - math.exp(ratio(i)[0]), seed, 300),
        } for seed in [0, 1, 123456789012345678]],
        "close": {
            "mean": numpys(lambda i: scores[i].mean(1), n, rng),
            "paired": numpys(lambda i: (variant - base)[i].mean(1), n, rng),
            "ratio": numpys(lambda i: losses[i].sum(1) / tokens[i].sum(1), n, rng),
            "paired_ratio": numpys(lambda i: (other - losses)[i].sum(1) / tokens[i].sum(1), n, rng),
        },
        "quantiles": [[q, float(np.quantile(np.sort(scores), q))] for q in [0, 0.01, 0.025, 0.5, 0.77, 0.975, 1]],
        "mcnemar": [[b, c, mcnemar(b, c)] for b, c in
                    [(0, 0), (1, 0), (5, 5), (5, 6), (0, 6), (10, 2), (2, 10), (121, 59), (700, 650), (3000, 2500)]],
        # Wide use: scipy's exact binomial test and statsmodels' McNemar on the same splits.
        "mcnemar_packages": [[b, c, scipy.stats.binomtest(b, b + c).pvalue,
                              float(statsmodels_mcnemar([[50, b], [c, 50]], exact=True).pvalue)] for b, c in
                             [(1, 0), (5, 6), (0, 6), (10, 2), (2, 10), (121, 59), (700, 650)]],
        "holm": [[p, multipletests(p, method="holm")[1].tolist()] for p in
                 [[0.01, 0.04, 0.03, 0.005], [0.9, 0.2], [0.04], [0.001] * 3 + [0.02, 0.02, 0.6],
                  rng.uniform(0, 0.2, 40).round(5).tolist()]],
        "decisive": [[m, d, decisive(m, d)] for m, d in [(1.0, 10.0), (-0.3, 2.5), (0.02, 0.4), (2.0, 7.0)]],
        "decisive_comparisons": [[m, d, c, decisive(m, d, c)] for m, d in [(1.0, 10.0), (0.02, 0.4)] for c in [1, 2, 10, 250]],
        "normal_quantiles": [[q, float(scipy.stats.norm.ppf(q))] for q in [1e-9, 0.0001, 0.025, 0.3, 0.5, 0.8, 0.975, 0.99999]],
        "decisive_right_wrong": [[b, c, connor(b, c)] for b, c in
                                 [(0.1, 0.05), (0.02, 0.03), (0.3, 0.2), (0.0, 0.01), (0.25, 0.249)]],
        "wilson": [[k, m, wilson(k, m)] for k, m in [(0, 1), (1, 1), (0, 20), (20, 20), (3, 7), (50, 100), (812, 1319)]],
    }
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        json.dump(golden, out, indent=0)
        out.write("\n")


if __name__ == "__main__":
    main()
