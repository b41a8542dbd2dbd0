#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Squared error of Lathe's encoders for ggml's types beside llama.cpp's, without importances.

    tools/bench/ggml_error.py LATHE LLAMA_QUANTIZE MODEL [TYPE…]

MODEL is written as a float GGUF file, which `llama-quantize --pure` and Lathe each quantize. Both
results are decoded by the Python package gguf; printed is the sum of squared differences from the
float weights over the matrices of the blocks, Lathe's divided by llama.cpp's.
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

TYPES = "q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q3_k q4_k q5_k q6_k iq4_nl".split()


def matrices(path):
    return {t.name: dequantize(t.data, t.tensor_type).astype(np.float64) for t in GGUFReader(path).tensors
            if t.name.startswith("blk.") and len(t.shape) == 2}


def main(lathe, quantize, model, *types):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        plain, theirs, ours = (folder / f"{n}.gguf" for n in ("plain", "theirs", "ours"))

        def export(form, out):
            subprocess.run([lathe, "export", model, "--to", "gguf", "--format", form, "--no-verify", "-o", out],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        export("f32", plain)
        exact = matrices(plain)
        for kind in types or TYPES:
            ours.unlink(missing_ok=True)
            export(kind, ours)
            subprocess.run([quantize, "--pure", plain, theirs, kind], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
            errors = [sum(((found[n] - w) ** 2).sum() for n, w in exact.items())
                      for found in (matrices(ours), matrices(theirs))]
            print(f"{kind:7} {errors[0] / errors[1]:.3f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
