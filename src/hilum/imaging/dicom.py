"""One DICOM file to one View: header, grey levels, geometry.

Of the patient only age and sex are read, and no error, warning or id holds a header's text.
"""

from __future__ import annotations

import io
import mmap
import zlib
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from hilum.codes import Code, HilumError
from hilum.imaging import explain, grey
from hilum.imaging.decode import PIXEL_KEYWORDS, frame_count, luma, stored_values
from hilum.imaging.header import (
    code_string,
    context,
    hush,
    integer,
    number,
    uid,
    value,
    values,
)
from hilum.imaging.source import MAX_MEMBER_BYTES, check_size
from hilum.study import Context, Step, StepName, View

HEADER_BYTES = 1 << 20
"""Of a deflated data set, what is inflated in search of its pixels when only the header counts."""

PIXEL_GROUP = 0x7FE0

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR."""

# PS3.16 CID 4010: code value (SNOMED CT and its older SRT twin) to what ViewPosition would say.
_VIEW_CODES = {
    **dict.fromkeys(("399348003", "R-10206"), "AP"),
    **dict.fromkeys(("272479007", "R-10214", "R-40888"), "PA"),
    **dict.fromkeys(("399173006", "R-10236"), "LL"),
    **dict.fromkeys(("399198007", "R-10232"), "RL"),
    **dict.fromkeys(("399067008", "R-102CD"), "LATERAL"),
    **dict.fromkeys(("399182000", "R-102C1", "399184004", "R-10238"), "OBLIQUE"),
    **dict.fromkeys(("399236003", "R-10234"), "OBLIQUE"),
    **dict.fromkeys(("399135007", "R-10220"), "LAO"),
    **dict.fromkeys(("399356000", "R-40985"), "RAO"),
    **dict.fromkeys(("399006002", "R-10212"), "LPO"),
    **dict.fromkeys(("399038007", "R-10210"), "RPO"),
}


def read(file: BinaryIO, path: Path) -> tuple[View, Context]:
    """Read one DICOM file: its first frame as a View, and the patient's age and sex.

    ``path`` names the file in errors and in ``View.path``; it is not opened.

    ``View.pixels`` are (rows, columns) after the Modality LUT, luma for colour.
    ``View.header`` holds what the gate judges, as text, each key only where it is known:
    modality, body_part, presentation_intent, photometric, transfer_syntax, sop_class, frames,
    samples.

    Raises ``HilumError``: ``no_pixel_data`` for an object that is no image, ``file_damaged``
    for a broken header or an image cut off before its pixels, and what
    :func:`~hilum.imaging.decode.stored_values` raises.
    """
    ds = _dataset(file, path)
    _require_pixels(ds, path)
    try:
        return _view(ds, path), context(ds)
    except HilumError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        raise HilumError(Code.FILE_DAMAGED, path, type(error).__name__) from None


def study_uid(file: BinaryIO, path: Path) -> tuple[str, bool]:
    """StudyInstanceUID ("" where missing), and whether the file is a DICOMDIR, from its header.

    Raises ``HilumError`` ``file_damaged`` where the header cannot be parsed.
    """
    ds = _dataset(file, path, ["StudyInstanceUID", "SOPClassUID"])
    return uid(value(ds, "StudyInstanceUID")), _sop_class(ds) == MEDIA_DIRECTORY


def is_bare_dataset(file: BinaryIO, path: Path) -> bool:
    """Whether a file without preamble parses as DICOM and names a SOP class or image rows."""
    try:
        ds = _dataset(file, path, ["SOPClassUID", "Rows"])
    except HilumError:
        return False
    return bool(_sop_class(ds)) or (integer(ds, "Rows") or 0) > 0


def read_header(file: BinaryIO, path: Path, keywords: list[str]) -> Dataset:
    """The named elements of a file's header, its pixels unread. Raises ``file_damaged``."""
    return _dataset(file, path, keywords)


def directory(file: BinaryIO, path: Path) -> list[str]:
    """The files that the records of a DICOMDIR name (PS3.3 F.3), each once, in order.

    ReferencedFileID holds the parts of a path below the DICOMDIR's folder; one with a part that
    is empty, ``..`` or has a slash is passed over (PS3.10 8.2 allows none). Raises ``HilumError``
    ``file_damaged`` where the records cannot be parsed.
    """
    ds = _dataset(file, path, ["DirectoryRecordSequence", "SOPClassUID"])
    names = []
    for record in value(ds, "DirectoryRecordSequence") or []:
        parts = [str(part).strip(" \0") for part in values(record, "ReferencedFileID")]
        if parts and not any(part in ("", ".", "..") or set(part) & set("/\\\0") for part in parts):
            names.append(PurePosixPath(*parts).as_posix())
    return list(dict.fromkeys(names))


