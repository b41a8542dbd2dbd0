"""Golden files of the number formats: tests/golden/formats/{bitsandbytes,gguf}.{json,bin}.

Run: python tools/oracles/formats.py [OUT]   (about 20 s; needs no GPU)
Made with bitsandbytes 0.50.2 (CPU backend), torch 2.13.0, gguf 0.19.0, numpy 2.4.6, on x86-64.
All numbers come from splitmix64 with the seeds written below. torch runs on one thread: its mean of
a long vector depends on the number of threads.

Layout: NAME.json is {"versions": …, "cases": [{…, "arrays": {name: {dtype, shape, offset}}}]}, and
the arrays lie in NAME.bin. Large cases hold the SHA-256 of an array in place of the array, and the
recipe of their input.
"""
import hashlib
import json
import pathlib
import sys

import bitsandbytes
import bitsandbytes.functional as F
import gguf
import numpy as np
import torch

torch.set_num_threads(1)
OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                   pathlib.Path(__file__).resolve().parents[2] / "tests/golden/formats")


def splitmix(seed, count):
    """64-bit words of splitmix64: the same in tests/formats/golden.h."""
    with np.errstate(over="ignore"):
        i = np.arange(1, count + 1, dtype=np.uint64)
        z = np.uint64(seed) + i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def bells(seed, count):
    """Roughly normal, sd 0.144, every value exact in f32: the sum of four 16-bit words of a draw."""
    z = splitmix(seed, count)
    total = sum(((z >> np.uint64(s)) & np.uint64(0xFFFF)).astype(np.int64) for s in (0, 16, 32, 48))
    return (total - 2 * 65535).astype(np.float32) * np.float32(2.0**-18)


