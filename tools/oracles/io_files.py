"""Makes tests/golden/io: small files written by the reference libraries, and what is in them.

Generator: safetensors 0.8.0, gguf 0.19.0, transformers 5.23.0, torch 2.13.0, numpy 2.4.6; seed 0.
Run: python tools/oracles/io_files.py [OUT]   (from the root of the repository)
"""
import json
import pathlib
import shutil
import sys

import gguf
import numpy as np
import safetensors
import safetensors.torch
import torch
import transformers

OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/io")


def tensor_facts(t: torch.Tensor) -> dict:
    raw = t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b""
    return {"shape": list(t.shape), "hex": raw.hex()}


def write_safetensors() -> None:
    g = torch.Generator().manual_seed(0)
    f = torch.randn(3, 5, generator=g)
    tensors = {
        "f32": f,
        "f16": f.half(),
        "bf16": f.bfloat16(),
        "f64": f.double(),
        "i64": torch.randint(-(2**60), 2**60, (4,), generator=g),
        "i32": torch.randint(-(2**30), 2**30, (2, 1, 3), generator=g, dtype=torch.int32),
        "i16": torch.randint(-(2**14), 2**14, (7,), generator=g, dtype=torch.int16),
        "i8": torch.randint(-128, 128, (3,), generator=g, dtype=torch.int8),
        "u8": torch.randint(0, 256, (5,), generator=g, dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
        "名/é \"quoted\"": torch.tensor([1.0]),
    }
    safetensors.torch.save_file(tensors, OUT / "all.safetensors", metadata={"format": "pt", "note": "a\nb"})
    facts = {k: tensor_facts(v) for k, v in tensors.items()}
    (OUT / "all.safetensors.json").write_text(json.dumps(facts, ensure_ascii=True, indent=1))


def write_sharded() -> None:
    folder = OUT / "sharded"
    shutil.rmtree(folder, ignore_errors=True)
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, vocab_size=32, tie_word_embeddings=False)
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder, max_shard_size="6KB", safe_serialization=True)
    sums = {k: float(v.double().sum()) for k, v in model.state_dict().items()}
    (folder / "sums.json").write_text(json.dumps(sums, indent=1))
    for extra in folder.glob("generation_config.json"):
        extra.unlink()


def write_gguf() -> None:
    writer = gguf.GGUFWriter(OUT / "all.gguf", "llama")
    writer.add_uint8("t.u8", 200)
    writer.add_int8("t.i8", -100)
    writer.add_uint16("t.u16", 60000)
    writer.add_int16("t.i16", -30000)
    writer.add_uint32("t.u32", 4_000_000_000)
    writer.add_int32("t.i32", -2_000_000_000)
    writer.add_uint64("t.u64", 2**64 - 1)
    writer.add_int64("t.i64", -(2**62))
    writer.add_float32("t.f32", 0.1)
    writer.add_float64("t.f64", 0.1)
    writer.add_bool("t.bool", True)
    writer.add_string("t.string", "naïve 名\n")
    writer.add_array("t.ints", [-3, 0, 7])
    writer.add_array("t.floats", [0.5, -1.25])
    writer.add_array("t.strings", ["a", "", "é"])
    writer.add_array("t.bools", [True, False])
    writer.add_string("tokenizer.ggml.model", "llama")
    writer.add_array("tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "▁a"])
    writer.add_array("tokenizer.ggml.scores", [0.0, 0.0, 0.0, -1.5])
    rng = np.random.default_rng(0)
    facts = {}
    weights = rng.standard_normal((2, 256), dtype=np.float32)
    kinds = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4"]
    for kind in kinds:
        qtype = gguf.GGMLQuantizationType[kind]
        data = gguf.quants.quantize(weights, qtype)
        if kind == "F16":
            data = weights.astype(np.float16)
        name = f"w.{kind.lower()}"
        writer.add_tensor(name, data, raw_dtype=None if kind in ("F32", "F16") else qtype)
        facts[name] = {"type": int(qtype), "shape": [2, 256], "hex": data.tobytes().hex()}
    cube = rng.standard_normal((2, 3, 4), dtype=np.float32)
    writer.add_tensor("cube", cube)
    facts["cube"] = {"type": 0, "shape": [2, 3, 4], "hex": cube.tobytes().hex()}
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (OUT / "all.gguf.json").write_text(json.dumps(facts, indent=1))
    # Q8_1 is left out: an activation type, never stored, and gguf-py gives its older size.
    sizes = {t.name: [t.value, *gguf.GGML_QUANT_SIZES[t]]
             for t in gguf.GGMLQuantizationType if t.name != "Q8_1"}
    (OUT / "ggml_sizes.json").write_text(json.dumps(sizes, indent=1))


if __name__ == "__main__":
    import importlib.metadata as versions
    OUT.mkdir(parents=True, exist_ok=True)
    write_safetensors()
    write_sharded()
    write_gguf()
    print({n: versions.version(n) for n in ("safetensors", "gguf", "transformers", "torch", "numpy")})
