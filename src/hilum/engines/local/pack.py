"""Layers in the form that a processor's bfloat16 units read fastest; what they compute is the same.

Weights of linear layers are put in oneDNN's order of memory: torch otherwise reorders them at every
call, which costs as much as reading them. A gated layer's activation and product are done where its
products leave the units, not in passes of their own. The operators are the ones that torch's own
compiler puts in for frozen weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import activations

# Rows that the order is chosen for: tokens of one step of a batch. It is right for any number.
ROWS = 16

# What oneDNN calls an activation: its name and its algorithm.
_CALLED: dict[type, tuple[str, str]] = {
    nn.SiLU: ("swish", ""),
    activations.SiLUActivation: ("swish", ""),
    activations.GELUTanh: ("gelu", "tanh"),
}


class Packed(nn.Module):
    """A linear layer whose weights are in oneDNN's order."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.packed: Any = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        bias: Any = linear.bias  # None for many
        self.bias = None if bias is None else bias.detach()

    def forward(
        self, rows: torch.Tensor, activation: str = "none", algorithm: str = ""
    ) -> torch.Tensor:
        """(..., in) to (..., out), in bfloat16, with an activation of oneDNN's."""
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self.packed, self.bias, activation, [], algorithm
        )
        return out

    def times(self, rows: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        """What ``forward`` gives, times ``factors`` (..., out)."""
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            rows, factors, self.packed, self.bias, "mul"
        )
        return out


class Gated(nn.Module):
    """``down(activation(gate(x)) * up(x))`` of packed layers (Shazeer, arXiv 2002.05202)."""

    def __init__(self, gate: Packed, up: Packed, down: Packed, called: tuple[str, str]) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj, self.called = gate, up, down, called

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(..., width) to the same, in bfloat16."""
        gate = self.gate_proj(rows, *self.called)
        out: torch.Tensor = self.down_proj(self.up_proj.times(rows, gate))
        return out


def pack(model: Any) -> int:
    """Pack the language model's linear layers and its head in place; how many there were.

    None where the weights are no bfloat16 on a processor, or this torch has no such operators.
    """
    able = torch.backends.mkldnn.is_available() and hasattr(
        torch.ops.mkldnn, "_reorder_linear_weight"
    )
    if not able or model.device.type != "cpu" or model.dtype != torch.bfloat16:
        return 0
    count = 0
    decoder = model.get_decoder()
    for module in [decoder, model]:
        for parent in module.modules() if module is not model else [model]:
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear and child.weight.dtype == torch.bfloat16:
                    setattr(parent, name, Packed(child))
                    count += 1
    for parent in list(decoder.modules()):
        for name, child in list(parent.named_children()):
            if (gated := _gated(child)) is not None:
                setattr(parent, name, gated)
    return count


def _gated(module: nn.Module) -> Gated | None:
    """A gated layer of packed ones, where the module is one by its parts and nothing more."""
    parts = dict(module.named_children())
    called = _CALLED.get(type(parts.pop("act_fn", None)))
    if called is None or parts.keys() != {"gate_proj", "up_proj", "down_proj"}:
        return None
    gate, up, down = parts["gate_proj"], parts["up_proj"], parts["down_proj"]
    if not (isinstance(gate, Packed) and isinstance(up, Packed) and isinstance(down, Packed)):
        return None
    return Gated(gate, up, down, called)
