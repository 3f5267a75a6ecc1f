"""Grey levels: stored values -> Modality LUT -> VOI transforms, and the one inversion.

The rules are those of DICOM PS3.3 C.11.1 (Modality LUT), C.11.2 (VOI LUT), C.7.6.3.1.2
(Photometric Interpretation) and C.11.6 / C.8.11.3.1.2 (Presentation LUT Shape). What a header
gets wrong is left out with a warning code; the film is shown all the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from hilum.codes import Code
from hilum.imaging.header import code_string, integer, number, value, values
from hilum.study import Step, StepName, VoiFunction, VoiLut, Window

_WINDOW_KEYWORDS = ("WindowCenter", "WindowWidth")


class Table(NamedTuple):
    """A DICOM lookup table: ``data[i]`` answers the value ``first + i``."""

    data: NDArray[np.uint16]
    first: int
    bits: int


def modality(
    stored: NDArray[Any], ds: Dataset, steps: list[Step] | None = None
) -> tuple[NDArray[Any], list[Code]]:
    """Values after the Modality LUT (PS3.3 C.11.1): uint16 where they fit unchanged, else float32.

    ModalityLUTSequence goes before RescaleSlope and RescaleIntercept. A missing slope is 1, a
    missing intercept 0. A broken table, or a slope that is 0 or no number, leaves the stored
    values with ``modality_lut_invalid``.
    """
    done = [] if steps is None else steps
    if value(ds, "ModalityLUTSequence"):
        table = _table(ds.ModalityLUTSequence[0], signed=integer(ds, "PixelRepresentation") == 1)
        if table is None or stored.dtype.kind == "f":
            done.append(Step.of(StepName.MODALITY_LEFT_OUT))
            return _plain(stored), [Code.MODALITY_LUT_INVALID]
        index = np.clip(stored.astype(np.int64) - table.first, 0, len(table.data) - 1)
        done.append(Step.of(StepName.MODALITY_LUT, entries=len(table.data), first=table.first))
        return table.data[index], []
    slope, intercept = _rescale(ds, "RescaleSlope", 1.0), _rescale(ds, "RescaleIntercept", 0.0)
    if slope is None or intercept is None or slope == 0:
        done.append(Step.of(StepName.MODALITY_LEFT_OUT))
        return _plain(stored), [Code.MODALITY_LUT_INVALID]
    if slope == 1 and intercept == 0:
        done.append(Step.of(StepName.MODALITY_NONE))
        return _plain(stored), []
    with np.errstate(over="ignore"):
        scaled = _wide(stored) * slope + intercept
        levels: NDArray[Any] = scaled.astype(np.float32, copy=False)
    if not np.isfinite(levels).all():
        done.append(Step.of(StepName.MODALITY_LEFT_OUT))
        return _plain(stored), [Code.MODALITY_LUT_INVALID]
    done.append(Step.of(StepName.MODALITY_RESCALE, slope=slope, intercept=intercept))
    return levels, []


def voi(ds: Dataset, pixels: NDArray[Any]) -> tuple[list[Window | VoiLut], list[Code]]:
    """VOI transforms (PS3.3 C.11.2), best first: the VOI LUTs, then the windows, as listed.

    ``pixels`` are the values after the Modality LUT. Codes: ``window_invalid`` where a window
    is left out (see :func:`_windows`), ``voi_lut_invalid`` where a LUT is (wrong descriptor,
    too few entries, entries that need more bits than it says).
    """
    signed = _can_be_negative(ds, pixels)
    transforms: list[Window | VoiLut] = []
    codes: list[Code] = []
    for item in value(ds, "VOILUTSequence") or []:
        table = _table(item, signed=signed)
        if table is None or int(table.data.max()) >= 2**table.bits:
            codes.append(Code.VOI_LUT_INVALID)
            continue
        explanation = _explanation(values(item, "LUTExplanation"), 0)
        transforms.append(
            VoiLut(table=table.data, first=table.first, bits=table.bits, explanation=explanation)
        )
    windows, whole = _windows(ds)
    if not whole:
        codes.append(Code.WINDOW_INVALID)
    return [*transforms, *windows], list(dict.fromkeys(codes))


def inverted(ds: Dataset, steps: list[Step] | None = None) -> tuple[bool, list[Code]]:
    """Whether low values are shown bright: one question, so one inversion.

    PresentationLUTShape decides where it is INVERSE or IDENTITY (PS3.3 C.11.6.1.2,
    C.8.11.3.1.2), else PhotometricInterpretation MONOCHROME1 does (PS3.3 C.7.6.3.1.2).
    MONOCHROME1 with INVERSE is thus inverted once. What was decided is appended to ``steps``.
    """
    photometric = code_string(ds, "PhotometricInterpretation")
    codes = [] if photometric else [Code.PHOTOMETRIC_MISSING]
    shape = code_string(ds, "PresentationLUTShape")
    by_shape = shape in ("INVERSE", "IDENTITY")
    turned = shape == "INVERSE" if by_shape else photometric == "MONOCHROME1"
    if steps is not None:
        known = photometric if photometric.startswith("MONOCHROME") else "taken as MONOCHROME2"
        because = f"PresentationLUTShape {shape}" if by_shape else known
        name = StepName.INVERTED if turned else StepName.NOT_INVERTED
        steps.append(Step.of(name, because=because))
    return turned, codes


def identity_window(bits: int) -> Window:
    """The window that shows 0..2**bits - 1 unchanged, from black to white."""
    top = float(2**bits - 1)
    return Window(center=top / 2, width=top, function=VoiFunction.LINEAR_EXACT)


def range_without_padding(
    ds: Dataset, stored: NDArray[Any], pixels: NDArray[Any]
) -> tuple[list[Window | VoiLut], list[Code]]:
    """For a film without VOI: the window from its smallest to its largest value but padding.

    Padding is PixelPaddingValue, or all from it to PixelPaddingRangeLimit, among the stored
    values (PS3.3 C.7.5.1.1.2). It is shown like the nearest end of the range. No window where
    none of the pixels is padding, all are, or the rest is of one level.
    """
    signed = integer(ds, "PixelRepresentation") == 1
    ends = [integer(ds, f"PixelPadding{end}") for end in ("Value", "RangeLimit")]
    first, last = ends[0], ends[1] if ends[1] is not None else ends[0]
    if first is None or last is None or stored.dtype.kind == "f":
        return [], []
    low, high = sorted(_word(end, signed=signed) for end in (first, last))
    film = pixels[(stored < low) | (stored > high)]
    if not 0 < film.size < pixels.size or film.min() == film.max():
        return [], []
    bottom, top = float(film.min()), float(film.max())
    window = Window(
        center=(bottom + top) / 2, width=top - bottom, function=VoiFunction.LINEAR_EXACT
    )
    return [window], [Code.PADDING_LEFT_OUT]


def _word(found: int, *, signed: bool) -> int:
    """A 16-bit word that its VR may have given the wrong sign."""
    if signed and found > 0x7FFF:
        return found - 0x10000
    return found + 0x10000 if not signed and found < 0 else found


def _windows(ds: Dataset) -> tuple[list[Window], bool]:
    """The valid windows, and whether that is all of them.

    Left out: a centre without its width and the reverse, an element that is empty or no
    number, a width below 1 for LINEAR or not above 0 for LINEAR_EXACT and SIGMOID (PS3.3
    C.11.2.1.2, C.11.2.1.3), all of them where VOILUTFunction is an unknown word. A function
    in small letters or padded with blanks is understood.
    """
    if not any(keyword in ds for keyword in _WINDOW_KEYWORDS):
        return [], True
    centers, widths = (values(ds, keyword) for keyword in _WINDOW_KEYWORDS)
    explanations = values(ds, "WindowCenterWidthExplanation")
    try:
        function = VoiFunction(code_string(ds, "VOILUTFunction") or "LINEAR")
    except ValueError:
        return [], False
    smallest = 1.0 if function is VoiFunction.LINEAR else np.finfo(np.float32).tiny
    windows = []
    for index, pair in enumerate(zip(centers, widths, strict=False)):
        center, width = number(pair[0]), number(pair[1])
        if center is not None and width is not None and width >= smallest:
            explanation = _explanation(explanations, index)
            windows.append(
                Window(center=center, width=width, function=function, explanation=explanation)
            )
    return windows, 0 < len(windows) == len(centers) == len(widths)


def _can_be_negative(ds: Dataset, pixels: NDArray[Any]) -> bool:
    """Whether the first value mapped by a VOI LUT is signed (PS3.3 C.11.2.1.1)."""
    if pixels.dtype.kind == "u":
        return False
    intercept = number(value(ds, "RescaleIntercept")) or 0.0
    return integer(ds, "PixelRepresentation") == 1 or intercept < 0 or bool(pixels.min() < 0)


def _explanation(texts: list[Any], index: int) -> str:
    return str(texts[index])[:64] if index < len(texts) else ""


def _rescale(ds: Dataset, keyword: str, missing: float) -> float | None:
    """The number of an element; ``missing`` where it is absent or empty, None if no number."""
    if keyword not in ds:
        return missing
    try:
        raw = ds.get(keyword)
    except Exception:
        return None
    return missing if raw is None or raw == "" else number(raw)


def _wide(stored: NDArray[Any]) -> NDArray[Any]:
    """Floats that hold every stored value exactly."""
    return stored.astype(np.float32 if stored.dtype.itemsize <= 2 else np.float64)


def _plain(stored: NDArray[Any]) -> NDArray[Any]:
    if stored.dtype.kind == "u" and stored.dtype.itemsize <= 2:
        return stored.astype(np.uint16, copy=False)
    return stored.astype(np.float32, copy=False)


def _table(item: Dataset, *, signed: bool) -> Table | None:
    """LUTDescriptor and LUTData (PS3.3 C.11.1.1, C.11.2.1.1), or None where they make no sense.

    The descriptor holds the number of entries (0 stands for 65536), the first value mapped and
    the bits of an entry. Data comes as numbers or as packed bytes, one byte an entry where
    there are no more bytes than that.
    """
    descriptor = [number(part) for part in values(item, "LUTDescriptor")]
    data = value(item, "LUTData")
    if len(descriptor) != 3 or None in descriptor or data is None:
        return None
    count, first, bits = (int(part or 0) for part in descriptor)
    count = count & 0xFFFF or 65536
    first = _word(first, signed=signed)
    if not 1 <= bits <= 16:
        return None
    entries = _entries(item, data, count, bits)
    return None if len(entries) < count else Table(entries[:count], first, bits)


def _entries(item: Dataset, data: Any, count: int, bits: int) -> NDArray[np.uint16]:
    if not isinstance(data, bytes):
        numbers = data if isinstance(data, (list, tuple)) or hasattr(data, "__len__") else [data]
        return (np.asarray(numbers, np.int64) & 0xFFFF).astype(np.uint16)
    if bits <= 8 and len(data) in (count, count + count % 2):
        return np.frombuffer(data, np.uint8).astype(np.uint16)
    little = item.original_encoding[1] is not False
    whole = data[: len(data) // 2 * 2]
    return np.frombuffer(whole, "<u2" if little else ">u2").astype(np.uint16)
