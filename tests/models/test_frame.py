"""Frames have the pixels that the image processor makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from hilum.codes import Code, HilumError
from hilum.models.frame import Native, as_is, frame_of, read_frame, square_of, told
from hilum.models.older import image_settings
from hilum.models.presets import Geometry
from hilum.models.processing import image_processor, quiet
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
    frame = read_frame(json.loads(json.dumps(told(frame_of(said)))))  # as an export has it
    assert frame == square_of(said)
    square = frame(image)  # type: ignore[misc]
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
    plainly = as_is(made.to_dict(), square)
    plain = CLIPImageProcessor(**{k: v for k, v in plainly.items() if k != "image_processor_type"})
    again = plain(Image.fromarray(square(image)), return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(again, pixels(made, image))


@pytest.mark.parametrize("family", ["llava-dinov2", "llava-siglip"])
def test_a_twins_folder_says_its_square(family: str, tmp_path: Path) -> None:
    square = square_of(image_settings(make_twin(family, tmp_path / "twin")))
    assert (square.fit, square.side) == {"llava-dinov2": ("crop", 56)}.get(family, ("stretch", 64))


@pytest.mark.parametrize(("patch", "pixels"), [(14, (784, 6272)), (16, (1024, 8192))])
@settings(max_examples=40, deadline=None)
@given(st.integers(3, 400), st.integers(3, 400), st.integers(0, 2**32 - 1))
def test_a_native_frame_is_the_processors(
    patch: int, pixels: tuple[int, int], rows: int, columns: int, seed: int
) -> None:
    from transformers import Qwen2VLImageProcessor

    quiet()
    image = np.random.default_rng(seed).integers(0, 256, (rows, columns), dtype=np.uint8)
    ends = dict(zip(("min_pixels", "max_pixels"), pixels, strict=True))
    made = Qwen2VLImageProcessor(patch_size=patch, **ends)  # type: ignore[arg-type]
    frame = read_frame(json.loads(json.dumps(told(frame_of(made.to_dict())))))
    assert frame is not None
    fitted = frame(image)
    theirs = made(Image.fromarray(image).convert("RGB"), return_tensors="np")
    grid = theirs["image_grid_thw"][0][1:] * patch
    assert fitted.shape == (*grid, 3)
    again = made(Image.fromarray(fitted), do_resize=False, return_tensors="np")
    np.testing.assert_array_equal(again["pixel_values"], theirs["pixel_values"])


@given(st.integers(64, 5000), st.floats(0.25, 4))
def test_a_native_frame_is_left_alone_by_the_runtime(rows: int, ratio: float) -> None:
    """Which fits what it is given once more."""
    frame = Native(28, 56 * 56, 28 * 28 * 1280, 3)
    size = frame.size(rows, round(rows * ratio))
    assert frame.size(*size) == size


@pytest.mark.parametrize(
    "said", [{}, {"kind": "oval"}, {"kind": "native", "side": 3}, {"kind": "square"}]
)
def test_what_is_no_frame_is_not_read(said: dict[str, Any]) -> None:
    assert read_frame(None) is None
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_frame(said)


def test_a_native_frame_needs_its_pixels() -> None:
    with pytest.raises(HilumError) as caught:
        frame_of({"image_processor_type": "Qwen2VLImageProcessorFast", "size": {}})
    assert caught.value.code is Code.MODEL_UNSUPPORTED


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
