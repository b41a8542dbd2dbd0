#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Models with the shapes of TinyLlama-1.1B and Qwen2.5-0.5B and random weights, for timing.

usage: shapes.py OUT [--only SHAPE …] [--types TYPE …] [--quantize LLAMA_QUANTIZE]

Writes OUT/SHAPE/ (Hugging Face layout, BF16) and OUT/SHAPE-TYPE.gguf for the types f16, bf16, q8_0 and q4_0, in which
every matrix, embeddings and head included, has that type; with --quantize (llama.cpp's llama-quantize) also q4_k_m, in
that program's own mixture. All hold the same weights. About 9 GB for the 1.1B shape, 4 GB for the 0.5B; nothing of it
belongs into the repository. A file that is already there is left alone. Needs numpy and gguf.

The weights are normal with a deviation of 0.02: any text that such a model generates is noise. The tokenizer is the
bundled model's; the rest of the vocabulary is filled with unused tokens.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import gguf
import numpy

TOKENIZER = Path(__file__).resolve().parents[2] / "models" / "tiny"
TYPES = {"f16": gguf.GGMLQuantizationType.F16, "bf16": gguf.GGMLQuantizationType.BF16,
         "q8_0": gguf.GGMLQuantizationType.Q8_0, "q4_0": gguf.GGMLQuantizationType.Q4_0}
COMMON = {"hidden_act": "silu", "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "bfloat16"}
SHAPES = {
    "tinyllama-1.1b": COMMON | {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "intermediate_size": 5632,
        "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000,
        "max_position_embeddings": 2048, "rope_theta": 10000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": False},
    "qwen2.5-0.5b": COMMON | {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
        "max_position_embeddings": 32768, "rope_theta": 1000000.0, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True, "use_sliding_window": False},
}


def tensors_of(config):
    """(Hugging Face name, GGUF name, shape) in the order of the forward pass."""
    hidden, ffn, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head = hidden // config["num_attention_heads"]
    kv = config["num_key_value_heads"] * head
    biased = config["model_type"] == "qwen2"
    yield "model.embed_tokens.weight", "token_embd.weight", (vocab, hidden)
    for i in range(config["num_hidden_layers"]):
        layer, block = f"model.layers.{i}.", f"blk.{i}."
        yield layer + "input_layernorm.weight", block + "attn_norm.weight", (hidden,)
        for letter, rows in (("q", hidden), ("k", kv), ("v", kv)):
            yield layer + f"self_attn.{letter}_proj.weight", block + f"attn_{letter}.weight", (rows, hidden)
            if biased:
                yield layer + f"self_attn.{letter}_proj.bias", block + f"attn_{letter}.bias", (rows,)
        yield layer + "self_attn.o_proj.weight", block + "attn_output.weight", (hidden, hidden)
        yield layer + "post_attention_layernorm.weight", block + "ffn_norm.weight", (hidden,)
        yield layer + "mlp.gate_proj.weight", block + "ffn_gate.weight", (ffn, hidden)
        yield layer + "mlp.up_proj.weight", block + "ffn_up.weight", (ffn, hidden)
        yield layer + "mlp.down_proj.weight", block + "ffn_down.weight", (hidden, ffn)
    yield "model.norm.weight", "output_norm.weight", (hidden,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", "output.weight", (vocab, hidden)


def values_of(name, shape):
    """Drawn from the name, so that every file holds the same numbers; already rounded to BF16."""
    rng = numpy.random.default_rng(zlib.crc32(name.encode()))
    values = rng.standard_normal(shape, dtype=numpy.float32) * numpy.float32(0.02)
    if name.endswith("norm.weight"):
        values += numpy.float32(1)
    return (bf16_of(values).astype(numpy.uint32) << 16).view(numpy.float32)


def bf16_of(values):
    bits = values.view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16)


def finish(temporary, path):
    os.replace(temporary, path)
    print(path, file=sys.stderr)


def write_hugging_face(config, folder):
    if folder.exists():
        return
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(TOKENIZER / name, partial / name)
    header, end = {}, 0
    for name, _, shape in tensors_of(config):
        begin, end = end, end + 2 * int(numpy.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(partial / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, _, shape in tensors_of(config):
            bf16_of(values_of(name, shape)).tofile(file)
    finish(partial, folder)


def interleaved(values, heads):
    """llama.cpp's order of the rows of q and k in Llama: neighbours are rotated together."""
    rows, cols = values.shape
    return values.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


def add_metadata(writer, config):
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    if config["model_type"] == "llama":
        writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    tokenizer = json.loads((TOKENIZER / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    special = {token["content"] for token in tokenizer["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.get)
    types = [gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens]
    fill = config["vocab_size"] - len(tokens)
    tokens += [f"<unused{i}>" for i in range(fill)]
    types += [gguf.TokenType.UNUSED] * fill
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(True)


def write_gguf(config, type_name, path):
    if path.exists():
        return
    partial = path.with_name(path.name + ".partial")
    writer = gguf.GGUFWriter(partial, config["model_type"])
    add_metadata(writer, config)
    writer.add_file_type(getattr(gguf.LlamaFileType, "MOSTLY_" + type_name.upper()))
    kind = TYPES[type_name]
    for _, name, shape in tensors_of(config):
        if len(shape) == 1:
            writer.add_tensor_info(name, shape, numpy.dtype(numpy.float32), 4 * shape[0])
            continue
        stored = gguf.quant_shape_to_byte_shape(shape, kind)
        dtype = numpy.float16 if type_name == "f16" else numpy.uint8
        raw = None if type_name == "f16" else kind
        bytes_stored = int(numpy.prod(stored))
        writer.add_tensor_info(name, shape if raw is None else stored, numpy.dtype(dtype), bytes_stored, raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for hf_name, name, shape in tensors_of(config):
        values = values_of(hf_name, shape)
        if config["model_type"] == "llama" and name.endswith(("attn_q.weight", "attn_k.weight")):
            key = "num_attention_heads" if "attn_q" in name else "num_key_value_heads"
            values = interleaved(values, config[key])
        if len(shape) > 1:
            values = gguf.quants.quantize(values, kind)
        writer.write_tensor_data(values)
    writer.close()
    finish(partial, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--types", nargs="*", choices=TYPES, default=list(TYPES))
    parser.add_argument("--quantize", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for shape in args.only:
        config = SHAPES[shape]
        write_hugging_face(config, args.out / shape)
        for name in args.types:
            write_gguf(config, name, args.out / f"{shape}-{name}.gguf")
        source, target = args.out / f"{shape}-bf16.gguf", args.out / f"{shape}-q4_k_m.gguf"
        if args.quantize and not target.exists():
            if not source.exists():
                raise SystemExit(f"{source} is missing: q4_k_m is made from it (--types bf16)")
            partial = target.with_name(target.name + ".partial")
            subprocess.run([args.quantize, source, partial, "Q4_K_M"], check=True, stdout=subprocess.DEVNULL)
            finish(partial, target)


if __name__ == "__main__":
    main()
