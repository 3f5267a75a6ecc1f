"""A film as the square that a LLaVA's image processor makes of it, without transformers.

For runtimes with a resizing of their own: OpenVINO GenAI's has no filter against aliasing, so a
film of 3,000 px would be other pixels at 518. The square is passed through it as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
        whole = Image.new("RGB", (side, side), tuple(self.fill))  # JSON knows no tuples
        whole.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        return whole

    def _filter(self) -> Image.Resampling:
        return Image.Resampling(self.resample)


def square_of(settings: Mapping[str, Any]) -> Square:
    """The square of an image processor's settings (``preprocessor_config.json``).

    Raises ``model_unsupported`` for one that makes anything else.
    """
    kind = str(settings.get("image_processor_type", "")).removesuffix("Fast").removesuffix("Pil")
    size, crop = _sides(settings, "size"), _sides(settings, "crop_size")
    resample = int(settings.get("resample", Image.Resampling.BICUBIC))
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
