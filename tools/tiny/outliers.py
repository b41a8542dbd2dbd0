# SPDX-License-Identifier: Apache-2.0
"""Gives a trained model the outlier channels that large language models have, without changing what it computes.

    python outliers.py IN OUT --sigma 0.7

Trained for an hour, a small model's weights are nearly Gaussian, and even naive 4-bit rounding hardly hurts it. Large
models differ: a few channels carry values many times the others' (Dettmers and others 2022, arXiv:2208.07339,
section 4). Here each norm's gain is multiplied by s and the columns of the matrices that read it divided by s; likewise
value and output projections, up and down projections. s is a power of two, so no weight is rounded: its exponent is normal
with deviation `sigma`, rounded, drawn from `--seed`. Only the order of roundings inside a product can differ, and
the program prints by how much the logits do. `--undo` with the same sigma and seed takes the channels away again, bit for bit.
"""
import argparse
import os
import shutil

import torch

from model import load, save


def spread(model, sigma, generator, undo=False):
    """Rescales `model` in place; `undo` takes back what the same sigma and generator did."""
    g = model.config
    repeat = g.num_attention_heads // g.num_key_value_heads

    def draw(n):
        exponent = (sigma * torch.randn(n, generator=generator)).round()
        return torch.exp2(-exponent if undo else exponent)

    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for norm, readers in ((layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                              (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj))):
            s = draw(g.hidden_size)
            norm.weight.data *= s
            for reader in readers:
                reader.weight.data /= s
        s = draw(g.num_key_value_heads * g.head_dim)
        attention.v_proj.weight.data *= s[:, None]
        attention.o_proj.weight.data /= s.view(-1, g.head_dim).repeat_interleave(repeat, 0).flatten()
        s = draw(g.intermediate_size)
        mlp.up_proj.weight.data *= s[:, None]
        mlp.down_proj.weight.data /= s


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("out")
    parser.add_argument("--sigma", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--undo", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    before, after = load(args.source), load(args.source)
    with torch.no_grad():
        spread(after, args.sigma, torch.Generator().manual_seed(args.seed), args.undo)
        save(after, args.out)
        ids = torch.randint(3, before.config.vocab_size, (1, 128), generator=torch.Generator().manual_seed(1))
        stored = load(args.out)
        difference = (before(ids) - load(args.out)(ids)).abs().max()
        print(f"largest logit difference as stored: {float(difference):.2e} of {float(before(ids).abs().max()):.1f}")
    if os.path.abspath(args.source) != os.path.abspath(args.out):
        for name in os.listdir(args.source):
            path = os.path.join(args.source, name)
            if name.startswith(("tokenizer", "special")):
                shutil.copy(path, args.out)
            elif name == "data":
                shutil.copytree(path, os.path.join(args.out, name), dirs_exist_ok=True)


if __name__ == "__main__":
    main()
