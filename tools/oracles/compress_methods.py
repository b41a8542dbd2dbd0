#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GPTQ, SparseGPT and Wanda, written down from the papers in f64, on made-up inputs.

    compress_methods.py tests/golden/compress/methods.json [--layer tiny-llm-layer0.safetensors]

Weights and inputs follow from a hash of their position, which the test computes as well, so that the
file holds results alone: per case the squared output error |X (W' - W)^T|^2 / |X W^T|^2, and for the
made-up matrix the rounded weights. With --layer also the errors on real matrices (numbers only).
Sources: Frantar et al. 2022 (GPTQ, algorithm 1), Frantar and Alistarh 2023 (SparseGPT, algorithm 1),
Sun et al. 2023 (Wanda, equation 1). Needs numpy; safetensors for --layer.
"""
import argparse
import json
import pathlib

import numpy as np

DAMPING = 0.01
BLOCK = 128


def noise(first, count):
    """count numbers in [-0.5, 0.5): a hash of first, first + 1, ..."""
    h = (np.arange(first, first + count, dtype=np.uint64) * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)
    h ^= h >> np.uint64(15)
    h = (h * np.uint64(2246822519)) & np.uint64(0xFFFFFFFF)
    h ^= h >> np.uint64(13)
    return h.astype(np.float64) / 2.0**32 - 0.5


def inputs(tokens, columns):
    """Columns of a group of eight go together; every 13th is five times as large."""
    own = noise(1 << 20, tokens * columns).reshape(tokens, columns)
    groups = (columns + 7) // 8
    shared = noise(1 << 26, tokens * groups).reshape(tokens, groups)
    x = own + 2 * np.repeat(shared, 8, axis=1)[:, :columns]
    x[:, ::13] *= 5
    return x.astype(np.float32).astype(np.float64)


def upper_factor(x, order):
    h = x.T @ x
    h = h[np.ix_(order, order)]
    h += DAMPING * np.mean(np.diag(h)) * np.eye(len(order))
    return np.linalg.cholesky(np.linalg.inv(h)).T


def scales(w, symmetric):
    """Scale (f16) and zero point of each row of one group, as docs/formats.md gives them for int4."""
    low, high = np.minimum(w.min(1), 0), np.maximum(w.max(1), 0)
    if symmetric:
        scale = (np.where(high >= -low, high, low) / -8).astype(np.float32).astype(np.float16).astype(np.float64)
        return scale, np.full_like(scale, 8)
    scale = ((high - low) / 15).astype(np.float32).astype(np.float16).astype(np.float64)
    scale[scale == 0] = 1  # nothing stays of the group
    return scale, np.clip(np.round(-low / scale), 0, 15)


def gptq(w, x, group, symmetric, act_order):
    n, k = w.shape
    order = np.argsort(-np.diag(x.T @ x), kind="stable") if act_order else np.arange(k)
    u = upper_factor(x, order)
    fixed = [scales(w[:, g : g + group], symmetric) for g in range(0, k, group)]
    work = w[:, order].copy()
    for i in range(k):
        g = order[i] // group
        if not act_order and i % group == 0:
            fixed[g] = scales(work[:, i : i + group], symmetric)
        scale, zero = fixed[g]
        q = scale * (np.clip(np.round(work[:, i] / scale) + zero, 0, 15) - zero)
        error = (work[:, i] - q) / u[i, i]
        work[:, i] = q
        work[:, i + 1 :] -= np.outer(error, u[i, i + 1 :])
    out = np.empty_like(work)
    out[:, order] = work
    return out


def sparsegpt(w, x, sparsity, pattern, group=None):
    """With a group: rounds to int4,asym in the same loop; scales from what stays of a group when its first column comes."""
    n, k = w.shape
    u = upper_factor(x, np.arange(k))
    work, gone = w.copy(), np.zeros(w.shape, bool)
    for i in range(k):
        if pattern is None and i % BLOCK == 0:
            end = min(k, i + BLOCK)
            score = (work[:, i:end] / np.diag(u)[i:end]) ** 2
            count = int(round(sparsity * score.size))
            chosen = np.argsort(score.ravel(), kind="stable")[:count]
            gone[:, i:end] = np.isin(np.arange(score.size), chosen).reshape(score.shape)
        if pattern is not None and i % pattern[1] == 0:
            score = (work[:, i : i + pattern[1]] / np.diag(u)[i : i + pattern[1]]) ** 2
            least = np.argsort(score, axis=1, kind="stable")[:, : pattern[1] - pattern[0]]
            np.put_along_axis(gone[:, i : i + pattern[1]], least, True, axis=1)
        q = work[:, i]
        if group:
            if i % group == 0:
                stays = np.where(gone[:, i : i + group], 0, work[:, i : i + group])
                scale, zero = scales(stays, False)
            q = scale * (np.clip(np.round(q / scale) + zero, 0, 15) - zero)
        q = np.where(gone[:, i], 0, q)
        error = (work[:, i] - q) / u[i, i]
        work[:, i] = q
        work[:, i + 1 :] -= np.outer(error, u[i, i + 1 :])
    return work


def wanda(w, x, sparsity, pattern):
    score = np.abs(w) * np.sqrt((x**2).sum(0))
    out = w.copy()
    run = pattern[1] if pattern else w.shape[1]
    count = pattern[1] - pattern[0] if pattern else int(round(sparsity * run))
    for begin in range(0, w.shape[1], run):
        least = np.argsort(score[:, begin : begin + run], axis=1, kind="stable")[:, :count]
        np.put_along_axis(out[:, begin : begin + run], least, 0, axis=1)
    return out


CASES = {
    "gptq int4:g16,asym": lambda w, x: gptq(w, x, 16, False, False),
    "gptq int4:g16 act_order": lambda w, x: gptq(w, x, 16, True, True),
    "sparsegpt 0.5": lambda w, x: sparsegpt(w, x, 0.5, None),
    "sparsegpt 2:4": lambda w, x: sparsegpt(w, x, 0.5, (2, 4)),
    "joint 0.5 int4:g16,asym": lambda w, x: sparsegpt(w, x, 0.5, None, 16),
    "wanda 0.5": lambda w, x: wanda(w, x, 0.5, None),
    "wanda 2:4": lambda w, x: wanda(w, x, 0.5, (2, 4)),
}


def error(w, x, changed):
    return float(((x @ (changed - w).T) ** 2).sum() / ((x @ w.T) ** 2).sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--layer", type=pathlib.Path)
    options = parser.parse_args()
    rows, columns, tokens = 12, 192, 384
    w = noise(0, rows * columns).reshape(rows, columns).astype(np.float32).astype(np.float64)
    x = inputs(tokens, columns)
    out = {"generator": f"compress_methods.py, numpy {np.__version__}", "rows": rows, "columns": columns, "tokens": tokens, "cases": {}, "layer": {}}
    for name, method in CASES.items():
        changed = method(w, x)
        out["cases"][name] = {
            "error": error(w, x, changed),
            "weights": [float(f"{v:.6g}") for v in changed.ravel()],
        }
    if options.layer:
        from safetensors.numpy import load_file

        for key, value in sorted(load_file(options.layer).items()):
            if not key.endswith(("q_proj.weight", "o_proj.weight", "down_proj.weight")):
                continue
            real = value.astype(np.float64)
            x = inputs(2 * real.shape[1], real.shape[1])
            for name, method in CASES.items():
                out["layer"].setdefault(key, {})[name] = error(real, x, method(real, x))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(out, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
