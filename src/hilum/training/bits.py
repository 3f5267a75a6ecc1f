"""A model's language part in eight or four bits a weight, by bitsandbytes.

LLM.int8() (arXiv 2208.07339), or NormalFloat with double quantisation (QLoRA, arXiv 2305.14314).
The tower, the projector and the head keep their precision: a film's features are worth their bytes.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.engines.local.place import choose_place
from hilum.models.safety import read_json
from hilum.training.device import bits_config
from hilum.training.parity import Quantised, compare, require_parity, weight_bytes, write_card
from hilum.training.parts import kept_whole

METHODS = {"8bit": 8, "nf4": 4}


def quantize(folder: Path, to: str, out: Path) -> Quantised:
    """Write ``folder`` to ``out`` with fewer bits, and compare; ``out`` must be new.

    ``to``: a key of ``METHODS``. The folder is opened as any other model's is. Raises
    ``option_invalid`` for another key or a model that is quantised already, ``output_exists``,
    ``output_unwritable``, ``extra_missing`` without bitsandbytes, what opening a model raises, and
    ``parity_failed`` where the result says something else; it is then kept for a look.
    """
    if to not in METHODS:
        raise HilumError(Code.OPTION_INVALID, "--to", f"take one of {', '.join(METHODS)}")
    if out.exists():
        raise HilumError(Code.OUTPUT_EXISTS, out, "name a new folder")
    if "quantization_config" in read_json(folder / "config.json"):
        raise HilumError(Code.OPTION_INVALID, folder, "it is quantised already")
    import torch

    from hilum.engines.local.vlm import VlmEngine
    from hilum.models.processing import open_processor

    bits_config(to, False, torch.float32, [])  # refused here, before anything is loaded
    original = VlmEngine(folder, "float32")
    model = _with_fewer_bits(folder, to)
    part = out.with_name(f".{out.name}.part")  # a stopped run leaves no half folder
    shutil.rmtree(part, ignore_errors=True)
    try:
        model.save_pretrained(part)
        open_processor(folder).save_pretrained(part)
        write_card(folder, part)
        part.replace(out)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise HilumError(Code.OUTPUT_UNWRITABLE, out, error.strerror or "") from error
    parity = compare(original, VlmEngine(out))
    suffix = ".safetensors"
    done = Quantised(to, weight_bytes(folder, suffix), weight_bytes(out, suffix), parity)
    require_parity(out, METHODS[to], parity)
    return done


def _with_fewer_bits(folder: Path, to: str) -> Any:
    import torch
    from transformers import AutoModelForImageTextToText

    place = choose_place(torch, "auto")
    dtype = getattr(torch, place.precision)
    kept = kept_whole(folder, {"vision", "projector"})
    return AutoModelForImageTextToText.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        dtype=dtype,
        device_map={"": 0} if place.device == "cuda" else None,
        quantization_config=bits_config(to, True, dtype, kept),
    )
