#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What other programs make of the files that `lathe export` writes.

    tools/oracles/exports.py LATHE MODEL [TARGET…]

MODEL is exported to each target, the result read back by Lathe and written as plain floats
(`--to hf --format f32`): Lathe's reading. Against that stand
  weights   this file's own unpacking of the layout, in numpy (gptq, awq, compressed-tensors), or the
            library's (bitsandbytes)
  logits    transformers on the exported directory (where its loader runs on a CPU), and on Lathe's
            reading of it
            onnxruntime on an exported ONNX graph: all tokens at once, and half of them followed by one after the
            other with the cache
and a line per target says how far apart they are. Exit code 1 when the weights are not the same
numbers or the most likely tokens differ.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TARGETS = {
    "hf": ("hf", "bf16"),
    "nf4": ("bitsandbytes", "nf4:b64"),
    "nf4-dq": ("bitsandbytes", "nf4:b64,dq"),
    "fp4": ("bitsandbytes", "fp4:b64"),
    "int8": ("bitsandbytes", "int8:row"),
    "gptq": ("gptq", "int4:g64"),
    "gptq-asym": ("gptq", "int4:g64,asym"),
    "awq": ("awq", "int4:g64,asym"),
    "ct": ("compressed-tensors", "int4:g64"),
    "ct-asym": ("compressed-tensors", "int4:g64,asym"),
    "onnx": ("onnx", ""),
    "onnx-int4": ("onnx", "int4:g32"),
    "onnx-asym": ("onnx", "int4:g128,asym"),
    "onnx-int8": ("onnx", "int8:row"),
    "onnx-int2": ("onnx", "int2:g32,asym"),
}
torch.set_num_threads(1)


def ids_for(config):
    """The same ids for every model of that vocabulary: 256, or as many as the model has positions."""
    count = min(256, config.get("max_position_embeddings") or config.get("n_positions") or 256)
    return torch.tensor([[0] + [(i * i * 31 + i * 7 + 3) % config["vocab_size"] for i in range(count - 1)]])


def nibbles(words, axis):
    """Eight codes from each int32, lowest bits first, along `axis`."""
    words = words.astype(np.int64) & 0xFFFFFFFF
    codes = np.stack([(words >> (4 * i)) & 15 for i in range(8)], axis=axis + 1)
    shape = list(words.shape)
    shape[axis] *= 8
    return codes.reshape(shape)


def unpack_gptq(t, name):
    codes = nibbles(t[name + ".qweight"].numpy(), 0)  # [K, N]
    zeros = nibbles(t[name + ".qzeros"].numpy(), 1) + 1  # [G, N]
    scales = t[name + ".scales"].float().numpy()
    group = t[name + ".g_idx"].numpy()
    return (scales[group] * (codes - zeros[group])).T


def unpack_awq(t, name):
    order = np.argsort([0, 2, 4, 6, 1, 3, 5, 7])

    def columns(words):
        flat = nibbles(words, 1)
        return flat.reshape(flat.shape[0], -1, 8)[:, :, order].reshape(flat.shape)

    codes, zeros = columns(t[name + ".qweight"].numpy()), columns(t[name + ".qzeros"].numpy())
    scales = t[name + ".scales"].float().numpy()
    group = np.arange(codes.shape[0]) // (codes.shape[0] // scales.shape[0])
    return (scales[group] * (codes - zeros[group])).T


def unpack_ct(t, name):
    codes = nibbles(t[name + ".weight_packed"].numpy(), 1) - 8
    scales = t[name + ".weight_scale"].float().numpy()
    group = np.arange(codes.shape[1]) // (codes.shape[1] // scales.shape[1])
    zeros = np.zeros_like(scales)
    if name + ".weight_zero_point" in t:
        zeros = nibbles(t[name + ".weight_zero_point"].numpy(), 0)[: codes.shape[0]] - 8
    return scales[:, group] * (codes - zeros[:, group])


def unpack_bitsandbytes(t, name):
    import bitsandbytes.functional as F

    if name + ".SCB" in t:
        return (t[name + ".weight"].float() * (t[name + ".SCB"] / 127)[:, None]).numpy()
    prefix = name + ".weight."
    stats = {k[len(name) + 1:]: v for k, v in t.items() if k.startswith(prefix)}
    state = F.QuantState.from_dict(stats, device=torch.device("cpu"))
    return F.dequantize_4bit(t[name + ".weight"], state).float().numpy()


