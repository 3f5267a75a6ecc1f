"""A CT or MR series, from a DICOM folder or a NIfTI file, in patient order.

Patient order: slices from the feet up for axial series, from right to left for sagittal and from
front to back for coronal ones; rows run down and columns to the right of the usual picture.
Coordinates are DICOM's, in mm: x to the patient's left, y to the back, z to the head (PS3.3
C.7.6.2.1.1). NIfTI files are turned to the nearest axial orientation.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from hilum.codes import Code, HilumError
from hilum.findings import Record
from hilum.study import VoiFunction, Window

Wide = NDArray[np.float64]
Triple = tuple[float, float, float]

MAX_VOXELS = 400_000_000
"""Most voxels of one volume: 1500 slices of 512 x 512, 1.6 GB."""

TILT = 0.5
"""Degrees by which slices may slide against their normal before it is called a tilt."""

UNEVEN = 0.1
"""Share of the usual distance by which two neighbours may differ from it."""

SAME_PLACE = 0.01
"""Distance in mm below which two slices lie at the same place."""

# Centre and width in HU. Lung and bone: Radiopaedia, "Windowing (CT)"; mediastinum likewise
# ("mediastinum W:350 L:50").
WINDOWS: dict[str, Window] = {
    "lung": Window(center=-600, width=1500, explanation="lung"),
    "mediastinum": Window(center=50, width=350, explanation="mediastinum"),
    "bone": Window(center=400, width=1800, explanation="bone"),
}

NIFTI = (".nii", ".nii.gz")


class Volume(Record):
    """Voxels (slices, rows, columns), float32, after the Modality LUT: HU for CT.

    ``spacing``: mm between slices, rows, columns. ``directions``: unit vectors along which
    the three indices rise; the first is the slices' normal. ``places``: of every
    slice along that normal, in mm, rising. ``warnings``: ``gantry_tilt`` where slices
    slide against each other, ``missing_slices`` where they are not evenly spaced
    (``spacing`` is then the usual distance).
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    voxels: Annotated[NDArray[np.float32], Field(repr=False)]
    modality: str
    spacing: Triple
    origin: Triple
    directions: tuple[Triple, Triple, Triple]
    places: Annotated[list[float], Field(repr=False)]
    warnings: list[Code] = Field(default_factory=list)

    def slices(
        self, window: str | Window | None = None, count: int | None = None
    ) -> NDArray[np.uint8]:
        """Pictures (n, rows, columns), 0..255, ``count`` of them evenly spread, or all.

        ``window``: a name of :data:`WINDOWS` or one's own. Without it the 0.5th to the 99.5th
        percentile of the volume is shown, as for MR, whose values have no unit. Raises
        ``option_invalid`` for an unknown name or a count below 1.
        """
        if count is not None and count < 1:
            raise HilumError(Code.OPTION_INVALID, "count", "at least 1")
        total = len(self.voxels)
        wanted = total if count is None else min(count, total)
        chosen = (2 * np.arange(wanted) + 1) * total // (2 * wanted)
        picked = self.voxels if wanted == total else self.voxels[chosen]
        shown = self._window(window)
        return np.stack([np.rint(shown.apply(one) * 255).astype(np.uint8) for one in picked])

    def _window(self, window: str | Window | None) -> Window:
        if isinstance(window, Window):
            return window
        if window is not None:
            if window not in WINDOWS:
                raise HilumError(Code.OPTION_INVALID, "window", f"one of {', '.join(WINDOWS)}")
            return WINDOWS[window]
        thin = self.voxels[:, ::4, ::4]
        low, high = (float(v) for v in np.percentile(thin, (0.5, 99.5)))
        return Window(
            center=(low + high) / 2, width=max(high - low, 1.0), function=VoiFunction.LINEAR_EXACT
        )


def load(source: str | Path | Iterable[str | Path], series: int | None = None) -> Volume:
    """Load a NIfTI file, or the DICOM files of a folder or list.

    Where there are several series, ``series`` chooses one, counted from 1, the one with most
    slices first. Files that are no image are passed over; a copy of a slice (the same SOP
    Instance UID) counts once.

    Raises ``HilumError``: what :func:`hilum.imaging.load` raises for a file that cannot be read;
    ``mixed_series`` for several series and no choice; ``geometry_missing``; ``slices_disagree``
    (size, pixel spacing or orientation), ``duplicate_slices`` for two at one place,
    ``several_frames``, ``too_many_pixels``, ``not_a_volume`` for fewer than two slices or a
    file that is neither; ``extra_missing`` for NIfTI without nibabel.
    """
    if isinstance(source, str | Path) and str(source).lower().endswith(NIFTI):
        return _nifti(Path(source))
    return _dicom(source, series)


