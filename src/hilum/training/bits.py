"""A model's language part in eight or four bits a weight, by bitsandbytes.

LLM.int8() (arXiv 2208.07339), or NormalFloat with double quantisation (QLoRA, arXiv 2305.14314).
The tower, the projector and the head keep their precision: a film's features are worth their bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hilum.engines.local.place import choose_place
from hilum.training.device import bits_config
from hilum.training.parity import Quantised, judged, refuse, written
from hilum.training.parts import kept_whole

METHODS = {"8bit": 8, "nf4": 4}


def quantize(folder: Path, to: str, out: Path) -> Quantised:
    """Write ``folder`` to ``out`` with fewer bits, and compare; ``out`` must be new.

    ``to``: a key of ``METHODS``. The folder is opened as any other model's is. Raises
    ``option_invalid`` for another key or a model that is quantised already, ``output_exists``,
    ``output_unwritable``, ``extra_missing`` without bitsandbytes, what opening a model raises, and
    ``parity_failed`` where the result says something else; it is then kept for a look.
    """
    refuse(folder, to, METHODS, out)
    import torch

    from hilum.engines.local.vlm import VlmEngine

    bits_config(to, False, torch.float32, [])  # refused here, before anything is loaded
    original = VlmEngine(folder, "float32")
    model = _with_fewer_bits(folder, to)
    with written(folder, out) as part:
        model.save_pretrained(part)
    return judged(folder, to, METHODS[to], out, original)


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
