"""The precision is the device's, with the reason; what it cannot do is explained, not refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from hilum.codes import HilumError
from hilum.training.device import Choice, Device, choose, quantisation_config
from hilum.training.recipe import parse

AMPERE = Device("cuda", "A100", True)
TURING = Device("cuda", "T4", False)
NEW_CPU = Device("cpu", "cpu", True)
OLD_CPU = Device("cpu", "cpu", False)


@pytest.mark.parametrize(
    ("wanted", "device", "precision", "word"),
    [
        ("auto", AMPERE, "bf16", "A100 has bfloat16"),
        ("auto", TURING, "fp16", "T4 has no bfloat16"),
        ("bf16", TURING, "fp16", "was asked for, but T4 has none"),
        ("fp16", AMPERE, "fp16", "recipe"),
        ("fp32", AMPERE, "fp32", "recipe"),
        ("auto", NEW_CPU, "bf16", "instructions"),
        ("auto", OLD_CPU, "fp32", "no bfloat16"),
        ("bf16", OLD_CPU, "bf16", "emulates"),
        ("fp16", NEW_CPU, "fp32", "needs a GPU"),
        ("fp32", NEW_CPU, "fp32", "recipe"),
    ],
)
def test_choice_and_reason(wanted: Any, device: Device, precision: str, word: str) -> None:
    choice = choose(wanted, device)
    assert choice.precision == precision
    assert word in choice.reason


def test_this_machine_has_one() -> None:
    assert choose("auto", Device.here()).dtype is not None


def quantised(**over: Any) -> Any:
    raw = {"name": "x", "model": {"path": "m"}, "data": {"path": "d"}, "quantisation": over}
    return parse(raw)


def test_quantisation_in_transformers_words() -> None:
    choice = Choice("bf16", "")
    assert quantisation_config(quantised(method="none"), choice, []) is None
    config = quantisation_config(quantised(method="nf4"), choice, ["lm_head"])
    assert config.load_in_4bit
    assert config.bnb_4bit_use_double_quant
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_compute_dtype is choice.dtype
    assert config.llm_int8_skip_modules == ["lm_head"]
    assert quantisation_config(quantised(method="8bit"), choice, []).load_in_8bit


def test_without_bitsandbytes_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(HilumError, match=r"hilum\[bits\].*extra_missing"):
        quantisation_config(quantised(method="nf4"), Choice("bf16", ""), [])


def test_large_tensors_that_are_freed_are_given_back() -> None:
    """glibc keeps pieces of some megabytes, once it has seen one freed; not after the call."""
    import ctypes
    import subprocess
    import sys

    if not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        pytest.skip("glibc alone keeps them")
    code = """
from hilum.training.device import give_back_memory
import ctypes, sys
if sys.argv[1] == "back": give_back_memory()
libc = ctypes.CDLL("libc.so.6"); libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.free(libc.malloc(30 << 20))  # raises the threshold
held = [libc.malloc(2 << 20) for _ in range(50)]
for p in held: ctypes.memset(p, 1, 2 << 20)
for p in held[:-1]: libc.free(p)  # the last one stands above the others
print(int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20)
"""
    held = {}
    for way in ("back", "kept"):
        done = subprocess.run([sys.executable, "-c", code, way], check=True, capture_output=True)
        held[way] = int(done.stdout)
    assert held["kept"] - held["back"] > 80
