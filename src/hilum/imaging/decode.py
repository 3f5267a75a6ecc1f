"""Stored values of the first frame of a DICOM image, with every limit checked before decoding."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut, get_decoder, pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from hilum.codes import Code, HilumError
from hilum.imaging import jpeg
from hilum.imaging.header import code_string, integer, raw, uid, value

MAX_PIXELS = 100_000_000
"""Most rows x columns of one image, DICOM or raster; a large film has about 20 million."""

PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

DECODERS: dict[UID, str] = {
    **dict.fromkeys(
        (
            ImplicitVRLittleEndian,
            ExplicitVRLittleEndian,
            DeflatedExplicitVRLittleEndian,
            ExplicitVRBigEndian,
        ),
        "",
    ),
    JPEGBaseline8Bit: "pillow",
    **dict.fromkeys((JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), jpeg.PLUGIN),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "pyjpegls"),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000), "pylibjpeg"),
    **dict.fromkeys((HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), "pylibjpeg"),
    RLELossless: "pylibjpeg",
}
"""The transfer syntaxes that are read, each with pydicom's name of its one decoder.

One a syntax: pydicom would go on to the next that is installed, gdcm among them, after a failure.
"""

LOSSY = frozenset((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K))
"""Syntaxes whose values may be rounded."""

_END = b"\xff\xd9"
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def frame_count(ds: Dataset) -> int:
    """NumberOfFrames (PS3.3 C.7.6.6), 1 where it is missing or no positive number."""
    return max(1, integer(ds, "NumberOfFrames") or 1)


def stored_values(ds: Dataset, path: str) -> tuple[NDArray[Any], list[Code]]:
    """Decode the first frame: (rows, columns), or (rows, columns, 3) for colour, and warnings.

    Monochrome values are as stored, signed or not, with the bits outside BitsStored cleared
    (PS3.5 8.1.1), and ``unused_bits_cleared`` where they held something. Palette and YBR colour
    comes out as RGB (PS3.3 C.7.6.3.1.2).

    Raises ``HilumError``: ``transfer_syntax_unsupported`` with the syntax named,
    ``too_many_pixels``, ``file_damaged`` where native pixel data is shorter than the header
    says, ``pixels_undecodable`` for anything the decoder refuses or returns in another shape.
    """
    syntax = _supported_syntax(ds, path)
    rows, columns = _shape(ds, path)
    frames = frame_count(ds)
    if syntax.is_encapsulated:
        _check_codestream(ds, path, syntax, frames, (rows, columns))
    else:
        _check_length(ds, path, rows * columns * frames)
    try:
        pixels = _decode(ds)
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in pylibjpeg-rle's Rust is no Exception
        detail = f"{syntax.name}: {type(error).__name__}"
        raise HilumError(Code.PIXELS_UNDECODABLE, path, detail) from None
    if pixels.shape not in ((rows, columns), (rows, columns, 3)):
        detail = f"{syntax.name}: decoded to another shape than {rows} x {columns}"
        raise HilumError(Code.PIXELS_UNDECODABLE, path, detail)
    if pixels.dtype.kind == "f":
        if not np.isfinite(pixels).all():
            raise HilumError(Code.PIXELS_UNDECODABLE, path, "values that are no finite number")
        return pixels, []
    if pixels.ndim == 3:
        return pixels, []
    return _used_bits(ds, pixels, native=not syntax.is_encapsulated)


def luma(pixels: NDArray[Any]) -> NDArray[Any]:
    """Grey levels (rows, columns) of RGB (rows, columns, 3), in the same dtype."""
    grey: NDArray[Any] = np.rint(pixels @ np.array(_LUMA, np.float32)).astype(pixels.dtype)
    return grey


def _decode(ds: Dataset) -> NDArray[Any]:
    photometric = code_string(ds, "PhotometricInterpretation")
    options: dict[str, Any] = {"correct_unused_bits": False}  # done here, with HighBit
    if not photometric and integer(ds, "SamplesPerPixel") in (None, 1):
        options["photometric_interpretation"] = "MONOCHROME2"
    if integer(ds, "SamplesPerPixel") is None:
        options["samples_per_pixel"] = 1
    plugin = DECODERS[ds.file_meta.TransferSyntaxUID]
    pixels = pixel_array(ds, index=0, decoding_plugin=plugin, **options)
    if photometric == "PALETTE COLOR":
        return np.asarray(apply_color_lut(_used_bits(ds, pixels, native=True)[0], ds))
    return pixels


def _used_bits(
    ds: Dataset, pixels: NDArray[Any], *, native: bool
) -> tuple[NDArray[Any], list[Code]]:
    """Clear, or fill with the sign, the bits outside HighBit and BitsStored (PS3.5 8.1.1).

    Overlays and garbage live there. Codestreams hold their values right-aligned whatever
    HighBit says; what a lossy one rounds past the range is clipped, since a white of 4097 must
    not become 1. BitsStored outside 1..BitsAllocated is ignored.
    """
    width = 8 * pixels.dtype.itemsize
    allocated = integer(ds, "BitsAllocated") or width
    stored = integer(ds, "BitsStored") or allocated
    if not 0 < stored <= min(width, allocated) or allocated == 1:
        return pixels, []
    high = integer(ds, "HighBit")
    if high is None or not native or not stored <= high < min(width, allocated):
        high = stored - 1
    low = -(2 ** (stored - 1)) if pixels.dtype.kind == "i" else 0
    top = low + 2**stored - 1
    if high == stored - 1 and pixels.min() >= low and pixels.max() <= top:
        return pixels, []
    if ds.file_meta.TransferSyntaxUID in LOSSY and not low:
        return np.minimum(pixels, top), []
    unused = pixels.view(f"u{pixels.dtype.itemsize}") & ~_mask(width, stored, high)
    cleaned: NDArray[Any] = (pixels << (width - 1 - high)) >> (width - stored)
    return cleaned, [Code.UNUSED_BITS_CLEARED] if unused.any() else []


def _mask(width: int, stored: int, high: int) -> Any:
    """The bits that BitsStored and HighBit say hold a value, as an unsigned word."""
    return np.array((1 << high + 1) - (1 << high + 1 - stored), f"u{width // 8}")


def _supported_syntax(ds: Dataset, path: str) -> UID:
    name = uid(value(ds.file_meta, "TransferSyntaxUID"))
    syntax = UID(name)
    jpeg.register()
    plugin = DECODERS.get(syntax)
    if plugin is None or (plugin and plugin not in get_decoder(syntax).available_plugins):
        detail = f"{syntax.name} {name}" if syntax.name != name else name or "not a UID"
        raise HilumError(Code.TRANSFER_SYNTAX_UNSUPPORTED, path, detail)
    return syntax


def _shape(ds: Dataset, path: str) -> tuple[int, int]:
    """Rows and Columns, within the limit; the other elements pydicom cannot do without exist."""
    rows, columns = integer(ds, "Rows") or 0, integer(ds, "Columns") or 0
    if rows <= 0 or columns <= 0:
        raise HilumError(
            Code.FILE_DAMAGED, path, "Rows or Columns is missing or no positive number"
        )
    if rows * columns > MAX_PIXELS:
        detail = f"{rows} x {columns}, at most {MAX_PIXELS} pixels"
        raise HilumError(Code.TOO_MANY_PIXELS, path, detail)
    needed = ["BitsAllocated"]
    if "PixelData" in ds:
        needed += ["BitsStored", "PixelRepresentation"]
    for keyword in needed:
        if integer(ds, keyword) is None:
            raise HilumError(Code.FILE_DAMAGED, path, f"{keyword} is missing or no number")
    if (integer(ds, "SamplesPerPixel") or 1) not in (1, 3):
        raise HilumError(Code.PIXELS_UNDECODABLE, path, "SamplesPerPixel is neither 1 nor 3")
    return rows, columns


def _check_length(ds: Dataset, path: str, pixels: int) -> None:
    """Native pixel data holds every frame the header promises; it is never filled up."""
    samples = integer(ds, "SamplesPerPixel") or 1
    bits = pixels * samples * (integer(ds, "BitsAllocated") or 1)
    if code_string(ds, "PhotometricInterpretation") == "YBR_FULL_422":
        bits = bits * 2 // 3
    # as it is: blanks are nothing in a text, and 32 is a grey level
    data = next(raw(ds, keyword) for keyword in PIXEL_KEYWORDS if keyword in ds)
    have, need = len(data or b""), (bits + 7) // 8
    if have < need:
        raise HilumError(Code.FILE_DAMAGED, path, f"{have} of {need} bytes of pixel data")


def _check_codestream(
    ds: Dataset, path: str, syntax: UID, frames: int, shape: tuple[int, int]
) -> None:
    """The codestream is whole and its own size is Rows x Columns: no bomb, no sheared picture.

    libjpeg fills what is missing of a codestream with grey, and CharLS spends seconds on it. The
    marker that ends a JPEG or JPEG-LS codestream (EOI, ISO 10918-1 B.1.1.3) cannot occur among
    coded samples, so one that was cut has none.
    """
    if syntax == RLELossless:  # holds no size; the decoder checks the length of every segment
        return
    try:
        extended = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths)
    except AttributeError:
        extended = None
    try:
        frame = get_frame(ds.PixelData, 0, number_of_frames=frames, extended_offsets=extended)
        size = codestream_size(frame)
        cut = frame.startswith(b"\xff\xd8") and _END not in frame[-16:]  # padding may follow
    except MemoryError:
        raise
    except Exception:
        size, cut = None, False
    if size != shape:
        found = f"{size[0]} x {size[1]}" if size else "no size"
        detail = f"{syntax.name}: {found} in the codestream, {shape[0]} x {shape[1]} in the header"
        raise HilumError(Code.PIXELS_UNDECODABLE, path, detail)
    if cut:
        raise HilumError(Code.PIXELS_UNDECODABLE, path, f"{syntax.name}: cut short")


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 codestream says it holds.

    Reads the frame header (ISO 10918-1 B.2.2, ISO 14495-1 C.2.2) or SIZ (ISO 15444-1 A.5.1).
    None where there is none, as in a damaged codestream.
    """
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)  # past the boxes of a JP2 file, if any
    if 0 <= start <= len(frame) - 24 and not frame.startswith(b"\xff\xd8"):
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        return bottom - top, right - left
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            rows, columns = struct.unpack_from(">HH", frame, at + 5)
            return rows, columns
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None
