"""The list of tiny models: their configurations, and how published checkpoints spell the same thing.

The norms' epsilons are a thousand times the usual ones, so that a wrong one shows in the logits.
"""

import copy
from dataclasses import dataclass
from typing import Callable, Optional

import torch
import transformers as t

VOCAB = 48
SMALL = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
WIDE_HEADS = {**SMALL, "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True,
              "num_hidden_layers": 1}
LONG_FACTORS = {"short_factor": [1.0, 1.05, 1.1, 1.2], "long_factor": [1.0, 1.5, 2.5, 4.0]}


@dataclass
class Entry:
    config: Callable
    lengths: tuple = (36, 1)
    dtype: torch.dtype = torch.float32
    weights_of: Optional[str] = None  # draw the same weights as this entry
    shard_size: Optional[str] = None
    rename: Optional[Callable] = None
    nest: Optional[Callable] = None  # config.json is this function of the plain one, and there is no other spelling


def llama(**options):
    return lambda: t.LlamaConfig(**{**SMALL, "rms_norm_eps": 1e-3, **options})


def llama_rope(context=64, **rope):
    rope = {"rope_theta": 10000.0, **rope}
    return lambda: t.LlamaConfig(**{**WIDE_HEADS, "max_position_embeddings": context, "rope_parameters": rope})


def qwen2(**options):
    rope = {"rope_type": "default", "rope_theta": 1e6}
    return lambda: t.Qwen2Config(**{**SMALL, "rms_norm_eps": 2e-3, "rope_parameters": rope,
                                    "bos_token_id": 1, "eos_token_id": 2, **options})


def qwen3(**options):
    rope = {"rope_type": "default", "rope_theta": 1e6}
    return lambda: t.Qwen3Config(**{**SMALL, "head_dim": 16, "num_key_value_heads": 1, "tie_word_embeddings": True,
                                    "num_hidden_layers": 1, "rms_norm_eps": 2e-3, "rope_parameters": rope,
                                    "bos_token_id": 1, "eos_token_id": 2, **options})


def phi2(**options):
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    return lambda: t.PhiConfig(**{**SMALL, "num_key_value_heads": 4, "intermediate_size": 128, "rope_parameters": rope,
                                  "num_hidden_layers": 1, "layer_norm_eps": 3e-3, **options})


