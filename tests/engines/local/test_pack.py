"""Packed linear layers compute what plain ones do."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.activations import ACT2FN

from hilum.engines.local.pack import Gated, Packed, pack
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


class Mlp(nn.Module):
    """The gated layer of Llama, Qwen and Gemma, as transformers writes it."""

    def __init__(self, act_fn: nn.Module) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(32, 64, bias=False)
        self.up_proj = nn.Linear(32, 64, bias=False)
        self.down_proj = nn.Linear(64, 32, bias=False)
        self.act_fn = act_fn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class Model(nn.Module):
    """As much of a model as packing looks at."""

    device, dtype = torch.device("cpu"), torch.bfloat16

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.decoder = nn.Sequential(mlp)

    def get_decoder(self) -> nn.Sequential:
        return self.decoder


@pytest.mark.parametrize("act", ["silu", "gelu_pytorch_tanh"])
@pytest.mark.parametrize("shape", [(1, 1, 32), (3, 7, 32), (2, 300, 32)])
def test_a_gated_layer_is_the_layer(shape: tuple[int, ...], act: str) -> None:
    torch.manual_seed(0)
    mlp = Mlp(ACT2FN[act]).bfloat16()
    rows = torch.randn(shape).bfloat16()
    with torch.inference_mode():
        expected = mlp.float()(rows.float())
        model = Model(mlp.bfloat16())
        assert pack(model) == 3
        assert isinstance(model.decoder[0], Gated)
        torch.testing.assert_close(model.decoder(rows).float(), expected, rtol=0.03, atol=0.01)


def test_a_gated_layer_with_something_more_is_only_packed() -> None:
    mlp = Mlp(ACT2FN["silu"])
    mlp.add_module("norm", nn.LayerNorm(64))
    unknown = Mlp(nn.Mish())
    for some in (mlp, unknown):
        model = Model(some.bfloat16())
        assert pack(model) == 3
        assert model.decoder[0] is some
        assert isinstance(some.gate_proj, Packed)
