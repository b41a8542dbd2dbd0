"""GGUF versions of some of the tiny models, with the metadata keys and tensor names that llama.cpp's converter writes.

All tensors are F32. Each file also holds a character vocabulary (SentencePiece kind), so that it is complete and
llama.cpp can run it: with `--peer`, its perplexity on a random text is compared with that of transformers.
"""

import json
import math
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy
import torch

from families_models import (LLAMA3, VOCAB, YARN, Entry, gemma2, gemma3, gpt2, llama, llama_rope, phi2, phi3,
                             phi3_longrope, qwen2, qwen3)

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQR"
PEER_CONTEXT = 32

# llama.cpp takes 1/sqrt(head size) as the attention scale and no window for phi3, and it rounds a context up to 256
# before it chooses between short and long factors; these models are such that none of that matters.
FILES = {
    "llama-gguf": Entry(llama(), weights_of="llama"),
    "llama3-rope-gguf": Entry(llama_rope(context=512, **LLAMA3), weights_of="llama3-rope"),
    "llama-yarn-gguf": Entry(llama_rope(context=1024, **YARN), weights_of="llama-yarn"),
    "qwen2-gguf": Entry(qwen2(), weights_of="qwen2"),
    "qwen3-gguf": Entry(qwen3(), weights_of="qwen3"),
    "phi2-gguf": Entry(phi2(), weights_of="phi2"),
    "phi3-gguf": Entry(phi3(sliding_window=None), weights_of="phi3"),
    "phi3-longrope-gguf": Entry(phi3_longrope(512), weights_of="phi3-longrope"),
    "gemma2-gguf": Entry(gemma2(query_pre_attn_scalar=8), weights_of="gemma2"),
    "gemma3-gguf": Entry(gemma3("lllllg"), weights_of="gemma3"),
    "gpt2-gguf": Entry(gpt2(), weights_of="gpt2"),
}
ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "phi": "phi2", "phi3": "phi3",
                 "gemma2": "gemma2", "gemma3_text": "gemma3", "gpt2": "gpt2"}


def head_size(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def add_shape(writer, config, arch):
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    ffn = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(config.num_attention_heads)
    if arch != "gpt2":
        writer.add_head_count_kv(config.num_key_value_heads)
    if arch in ("phi2", "gpt2"):
        writer.add_layer_norm_eps(getattr(config, "layer_norm_eps", None) or config.layer_norm_epsilon)
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if arch in ("qwen3", "gemma2", "gemma3"):
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if arch == "llama":
        writer.add_vocab_size(config.vocab_size)
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if arch in ("gemma2", "gemma3"):
        writer.add_sliding_window(config.sliding_window)
    if arch == "phi3":
        writer.add_sliding_window(config.sliding_window or 0)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def add_rope(writer, model, arch):
    """Rotary metadata, and the tensors of per-dimension factors where the scaling needs them."""
    config = model.config
    rope = getattr(config, "rope_parameters", None)
    if rope is None or arch == "gemma2":
        return
    if arch == "gemma3":
        writer.add_rope_freq_base(rope["full_attention"]["rope_theta"])
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
        return
    if arch != "phi2":
        writer.add_rope_freq_base(rope["rope_theta"])
    size = head_size(config)
    rotary = int(size * rope.get("partial_rotary_factor", 1.0))
    if arch in ("llama", "phi2", "phi3"):
        writer.add_rope_dimension_count(rotary)
    kind = rope["rope_type"]
    if arch == "phi3":
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
    if kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    elif kind == "llama3":
        plain = rope["rope_theta"] ** (-torch.arange(0, rotary, 2, dtype=torch.float64) / rotary)
        factors = plain / model.model.rotary_emb.inv_freq.double()
        writer.add_tensor("rope_freqs.weight", factors.float().numpy())
    elif kind == "longrope":
        original = config.original_max_position_embeddings
        stretch = config.max_position_embeddings / original
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(stretch) / math.log(original)))
        for length in ("long", "short"):
            factors = numpy.array(rope[f"{length}_factor"], dtype=numpy.float32)
            writer.add_tensor(f"rope_factors_{length}.weight", factors)


