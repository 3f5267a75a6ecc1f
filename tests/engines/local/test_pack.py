"""Packed linear layers compute what plain ones do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hilum.engines.local.pack import Packed, pack
from tests.families import Family


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 32), (3, 7, 32), (40, 32), (2, 300, 32)])
def test_a_packed_layer_is_the_layer(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(32, 48, bias=bias).bfloat16()
    rows = torch.randn(shape).bfloat16()
    with torch.inference_mode():
        torch.testing.assert_close(Packed(linear)(rows), linear(rows), rtol=0.02, atol=0.02)


def test_only_bfloat16_is_packed_and_the_tower_is_left_alone(family: Family) -> None:
    assert not any(isinstance(m, Packed) for m in family.engine.model.modules())
    half = type(family.engine)(family.folder, "bfloat16").model
    packed = [name for name, m in half.named_modules() if isinstance(m, Packed)]
    assert any(name.endswith("lm_head") for name in packed)
    assert len(packed) > 8
    assert not any("vision" in name or "visual" in name for name in packed)
    assert pack(half) == 0  # once
