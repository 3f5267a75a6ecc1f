"""Where weights run: the choice, and the reason that is printed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hilum.codes import Code, HilumError
from hilum.engines.local.place import choose_place


def machine(able: dict[str, bool], gpu: bool | None = None) -> Any:
    """A torch of a machine; ``gpu``: whether its GPU computes in bfloat16, None for no GPU."""
    cuda = SimpleNamespace(
        is_available=lambda: gpu is not None,
        get_device_name=lambda: "GTX 1080",
        is_bf16_supported=lambda including_emulation: gpu,
    )
    return SimpleNamespace(cuda=cuda, cpu=SimpleNamespace(get_capabilities=lambda: able))


@pytest.mark.parametrize(
    ("able", "gpu", "line"),
    [
        ({"amx_bf16": True}, None, "bfloat16 on cpu: the processor has amx_bf16"),
        ({"avx512_bf16": True}, None, "bfloat16 on cpu: the processor has avx512_bf16"),
        ({"avx2": True}, None, "float32 on cpu: the processor has no bfloat16 units"),
        ({"amx_bf16": True}, True, "bfloat16 on cuda: GTX 1080 computes in it"),
        ({}, False, "float32 on cuda: GTX 1080 has no bfloat16 units"),
    ],
)
def test_the_choice_and_its_reason(able: dict[str, bool], gpu: bool | None, line: str) -> None:
    assert choose_place(machine(able, gpu)).line() == line


def test_what_is_asked_for_is_taken() -> None:
    assert choose_place(machine({}), "bfloat16").line() == "bfloat16 on cpu: asked for"
    with pytest.raises(HilumError) as caught:
        choose_place(machine({}), "int3")  # type: ignore[arg-type]
    assert caught.value.code is Code.OPTION_INVALID


def test_this_machine_has_a_place() -> None:
    assert choose_place(torch).precision in ("bfloat16", "float32")
