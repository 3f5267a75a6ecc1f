"""One PNG, JPEG or TIFF file to one View, at the depth it was stored with.

Pillow has no mode for 16-bit colour or 16-bit grey with alpha: those come out with 8 bits.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin

from hilum.codes import Code, HilumError
from hilum.imaging import explain
from hilum.imaging.decode import MAX_PIXELS, luma
from hilum.imaging.grey import identity_window
from hilum.imaging.header import number
from hilum.imaging.source import check_size
from hilum.study import Step, StepName, View

_FORMATS = ("PNG", "JPEG", "TIFF")
_WHITE_IS_ZERO, _PHOTOMETRIC_TAG = 0, 262
_ORIENTATION_TAG = 274
_JPEG_TOLERANCE = 2  # chroma of a grey picture after a round trip through YCbCr


def read(file: BinaryIO, path: Path) -> View:
    """Read one raster file as a View without DICOM header.

    ``path`` names the file in errors and in ``View.path``; it is not opened.

    ``pixels`` (rows, columns): uint16 for 1 to 16 bits, float32 for deeper. An 8-bit film gets
    the window that shows it as it is; a deeper one gets none, so ``View.display`` spreads it
    from the smallest to the largest value. EXIF orientation is applied, transparency lies on
    black, colour whose channels agree is grey and any other becomes luma. ``header``: frames
    (pages) and samples, 3 for colour.

    Only a PNG whose text chunk Source is "Hilum phantom" is ``simulated``, and only then does
    its text chunk mm_per_pixel count.

    Raises ``HilumError``: ``too_many_pixels``, ``file_damaged`` for a file that is cut short
    or broken (missing rows are never filled in), ``pixels_undecodable`` for values that are
    no finite number.
    """
    warnings.filterwarnings("ignore", module=r"PIL(\.|$)")  # the limit is checked here
    try:
        check_size(file, path)
        # From memory: a plain file allots what a wrong length asks for, 4 GiB, and by its name
        # Pillow 13 maps a TIFF and shears it when its orientation is 5 to 8.
        content = file.read()
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                detail = f"{image.height} x {image.width}, at most {MAX_PIXELS} pixels"
                raise HilumError(Code.TOO_MANY_PIXELS, path, detail)
            return _view(image, path)
    except (HilumError, MemoryError):
        raise
    except Image.DecompressionBombError:
        detail = f"at most {MAX_PIXELS} pixels"
        raise HilumError(Code.TOO_MANY_PIXELS, path, detail) from None
    except Exception as error:
        raise HilumError(Code.FILE_DAMAGED, path, type(error).__name__) from None


def _view(image: Image.Image, path: Path) -> View:
    frames = getattr(image, "n_frames", 1)
    image.seek(0)
    white_is_zero = _shows_zero_white(image)
    image.load()
    texts = image.text if isinstance(image, PngImagePlugin.PngImageFile) else {}
    simulated = texts.get("Source") == "Hilum phantom"
    spacing = number(texts.get("mm_per_pixel")) if simulated else None
    tolerance = _JPEG_TOLERANCE if image.format in ("JPEG", "MPO") else 0
    steps = [Step.of(StepName.RASTER_DECODED, format=image.format or "", mode=image.mode)]
    if frames > 1:
        steps.append(Step.of(StepName.FIRST_OF_SEVERAL, count=frames))
    pixels, samples = _levels(_upright(image, steps), tolerance, path, steps)
    steps.append(explain.shown(pixels, [], ready=not _is_deep(image)))
    if white_is_zero:
        steps.append(Step.of(StepName.INVERTED, because="TIFF WhiteIsZero"))
    return View(
        pixels=pixels,
        path=str(path),
        mm_per_pixel=spacing if spacing and spacing > 0 else None,
        voi=[] if _is_deep(image) else [identity_window(8)],
        inverted=white_is_zero,
        simulated=simulated,
        header={"frames": str(frames), "samples": str(samples)},
        steps=[*steps, Step.of(StepName.EIGHT_BITS)],
    )


def _levels(
    image: Image.Image, tolerance: int, path: Path, steps: list[Step]
) -> tuple[NDArray[Any], int]:
    """Grey levels and the number of samples a pixel they came from, 1 or 3."""
    if _is_deep(image):
        return _deep(np.asarray(image), path), 1
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L")).astype(np.uint16), 1
    if image.has_transparency_data and image.mode != "RGB":
        solid = image.convert("RGBA")
        black = Image.new("RGBA", solid.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, solid)
        steps.append(Step.of(StepName.LAID_ON_BLACK))
    colour = np.asarray(image.convert("RGB"))
    spread = colour.max(axis=2) - colour.min(axis=2)
    grey = luma(colour).astype(np.uint16)
    if int(spread.max()) <= tolerance:
        return grey, 1
    steps.append(Step.of(StepName.COLOUR_TO_GREY))
    return grey, 3


def _deep(levels: NDArray[Any], path: Path) -> NDArray[Any]:
    """16-bit levels as uint16, deeper or signed ones as float32."""
    if levels.dtype.kind == "f" and not np.isfinite(levels).all():
        raise HilumError(Code.PIXELS_UNDECODABLE, path, "values that are no finite number")
    if levels.dtype.kind in "iu" and levels.min() >= 0 and levels.max() <= 0xFFFF:
        return levels.astype(np.uint16)
    return levels.astype(np.float32)


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _shows_zero_white(image: Image.Image) -> bool:
    """A deep TIFF with PhotometricInterpretation WhiteIsZero; Pillow turns shallow ones itself."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or not _is_deep(image):
        return False
    return bool(image.tag_v2.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO)


def _upright(image: Image.Image, steps: list[Step]) -> Image.Image:
    """Turned by its EXIF orientation; a broken EXIF block leaves it as it is."""
    try:
        turned = ImageOps.exif_transpose(image)
        if image.getexif().get(_ORIENTATION_TAG, 1) in range(2, 9):
            steps.append(Step.of(StepName.TURNED))
        return turned
    except Exception:
        return image
