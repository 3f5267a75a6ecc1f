"""The optimiser of every stage: AdamW, and for kernels of convolutions orthogonalised momentum.

Such a kernel learns from the directions of its momentum alone, and moves as far along each (Jordan
et al., Muon: an optimizer for hidden layers in neural networks, 2024). ``torch.optim.Muon`` is the
same for matrices; it takes no kernels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

BETAS = (0.9, 0.98)
DECAY = 0.02
MOMENTUM = 0.95
# Of a step's root mean square, as a share of the learning rate: AdamW's is about 0.2 (Liu et al.,
# Muon is scalable for LLM training, arXiv 2502.16982); kernels learn best with some three times it.
LENGTH = 0.6
# Of the iteration that brings all singular values near one; five times are enough (Jordan et al.).
QUINTIC, ROUNDS = (3.4445, -4.7750, 2.0315), 5


class Optimizer(torch.optim.AdamW):
    """Of all parameters of a model; norms and biases do not decay. The caller sets the rate."""

    def __init__(self, model: torch.nn.Module) -> None:
        params = list(model.parameters())
        kernels = {id(p) for p in params if is_kernel(p)}
        others = [p for p in params if id(p) not in kernels]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in params if id(p) in kernels], "kernels": True},
            {"params": [p for p in others if p.ndim > 1]},
            {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [{"kernels": False, "weight_decay": DECAY} | group for group in groups]
        super().__init__([g for g in groups if g["params"]], lr=0.0, betas=BETAS)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move every parameter that has a gradient; a kernel's is used up."""
        for group in self.param_groups:
            for p in group["params"] if group["kernels"] else ():
                if p.grad is not None:
                    self._move(p, group["lr"], group["weight_decay"])
                    p.grad = None  # AdamW passes over it
        return super().step(closure)

    def _move(self, kernel: Tensor, rate: float, decay: float) -> None:
        assert kernel.grad is not None
        state = self.state[kernel]
        if not state:
            state["momentum"] = torch.zeros_like(kernel)
        momentum = state["momentum"].mul_(MOMENTUM).add_(kernel.grad)
        ahead = kernel.grad.add(momentum, alpha=MOMENTUM)  # Nesterov's
        rows = ahead.flatten(1)
        length = LENGTH * math.sqrt(max(rows.shape))
        kernel.mul_(1 - rate * decay)
        kernel.add_(orthogonal(rows).view_as(ahead), alpha=-rate * length)


def is_kernel(p: Tensor) -> bool:
    """Whether it is a convolution's over places and channels."""
    return p.ndim == 4 and p.shape[1] > 1 and p.shape[-1] > 1


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix of the same singular vectors, its values near one (0.7 to 1.2), but for zeros."""
    x = matrix.bfloat16()
    x = x.T if x.shape[0] > x.shape[1] else x
    x = x / (x.norm() + 1e-7)
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)
