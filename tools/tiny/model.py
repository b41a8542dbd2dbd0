# SPDX-License-Identifier: Apache-2.0
"""The bundled model in torch: Llama with the parameter names of transformers' LlamaForCausalLM.

Shapes: B batch, T tokens, C hidden, H heads, D head size. Used by the trainer and by the evaluation; Lathe itself
does not need it.
"""
import json
import os
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    vocab_size: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 768
    num_hidden_layers: int = 4
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 32
    max_position_embeddings: int = 1024
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5


CONFIGS = {
    "tiny": Config(),
    "small-sibling": Config(hidden_size=512, intermediate_size=1536, num_hidden_layers=7, num_attention_heads=8,
                            num_key_value_heads=4, head_dim=64),
    "sibling": Config(hidden_size=512, intermediate_size=1536, num_hidden_layers=10, num_attention_heads=8,
                      num_key_value_heads=4, head_dim=64),
}


def huggingface_config(config):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "attention_bias": False, "attention_dropout": 0.0, "mlp_bias": False, "tie_word_embeddings": True,
            "initializer_range": 0.02, "rope_scaling": None, "pretraining_tp": 1, "use_cache": True,
            "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "torch_dtype": "bfloat16"} | asdict(config)


def rope_tables(config, length, device):
    """cos and sin, each T × D, half-rotation form."""
    half = config.head_dim // 2
    frequency = config.rope_theta ** (-torch.arange(half, device=device, dtype=torch.float32) / half)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequency
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    """x: B × H × T × D."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin


class Norm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, x):
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight, self.eps)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        c, d = config.hidden_size, config.head_dim
        self.q_proj = nn.Linear(c, config.num_attention_heads * d, bias=False)
        self.k_proj = nn.Linear(c, config.num_key_value_heads * d, bias=False)
        self.v_proj = nn.Linear(c, config.num_key_value_heads * d, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * d, c, bias=False)

    def forward(self, x, cos, sin, mask):
        b, t, _ = x.shape
        g = self.config

        def heads(y, n):
            return y.view(b, t, n, g.head_dim).transpose(1, 2)

        q = rotate(heads(self.q_proj(x), g.num_attention_heads), cos, sin)
        k = rotate(heads(self.k_proj(x), g.num_key_value_heads), cos, sin)
        v = heads(self.v_proj(x), g.num_key_value_heads)
        repeat = g.num_attention_heads // g.num_key_value_heads
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        y = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, attn_mask=mask, is_causal=mask is None)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        c, f = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(c, f, bias=False)
        self.up_proj = nn.Linear(c, f, bias=False)
        self.down_proj = nn.Linear(f, c, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.input_layernorm = Norm(config)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = Norm(config)
        self.mlp = Mlp(config)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = Norm(config)


class Llama(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Body(config)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                scale = (2 * config.num_hidden_layers) ** -0.5 if deep else 1.0
                nn.init.normal_(p, std=scale * (0.02 if "embed" in name else p.shape[1] ** -0.5))

    def forward(self, ids, mask=None):
        """ids: B × T; mask: B × 1 × T × T (true: may attend) or None for plain causal. Returns logits B × T × V."""
        cos, sin = rope_tables(self.config, ids.shape[1], ids.device)
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, cos, sin, mask)
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight)


def save(model, folder, weights=None):
    """Writes config.json, generation_config.json and model.safetensors (BF16) in Hugging Face layout."""
    from safetensors.torch import save_file
    os.makedirs(folder, exist_ok=True)
    weights = weights or model.state_dict()
    temporary = os.path.join(folder, "model.safetensors.tmp")
    save_file({k: v.detach().to("cpu", torch.bfloat16).contiguous() for k, v in weights.items()}, temporary,
              metadata={"format": "pt"})
    os.chmod(temporary, 0o644)
    os.replace(temporary, os.path.join(folder, "model.safetensors"))
    generation = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "do_sample": False, "max_new_tokens": 96}
    for name, value in (("config.json", huggingface_config(model.config)), ("generation_config.json", generation)):
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as f:
            f.write(json.dumps(value, indent=2) + "\n")


def load(folder, dtype=torch.float32):
    """The model in `folder`, in evaluation mode, with its BF16 weights widened to `dtype`."""
    from safetensors.torch import load_file
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        stored = json.load(f)
    model = Llama(Config(**{k: stored[k] for k in Config.__dataclass_fields__}))
    model.load_state_dict(load_file(os.path.join(folder, "model.safetensors")))
    return model.to(dtype).eval()