def onnx_tensors(folder):
    import onnx
    from onnx import numpy_helper

    model = onnx.load(folder / "model.onnx")
    return model, {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def unpack_onnx(model, tensors, name):
    """The weights of a linear layer, found by the name of its node."""
    place = "/" + name.replace(".", "/").replace("model/layers/", "model/layers.").replace("self_attn", "attn")
    node = next(n for n in model.graph.node if n.name == place + "/MatMul")
    if node.op_type == "MatMul":
        return tensors[node.input[1].removesuffix("/Cast/output_0")].astype(np.float32).T
    a = {x.name: x.i for x in node.attribute}
    rows, cols, bits = a["N"], a["K"], a["bits"]

    def spread(packed):
        shifts = np.arange(0, 8, bits)
        return ((packed[..., None].astype(np.int64) >> shifts) & (2**bits - 1)).reshape(rows, -1)

    codes, scales = spread(tensors[node.input[1]]), tensors[node.input[2]]
    zeros = np.full_like(scales, 2 ** (bits - 1))
    if len(node.input) > 3:
        zeros = spread(tensors[node.input[3]])[:, : scales.shape[1]]
    group = np.arange(cols) // a["block_size"]
    return scales[:, group] * (codes[:, :cols] - zeros[:, group]).astype(np.float32)


def onnx_logits(folder, ids):
    """Logits of all tokens at once, and of a first half followed by one token after the other."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}
    empty = {i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32)
             for i in session.get_inputs() if i.name.startswith("past_key_values")}
    outputs = [o.name for o in session.get_outputs()]

    def run(part, start, past):
        feeds = {"input_ids": part, "attention_mask": np.ones((1, start + part.shape[1]), np.int64),
                 "position_ids": np.arange(start, start + part.shape[1])[None], **past}
        found = dict(zip(outputs, session.run(None, {k: v for k, v in feeds.items() if k in names})))
        return found.pop("logits")[0], {k.replace("present", "past_key_values"): v for k, v in found.items()}

    ids = ids.numpy()
    whole, _ = run(ids, 0, empty)
    half = ids.shape[1] // 2
    rows, past = run(ids[:, :half], 0, empty)
    parts = [rows]
    for t in range(half, ids.shape[1]):
        rows, past = run(ids[:, t : t + 1], t, past)
        parts.append(rows)
    return torch.from_numpy(whole), torch.from_numpy(np.concatenate(parts))


def plain_products():
    """Keeps bitsandbytes' 4-bit layers from their fused CPU kernel, which rounds activations and
    absmax to BF16 whatever the compute type that the file asks for."""
    import bitsandbytes.nn.modules as modules

    modules.has_avx512bf16 = lambda: False


# Logits may differ by so much of the largest: LLM.int8 rounds activations to 8 bits, the others to
# nothing.
TOLERANCE = {"int8": 0.2}
UNPACK = {"gptq": unpack_gptq, "awq": unpack_awq, "compressed-tensors": unpack_ct,
          "bitsandbytes": unpack_bitsandbytes}


def logits(folder, ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map="cpu")
    with torch.no_grad():
        return model(ids).logits[0].float()


def compare(found, reference):
    agree = (found.argmax(-1) == reference.argmax(-1)).float().mean().item()
    return (found - reference).abs().max().item(), agree


def check_onnx(target, out, plain, read):
    model, tensors = onnx_tensors(out)
    worst = max((float(np.abs(unpack_onnx(model, tensors, name.removesuffix(".weight")) - weight.numpy()).max())
                 for name, weight in read.items() if "layers" in name and "_proj.weight" in name and "qkv" not in name
                 and "gate_up" not in name and "model.layers" in name), default=0.0)
    ids = ids_for(json.loads((plain / "config.json").read_text()))
    reference = logits(plain, ids)
    whole, stepwise = onnx_logits(out, ids)
    largest = reference.abs().max().item()
    (difference, agree), (cached, agree_cached) = compare(whole, reference), compare(stepwise, reference)
    print(f"{target:10} weights differ by at most {worst:.3g}; onnxruntime, {ids.shape[1]} tokens: max |Δlogit| "
          f"{difference:.3g} of {largest:.3g}, top-1 agreement {100 * agree:.1f} %; with the cache {cached:.3g}, "
          f"{100 * agree_cached:.1f} %")
    return worst == 0 and max(difference, cached) <= 2e-5 * largest and min(agree, agree_cached) == 1


def check(lathe, model, target, folder):
    kind, spec = TARGETS[target]
    out, plain = folder / target, folder / (target + "-read")
    for source, to, form, path in ((model, kind, spec, out), (out, "hf", "f32", plain)):
        table = "" if not form else "bf16" if form == "bf16" else "f32"
        subprocess.run([lathe, "export", str(source), "--to", to, "--format", form,
                        "--embedding-format", table, "--no-verify", "--threads", "1", "-o", str(path)],
                       check=True, stdout=subprocess.DEVNULL)
    read = load_file(plain / "model.safetensors")
    if kind == "onnx":
        return check_onnx(target, out, plain, read)
    stored = load_file(out / "model.safetensors")
    worst = 0.0
    for name, weight in read.items():
        module = name.removesuffix(".weight")
        if kind not in UNPACK or "layers" not in name or "proj" not in name:
            continue
        worst = max(worst, float(np.abs(UNPACK[kind](stored, module) - weight.numpy()).max()))
    line = f"{target:10} weights differ by at most {worst:.3g}"
    good = worst <= (1e-6 if target == "nf4-dq" else 0 if kind != "bitsandbytes" else 1e-7)
    ids = ids_for(json.loads((plain / "config.json").read_text()))[:, :64]
    reference = logits(plain, ids)
    plain_products()
    try:
        found = logits(out, ids)
    except Exception as error:  # a loader that needs a GPU or a package
        lines = str(error).strip().splitlines()
        print(f"{line}; transformers cannot run it here: {lines[0] if lines else type(error).__name__}")
        return good
    difference, agree = compare(found, reference)
    print(f"{line}; transformers: max |Δlogit| {difference:.3g} of {reference.abs().max():.3g}, "
          f"top-1 agreement {100 * agree:.1f} %")
    allowed = TOLERANCE.get(target, 1e-5)
    return good and difference <= allowed * reference.abs().max().item() and agree >= 1 - allowed / 2


def main(lathe, model, *targets):
    with tempfile.TemporaryDirectory() as name:
        results = [check(lathe, model, t, pathlib.Path(name)) for t in targets or TARGETS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
