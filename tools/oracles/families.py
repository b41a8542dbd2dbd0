#!/usr/bin/env python3
"""Tiny random models of every family with golden logits from transformers.

usage: families.py OUT [--only NAME ...] [--peer LLAMA_PERPLEXITY]

Writes OUT/NAME/ for each entry of MODELS: config.json as transformers saves it, config.published.json (the same
model in the spelling of the checkpoints published before transformers 5; checked here to give the same logits),
model.safetensors (or shards), golden.json. The GGUF versions of some of them come from families_gguf.py.

golden.json: {"generator", "versions", "seed", "cases": [{"ids", "rows", "logits": one list per row, "argmax": one id
per position}]}. Logits: float32, eager attention, one thread, nine significant digits.

The weights are drawn so that a mistake shows: norm weights and biases are random, attention is far from uniform,
logits have a standard deviation of 1 to 6. `check` refuses a model for which that does not hold.
"""

import argparse
import copy
import json
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import numpy
import safetensors
import torch
import transformers
from safetensors.torch import load_file, save_file

import families_gguf
from families_models import MODELS, VOCAB, published

SEED = 20251
GENERATOR = "tools/oracles/families.py"


def versions():
    return {"torch": torch.__version__, "transformers": transformers.__version__,
            "safetensors": safetensors.__version__, "numpy": numpy.__version__}


def seed_of(name):
    """Each model has its own stream, so that adding one leaves the others as they are."""
    return (SEED + zlib.crc32(name.encode())) & 0x7FFFFFFF


def randomise(model, seed):
    """Overwrites every parameter. The gain of the query and key weights makes attention scores spread by about 2.5.

    Plain GELU layers get inputs around -2 and large output weights: that is where the forms of GELU differ most.
    """
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    centred = config.model_type.startswith("gemma")  # these store (norm weight - 1)
    tied = config.tie_word_embeddings
    relu = getattr(config, "activation_function", "") == "relu"
    hidden = config.hidden_size
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith((".c_fc.bias", ".fc1.bias")) and not relu:
                value = -2 + 0.3 * noise
            elif name.endswith(".bias"):
                value = 0.3 * noise
            elif parameter.ndim == 1:
                per_head = any(part in name for part in ("q_norm", "k_norm"))
                value = (1.8 if per_head else 1.0) + 0.3 * noise - (1.0 if centred else 0.0)
            elif name.endswith((".c_fc.weight", ".fc1.weight")) and not relu:
                value = 0.6 * noise / hidden**0.5
            elif name.endswith((".mlp.c_proj.weight", ".fc2.weight")) and not relu:
                value = 8 * noise / max(parameter.shape) ** 0.5
            elif "embed_tokens" in name or "wte" in name:
                value = noise * (2.5 / hidden**0.5 if tied else 1.0)
            elif "embed_positions" in name or "wpe" in name:
                value = 0.4 * noise
            elif "lm_head" in name:
                value = noise * 2.5 / hidden**0.5
            else:
                fan_in = parameter.shape[0] if config.model_type == "gpt2" else parameter.shape[1]
                sharp = any(part in name for part in ("q_proj", "k_proj", "qkv_proj", "c_attn"))
                value = noise * (1.7 if sharp else 1.0) / fan_in**0.5
            parameter.copy_(value)


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float()


def check(name, model, ids):
    """The logits are spread, and attention looks at some keys much more than at others."""
    with torch.no_grad():
        out = model(torch.tensor([ids]), use_cache=False, output_attentions=True)
    spread = out.logits.std().item()
    last = [a[0, :, -1, :] for a in out.attentions]
    peak = sum(row.max(dim=-1).values.mean().item() for row in last) / len(last)
    keys = min((row > 0).sum(dim=-1).float().mean().item() for row in last)
    if not 0.8 < spread < 8:
        sys.exit(f"{name}: logits have a standard deviation of {spread:.2f}, wanted 0.8 to 8")
    if peak < 1.8 / keys:
        sys.exit(f"{name}: attention is close to uniform: mean peak {peak:.2f} over {keys:.0f} keys")
    return spread, peak


def golden(model, seed, lengths):
    generator = torch.Generator().manual_seed(seed ^ 0x5A5A)
    cases = []
    for length in lengths:
        ids = torch.randint(3, VOCAB, (length,), generator=generator).tolist()
        logits = logits_of(model, ids)
        rows = sorted({0, length // 2, length - 1})
        cases.append({"ids": ids, "rows": rows, "argmax": logits.argmax(dim=-1).tolist(),
                      "logits": [[float(f"{x:.9g}") for x in logits[row].tolist()] for row in rows]})
    return {"generator": GENERATOR, "versions": versions(), "seed": seed, "cases": cases}


def write_json(path, value):
    path.write_text(json.dumps(value) + "\n")


def check_published(name, folder, model, ids, reader):
    """transformers itself reads the older spelling as the same model."""
    with tempfile.TemporaryDirectory() as scratch:
        for file in folder.glob("*.safetensors*"):
            shutil.copy(file, scratch)
        shutil.copy(folder / "config.published.json", Path(scratch) / "config.json")
        older = reader.from_pretrained(scratch, attn_implementation="eager", dtype=torch.float32)
    worst = (logits_of(older.eval(), ids) - logits_of(model, ids)).abs().max().item()
    if worst > 1e-5:
        sys.exit(f"{name}: config.published.json gives other logits (largest difference {worst:g})")


def build(name, entry):
    config = entry.config()
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().float()
    seed = seed_of(entry.weights_of or name)
    randomise(model, seed)
    model.tie_weights()
    # Only the stored values are rounded: model.to(dtype) would round the rotary frequencies as well.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(entry.dtype).float()
    return model, seed


def rename(folder, entry):
    """Rewrites the safetensors file with the tensor names that an older checkpoint has."""
    path = folder / "model.safetensors"
    save_file(entry.rename(load_file(path)), path, metadata={"format": "pt"})


def make(out, name, entry):
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model, seed = build(name, entry)
    document = golden(model, seed, entry.lengths)
    ids = document["cases"][0]["ids"]
    spread, peak = check(name, model, ids)

    shard = {"max_shard_size": entry.shard_size} if entry.shard_size else {}
    copy.deepcopy(model).to(entry.dtype).save_pretrained(folder, **shard)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if entry.rename:
        rename(folder, entry)
    write_json(folder / "golden.json", document)
    config = json.loads((folder / "config.json").read_text())
    older = json.dumps(entry.nest(config) if entry.nest else published(config), indent=2) + "\n"
    (folder / "config.published.json").write_text(older)
    reader = transformers.Gemma3ForConditionalGeneration if entry.nest else type(model)
    check_published(name, folder, model, ids, reader)
    if entry.nest:
        (folder / "config.published.json").rename(folder / "config.json")
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{name:20} {size / 1000:6.0f} kB   logits std {spread:.2f}   attention peak {peak:.2f}")


def main():
    parser = argparse.ArgumentParser(description="tiny models of every family with golden logits")
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--peer", help="llama-perplexity: also compare the GGUF files' perplexity with it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    wanted = set(arguments.only)
    for name, entry in MODELS.items():
        if not wanted or name in wanted:
            make(arguments.out, name, entry)
    for name, entry in families_gguf.FILES.items():
        if wanted and name not in wanted:
            continue
        model, seed = build(name, entry)
        folder = arguments.out / name
        families_gguf.make(folder, model, golden(model, seed, entry.lengths), arguments.peer)


if __name__ == "__main__":
    main()
