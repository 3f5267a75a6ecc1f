"""What many tests need: real files where they are at hand, and DICOM files made on the spot."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

MakeDataset = Callable[..., Dataset]
MakeFile = Callable[..., Path]


@pytest.fixture(scope="session")
def dev_data() -> Path:
    """The folder of real films, read only; a test that asks for it is skipped without it."""
    named = os.environ.get("HILUM_DEV_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder}; set HILUM_DEV_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def make_dataset() -> MakeDataset:
    """A function that builds the data set of one film; see ``_dataset``."""
    return _dataset


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    """A function that writes a DICOM file of one film and answers its path.

    ``name`` is the file's name, ``raw`` holds elements as the bytes to write whatever their
    VR says, ``preamble=False`` leaves out the preamble and the file meta.
    """

    def write(
        pixels: NDArray[Any] | None = None,
        *,
        name: str = "film.dcm",
        raw: dict[str, bytes] | None = None,
        preamble: bool = True,
        **elements: Any,
    ) -> Path:
        ds = _dataset(pixels, **elements)
        if raw:  # implicit VR: the reader takes the VR from its dictionary
            ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            for keyword, content in raw.items():
                padded = content + b" " * (len(content) % 2)
                tag = Tag(keyword)
                ds[tag] = RawDataElement(tag, None, len(padded), padded, 0, True, True)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if preamble:
            ds.save_as(path, enforce_file_format=True)
        else:
            syntax = ds.file_meta.TransferSyntaxUID
            del ds.file_meta
            ds.save_as(
                path,
                implicit_vr=syntax.is_implicit_VR,
                little_endian=syntax.is_little_endian,
                enforce_file_format=False,
            )
        return path

    return write


def ramp(rows: int = 256, columns: int = 256, top: int = 4095) -> NDArray[np.uint16]:
    """A film whose levels climb from 0 to ``top``, the same in no two rows or columns."""
    levels = np.linspace(0, top, rows * columns).reshape(rows, columns)
    return np.rint(levels).astype(np.uint16)


def _dataset(pixels: NDArray[Any] | None = None, **elements: Any) -> Dataset:
    """A computed radiograph of ``pixels`` (default: a 12-bit ramp).

    ``elements`` are set on top by keyword, or removed where they are None; ``file_meta``'s
    transfer syntax is ``syntax``.
    """
    pixels = ramp() if pixels is None else pixels
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = elements.pop("syntax", ExplicitVRLittleEndian)
    ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID = generate_uid()
    ds.SeriesInstanceUID = generate_uid()
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "CR", "CHEST", "PA"
    ds.PatientName, ds.PatientID = "DOE^JANE", "MRN-12345"
    ds.PatientAge, ds.PatientSex = "054Y", "F"
    ds.Rows, ds.Columns = pixels.shape[-2:] if pixels.ndim == 2 else pixels.shape[-3:-1]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    bits = 8 * pixels.dtype.itemsize
    ds.BitsAllocated, ds.BitsStored = bits, bits
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    stored = pixels.tobytes()
    ds.PixelData = stored + b"\0" * (len(stored) % 2)
    ds["PixelData"].VR = "OW"
    for keyword, content in elements.items():
        if content is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, content)
    if "HighBit" not in ds and "HighBit" not in elements:
        ds.HighBit = int(ds.get("BitsStored", bits)) - 1
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", ComputedRadiographyImageStorage)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds
