#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""HQQ's zero points and AWQ's scales, written down from the papers in f64, on made-up inputs.

    compress_scales.py tests/golden/compress/scales.json

Weights and inputs are those of compress_methods.py, the weights cubed so that they have outliers. Per
case of HQQ: scale and offset of each group, and the sum of |w - w'|; per case of AWQ: the output error
of each exponent that is tried, and the factors of the best. Sources: Badri and Shaji 2023 (HQQ),
Lin et al. 2023 (AWQ, section 3.2). Needs numpy.
"""
import argparse
import json
import pathlib

import numpy as np

from compress_methods import inputs, noise, scales

NORM, BETA, KAPPA, STEPS = 0.7, 10.0, 1.01, 20


def f16(x):
    return np.float64(np.float16(np.float32(x)))


def hqq(w, bits):
    """Scale and offset of one group: value = scale * code + offset."""
    most = 2**bits - 1
    scale = (w.max() - w.min()) / most
    zero = best = -w.min() / scale
    beta, least = BETA, np.inf
    for _ in range(STEPS):
        q = np.clip(np.round(w / scale + zero), 0, most)
        e = w - scale * (q - zero)
        error = np.abs(e).sum()
        if error >= least:
            break
        least, best = error, zero
        size = np.abs(e)
        left = np.sign(e) * np.maximum(0, size - np.where(size > 0, size, 1) ** (NORM - 1) / beta)
        zero = np.mean(q - (w - left) / scale)
        beta *= KAPPA
    return f16(scale), f16(-scale * best)


def hqq_case(w, bits, group):
    found, error, plain = [], 0.0, 0.0
    for row in w:
        for begin in range(0, len(row), group):
            x = row[begin : begin + group]
            scale, offset = hqq(x, bits)
            found.append([scale, offset])
            error += np.abs(x - scale * np.clip(np.round((x - offset) / scale), 0, 2**bits - 1) - offset).sum()
            low = f16(x.min())
            plain += np.abs(x - scale * np.clip(np.round((x - low) / scale), 0, 2**bits - 1) - low).sum()
    return {"error": float(error), "round_to_nearest": float(plain),
            "scales": [float(s) for s, _ in found], "offsets": [float(o) for _, o in found]}


def rounded(w, group, symmetric):
    out = np.empty_like(w)
    for g in range(0, w.shape[1], group):
        x = w[:, g : g + group]
        scale, zero = (v[:, None] for v in scales(x, symmetric))
        out[:, g : g + group] = scale * (np.clip(np.round(x / scale) + zero, 0, 15) - zero)
    return out


def awq_case(w, x, group, symmetric, steps=20):
    active = np.abs(x).mean(0)
    losses, factors = [], []
    for step in range(steps):
        s = np.maximum(active ** (step / steps), 1e-4)
        s /= np.sqrt(s.max() * s.min())
        changed = rounded(w * s, group, symmetric) / s
        losses.append(float(((x @ (changed - w).T) ** 2).sum() / len(x)))
        factors.append(s)
    best = int(np.argmin(losses))
    return {"losses": losses, "exponent": best / steps, "factors": [float(f"{v:.7g}") for v in factors[best]]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    rows, columns, tokens = 12, 192, 384
    w = (4 * noise(0, rows * columns) ** 3).reshape(rows, columns).astype(np.float32).astype(np.float64)
    x = inputs(tokens, columns)
    out = {"generator": f"compress_scales.py, numpy {np.__version__}", "rows": rows, "columns": columns, "tokens": tokens,
           "hqq": {f"int{bits}:g64,offset": hqq_case(w, bits, 64) for bits in (2, 3, 4)},
           "awq": {"int4:g32": awq_case(w, x, 32, True), "int4:g32,asym": awq_case(w, x, 32, False)}}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(out, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
