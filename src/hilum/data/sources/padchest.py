"""PadChest: one CSV, images below numbered folders, reports in Spanish, labels in English.

``PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv`` (gzipped or not); an image is
``<ImageDir>/<ImageID>`` or lies flat. The findings are PadChest's labels: of physicians for 27 %
of the studies (``expert``), of its own network for the rest (``labeler``).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from hilum.codes import Code, HilumError
from hilum.data.pair import Film, Pair
from hilum.data.sources import Given
from hilum.data.sources.files import position, rows
from hilum.data.sources.labels import padchest_findings
from hilum.study import Context

_KEPT = (
    "ImageID ImageDir StudyDate_DICOM PatientID PatientBirth PatientSex_DICOM Projection"
    " Report MethodLabel Labels LabelsLocalizationsBySentence"
).split()


def recognise(path: Path) -> bool:
    """A folder with PadChest's CSV."""
    return path.is_dir() and _table(path) is not None


def pairs(path: Path, given: Given) -> Iterator[Pair]:
    """A study of one or more images, at the place of its first. Raises ``source_invalid``."""
    table = _table(path)
    if table is None:
        raise HilumError(Code.SOURCE_INVALID, path, "no PADCHEST_*.csv")
    needed = ("ImageID", "StudyID", "PatientID", "Projection", "Report", "Labels")
    studies: dict[str, list[tuple[str, ...]]] = {}
    for row in rows(table, needed):
        kept = tuple(row.get(name, "") for name in _KEPT)
        studies.setdefault(row["StudyID"], []).append(kept)
    folder = given.images or path
    for study, records in studies.items():
        yield _pair(study, [dict(zip(_KEPT, r, strict=True)) for r in records], folder)


def _table(path: Path) -> Path | None:
    return next(iter(sorted(path.glob("PADCHEST_*.csv*"))), None)


def _pair(study: str, records: list[dict[str, str]], folder: Path) -> Pair:
    first = records[0]
    films = tuple(Film(_image(folder, r), position=position(r["Projection"])) for r in records)
    truth = padchest_findings(_sentences(first))
    return Pair(
        study_id=study,
        patient_id=first["PatientID"] or study,
        films=films,
        findings=first["Report"],
        language="es",
        context=Context(age=_age(first), sex=_sex(first["PatientSex_DICOM"])),
        truth=truth,
        truth_source="expert" if first["MethodLabel"].lower() == "physician" else "labeler",
        where=first["ImageID"],
        flags=() if truth else (Code.NOTHING_SAID,),
    )


def _image(folder: Path, record: dict[str, str]) -> Path:
    name = Path(record["ImageID"]).name
    nested = folder / Path(record["ImageDir"]).name / name
    return nested if record["ImageDir"] and nested.exists() else folder / name


def _sentences(record: dict[str, str]) -> list[list[str]]:
    """Labels with their locations, a list a sentence; the plain labels where that is broken."""
    try:
        parsed = ast.literal_eval(record["LabelsLocalizationsBySentence"])
        if isinstance(parsed, list) and all(isinstance(s, list) for s in parsed):
            return [[str(word) for word in sentence] for sentence in parsed]
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    return [[label] for label in re.findall(r"'([^']+)'", record["Labels"])]


def _age(record: dict[str, str]) -> int | None:
    """Year of the study less year of birth: PadChest publishes no day of birth."""
    try:
        age = int(record["StudyDate_DICOM"][:4]) - int(float(record["PatientBirth"]))
    except ValueError:
        return None
    return age if 0 <= age <= 130 else None


def _sex(word: str) -> str | None:
    return word if word in ("F", "M", "O") else None
