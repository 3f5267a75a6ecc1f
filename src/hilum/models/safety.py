"""What a model's folder may do to the one who opens it: nothing, by default.

Weights are safetensors only (a pickle runs code when it is opened), and program code that comes
with a model is run only on an explicit word.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError

# What PyTorch and its relatives write with pickle.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# A header of more than this is no checkpoint's; the format's own limit.
MOST_HEADER = 100_000_000


def header(path: Path) -> dict[str, dict[str, Any]]:
    """Names, shapes and types of a safetensors file, without its weights.

    Raises ``model_invalid`` for a file that is cut short or not of that format
    (https://github.com/huggingface/safetensors: 8 bytes of length, JSON, then the tensors).
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= MOST_HEADER:
                raise ValueError("header length")
            raw = json.loads(file.read(length))
        entries = {name: entry for name, entry in raw.items() if name != "__metadata__"}
        end = max((int(e["data_offsets"][1]) for e in entries.values()), default=0)
        if path.stat().st_size != 8 + length + end:
            raise ValueError("cut short")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise HilumError(Code.MODEL_INVALID, path, "not a whole safetensors file") from error
    return entries


def weight_files(folder: Path) -> list[Path]:
    """The folder's safetensors files, by its index where it has one.

    Raises ``pickle_refused`` where there are only pickles, ``model_incomplete`` where a file the
    index names, or every file, is missing.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(read_json(index).get("weight_map", {}).values()))
        missing = [n for n in names if Path(n).name != n or not (folder / n).is_file()]
        if missing or not names:
            raise HilumError(Code.MODEL_INCOMPLETE, folder, ", ".join(map(str, missing[:3])))
        return [folder / name for name in names]
    files = sorted(folder.glob("*.safetensors"))
    if files:
        return files
    pickles = sorted(p.name for p in folder.glob("*") if p.suffix in PICKLES)
    if pickles:
        raise HilumError(Code.PICKLE_REFUSED, folder, pickles[0])
    raise HilumError(Code.MODEL_INCOMPLETE, folder, "no *.safetensors")


def remote_code(folder: Path) -> str:
    """The repository or file whose code the model asks to run; empty where there is none."""
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        path = folder / name
        auto = read_json(path).get("auto_map") if path.is_file() else None
        if auto:
            first = next(iter(auto.values())) if isinstance(auto, dict) else auto
            word = first[0] if isinstance(first, list) else first
            return str(word).split("--")[0] if "--" in str(word) else f"{name}: {word}"
    return ""


def refuse_remote_code(folder: Path, allowed: bool) -> str:
    """The warning to print before code is run; raises ``remote_code_refused`` unless allowed."""
    code = remote_code(folder)
    if code and not allowed:
        raise HilumError(Code.REMOTE_CODE_REFUSED, folder, f"{code}; --trust-remote-code runs it")
    return f"runs program code of {code}: read it first" if code else ""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises ``model_invalid`` for anything else."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HilumError(Code.MODEL_INVALID, path, type(error).__name__) from error
    if not isinstance(raw, dict):
        raise HilumError(Code.MODEL_INVALID, path, "not a JSON object")
    return raw
