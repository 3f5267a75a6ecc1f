"""Linear layers in the order of memory that the processor's bfloat16 units read.

torch otherwise reorders a layer's weights at every call, which costs as much as reading them. The
operators are the ones that torch's own compiler puts in for frozen weights (oneDNN).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

# Rows that the order is chosen for: tokens of one step of a batch. It is right for any number.
ROWS = 16


class Packed(nn.Module):
    """A linear layer whose weights are in oneDNN's order."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.packed: Any = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        bias: Any = linear.bias  # None for many
        self.bias = None if bias is None else bias.detach()

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out), in bfloat16."""
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self.packed, self.bias, "none", [], ""
        )
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
    for module in [model.get_decoder(), model]:
        for parent in module.modules() if module is not model else [model]:
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear and child.weight.dtype == torch.bfloat16:
                    setattr(parent, name, Packed(child))
                    count += 1
    return count
