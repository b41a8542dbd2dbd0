"""Golden file of the block-scaled floats: tests/golden/formats/micro.json.

Run: python tools/oracles/formats_micro.py [OUT.json]   (numpy, ml_dtypes, gguf)

Scales follow the OCP MX specification 1.0 (section 6.3) and NVIDIA's recipe for NVFP4; elements and scales
are rounded by ml_dtypes. The values of MXFP4 are decoded a second time by gguf, from its own block layout.
Inputs are the bells() of formats.py, which the test repeats.
"""
import json
import pathlib
import sys

import gguf
import ml_dtypes
import numpy as np


def bells(seed, count):
    """As in formats.py."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    total = sum(((z >> np.uint64(s)) & np.uint64(0xFFFF)).astype(np.int64) for s in (0, 16, 32, 48))
    return (total - 2 * 65535).astype(np.float32) * np.float32(2.0**-18)


OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                   pathlib.Path(__file__).resolve().parents[2] / "tests/golden/formats/micro.json")
ROWS, COLS = 6, 96


def elements(x):
    return np.clip(x, -6, 6).astype(ml_dtypes.float4_e2m1fn).astype(np.float32)


def mxfp4(x):
    blocks = x.reshape(-1, 32)
    most = np.abs(blocks).max(1)
    exponent = np.where(most > 0, np.floor(np.log2(np.where(most > 0, most, 1))).astype(int) - 2, -127)
    scale = np.ldexp(np.float32(1), exponent).astype(ml_dtypes.float8_e8m0fnu)
    q = elements(blocks / scale.astype(np.float32)[:, None])
    return scale.view(np.uint8), (q * scale.astype(np.float32)[:, None]).astype(np.float32), q


def nvfp4(x):
    blocks = x.reshape(-1, 16)
    total = np.float32(np.abs(x).max()) / np.float32(6 * 448)
    scale = (np.abs(blocks).max(1) / np.float32(6) / total).astype(ml_dtypes.float8_e4m3fn)
    whole = scale.astype(np.float32) * total
    q = elements(np.where(whole[:, None] > 0, blocks / np.where(whole > 0, whole, 1)[:, None], 0))
    return scale.view(np.uint8), (q * whole[:, None]).astype(np.float32), total


def by_gguf(scale, q):
    """gguf's blocks: the exponent, then elements 0..15 in the low nibbles and 16..31 in the high ones."""
    codes = q.astype(ml_dtypes.float4_e2m1fn).view(np.uint8)
    packed = codes[:, :16] | codes[:, 16:] << 4
    return gguf.quants.dequantize(np.concatenate([scale[:, None], packed], 1), gguf.GGMLQuantizationType.MXFP4)


x = bells(31, ROWS * COLS).reshape(ROWS, COLS)
x[1] *= np.float32(1e-3)
x[2, :32] = 0
x[3] *= np.float32(50)
mx_scale, mx, q = mxfp4(x)
assert np.array_equal(by_gguf(mx_scale, q).ravel(), mx.ravel())
nv_scale, nv, total = nvfp4(x)
OUT.write_text(json.dumps({
    "generator": f"formats_micro.py, ml_dtypes {ml_dtypes.__version__}, gguf", "rows": ROWS, "cols": COLS, "seed": 31,
    "mxfp4": {"scale": mx_scale.tolist(), "decoded": mx.ravel().tolist()},
    "nvfp4": {"scale": nv_scale.tolist(), "global_scale": float(total), "decoded": nv.ravel().tolist()},
    "e4m3": np.arange(127, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32).tolist(),
}, separators=(",", ":")) + "\n")