def add_vocabulary(writer):
    """Ids 0..2 are <unk>, <s>, </s>; then the space and one token for each letter."""
    tokens = ["<unk>", "<s>", "</s>", "\u2581", *LETTERS]
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    types += [gguf.TokenType.NORMAL] * (VOCAB - 3)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 3 + [-float(i) for i in range(VOCAB - 3)])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)


def interleave(weight, heads):
    """Rows of each head from (first halves, second halves) to pairs: GGUF's llama rotates neighbours."""
    rows = weight.shape[0] // heads
    order = torch.arange(rows).reshape(2, rows // 2).T.reshape(-1)
    return weight.reshape(heads, rows, -1)[:, order].reshape(weight.shape)


def converted(name, weight, config, arch):
    if arch == "llama" and re.search(r"\.q_proj\.", name):
        return interleave(weight, config.num_attention_heads)
    if arch == "llama" and re.search(r"\.k_proj\.", name):
        return interleave(weight, config.num_key_value_heads)
    if arch.startswith("gemma") and name.endswith("norm.weight"):
        return weight + 1
    if arch == "gpt2" and re.search(r"\.(c_attn|c_proj|c_fc)\.weight$", name):
        return weight.T
    return weight


def write(path, model):
    config = model.config
    arch = ARCHITECTURES[config.model_type]
    enum = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == arch)
    names = gguf.get_tensor_name_map(enum, config.num_hidden_layers)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_type("model")
    writer.add_name("tiny random model")  # llama.cpp looks for some vendors' names in here
    add_shape(writer, config, arch)
    add_rope(writer, model, arch)
    add_vocabulary(writer)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if new is None:
            sys.exit(f"{path}: no GGUF name for {name}")
        value = converted(name, weight, config, arch).contiguous().float().numpy()
        writer.add_tensor(new, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def own_perplexity(model, ids, context):
    """The peer's convention: disjoint windows, <s> in place of the first token, second halves scored."""
    total, count = 0.0, 0
    for start in range(0, len(ids) - context + 1, context):
        window = [1, *ids[start + 1:start + context]]
        with torch.no_grad():
            losses = -model(torch.tensor([window]), use_cache=False).logits[0].double().log_softmax(-1)
        for position in range(context // 2, context - 1):
            total += losses[position, window[position + 1]].item()
            count += 1
    return math.exp(total / count)


def compare(path, model, peer):
    generator = torch.Generator().manual_seed(7)
    alphabet = " " + LETTERS
    chosen = torch.randint(0, VOCAB - 3, (8 * PEER_CONTEXT,), generator=generator).tolist()
    # Text longer than what is scored, and no space at either end, so that nothing is trimmed.
    chosen[0] = chosen[-1] = 1
    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch) / "text"
        text.write_text("".join(alphabet[c] for c in chosen))
        command = [peer, "-m", str(path), "-f", str(text), "-c", str(PEER_CONTEXT), "-b", str(PEER_CONTEXT), "-t", "1",
                   "-fa", "off", "-ctk", "f32", "-ctv", "f32"]
        result = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Final estimate: PPL = ([0-9.]+)", result.stdout + result.stderr)
    if not found:
        sys.exit(f"{path}: the peer failed\n{(result.stdout + result.stderr)[-1500:]}")
    ids = [1, *(c + 3 for c in chosen)]
    mine, theirs = own_perplexity(model, ids, PEER_CONTEXT), float(found[1])
    print(f"{path.parent.name:20} perplexity: transformers {mine:.4f}, llama.cpp {theirs:.4f}")
    if abs(mine / theirs - 1) > 1e-3:
        sys.exit(f"{path}: perplexity differs from the peer's by {100 * (mine / theirs - 1):+.3f} %")


def make(folder, model, document, peer):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.gguf"
    write(path, model)
    document["versions"]["gguf"] = version("gguf")
    (folder / "golden.json").write_text(json.dumps(document) + "\n")
    print(f"{folder.name:20} {path.stat().st_size / 1000:6.0f} kB")
    if peer:
        compare(path, model, peer)
