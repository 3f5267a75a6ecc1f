"""A patch embedding as a product is the convolution that it replaces."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hilum.engines.local.patches import PatchProduct, simplify
from tests.families import Family


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_is_the_convolution(bias: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv3d(3, 16, (2, 14, 14), (2, 14, 14), bias=bias).to(dtype)
    patches = torch.randn(9, 3, 2, 14, 14).to(dtype)
    expected = convolution(patches)
    assert PatchProduct(convolution)(patches).shape == expected.shape
    close = 1e-5 if dtype is torch.float32 else 0.02
    torch.testing.assert_close(PatchProduct(convolution)(patches), expected, rtol=close, atol=close)


def test_what_is_larger_than_a_patch_is_convolved() -> None:
    convolution = nn.Conv3d(3, 8, (2, 4, 4), (2, 4, 4))
    film = torch.randn(1, 3, 4, 12, 8)
    torch.testing.assert_close(PatchProduct(convolution)(film), convolution(film))


@pytest.mark.parametrize(
    "other", [{"stride": 2}, {"stride": 4, "padding": 1}, {"stride": 4, "dilation": 2}]
)
def test_other_convolutions_are_left_alone(other: dict[str, int]) -> None:
    model = nn.Sequential(nn.Conv3d(3, 8, 4, **other))
    assert simplify(model) == 0
    assert type(model[0]) is nn.Conv3d


def test_towers_that_take_patches_multiply(family: Family) -> None:
    found = [m for m in family.engine.model.modules() if isinstance(m, PatchProduct)]
    assert not any(type(m) is nn.Conv3d for m in family.engine.model.modules())
    assert bool(found) == (family.name in ("qwen2.5-vl", "qwen3-vl", "glm-4.1v"))
