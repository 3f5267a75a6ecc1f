"""A film in the size that a model's image processor gives it, without transformers.

For runtimes with a resizing of their own: OpenVINO GenAI's for LLaVA and Qwen-VL has no filter
against aliasing, so a film of 3,000 px would be other pixels at 518. What has the right size
already passes through it as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hilum.codes import Code, HilumError

CROPS = ("BitImageProcessor", "CLIPImageProcessor", "LlavaImageProcessor")
STRETCHES = ("SiglipImageProcessor",)


@dataclass(frozen=True)
class Square:
    """How a film becomes ``side`` x ``side`` pixels.

    ``fit``: crop (shortest edge to ``edge``, then the centre), pad (to a square with the colour
    ``fill``, then as crop) or stretch. ``resample``: Pillow's number of the filter.
    """

    fit: Literal["crop", "pad", "stretch"]
    side: int
    edge: int
    resample: int
    fill: tuple[int, ...] = (0, 0, 0)

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The square (side, side, 3) of a grey image (rows, columns); uint8 both."""
        picture = Image.fromarray(np.ascontiguousarray(image)).convert("RGB")
        if self.fit == "stretch":
            return np.asarray(picture.resize((self.side, self.side), self._filter()))
        if self.fit == "pad":
            picture = self._padded(picture)
        short, long = sorted(picture.size)
        longer = int(self.edge * long / short)
        size = (self.edge, longer) if picture.width == short else (longer, self.edge)
        picture = picture.resize(size, self._filter())
        left, top = ((n - self.side) // 2 for n in size)
        return np.asarray(picture.crop((left, top, left + self.side, top + self.side)))

    def _padded(self, picture: Image.Image) -> Image.Image:
        side = max(picture.size)
        whole = Image.new("RGB", (side, side), self.fill)
        whole.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        return whole

    def _filter(self) -> Image.Resampling:
        return Image.Resampling(self.resample)


@dataclass(frozen=True)
class Native:
    """Qwen-VL's frame: both sides multiples of ``multiple``, ``least`` to ``most`` pixels.

    ``resample``: Pillow's number of the filter. Sizes are those of ``smart_resize`` in Qwen2-VL's
    release (https://github.com/QwenLM/Qwen2-VL, ``vision_process.py``).
    """

    multiple: int
    least: int
    most: int
    resample: int

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The film (rows, columns) in its frame (height, width, 3); uint8 both."""
        picture = Image.fromarray(np.ascontiguousarray(image)).convert("RGB")
        height, width = self.size(*image.shape)
        return np.asarray(picture.resize((width, height), Image.Resampling(self.resample)))

    def size(self, rows: int, columns: int) -> tuple[int, int]:
        """Height and width in pixels."""
        step = self.multiple
        sides = [round(n / step) * step for n in (rows, columns)]
        area = sides[0] * sides[1]
        if area > self.most:
            less = math.sqrt(rows * columns / self.most)
            sides = [math.floor(n / less / step) * step for n in (rows, columns)]
        elif area < self.least:
            more = math.sqrt(self.least / (rows * columns))
            sides = [math.ceil(n * more / step) * step for n in (rows, columns)]
        return max(step, sides[0]), max(step, sides[1])


Frame = Square | Native


def frame_of(settings: Mapping[str, Any]) -> Frame:
    """The frame of an image processor's settings; raises ``model_unsupported`` for any other."""
    if not _kind(settings).startswith("Qwen2VL"):
        return square_of(settings)
    size = _sides(settings, "size")
    least = settings.get("min_pixels") or size.get("shortest_edge") or 0
    most = settings.get("max_pixels") or size.get("longest_edge") or 0
    _need(bool(least and most), "its numbers of pixels are missing")
    multiple = settings.get("patch_size", 14) * settings.get("merge_size", 2)
    return Native(multiple, int(least), int(most), _resample(settings))


def told(frame: Frame) -> dict[str, Any]:
    """A frame as JSON; :func:`read_frame` reads it."""
    return {"kind": type(frame).__name__.lower(), **asdict(frame)}


def read_frame(said: Mapping[str, Any] | None) -> Frame | None:
    """The frame that was :func:`told`; raises TypeError, KeyError or ValueError for others."""
    if said is None:
        return None
    rest: dict[str, Any] = {k: v for k, v in said.items() if k != "kind"}
    if said.get("kind") == "native":
        return Native(**rest)
    if said.get("kind") != "square":
        raise ValueError("no frame")
    return Square(**{**rest, "fill": tuple(rest["fill"])})


def square_of(settings: Mapping[str, Any]) -> Square:
    """The square of an image processor's settings (``preprocessor_config.json``).

    Raises ``model_unsupported`` for one that makes anything else.
    """
    kind = _kind(settings)
    size, crop = _sides(settings, "size"), _sides(settings, "crop_size")
    resample = _resample(settings)
    try:
        _need(settings.get("do_resize", True), "do_resize is off")
        _need(settings.get("do_rescale", True), "do_rescale is off")
        same = abs(settings.get("rescale_factor", 1 / 255) * 255 - 1) < 1e-6
        _need(same, "rescale_factor is not 1/255")
        if kind in STRETCHES:
            side = int(size["height"])
            _need(side == size["width"], "size is no square")
            return Square("stretch", side, side, resample)
        side, edge = int(crop["height"]), int(size["shortest_edge"])
        _need(kind in CROPS and settings.get("do_center_crop", True), "it makes no square")
        _need(side == crop["width"] and side <= edge, "crop_size is no square within size")
        if kind == "LlavaImageProcessor" and settings.get("do_pad"):
            fill = tuple(int(x * 255) for x in settings["image_mean"])
            return Square("pad", side, edge, resample, fill)
    except (KeyError, TypeError) as error:
        raise HilumError(Code.MODEL_UNSUPPORTED, kind, "size or crop_size is missing") from error
    return Square("crop", side, edge, resample)


def _kind(settings: Mapping[str, Any]) -> str:
    return str(settings.get("image_processor_type", "")).removesuffix("Fast").removesuffix("Pil")


def _resample(settings: Mapping[str, Any]) -> int:
    return int(settings.get("resample", Image.Resampling.BICUBIC))


def _sides(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A size as it is written now; old files have one number."""
    given = settings.get(name)
    if isinstance(given, int):
        short = {"shortest_edge": given} if name == "size" else {}
        return {"height": given, "width": given, **short}
    return dict(given or {})


def _need(holds: bool, wrong: str) -> None:
    if not holds:
        raise HilumError(Code.MODEL_UNSUPPORTED, "image processor", wrong)


def as_is(settings: Mapping[str, Any], square: Square) -> dict[str, Any]:
    """Settings of the image processor that leaves a square's pixels alone and only normalises."""
    plain = not settings.get("do_normalize", True)
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": square.side},
        "do_center_crop": True,
        "crop_size": {"height": square.side, "width": square.side},
        "resample": square.resample,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.0] * 3 if plain else settings["image_mean"],
        "image_std": [1.0] * 3 if plain else settings["image_std"],
        "do_convert_rgb": True,
    }
