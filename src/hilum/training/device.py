"""The precision a device computes in, with the reason, and quantised loading."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from hilum.models.load import need_bitsandbytes
from hilum.training.recipe import Quantisation, Recipe

Precision = Literal["bf16", "fp16", "fp32"]


@dataclass(frozen=True)
class Choice:
    """A precision and why."""

    precision: Precision
    reason: str

    @property
    def dtype(self) -> Any:
        """torch's type of it."""
        import torch

        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
        return kinds[self.precision]


@dataclass(frozen=True)
class Device:
    """What matters of where a run takes place."""

    kind: Literal["cuda", "cpu"]
    name: str
    bf16: bool

    @classmethod
    def here(cls) -> Device:
        """This machine's first GPU, or its processor."""
        import torch

        if torch.cuda.is_available():
            # compute capability 8.0 (Ampere) has bfloat16 units; below it is emulated
            able = torch.cuda.get_device_capability()[0] >= 8
            return cls("cuda", torch.cuda.get_device_name(), able)
        features: dict[str, Any] = dict(torch.cpu.get_capabilities())
        return cls("cpu", "cpu", bool(features.get("amx_bf16") or features.get("avx512_bf16")))


def choose(wanted: Literal["auto", "bf16", "fp16", "fp32"], device: Device) -> Choice:
    """The precision to compute in; what the device cannot do is explained and replaced."""
    if device.kind == "cpu":
        return _on_cpu(wanted, device)
    if wanted == "auto":
        if device.bf16:
            return Choice("bf16", f"{device.name} has bfloat16: float32's range in half the memory")
        return Choice("fp16", f"{device.name} has no bfloat16; float16 with loss scaling instead")
    if wanted == "bf16" and not device.bf16:
        return Choice(
            "fp16",
            f"bf16 was asked for, but {device.name} has none; float16 with loss scaling instead",
        )
    return Choice(wanted, "as the recipe says")


def _on_cpu(wanted: str, device: Device) -> Choice:
    if wanted == "fp16":
        return Choice("fp32", "fp16 was asked for, but loss scaling needs a GPU; float32 instead")
    if wanted == "bf16":
        slow = "" if device.bf16 else "; this processor emulates it, slower than fp32"
        return Choice("bf16", f"as the recipe says{slow}")
    if wanted == "fp32":
        return Choice("fp32", "as the recipe says")
    if device.bf16:
        return Choice("bf16", "this processor has bfloat16 instructions: half the memory")
    return Choice("fp32", "this processor has no bfloat16 instructions")


# Of mallopt(3): from how many bytes on a piece is mapped by itself, and how many free ones may stay
# at the heap's top.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
OWN_MAP = 2**20


def give_back_memory() -> None:
    """Let every large tensor that is freed go back to the system at once.

    glibc raises its threshold to 32 MB as soon as such tensors are freed; activations of a few
    megabytes then lie among shorter-lived ones, and the heap keeps half as much again.
    """
    import ctypes

    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MMAP_THRESHOLD, OWN_MAP)
        libc.mallopt(_TRIM_THRESHOLD, 4 * OWN_MAP)


def quantisation_config(recipe: Recipe, choice: Choice, skip: list[str]) -> Any:
    """transformers' configuration of a recipe's quantisation, or None; see ``bits_config``."""
    how: Quantisation = recipe.quantisation
    if how.method == "none":
        return None
    return bits_config(how.method, how.double, choice.dtype, skip)


def bits_config(method: str, double: bool, dtype: Any, skip: list[str]) -> Any:
    """transformers' BitsAndBytesConfig; ``skip`` names the modules kept as they are.

    ``method``: 8bit or nf4, ``double``: nf4's scales are quantised too, ``dtype``: what is
    computed in. Raises ``extra_missing`` without bitsandbytes.
    """
    need_bitsandbytes()
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=method == "nf4",
        load_in_8bit=method == "8bit",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_storage=None,
        llm_int8_skip_modules=skip,
    )
