"""CheXpert Plus: ``df_chexpert_plus_240401.csv`` and images below ``PNG`` or ``DICOM``.

``path_to_image`` is ``train/patient42142/study5/view1_frontal.jpg``; the PNG of that name lies
below ``PNG``. ``report_fixed.json`` holds CheXbert's labels, a line an image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath

from hilum.codes import Code, HilumError
from hilum.data.pair import Film, Pair
from hilum.data.sources import Given
from hilum.data.sources.files import opened, position, rows
from hilum.data.sources.labels import pack, unpack
from hilum.study import Context

_SPLITS = {"train": "train", "valid": "validation", "val": "validation", "test": "test"}
_SEXES = {"male": "M", "m": "M", "female": "F", "f": "F"}
_LABELS = "report_fixed.json"


def recognise(path: Path) -> bool:
    """A folder with the table."""
    return path.is_dir() and _table(path) is not None


def pairs(path: Path, given: Given) -> Iterator[Pair]:
    """A study of one or more views. Raises ``source_invalid`` without the table."""
    table = _table(path)
    if table is None:
        raise HilumError(Code.SOURCE_INVALID, path, "no df_chexpert_plus_*.csv")
    needed = ("path_to_image", "deid_patient_id", "section_findings", "section_impression")
    folder = given.images or path
    root, labels = None, dict(_labels(path))
    for study, group in groupby(rows(table, needed), lambda r: _study(r["path_to_image"])):
        records = list(group)
        if len(PurePosixPath(study).parts) < 2 or ".." in PurePosixPath(study).parts:
            error = HilumError(Code.ROW_INVALID, "", "path_to_image")
            yield Pair(study or "?", study or "?", where=study, error=error)
            continue
        root = root or _root(folder, records[0])
        films = tuple(Film(_image(root, r), position=_position(r)) for r in records)
        yield _pair(study, records[0], films, labels.get(study, ""))


def _pair(study: str, row: dict[str, str], films: tuple[Film, ...], labels: str) -> Pair:
    parts = PurePosixPath(study).parts
    indication = row.get("section_clinical_history") or row.get("section_history")
    return Pair(
        study_id="_".join(parts[-2:]),
        patient_id=row["deid_patient_id"] or parts[-2],
        films=films,
        findings=row["section_findings"],
        impression=row["section_impression"],
        language="en",
        context=Context(
            age=_age(row.get("age", "")),
            sex=_SEXES.get(row.get("sex", "").lower()),
            indication=indication or None,
        ),
        published=unpack(labels),
        split=_SPLITS.get((row.get("split") or parts[0]).lower()),
        where=row["path_to_image"],
    )


def _table(path: Path) -> Path | None:
    return next(iter(sorted(path.glob("df_chexpert_plus_*.csv*"))), None)


def _study(image: str) -> str:
    parent = str(PurePosixPath(image).parent)
    return "" if parent == "." else parent


def _root(folder: Path, row: dict[str, str]) -> Path:
    """The folder that the paths begin in: the published archives nest it."""
    tries = [folder / sub for sub in ("PNG", "PNG/PNG", "DICOM", "DICOM/DICOM", "")]
    return next((root for root in tries if _image(root, row).is_file()), tries[0])


def _image(root: Path, row: dict[str, str]) -> Path:
    png = (root / row["path_to_image"]).with_suffix(".png")
    if png.is_file():
        return png
    dicom = root / (row.get("path_to_dcm") or row["path_to_image"])
    return dicom if ".." not in dicom.parts and dicom.is_file() else png


def _position(row: dict[str, str]) -> str | None:
    return position(row.get("ap_pa")) or position(row.get("frontal_lateral"))


def _age(text: str) -> int | None:
    try:
        age = int(float(text))
    except ValueError:
        return None
    return age if 0 <= age <= 130 else None


def _labels(path: Path) -> Iterator[tuple[str, str]]:
    for file in sorted(path.rglob(_LABELS))[:1]:
        with opened(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                    yield _study(row["path_to_image"]), pack(row)
                except (ValueError, KeyError, TypeError, AttributeError):
                    continue
