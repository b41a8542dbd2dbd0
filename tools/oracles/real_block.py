#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GPTQ, SparseGPT and Wanda of `lathe compress` on a block of a real model, beside compress_methods.py.

usage: real_block.py MODEL --data TEXT [--lathe build/lathe] [--samples N] [--length N] [--layer L] [--matrix NAME…]

MODEL is a Hugging Face directory in 16 or 32 bits. Lathe collects XᵀX of the text and compresses the block with it; the
reference, in f64, solves the same matrices with the same sums (its X is a root of XᵀX). Printed are the squared
errors of the outputs, |X (W' - W)^T|^2 / |X W^T|^2, of both, and their ratio; exit 1 where they are more than 2 % apart.
Needs numpy, torch and safetensors.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np
from safetensors import safe_open

import compress_methods as reference

PAPER = {"act_order": False, "static_groups": False, "scales": "minmax"}
CASES = {
    "gptq int4:g64,asym": ({"gptq": {"format": "int4:g64,asym", **PAPER}}, None,
                           lambda w, x: reference.gptq(w, x, 64, False, False)),
    "sparsegpt 0.5": ({"sparsegpt": {"sparsity": 0.5}}, "f32", lambda w, x: reference.sparsegpt(w, x, 0.5, None)),
    "sparsegpt 2:4": ({"sparsegpt": {"pattern": "2:4", "sparsity": 0.5}}, "f32",
                      lambda w, x: reference.sparsegpt(w, x, 0.5, (2, 4))),
    "wanda 0.5": ({"wanda": {"sparsity": 0.5}}, "f32", lambda w, x: reference.wanda(w, x, 0.5, None)),
}


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def tensors(path):
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def root_of(upper, size):
    """X with XᵀX as stored: the rows of the upper half, one after the other."""
    gram = np.zeros((size, size))
    gram[np.triu_indices(size)] = upper.double().numpy()
    gram += np.triu(gram, 1).T
    values, vectors = np.linalg.eigh(gram)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def weights_of(stored, name, shape):
    """What Lathe stored: f32, or int4 in groups with zero points (docs/formats.md)."""
    if f"{name}.weight" in stored:
        return stored[f"{name}.weight"].double().numpy().reshape(shape)
    packed = stored[f"{name}.weight.packed"].numpy()
    codes = np.stack([packed & 15, packed >> 4], -1).reshape(shape)
    scale, zero = (stored[f"{name}.weight.{part}"].double().numpy() for part in ("scale", "zero"))
    group = shape[1] // scale.shape[1]
    return np.repeat(scale, group, 1) * (codes - np.repeat(zero, group, 1))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--lathe", default="build/lathe")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--layer", type=int, default=0)
    parser.add_argument("--matrix", nargs="+", default=["self_attn.q_proj", "self_attn.o_proj", "mlp.down_proj"])
    options = parser.parse_args()
    names = [f"model.layers.{options.layer}.{matrix}" for matrix in options.matrix]
    source = {}
    for file in sorted(options.model.glob("*.safetensors")):
        source.update(tensors(file))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        hessians = folder / "hessians.safetensors"
        run(options.lathe, "calibrate", options.model, "--data", options.data, "--hessians", "--samples", options.samples,
            "--sample-length", options.length, "-o", hessians)
        sums = tensors(hessians)
        roots = {}
        for name in names:
            size = source[f"{name}.weight"].shape[1]
            roots[name] = root_of(sums[f"{name}.gram"], size)
        apart = 0.0
        print("| matrix | case | Lathe | reference | ratio |\n|---|---|---:|---:|---:|")
        for case, (step, form, method) in CASES.items():
            passes = [step] + ([{"rtn": {"format": form}}] if form else [])
            others = {"match": rf"/layers\.(?!{options.layer}\.)/", "format": "keep", **({"sparsity": 0} if form else {})}
            recipe = {"passes": passes, "embeddings": "keep", "calibration": {"hessians": str(hessians)}, "overrides": [others]}
            out = folder / case.replace(" ", "-").replace(":", "-")
            (folder / "recipe.json").write_text(json.dumps(recipe))
            run(options.lathe, "compress", options.model, "-o", out, "-r", folder / "recipe.json")
            stored = tensors(out / "model.safetensors")
            for name in names:
                w = source[f"{name}.weight"].double().numpy()
                ours = reference.error(w, roots[name], weights_of(stored, name, w.shape))
                theirs = reference.error(w, roots[name], method(w, roots[name]))
                print(f"| {name} | {case} | {ours:.6f} | {theirs:.6f} | {ours / theirs:.4f} |", flush=True)
                apart = max(apart, abs(ours / theirs - 1))
    if not apart <= 0.02:
        raise SystemExit(f"real_block.py: {100 * apart:.1f} % apart")


if __name__ == "__main__":
    main()
