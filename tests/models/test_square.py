"""Squares are the pixels that the image processor makes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from hilum.codes import Code, HilumError
from hilum.models.older import image_settings
from hilum.models.presets import Geometry
from hilum.models.processing import image_processor, quiet
from hilum.models.square import Square, as_is, square_of
from hilum.models.twins import make_twin

SIDE = 28
STATS: dict[str, Any] = {"image_mean": [0.5307, 0.4, 0.6], "image_std": [0.2583, 0.3, 0.2]}
CROP = {
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": SIDE},
    "crop_size": {"height": SIDE, "width": SIDE},
    **STATS,
}


def processor(fit: str) -> Any:
    quiet()
    if fit == "wider":  # what DINOv2 was released with: 256 px, of which 224
        from transformers import BitImageProcessor

        square = {"height": SIDE, "width": SIDE}
        return BitImageProcessor(size={"shortest_edge": SIDE + 4}, crop_size=square, **STATS)
    return image_processor(
        Geometry(
            fit=fit,  # type: ignore[arg-type]
            side=SIDE,
            patch=14,
            tokens=None,
            mean=STATS["image_mean"],
            std=STATS["image_std"],
            source="test",
        )
    )


def pixels(made: Any, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    picture = Image.fromarray(image).convert("RGB")
    return np.asarray(made(picture, return_tensors="np")["pixel_values"][0])


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch", "wider"])
@settings(max_examples=25, deadline=None)
@given(st.integers(3, 90), st.integers(3, 90), st.integers(0, 2**32 - 1))
def test_the_pixels_are_the_processors(fit: str, rows: int, columns: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (rows, columns), dtype=np.uint8)
    made = processor(fit)
    said = made.to_dict()
    told = json.loads(json.dumps(asdict(square_of(said))))  # as an export has it
    square = Square(**told)(image)
    assert (square.shape, square.dtype) == ((SIDE, SIDE, 3), np.uint8)
    mean, std = (np.float32(STATS[n]) for n in ("image_mean", "image_std"))
    normal = ((square.astype(np.float32) / np.float32(255)) - mean) / std
    wanted = pixels(made, image)
    np.testing.assert_allclose(normal.transpose(2, 0, 1), wanted, atol=1e-6)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_what_the_runtime_is_told_leaves_a_square_alone(fit: str) -> None:
    from transformers import CLIPImageProcessor

    image = np.random.default_rng(0).integers(0, 256, (70, 41), dtype=np.uint8)
    made = processor(fit)
    square = square_of(made.to_dict())
    told = as_is(made.to_dict(), square)
    plain = CLIPImageProcessor(**{k: v for k, v in told.items() if k != "image_processor_type"})
    again = plain(Image.fromarray(square(image)), return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(again, pixels(made, image))


@pytest.mark.parametrize("family", ["llava-dinov2", "llava-siglip"])
def test_a_twins_folder_says_its_square(family: str, tmp_path: Path) -> None:
    square = square_of(image_settings(make_twin(family, tmp_path / "twin")))
    assert (square.fit, square.side) == {"llava-dinov2": ("crop", 56)}.get(family, ("stretch", 64))


def test_old_files_have_one_number() -> None:
    assert square_of({**CROP, "size": SIDE, "crop_size": SIDE}) == square_of(CROP)


@pytest.mark.parametrize(
    "change",
    [
        {"image_processor_type": "Qwen2VLImageProcessor"},
        {"image_processor_type": None},
        {"do_center_crop": False},
        {"do_resize": False},
        {"do_rescale": False},
        {"rescale_factor": 1 / 127.5},
        {"crop_size": {"height": SIDE, "width": SIDE + 1}},
        {"crop_size": {"height": SIDE + 2, "width": SIDE + 2}},
        {"crop_size": None},
        {"size": None},
        {"image_processor_type": "SiglipImageProcessor", "size": {"height": 3, "width": 4}},
    ],
)
def test_what_makes_no_square_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(HilumError) as caught:
        square_of({**CROP, **change})
    assert caught.value.code is Code.MODEL_UNSUPPORTED
