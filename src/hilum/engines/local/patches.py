"""Patch embeddings as the matrix product that they are.

Towers that take films already cut into patches (Qwen-VL's, GLM-V's) give each to a convolution of
its own size. On a processor in bfloat16 that convolution takes fifty times as long as the product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class PatchProduct(nn.Module):
    """A convolution whose stride is its kernel's size; whole films are still convolved."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        self.stride = convolution.stride
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Patches (N, in, T, H, W) to (N, out, 1, 1, 1) where T, H, W are the kernel's."""
        if patches.shape[1:] != self.weight.shape[1:]:
            return F.conv3d(patches, self.weight, self.bias, self.stride)
        out = F.linear(patches.flatten(1), self.weight.flatten(1), self.bias)
        return out[..., None, None, None]


def simplify(model: Any) -> int:
    """Replace such convolutions of a model in place; how many there were."""
    count = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Conv3d and _cuts_patches(child):
                setattr(parent, name, PatchProduct(child))
                count += 1
    return count


def _cuts_patches(layer: nn.Conv3d) -> bool:
    plain = layer.groups == 1 and layer.padding == (0, 0, 0) and layer.dilation == (1, 1, 1)
    return plain and layer.stride == layer.kernel_size
