# SPDX-License-Identifier: Apache-2.0
"""Muon for the weight matrices, AdamW for embeddings and norms.

Muon (K. Jordan and others, 2024, https://kellerjordan.github.io/posts/muon/): momentum, then the nearest
semi-orthogonal matrix by five steps of a quintic Newton-Schulz iteration.
"""
import torch


def orthogonalize(g, steps=5):
    """g: N × K. Singular values are pushed to about 1; the products are in bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    flipped = x.shape[0] > x.shape[1]
    x = x.t().contiguous() if flipped else x
    x = x / (x.norm() * 1.01 + 1e-7)
    for _ in range(steps):
        s = x @ x.t()
        x = torch.addmm(x, torch.addmm(s, s, s, beta=b, alpha=c), x, beta=a)
    return x.t() if flipped else x


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, lr=0.02, momentum=0.95, weight_decay=0.0):
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonalize(p.grad.lerp(buffer, group["momentum"]))  # Nesterov
                scale = max(1.0, p.shape[0] / p.shape[1]) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.to(p.dtype), alpha=-group["lr"] * scale)


def make(model, matrix_lr, other_lr, weight_decay):
    """The two optimizers. Each group remembers its peak rate as `peak`."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    made = [Muon(matrices, lr=matrix_lr, weight_decay=weight_decay),
            torch.optim.AdamW(others, lr=other_lr, betas=(0.9, 0.98), eps=1e-10, weight_decay=0.0, fused=True)]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return made
