"""Checkpoints that are whole or not there: what was cut off by a kill or a full disk is dropped."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.training import parts

PREFIX = "checkpoint-"
TRAINED = "trained.safetensors"
WHOLE = "whole.json"


def step_of(folder: Path) -> int:
    """The step a checkpoint was written after."""
    return int(folder.name.removeprefix(PREFIX))


def checkpoints(run: Path) -> list[Path]:
    """A run's whole checkpoints, the newest last."""
    found = [p for p in run.glob(f"{PREFIX}*") if p.name.removeprefix(PREFIX).isdigit()]
    return sorted((p for p in found if _is_whole(p)), key=step_of)


def drop_broken(run: Path) -> None:
    """Delete what is left of checkpoints that were not finished."""
    whole = checkpoints(run)
    for folder in run.glob(f"{PREFIX}*"):
        if folder not in whole:
            shutil.rmtree(folder, ignore_errors=True)


def seal(folder: Path) -> None:
    """Write down what belongs to a checkpoint, last, when all of it is on the disk."""
    sizes = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != WHOLE):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    fresh = folder / f"{WHOLE}.tmp"
    fresh.write_text(json.dumps(sizes), encoding="utf-8")
    fresh.replace(folder / WHOLE)


def _is_whole(folder: Path) -> bool:
    try:
        sizes: dict[str, int] = json.loads((folder / WHOLE).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def trained_state(model: Any) -> dict[str, Any]:
    """Every tensor that is trained, by its name in the model, a shared one once."""
    return {name: p.detach() for name, p in parts.trainable(model)}


def save_trained(model: Any, folder: Path, state: dict[str, Any] | None = None) -> None:
    """Write what is trained: adapters and whole parts alike, so that none can be forgotten."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    chosen = trained_state(model) if state is None else state
    plain = {n: t.to("cpu").contiguous() for n, t in chosen.items()}
    save_file(plain, folder / TRAINED, {"format": "pt"})


def load_trained(model: Any, folder: Path) -> None:
    """Put a checkpoint's tensors back; raises ``model_invalid`` where one is missing or strange."""
    import torch
    from safetensors.torch import load_file

    try:
        saved = load_file(folder / TRAINED)
    except Exception as error:  # whatever the library makes of a file that anyone may write
        raise HilumError(Code.MODEL_INVALID, folder / TRAINED, type(error).__name__) from error
    wanted = trained_state(model)
    wrong = sorted(
        n for n in wanted | saved if n not in saved or n not in wanted or _differs(n, wanted, saved)
    )
    if wrong:
        raise HilumError(Code.MODEL_INVALID, folder / TRAINED, f"does not fit: {wrong[0]}")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(saved[name])


def _differs(name: str, wanted: dict[str, Any], saved: dict[str, Any]) -> bool:
    return tuple(wanted[name].shape) != tuple(saved[name].shape)


def needed_bytes(model: Any) -> int:
    """What a checkpoint takes on the disk: weights and Adam's two moments in float32."""
    return sum(3 * 4 * p.numel() for _, p in parts.trainable(model)) + 2**20


@contextmanager
def guarded(folder: Path, kept: str) -> Iterator[None]:
    """Writing a checkpoint: whatever fails, what was written of it goes, and one line says so."""
    try:
        yield
    except Exception as error:  # safetensors and torch have their own words for a full disk
        shutil.rmtree(folder, ignore_errors=True)
        detail = f"{type(error).__name__} while writing {folder.name}; {kept}"
        raise HilumError(Code.OUTPUT_UNWRITABLE, folder.parent, detail) from error


def require_room(folder: Path, needed: int, kept: str) -> None:
    """Raise ``output_unwritable`` before a checkpoint that the disk has no room for."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        detail = f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} free; {kept}"
        raise HilumError(Code.OUTPUT_UNWRITABLE, folder, detail)
