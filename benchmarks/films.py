"""DICOM films in every transfer syntax that Hilum reads, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import compress
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    generate_uid,
)

Levels = NDArray[Any]


def levels(bits: int, signed: bool = False, rows: int = 61, columns: int = 83) -> Levels:
    """Smooth with a little noise, over the whole range of ``bits``."""
    top = 2**bits - 1
    smooth = np.add.outer(np.linspace(0, 0.7, rows), np.linspace(0, 0.25, columns)) * top
    noise = np.random.default_rng(bits).uniform(0, 0.04 * top, smooth.shape)
    found = np.rint(smooth + noise).clip(0, top).astype(np.int64)
    found[0, 0], found[-1, -1] = 0, top
    if signed:
        return (found - 2 ** (bits - 1)).astype(np.int8 if bits <= 8 else np.int16)
    return found.astype(np.uint8 if bits <= 8 else np.uint16)


def jpeg(x: Levels, bits: int) -> bytes:
    return imagecodecs.jpeg8_encode(x, level=100, bitspersample=bits)


def lossless(x: Levels, bits: int, predictor: int = 1) -> bytes:
    return imagecodecs.jpeg8_encode(x, lossless=True, predictor=predictor, bitspersample=bits)


def jpeg2000(x: Levels, bits: int) -> bytes:
    return imagecodecs.jpeg2k_encode(x, level=0, codecformat="j2k", bitspersample=bits)


def jpeg2000_lossy(x: Levels, bits: int) -> bytes:
    return imagecodecs.jpeg2k_encode(
        x, level=20 + 6 * bits, codecformat="j2k", reversible=False, bitspersample=bits
    )


def htj2k(x: Levels, bits: int) -> bytes:
    return imagecodecs.htj2k_encode(x, reversible=True)


ENCODERS: dict[UID, Callable[[Levels, int], bytes]] = {
    JPEGBaseline8Bit: jpeg,
    JPEGExtended12Bit: jpeg,
    JPEGLosslessSV1: lossless,
    JPEGLossless: lambda x, bits: lossless(x, bits, predictor=6),
    JPEG2000Lossless: jpeg2000,
    JPEG2000: jpeg2000_lossy,
    HTJ2KLossless: htj2k,
    HTJ2KLosslessRPCL: htj2k,
    HTJ2K: htj2k,
    JPEGLSLossless: lambda x, _: imagecodecs.jpegls_encode(x, level=0),
    JPEGLSNearLossless: lambda x, _: imagecodecs.jpegls_encode(x, level=2),
}
LOSSY = {JPEGBaseline8Bit: 2, JPEGExtended12Bit: 3, JPEG2000: 2, JPEGLSNearLossless: 2}
"""The largest error of a level that each lossy encoder makes here."""

DEPTHS = {JPEGBaseline8Bit: (8,), JPEGExtended12Bit: (8, 12)}
"""The bits a syntax can hold, where not 8 to 16."""


def dataset(x: Levels, syntax: UID, bits: int, **elements: Any) -> Dataset:
    """A computed radiograph of ``x`` in a transfer syntax; ``elements`` are set on top."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.SOPInstanceUID, ds.StudyInstanceUID = generate_uid(), generate_uid()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "CR", "CHEST", "PA"
    ds.Rows, ds.Columns = x.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = 8 * x.dtype.itemsize
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = int(x.dtype.kind == "i")
    for keyword, content in elements.items():
        setattr(ds, keyword, content)
    _set_pixels(ds, x, syntax, bits)
    return ds


def _set_pixels(ds: Dataset, x: Levels, syntax: UID, bits: int) -> None:
    native = x.astype(x.dtype.newbyteorder(">")) if syntax == ExplicitVRBigEndian else x
    content = native.tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OW" if x.dtype.itemsize == 2 else "OB"
    if syntax == RLELossless:
        compress(ds, syntax, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax in ENCODERS:
        words = x.view(f"u{x.dtype.itemsize}")  # the sign is in the header alone
        ds.PixelData = encapsulate([ENCODERS[syntax](words, bits)])
        ds["PixelData"].VR = "OB"