@dataclass(frozen=True)
class _Slice:
    """One slice's place, from its header."""

    path: Path
    series: str
    instance: str
    position: Wide
    rows: Wide  # direction in which rows run, that is from column to column
    columns: Wide
    spacing: tuple[float, float]
    shape: tuple[int, int]
    modality: str

    @property
    def normal(self) -> Wide:
        """Unit vector across the slice, towards the head, left or back, whichever it is nearest.

        For an axial slice of a patient on the back this is rows x columns itself.
        """
        across = np.cross(self.rows, self.columns)
        return across * np.sign(across[int(np.argmax(np.abs(across)))])


def _dicom(source: str | Path | Iterable[str | Path], series: int | None) -> Volume:
    from hilum.imaging import children

    every = _headers(source)
    chosen = _one_series(every, series, source)
    _agree(chosen)
    normal = chosen[0].normal
    chosen.sort(key=lambda s: float(s.position @ normal))
    places = np.array([float(s.position @ normal) for s in chosen])
    gaps = np.diff(places)
    if (gaps < SAME_PLACE).any():
        k = int(np.argmin(gaps))
        detail = f"{int((gaps < SAME_PLACE).sum())} pairs, the first at {places[k]:.2f} mm"
        raise HilumError(Code.DUPLICATE_SLICES, chosen[k].path.parent, detail)
    rows, columns = chosen[0].shape
    if len(chosen) * rows * columns > MAX_VOXELS:
        detail = f"{len(chosen)} x {rows} x {columns}, at most {MAX_VOXELS} voxels"
        raise HilumError(Code.TOO_MANY_PIXELS, chosen[0].path.parent, detail)
    voxels = np.empty((len(chosen), rows, columns), np.float32)
    warnings: list[Code] = []
    for k, one in enumerate(chosen):
        view, _ = children.read(one.path)
        if view.pixels.shape != (rows, columns):
            raise HilumError(Code.SLICES_DISAGREE, one.path, "size")
        voxels[k] = view.pixels
        warnings += view.warnings
    slides = np.array([s.position for s in chosen]) - places[:, None] * normal
    first, last = chosen[0], slides[-1] - slides[0]
    if math.degrees(math.atan2(float(np.linalg.norm(last)), float(places[-1] - places[0]))) > TILT:
        warnings.append(Code.GANTRY_TILT)
    usual = float(np.median(gaps))
    if (np.abs(gaps - usual) > UNEVEN * usual).any():
        warnings.append(Code.MISSING_SLICES)
    return Volume(
        voxels=voxels,
        modality=first.modality,
        spacing=(usual, *first.spacing),
        origin=_triple(first.position),
        directions=(_triple(normal), _triple(first.columns), _triple(first.rows)),
        places=[float(p) for p in places],
        warnings=list(dict.fromkeys(warnings)),
    )


def _headers(source: str | Path | Iterable[str | Path]) -> list[_Slice]:
    """The slices among the files, each once."""
    from hilum.imaging.files import scan

    given = [source] if isinstance(source, str | Path) else list(source)
    found: dict[str, _Slice] = {}
    for files in scan(given):
        if files.error is not None:
            raise files.error
        for path in files.paths:
            one = _header(path)
            if one is not None:
                found.setdefault(one.instance or str(path), one)
    return list(found.values())


def _header(path: Path) -> _Slice | None:
    """One file's place; None for an object without an image."""
    from pydicom.dataset import Dataset

    from hilum.imaging import children
    from hilum.imaging.header import code_string, integer, number, uid, value, values

    keywords = (
        "SOPClassUID SOPInstanceUID SeriesInstanceUID Modality Rows Columns NumberOfFrames"
        " ImagePositionPatient ImageOrientationPatient PixelSpacing"
    )
    try:
        ds = Dataset.from_json(children.header(path, keywords.split()))
    except HilumError as error:
        if error.code is Code.FORMAT_UNKNOWN:
            raise HilumError(Code.NOT_A_VOLUME, path, "neither DICOM nor NIfTI") from error
        raise
    if "Rows" not in ds:
        return None
    if (integer(ds, "NumberOfFrames") or 1) > 1:
        raise HilumError(Code.SEVERAL_FRAMES, path)

    def numbers(keyword: str, count: int) -> Wide:
        found = [number(part) for part in values(ds, keyword)]
        if len(found) != count or any(part is None for part in found):
            raise HilumError(Code.GEOMETRY_MISSING, path, keyword)
        return np.array(found, np.float64)

    orientation = numbers("ImageOrientationPatient", 6).reshape(2, 3)
    lengths = np.linalg.norm(orientation, axis=1)
    if abs(lengths - 1).max() > 0.01 or abs(orientation[0] @ orientation[1]) > 0.01:
        raise HilumError(Code.GEOMETRY_MISSING, path, "ImageOrientationPatient is no right angle")
    down, across = numbers("PixelSpacing", 2)
    if min(down, across) <= 0:
        raise HilumError(Code.GEOMETRY_MISSING, path, "PixelSpacing")
    return _Slice(
        path=path,
        series=uid(value(ds, "SeriesInstanceUID")),
        instance=uid(value(ds, "SOPInstanceUID")),
        position=numbers("ImagePositionPatient", 3),
        rows=orientation[0] / lengths[0],
        columns=orientation[1] / lengths[1],
        spacing=(float(down), float(across)),
        shape=(integer(ds, "Rows") or 0, integer(ds, "Columns") or 0),
        modality=code_string(ds, "Modality"),
    )