def _dataset(file: BinaryIO, path: Path, only: list[str] | None = None) -> Dataset:
    """The data set of a file; with ``only``, those elements of its header alone."""
    hush()
    try:
        check_size(file, path)
        with _mapped(file) as content:
            ds = _inflated(content, path, only)
            if ds is None:
                content.seek(0)
                ds = pydicom.dcmread(
                    content, force=True, stop_before_pixels=only is not None, specific_tags=only
                )
        _require_syntax(ds)
    except (HilumError, MemoryError):
        raise
    except Exception as error:
        raise HilumError(Code.FILE_DAMAGED, path, type(error).__name__) from None
    return ds


def _mapped(file: BinaryIO) -> Any:
    """The file's bytes as a file: a plain one allots what a wrong length asks for, 4 GiB."""
    if isinstance(file, io.BytesIO):
        return nullcontext(file)
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _inflated(file: BinaryIO, path: Path, only: list[str] | None) -> Dataset | None:
    """A deflated data set (PS3.5 A.5), which pydicom would inflate to any size; else None.

    Raises ``too_many_pixels`` beyond :data:`~hilum.imaging.source.MAX_MEMBER_BYTES`.
    """
    if file.read(132)[128:] != b"DICM":
        return None
    meta = _read_file_meta_info(file)  # pydicom has it under this name only, for an open file
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return None
    deflated = file.read()
    tags = [tag_for_keyword(keyword) or 0 for keyword in only] if only is not None else None
    ds = _before_pixels(deflated, tags) if tags is not None else None
    if ds is None:
        ds = read_dataset(io.BytesIO(_inflate(deflated, path)), False, True, specific_tags=tags)
    ds.file_meta = meta
    ds.set_original_encoding(False, True, ds.get("SpecificCharacterSet"))
    return ds


def _inflate(deflated: bytes, path: Path) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    content = stream.decompress(deflated, MAX_MEMBER_BYTES)
    if stream.unconsumed_tail:
        detail = f"inflates to more than {MAX_MEMBER_BYTES} bytes"
        raise HilumError(Code.TOO_MANY_PIXELS, path, detail)
    if not stream.eof:
        raise HilumError(Code.FILE_DAMAGED, path, "the deflated data set is cut short")
    return content


def _before_pixels(deflated: bytes, tags: list[int]) -> Dataset | None:
    """The header alone, without inflating what follows; None where the pixels come too late."""
    reached: list[int] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag.group == PIXEL_GROUP:
            reached.append(tag)
        return bool(reached)

    start = zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, HEADER_BYTES)
    try:
        ds = read_dataset(io.BytesIO(start), False, True, stop_when=at_pixels, specific_tags=tags)
    except Exception:  # cut within an element: the whole is parsed, and says what is wrong
        return None
    return ds if reached else None


def _require_syntax(ds: Dataset) -> None:
    """A data set without file meta is in the syntax its bytes were parsed by (PS3.5 10.1)."""
    if not hasattr(ds, "file_meta"):
        ds.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in ds.file_meta:
        implicit, little = ds.original_encoding
        native = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else native


def _sop_class(ds: Dataset) -> str:
    return uid(value(ds, "SOPClassUID")) or uid(value(ds.file_meta, "MediaStorageSOPClassUID"))


def _require_pixels(ds: Dataset, path: Path) -> None:
    """Tell an object that is no image from an image, or a UID, whose end is missing."""
    if any(keyword in ds for keyword in PIXEL_KEYWORDS):
        return
    named = UID(uid(value(ds, "SOPClassUID")))
    if named:
        whole = named.name != named or named == value(ds.file_meta, "MediaStorageSOPClassUID")
        if whole and "Rows" not in ds and "Image Storage" not in named.name:
            raise HilumError(Code.NO_PIXEL_DATA, path, named.name)
    elif _sop_class(ds) == MEDIA_DIRECTORY:
        raise HilumError(Code.NO_PIXEL_DATA, path, "a DICOMDIR; name the folder it lies in")
    raise HilumError(Code.FILE_DAMAGED, path, "an image without its pixel data, or a cut header")


