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
and a line per target says how far apart they are. Exit code 1 when the weights are not the same
numbers or the most likely tokens differ.
"""
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
}
torch.set_num_threads(1)
IDS = torch.tensor([[0] + [(i * i * 31 + i * 7 + 3) % 2048 for i in range(63)]])


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


def logits(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map="cpu")
    with torch.no_grad():
        return model(IDS).logits[0].float()


def check(lathe, model, target, folder):
    kind, spec = TARGETS[target]
    out, plain = folder / target, folder / (target + "-read")
    for source, to, form, path in ((model, kind, spec, out), (out, "hf", "f32", plain)):
        subprocess.run([lathe, "export", str(source), "--to", to, "--format", form,
                        "--embedding-format", "bf16" if form == "bf16" else "f32", "--no-verify",
                        "--threads", "1", "-o", str(path)],
                       check=True, stdout=subprocess.DEVNULL)
    stored, read = load_file(out / "model.safetensors"), load_file(plain / "model.safetensors")
    worst = 0.0
    for name, weight in read.items():
        module = name.removesuffix(".weight")
        if kind not in UNPACK or "layers" not in name or "proj" not in name:
            continue
        worst = max(worst, float(np.abs(UNPACK[kind](stored, module) - weight.numpy()).max()))
    line = f"{target:10} weights differ by at most {worst:.3g}"
    good = worst <= (1e-6 if target == "nf4-dq" else 0 if kind != "bitsandbytes" else 1e-7)
    reference = logits(plain)
    plain_products()
    try:
        found = logits(out)
    except Exception as error:  # a loader that needs a GPU or a package
        lines = str(error).strip().splitlines()
        print(f"{line}; transformers cannot run it here: {lines[0] if lines else type(error).__name__}")
        return good
    agree = (found.argmax(-1) == reference.argmax(-1)).float().mean().item()
    difference = (found - reference).abs().max().item()
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
