#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Importances of a tiny model, summed by torch, in both of llama.cpp's file formats.

    imatrix.py tests/golden/families/llama tests/golden/compress

Writes imatrix.gguf and imatrix.dat as llama-imatrix lays them out (tools/imatrix/imatrix.cpp, commit 3f545becc), and
imatrix.json: the ids and, per matrix, the sum of x² of each input column. Needs torch, transformers, gguf.
"""
import argparse
import json
import pathlib
import struct

import gguf
import numpy as np
import torch
import transformers

NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}
DATA, CALLS = "made-up.txt", 3  # of the .dat


def sums_of(model, ids):
    """Canonical name → Σ x² of the inputs, f64."""
    sums, hooks = {}, []
    for name, module in model.named_modules():
        if ".layers." in name and isinstance(module, torch.nn.Linear):
            def add(module, inputs, _, name=name):
                x = inputs[0].detach().double().reshape(-1, module.in_features)
                sums[name] = (x * x).sum(0).numpy()
            hooks.append(module.register_forward_hook(add))
    with torch.no_grad():
        model(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return sums


def tensor_of(name):
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[rest]}.weight"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    ids = json.loads((options.model / "golden.json").read_text())["cases"][0]["ids"]
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32,
                                                              attn_implementation="eager").eval()
    sums = sums_of(model, ids)
    options.out.mkdir(parents=True, exist_ok=True)
    entries = sorted((tensor_of(name), values.astype(np.float32)) for name, values in sums.items())

    writer = gguf.GGUFWriter(options.out / "imatrix.gguf", arch="imatrix")
    writer.kv_data[0].clear()  # llama-imatrix names no architecture
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", [DATA])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", len(ids))
    for name, values in entries:
        writer.add_tensor(name + ".in_sum2", values)
        writer.add_tensor(name + ".counts", np.array([len(ids)], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    with open(options.out / "imatrix.dat", "wb") as file:
        file.write(struct.pack("<i", len(entries)))
        for name, values in entries:
            file.write(struct.pack("<i", len(name)) + name.encode())
            file.write(struct.pack("<ii", CALLS, len(values)))
            file.write((values / np.float32(len(ids)) * np.float32(CALLS)).tobytes())
        file.write(struct.pack("<ii", 1, len(DATA)) + DATA.encode())

    made = {"generator": "tools/oracles/imatrix.py",
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
            "ids": ids, "sums": {name: [float(v) for v in values] for name, values in sorted(sums.items())}}
    (options.out / "imatrix.json").write_text(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