def _one_series(every: list[_Slice], series: int | None, source: Any) -> list[_Slice]:
    """The slices of the only series, or of the one that was asked for."""
    groups: dict[str, list[_Slice]] = defaultdict(list)
    for one in every:
        groups[one.series].append(one)
    ranked = sorted(groups.values(), key=len, reverse=True)
    sizes = ", ".join(str(len(group)) for group in ranked)
    subject = source if isinstance(source, str | Path) else ""
    if len(ranked) > 1 and series is None:
        detail = f"{len(ranked)} series of {sizes} slices; choose one with series=1, 2, ..."
        raise HilumError(Code.MIXED_SERIES, subject, detail)
    if series is not None and not 1 <= series <= len(ranked):
        raise HilumError(Code.OPTION_INVALID, "series", f"there are {len(ranked)}")
    chosen = ranked[(series or 1) - 1] if ranked else []
    if len(chosen) < 2:
        raise HilumError(Code.NOT_A_VOLUME, subject, f"{len(chosen)} slices, at least 2")
    return chosen


def _agree(slices: list[_Slice]) -> None:
    """All slices are parallel, of one size and one pixel spacing."""
    first = slices[0]
    for one in slices[1:]:
        differs = {
            "size": one.shape != first.shape,
            "pixel spacing": not np.allclose(one.spacing, first.spacing, rtol=1e-3),
            "orientation": not np.allclose(
                [one.rows, one.columns], [first.rows, first.columns], atol=1e-3
            ),
            "modality": one.modality != first.modality,
        }
        for name, wrong in differs.items():
            if wrong:
                raise HilumError(Code.SLICES_DISAGREE, one.path, name)


def _triple(vector: Wide) -> Triple:
    x, y, z = (float(v) + 0.0 for v in vector)
    return x, y, z


def _nifti(path: Path) -> Volume:
    from importlib.util import find_spec

    from hilum.imaging import children

    if find_spec("nibabel") is None:
        detail = "install it with: pip install 'hilum[volume]'"
        raise HilumError(Code.EXTRA_MISSING, path, detail)
    if not path.is_file():
        raise HilumError(Code.FILE_NOT_FOUND, path)
    return _from_ras(*children.nifti(path, MAX_VOXELS), path)


def _from_ras(voxels: NDArray[np.float32], affine: Wide, path: Path) -> Volume:
    """A volume of what :func:`hilum.imaging.nifti.read` answers."""
    steps = affine[:3, :3] * np.array([[-1.0], [-1.0], [1.0]])  # LPS of RAS
    lengths = np.linalg.norm(steps, axis=0)
    if min(lengths) < 1e-6:
        raise HilumError(Code.GEOMETRY_MISSING, path, "the affine is singular")
    last_row, last_column = voxels.shape[1] - 1, voxels.shape[2] - 1
    corner = (affine @ np.array([last_column, last_row, 0, 1]))[:3]
    along = steps / lengths
    rows, columns, up = -along[:, 0], -along[:, 1], along[:, 2]
    normal = np.cross(rows, columns)
    normal *= np.sign(normal @ up)
    distance = float(lengths[2] * (normal @ up))
    slide = math.degrees(math.acos(min(1.0, float(normal @ up))))
    origin = corner * np.array([-1, -1, 1])
    first = float(origin @ normal)
    return Volume(
        voxels=voxels,
        modality="",
        spacing=(distance, float(lengths[1]), float(lengths[0])),
        origin=_triple(origin),
        directions=(_triple(normal), _triple(columns), _triple(rows)),
        places=[first + distance * k for k in range(len(voxels))],
        warnings=[Code.GANTRY_TILT] if slide > TILT else [],
    )
