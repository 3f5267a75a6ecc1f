"""Checkpoints of one training stage: weights, optimiser and step in one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor


def save(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write the checkpoint in one piece: whoever looks finds the old one or the new one."""
    names = {id(p): n for n, p in model.named_parameters()}
    tensors = {f"model.{n}": t.contiguous() for n, t in model.state_dict().items()}
    for p, state in optimizer.state.items():
        for key, value in state.items():
            tensors[f"optimizer.{names[id(p)]}.{key}"] = value.contiguous()
    part = path.with_suffix(".part")
    save_file(_unshared(tensors), part, metadata={"step": str(step)})
    part.replace(path)


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """safetensors keeps no shared memory: the second name of tied weights becomes a copy."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        out[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return out


def resume(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the checkpoint, if there is one; the number of steps already done."""
    if not path.exists():
        return 0
    tensors = load_file(path)
    model.load_state_dict({n[6:]: t for n, t in tensors.items() if n.startswith("model.")})
    params = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            of, _, key = name[10:].rpartition(".")
            optimizer.state[params[of]][key] = tensor
    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])


class Log:
    """A stage's log: one JSON line at a time, printed and kept in a file."""

    def __init__(self, path: Path, step: int, say: Any) -> None:
        """Lines on steps that the checkpoint does not know are dropped."""
        self.path, self.say = path, say
        if path.exists():
            lines = path.read_text().splitlines(True)
            path.write_text("".join(x for x in lines if json.loads(x)["step"] <= step))

    def write(self, row: dict[str, Any]) -> None:
        """Print and keep one line."""
        line = json.dumps({k: round(v, 4) for k, v in row.items()})
        self.say(line)
        with self.path.open("a") as file:
            file.write(line + "\n")
