"""Where weights run and in what precision, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from hilum.codes import Code, HilumError

Precision = Literal["auto", "bfloat16", "float32"]


@dataclass(frozen=True)
class Place:
    """A device and a precision; ``reason`` says why, for people."""

    device: str
    precision: str
    reason: str

    def line(self) -> str:
        """One line: ``bfloat16 on cpu: the processor has amx_bf16``."""
        return f"{self.precision} on {self.device}: {self.reason}"


def choose_place(torch: Any, wanted: Precision = "auto") -> Place:
    """The fastest device and precision that the machine has units for.

    Raises ``option_invalid`` for a precision that is none of ``Precision``.
    """
    if wanted not in ("auto", "bfloat16", "float32"):
        raise HilumError(Code.OPTION_INVALID, "--precision", "take auto, bfloat16 or float32")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted != "auto":
        return Place(device, wanted, "asked for")
    if device == "cuda":
        name = torch.cuda.get_device_name()
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Place(device, "bfloat16", f"{name} computes in it")
        return Place(device, "float32", f"{name} has no bfloat16 units")
    able = torch.cpu.get_capabilities()
    for unit in ("amx_bf16", "avx512_bf16"):
        if able.get(unit):
            return Place(device, "bfloat16", f"the processor has {unit}")
    return Place(device, "float32", "the processor has no bfloat16 units")
