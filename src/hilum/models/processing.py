"""Processors on a machine without torchvision, and film geometry.

transformers 5 asks torchvision for the video half of some processors (Qwen-VL, GLM-V, InternVL,
SmolVLM) even where no video is ever given. Without it the image half, Pillow's, does all that a
film needs. A torchvision that does not fit torch breaks even that: :func:`torchvision_state`.
"""

from __future__ import annotations

import importlib.util
import json
import os
from functools import cache
from pathlib import Path
from typing import Any, Literal

from hilum.codes import Code, HilumError
from hilum.models.libraries import need_torch
from hilum.models.presets import Geometry

# model_type -> processor class whose video half is left out without torchvision
IMAGE_HALF = {
    "qwen2_5_vl": "Qwen2_5_VLProcessor",
    "qwen3_vl": "Qwen3VLProcessor",
    "glm4v": "Glm4vProcessor",
    "internvl": "InternVLProcessor",
    "smolvlm": "Idefics3Processor",  # the same but for video, and num2words
}
# model_type -> processor class that stands in for the model's own program code
OUR_CODE = {"maira2": "LlavaProcessor"}


@cache
def torchvision_state() -> Literal["absent", "works", "broken"]:
    """Whether torchvision can be imported beside this torch."""
    if importlib.util.find_spec("torchvision") is None:
        return "absent"
    try:
        importlib.import_module("torchvision")
    except Exception:  # a missing operator is a RuntimeError, a missing library an OSError
        return "broken"
    return "works"


def open_processor(folder: Path, trust_remote_code: bool = False) -> Any:
    """The folder's processor, padding on the left.

    Raises ``torchvision_broken``, or ``model_invalid`` where its files do not fit together.
    """
    need_torch()
    state = torchvision_state()
    if state == "broken":
        raise HilumError(Code.TORCHVISION_BROKEN, "torchvision", "pip uninstall torchvision")
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
        processor = _open(folder, kind, state, trust_remote_code)
        processor.tokenizer.padding_side = "left"  # generation goes on from the right end
    except Exception as error:  # whatever the libraries make of files that anyone may write
        raise HilumError(
            Code.MODEL_INVALID, folder, f"processor: {type(error).__name__}"
        ) from error
    return processor


def _open(folder: Path, kind: str, state: str, trust_remote_code: bool) -> Any:
    import transformers

    if kind in OUR_CODE and not trust_remote_code:
        processor = getattr(transformers, OUR_CODE[kind]).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        processor.num_additional_image_tokens = 1  # the class token, which "default" takes off
        return processor
    if state == "absent" and kind in IMAGE_HALF:
        return image_half(getattr(transformers, IMAGE_HALF[kind])).from_pretrained(
            folder, local_files_only=True
        )
    return transformers.AutoProcessor.from_pretrained(
        folder, local_files_only=True, trust_remote_code=trust_remote_code
    )


@cache
def image_half(processor: type) -> Any:
    """The same processor, by the same name, without its video half."""

    def get_attributes(_: type) -> list[str]:
        return ["image_processor", "tokenizer"]

    return type(processor.__name__, (processor,), {"get_attributes": classmethod(get_attributes)})


def image_processor(image: Geometry) -> Any:
    """transformers' image processor for a geometry: crop, pad (grey of the mean) or stretch.

    Bicubic, as the released ChexFract preprocessor is. Raises ``option_invalid`` for a geometry
    that a LLaVA cannot take.
    """
    from transformers import BitImageProcessor, LlavaImageProcessor, SiglipImageProcessor

    if image.fit not in ("crop", "pad", "stretch") or not image.side:
        raise HilumError(Code.OPTION_INVALID, "geometry", f"{image.fit}: take crop, pad or stretch")
    square = {"height": image.side, "width": image.side}
    common: dict[str, Any] = {"image_mean": image.mean, "image_std": image.std, "resample": 3}
    if image.fit == "stretch":
        return SiglipImageProcessor(size=square, **common)
    edge = {"shortest_edge": image.side}
    if image.fit == "pad":
        return LlavaImageProcessor(size=edge, crop_size=square, do_pad=True, **common)
    return BitImageProcessor(size=edge, crop_size=square, **common)


def kept(image: Geometry, rows: int, columns: int) -> float:
    """The share of a film (rows, columns) that the model sees; a centre crop loses the margins."""
    if image.fit != "crop":
        return 1.0
    return min(rows, columns) / max(rows, columns)


def quiet() -> None:
    """No progress bars and no advice from transformers: what matters is raised."""
    from transformers.utils import logging

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.disable_progress_bar()
    logging.set_verbosity_error()