def _view(ds: Dataset, path: Path) -> View:
    stored, codes = stored_values(ds, str(path))
    view = _colour(stored) if stored.ndim == 3 else _monochrome(stored, ds)
    view.warnings = [*codes, *view.warnings]
    cleared = [Step.of(StepName.BITS_CLEARED)] if Code.UNUSED_BITS_CLEARED in codes else []
    last = Step.of(StepName.EIGHT_BITS)
    view.steps = [*explain.decoded(ds, stored), *cleared, *view.steps, last]
    view.path = str(path)
    view.position = _position(ds)
    view.mm_per_pixel = _spacing(ds)
    view.simulated = _simulated(ds)
    view.header = _header(ds, samples=3 if stored.ndim == 3 else 1)
    return view


def _monochrome(stored: NDArray[Any], ds: Dataset) -> View:
    steps: list[Step] = []
    pixels, codes = grey.modality(stored, ds, steps)
    transforms, voi_codes = grey.voi(ds, pixels)
    padding_codes: list[Code] = []
    ready = not transforms and not voi_codes and _is_display_ready(ds, stored, pixels)
    if not transforms and not ready:
        transforms, padding_codes = grey.range_without_padding(ds, stored, pixels)
    steps += [Step.of(StepName.VOI_LEFT_OUT)] if voi_codes else []
    steps += [Step.of(StepName.PADDING_LEFT_OUT)] if padding_codes else []
    steps.append(explain.shown(pixels, transforms, ready=ready))
    inverted, inversion_codes = grey.inverted(ds, steps)
    if ready:
        transforms = [grey.identity_window(8)]
    warnings = [*codes, *voi_codes, *inversion_codes, *padding_codes]
    return View(pixels=pixels, voi=transforms, inverted=inverted, warnings=warnings, steps=steps)


def _colour(stored: NDArray[Any]) -> View:
    """Luma, shown as it is: windows and inversion are for monochrome only (PS3.3 C.11.2.1.2)."""
    identity = grey.identity_window(8 * stored.dtype.itemsize)
    steps = [Step.of(StepName.COLOUR_TO_GREY), Step.of(StepName.SHOWN_AS_STORED)]
    return View(pixels=luma(stored).astype(np.uint16), voi=[identity], steps=steps)


def _is_display_ready(ds: Dataset, stored: NDArray[Any], pixels: NDArray[Any]) -> bool:
    """8-bit levels that no transform touched are shown as they are, as the same PNG would be."""
    return (
        stored.dtype == np.uint8
        and integer(ds, "BitsStored") == 8
        and np.array_equal(stored, pixels)
    )


def _header(ds: Dataset, *, samples: int) -> dict[str, str]:
    found = {
        "modality": code_string(ds, "Modality"),
        "body_part": code_string(ds, "BodyPartExamined"),
        "presentation_intent": code_string(ds, "PresentationIntentType"),
        "photometric": code_string(ds, "PhotometricInterpretation"),
        "transfer_syntax": uid(value(ds.file_meta, "TransferSyntaxUID")),
        "sop_class": _sop_class(ds),
        "frames": str(frame_count(ds)),
        "samples": str(samples),
    }
    return {key: text for key, text in found.items() if text}


def _position(ds: Dataset) -> str | None:
    """ViewPosition (PS3.3 C.8.1.1, C.8.7.5), else what ViewCodeSequence (PS3.16 CID 4010) means.

    A hint: it is missing or wrong in a third of real files.
    """
    named = code_string(ds, "ViewPosition")
    if named:
        return named
    for item in value(ds, "ViewCodeSequence") or []:
        code = str(value(item, "CodeValue") or "").strip()
        if code in _VIEW_CODES:
            return _VIEW_CODES[code]
    return None


def _spacing(ds: Dataset) -> float | None:
    """Millimetres a pixel: PixelSpacing (PS3.3 10.7.1.1), else ImagerPixelSpacing (C.8.7.4).

    The mean of rows and columns where they differ by at most 1 %, None where by more. A pair
    that is not two positive numbers counts as missing. ImagerPixelSpacing is measured at the
    detector: the patient is a little smaller.
    """
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        pair = [number(part) for part in values(ds, keyword)]
        if len(pair) == 2 and pair[0] and pair[1] and min(pair[0], pair[1]) > 0:
            row, column = pair[0], pair[1]
            mean = (row + column) / 2
            return mean if abs(row - column) <= 0.01 * mean else None
    return None


def _simulated(ds: Dataset) -> bool:
    """Both marks that Hilum's phantoms carry, QualityControlImage among them (PS3.3 C.7.6.1)."""
    model = str(value(ds, "ManufacturerModelName") or "").strip()
    return model == "Hilum phantom" and code_string(ds, "QualityControlImage") == "YES"
