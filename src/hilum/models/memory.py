"""How much memory a model takes, told before it is loaded, and what would fit instead."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.models.safety import header, read_json, weight_files

# Bytes a parameter. Four bits have scales beside them: 4.5 bits (nf4, blocks of 64).
PRECISIONS = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0, "int4": 0.5625}
_BYTES = ("U8", "I8")  # safetensors' names of what is one byte, whatever is computed in
_PACKED = ".weight_packed"  # compressed-tensors' name of eight 4-bit weights in 32 bits
# Tokens a request is counted with: a film of ChexFract's (1369), the prompt and the answer.
CONTEXT = 2048
# Python, torch and the libraries once they have run; measured at 0.6 GB for a tiny model.
PROGRAM = 600_000_000
# How Hilum runs each precision on a device, from the largest to the smallest.
LADDER = {
    "cpu": (("bfloat16", ""), ("int8", "openvino-int8"), ("int4", "openvino-int4")),
    "cuda": (("bfloat16", ""), ("int8", "8bit"), ("int4", "nf4")),
}


@dataclass(frozen=True)
class Estimate:
    """Bytes of the weights, of the program, and of what one request adds."""

    weights: float
    request: float

    def total(self, batch: int) -> float:
        """Bytes with ``batch`` requests at once."""
        return PROGRAM + self.weights + batch * self.request


def estimate(folder: Path, precision: str, context: int = CONTEXT) -> Estimate:
    """What a folder's model takes in a precision of ``PRECISIONS``.

    bitsandbytes' weights stay as they are; eight 4-bit ones of compressed-tensors are one number of
    the file, and are unpacked. A request: keys and values of ``context``
    tokens, and one layer's activations for them.
    """
    weights = sum(
        math.prod(entry["shape"]) * _bytes(name, entry["dtype"], PRECISIONS[precision])
        for path in weight_files(folder)
        for name, entry in header(path).items()
    )
    config = read_json(folder / "config.json")
    # quantised weights are computed with in two bytes
    width = 2.0 if precision != "float32" else 4.0
    return Estimate(weights, (cache_bytes(config) * width / 2 + _layer(config) * width) * context)


def _bytes(name: str, dtype: str, each: float) -> float:
    """Bytes in memory of one number of a file, where a weight takes ``each``."""
    if name.endswith(_PACKED):
        return 8 * each
    return 1.0 if dtype in _BYTES else each


def require(folder: Path, precision: str, batch: int, device: str = "cpu") -> int:
    """The largest batch up to ``batch`` that fits in the free memory.

    Raises ``memory_short`` where none does, naming the nearest option that would fit.
    """
    free = free_memory(device)
    counted = estimate(folder, precision)
    while batch > 1 and counted.total(batch) > free:
        batch //= 2
    if counted.total(batch) <= free:
        return batch
    needs = f"{precision} needs {size(counted.total(1))}, {size(free)} are free"
    raise HilumError(
        Code.MEMORY_SHORT, folder, f"{needs}; {_instead(folder, precision, free, device)}"
    )


def _instead(folder: Path, precision: str, free: float, device: str) -> str:
    smaller = [
        (name, to, estimate(folder, name).total(1))
        for name, to in LADDER[device.split(":")[0]]
        if PRECISIONS[name] < PRECISIONS[precision]
    ]
    for name, to, needed in smaller:
        if needed <= free:
            how = f"hilum quantize {folder} --to {to} OUT" if to else f"--precision {name}"
            return f"{name} fits with {size(needed)}: {how}"
    least = smaller[-1] if smaller else (precision, "", 0.0)
    return f"even {least[0]} needs {size(least[2])}: take a smaller model or a larger machine"


def size(count: float) -> str:
    """Bytes in words."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"


def cache_bytes(config: dict[str, Any]) -> int:
    """Bytes of keys and values that one token leaves in bfloat16; 0 where it cannot be told."""
    text = config.get("text_config") or config
    layers, heads = text.get("num_hidden_layers"), text.get("num_attention_heads")
    if not isinstance(layers, int) or not isinstance(heads, int) or not heads:
        return 0
    width = text.get("head_dim") or text.get("hidden_size", 0) // heads
    return 2 * 2 * layers * int(text.get("num_key_value_heads") or heads) * int(width)


def _layer(config: dict[str, Any]) -> int:
    """Numbers that one token holds in a layer while it is computed: six widths, two of the MLP."""
    text = config.get("text_config") or config
    return 6 * int(text.get("hidden_size") or 0) + 2 * int(text.get("intermediate_size") or 0)


def free_memory(device: str = "cpu") -> float:
    """Bytes that can be had now: of the GPU, or of the machine within its control group."""
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.mem_get_info()[0])
    free = float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():  # pages of files can be given back: MemAvailable counts them
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = float(lines["MemAvailable"].split()[0]) * 1024
    return min(free, _group_room())


def _group_room() -> float:
    """What the control group (a container's limit) leaves; infinite where there is none."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return math.inf
    return math.inf if limit == "max" else max(0.0, int(limit) - used)