def uniforms(seed, count):
    """In [0, 1), exact in f32."""
    return (splitmix(seed, count) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def heavy(seed, count):
    """Heavy tails: about one value in 50 is 20 times too large."""
    x = bells(seed, count)
    x[uniforms(seed + 1, count) < 0.02] *= np.float32(20.0)
    return x


def matrices():
    z = bells(5, 8 * 256)
    z[64:200] = 0  # whole blocks of zeros, and a part of one
    z[1024:1088] = 0
    sparse = bells(6, 8 * 320)
    sparse[uniforms(7, sparse.size) < 0.5] = 0
    constant = np.repeat(np.float32([0.25, -0.25, 1e-3, 7.0]), 128)
    tiny = bells(8, 4 * 96) * np.float32(1e-30)
    positive = np.abs(bells(9, 4 * 128)) + np.float32(0.5)
    return {
        "bells": bells(1, 24 * 160).reshape(24, 160),
        "heavy": heavy(2, 16 * 192).reshape(16, 192),
        "zero_blocks": z.reshape(8, 256),
        "half_zeros": sparse.reshape(8, 320),
        "constant": constant.reshape(4, 128),
        "all_zero": np.zeros((2, 64), np.float32),
        "tiny_values": tiny.reshape(4, 96),
        "positive": positive.reshape(4, 128),
        "odd": bells(10, 5 * 13).reshape(5, 13),
        "odd_rows": bells(11, 7 * 77).reshape(7, 77),
        "single": np.float32([[-0.75]]),
    }


class Golden:
    def __init__(self, name, versions):
        self.name, self.blob, self.cases = name, bytearray(), []
        self.offsets = {}  # equal arrays are stored once
        self.versions = versions

    def case(self, arrays, **fields):
        entry = dict(fields, arrays={})  # "format" comes first
        for key, a in arrays.items():
            a = np.ascontiguousarray(a)
            data = a.tobytes()
            if data not in self.offsets:
                self.offsets[data] = len(self.blob)
                self.blob += data + bytes(-len(data) % 8)
            entry["arrays"][key] = {"dtype": str(a.dtype), "shape": list(a.shape), "offset": self.offsets[data]}
        self.cases.append(entry)

    def write(self):
        OUT.mkdir(parents=True, exist_ok=True)
        (OUT / f"{self.name}.bin").write_bytes(bytes(self.blob))
        text = json.dumps({"versions": self.versions, "cases": self.cases}, separators=(",", ":")).replace('{"format"', '\n{"format"')
        (OUT / f"{self.name}.json").write_text(text + "\n")
        print(self.name, len(self.cases), "cases,", len(self.blob), "bytes")


def sha(a):
    return hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()


def quantize(w, kind, block, nested):
    packed, state = F.quantize_4bit(torch.from_numpy(w.copy()), blocksize=block, quant_type=kind, compress_statistics=nested)
    parts = {"weight": packed.numpy()}
    for key, t in state.as_dict(packed=True).items():
        parts["weight." + key] = t.numpy()
    # Decoding by definition (functional.py): table value times absmax of the flattened block. The
    # CPU library's AVX-512 path says the same only where rows are whole blocks (it counts blocks
    # row by row), and has an FP4 table of its own that differs in the last bit.
    absmax = state.absmax
    if nested:
        absmax = F.dequantize_blockwise(state.absmax, state.state2) + state.offset
    nibbles = np.stack([packed.numpy().ravel() >> 4, packed.numpy().ravel() & 15], axis=1).ravel()[: w.size]
    back = state.code.numpy()[nibbles] * np.repeat(absmax.numpy(), block)[: w.size]
    back = back.reshape(w.shape)
    if w.shape[1] % block == 0:
        theirs = F.dequantize_4bit(packed, state).numpy()
        assert np.array_equal(back, theirs) if kind == "nf4" else np.allclose(back, theirs, rtol=1.2e-7, atol=0)
    return parts, back


def bitsandbytes_golden():
    g = Golden("bitsandbytes", {"bitsandbytes": bitsandbytes.__version__, "torch": torch.__version__})
    for name, w in matrices().items():
        codes, scb, _ = torch.ops.bitsandbytes.int8_vectorwise_quant(torch.from_numpy(w.copy()), 0.0)
        g.case({"input": w, "weight": codes.numpy(), "weight.scb": scb.numpy()}, format="int8:row", input=name)
        for kind in ("nf4", "fp4"):
            for block in (32, 64, 256) if name in ("bells", "heavy", "odd_rows") else (64,):
                for nested in (False, True):
                    parts, back = quantize(w, kind, block, nested)
                    spec = f"{kind}:b{block}" + (",dq" if nested else "")
                    g.case(dict(parts, input=w, decoded=back), format=spec, input=name)
    # Large: many nested blocks, and sums deep enough for every level of the mean.
    for rows, cols, seed in ((1024, 512, 21), (333, 1001, 22), (1500, 1600, 23)):
        for recipe, make in (("bells", bells), ("heavy", heavy)):
            w = make(seed, rows * cols).reshape(rows, cols)
            for kind, block in (("nf4", 64), ("nf4", 32), ("fp4", 128)):
                parts, _ = quantize(w, kind, block, True)
                state = json.loads(bytes(parts[f"weight.quant_state.bitsandbytes__{kind}"]))
                hashes = {k: sha(v) for k, v in parts.items() if "quant_state" not in k}
                g.case({}, format=f"{kind}:b{block},dq", recipe=recipe, seed=seed, rows=rows, cols=cols,
                       sha256=hashes, nested_offset=state["nested_offset"])
    for count in list(range(1, 70)) + [255, 256, 257, 1000, 4096, 5000, 33000, 70001, 1 << 20]:
        mean = torch.from_numpy(np.abs(bells(31, count))).mean().item()
        g.cases.append({"mean_of": count, "seed": 31, "mean": mean, "arrays": {}})
    g.write()


def gguf_golden():
    T = gguf.GGMLQuantizationType
    g = Golden("gguf", {"gguf": "0.19.0", "numpy": np.__version__})
    types = [T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL]
    f16_at = {T.Q4_1: (0, 2), T.Q5_1: (0, 2), T.Q2_K: (80, 82), T.Q3_K: (108,), T.Q4_K: (0, 2), T.Q5_K: (0, 2), T.Q6_K: (208,)}
    for number, t in enumerate(types):
        elems, size = gguf.GGML_QUANT_SIZES[t]
        rows, per_row = 4, 1024 // elems
        blocks = splitmix(100 + number, rows * per_row * size).astype(np.uint8).reshape(-1, size)
        for k, at in enumerate(f16_at.get(t, (0,))):
            scale = bells(200 + 10 * number + k, len(blocks)) * np.float32(0.05)
            scale[:3] = np.float32([0.0, 3e-7, -65504.0])  # zero, subnormal, largest
            blocks[:, at:at + 2] = scale.astype(np.float16).view(np.uint8).reshape(-1, 2)
        raw = blocks.reshape(rows, per_row * size)
        decoded = gguf.quants.dequantize(raw, t)
        g.case({"weight": raw, "decoded": decoded}, format=t.name.lower(), type=int(t), what="decode")
    for t in types[:5]:
        for name, w in matrices().items():
            if w.shape[1] % 32 == 0:
                g.case({"input": w, "weight": gguf.quants.quantize(w, t)}, format=t.name.lower(), type=int(t), what="encode", input=name)
        w = heavy(300, 2048 * 512).reshape(2048, 512)
        g.case({}, format=t.name.lower(), type=int(t), what="encode", recipe="heavy", seed=300, rows=2048, cols=512,
               sha256={"weight": sha(gguf.quants.quantize(w, t))})
    g.write()


if __name__ == "__main__":
    bitsandbytes_golden()
    gguf_golden()