def phi3(**options):
    return lambda: t.Phi3Config(**{**SMALL, "rms_norm_eps": 2e-3, "original_max_position_embeddings": 64,
                                   "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **options})


def phi3_longrope(original):
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, **LONG_FACTORS}
    return phi3(max_position_embeddings=4 * original, original_max_position_embeddings=original, rope_parameters=rope)


def gemma(**options):
    return lambda: t.GemmaConfig(**{**SMALL, "head_dim": 16, "num_attention_heads": 2, "num_key_value_heads": 1,
                                    "num_hidden_layers": 1, "rms_norm_eps": 2e-3, **options})


def gemma2(**options):
    return lambda: t.Gemma2Config(**{**SMALL, "head_dim": 8, "query_pre_attn_scalar": 4, "sliding_window": 8,
                                     "rms_norm_eps": 2e-3,
                                     "attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0, **options})


def gemma3(layer_types, global_rope=None, **options):
    rope = {"sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": global_rope or {"rope_type": "default", "rope_theta": 1e6}}
    return lambda: t.Gemma3TextConfig(**{
        **SMALL, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "query_pre_attn_scalar": 8,
        "rms_norm_eps": 2e-3, "num_hidden_layers": len(layer_types), "intermediate_size": 16, "sliding_window": 8,
        "rope_parameters": rope,
        "layer_types": [{"l": "sliding_attention", "g": "full_attention"}[kind] for kind in layer_types], **options})


def gpt2(**options):
    return lambda: t.GPT2Config(vocab_size=VOCAB, n_positions=40, n_embd=32, n_layer=1, n_head=4, bos_token_id=2,
                                eos_token_id=2, layer_norm_epsilon=3e-3, **options)


def opt(**options):
    return lambda: t.OPTConfig(**{"vocab_size": VOCAB, "hidden_size": 32, "ffn_dim": 40, "num_hidden_layers": 1,
                                  "num_attention_heads": 4, "max_position_embeddings": 64, "word_embed_proj_dim": 32,
                                  "do_layer_norm_before": True, **options})


def bare_gpt2(tensors):
    """The hub's gpt2: no `transformer.` before the names, and each layer's causal mask stored as a tensor."""
    out = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    for layer in {name.split(".")[1] for name in out if name.startswith("h.")}:
        out[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(1, 1, 40, 40))
    return out


def bare_opt(tensors):
    """The first OPT checkpoints: no `model.` before the names, and lm_head left out."""
    return {name.removeprefix("model."): value for name, value in tensors.items() if name != "lm_head.weight"}


def nested_gemma3(tensors):
    """The 4B model and larger: the language model is a part of one that also sees; the rest is to be passed over."""
    out = {"language_model." + name: value for name, value in tensors.items()}
    out["multi_modal_projector.mm_soft_emb_norm.weight"] = torch.ones(8)
    return out


def nested_gemma3_config(config):
    """config.json as those models have it. The sizes that equal the defaults are usually left out there; not here."""
    text = published(config)
    for key in ("architectures", "transformers_version", "torch_dtype", "tie_word_embeddings", "bos_token_id",
                "pad_token_id", "eos_token_id"):
        text.pop(key, None)
    vision = {"model_type": "siglip_vision_model", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
              "num_attention_heads": 1, "image_size": 32, "patch_size": 8}
    return {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "eos_token_id": [1, 3],
            "mm_tokens_per_image": 4, "text_config": text, "torch_dtype": "float32", "transformers_version": "4.50.0",
            "vision_config": vision}


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
# The base and the lengths are such that the ramp between the two betas covers most dimensions.
YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 256}

MODELS = {
    "llama": Entry(llama()),
    "llama-tied-bias": Entry(llama(num_hidden_layers=1, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)),
    "llama3-rope": Entry(llama_rope(context=512, **LLAMA3)),
    "llama-linear-rope": Entry(llama_rope(rope_type="linear", factor=4.0)),
    "llama-yarn": Entry(llama_rope(context=1024, **YARN)),
    "llama-dynamic": Entry(llama_rope(rope_type="dynamic", factor=2.0)),
    "llama-sharded": Entry(llama(), weights_of="llama", shard_size="40KB"),
    "llama-bf16": Entry(llama(), dtype=torch.bfloat16, weights_of="llama"),
    "llama-f16": Entry(llama(), dtype=torch.float16, weights_of="llama"),
    "mistral": Entry(lambda: t.MistralConfig(**{**SMALL, "head_dim": 8, "sliding_window": 8, "rms_norm_eps": 2e-3})),
    "qwen2": Entry(qwen2()),
    "qwen2-tied": Entry(qwen2(num_hidden_layers=1, tie_word_embeddings=True)),
    "qwen2-window": Entry(qwen2(tie_word_embeddings=True, use_sliding_window=True, sliding_window=8,
                                max_window_layers=1)),
    "qwen3": Entry(qwen3()),
    "phi2": Entry(phi2()),
    "phi3": Entry(phi3(sliding_window=8)),
    # The second case is longer than the original context: every position then uses the long factors.
    "phi3-longrope": Entry(phi3_longrope(32), lengths=(24, 40, 1)),
    "gemma": Entry(gemma()),
    "gemma2": Entry(gemma2()),
    "gemma3": Entry(gemma3("lllllg")),
    # As the 4B model and larger: the global layers' positions are scaled; attention scale is not 1/sqrt(head size).
    "gemma3-scaled": Entry(gemma3("lgl", {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e4},
                                  query_pre_attn_scalar=12)),
    "gemma3-nested": Entry(gemma3("lg"), rename=nested_gemma3, nest=nested_gemma3_config),
    "gpt2": Entry(gpt2()),
    "gpt2-bare-names": Entry(gpt2(), weights_of="gpt2", rename=bare_gpt2),
    "opt": Entry(opt()),
    "opt-bare-names": Entry(opt(), weights_of="opt", rename=bare_opt),
}


def published(config):
    """config.json in the spelling of checkpoints published before transformers 5."""
    old = copy.deepcopy(config)
    family = old["model_type"]
    if "dtype" in old:
        old["torch_dtype"] = old.pop("dtype")
    old["transformers_version"] = "4.40.0"
    rope = old.pop("rope_parameters", None)
    if family == "gemma3_text":
        return published_gemma3(old, rope)
    old.pop("layer_types", None)  # told from sliding_window and max_window_layers
    if family == "gemma":
        old["hidden_act"] = "gelu"  # means the tanh form in this family
    if family == "gpt2":
        old["n_ctx"] = old["n_positions"]
    if family == "opt":
        for key in ("tie_word_embeddings", "enable_bias", "layer_norm_elementwise_affine"):
            del old[key]  # true where absent
    if family in ("llama", "mistral") and old.get("head_dim") == old["hidden_size"] // old["num_attention_heads"]:
        del old["head_dim"]
    if rope is None:
        return old
    old["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        factor = rope.pop("partial_rotary_factor")
        if family == "phi":
            old["partial_rotary_factor"] = factor
    kind = rope.pop("rope_type")
    if kind == "longrope":
        old["original_max_position_embeddings"] = rope.pop("original_max_position_embeddings")
        rope.pop("factor", None)
    # Llama 3.1 was the first to write rope_type; until then it was type.
    key = "rope_type" if kind == "llama3" else "type"
    old["rope_scaling"] = None if kind == "default" else {**rope, key: kind}
    return old


def published_gemma3(old, rope):
    full = rope["full_attention"]
    old["rope_theta"] = full.pop("rope_theta")
    old["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
    old["rope_scaling"] = None if full["rope_type"] == "default" else full
    types = old.pop("layer_types")
    old["sliding_window_pattern"] = types.index("full_attention") + 1
    for key in list(old):
        if key.startswith("_sliding"):
            del old[key]
    return old
