"""MIMIC-CXR and MIMIC-CXR-JPG, version 2.

``files/p10/p10000032/s50414267/<dicom_id>.jpg`` (or ``.dcm``), listed by
``mimic-cxr-2.*-metadata.csv.gz`` (or ``cxr-record-list.csv.gz``); reports in
``files/p10/p10000032/s50414267.txt`` below the same folder, below ``mimic-cxr-reports``, or in
``mimic-cxr-reports.zip``; ``-split`` and ``-chexpert`` CSVs where they are there.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from hilum.codes import Code, HilumError
from hilum.data.pair import Film, Pair
from hilum.data.sources import Given
from hilum.data.sources.files import position, rows
from hilum.data.sources.labels import pack, unpack
from hilum.data.sources.sections import split_sections
from hilum.study import Context

_SPLITS = {"train": "train", "validate": "validation", "test": "test"}
_RECORDS = "cxr-record-list.csv*"
_ZIP = "mimic-cxr-reports.zip"


def recognise(path: Path) -> bool:
    """A folder with the list of images."""
    return path.is_dir() and _list_of_images(path) is not None


def pairs(path: Path, given: Given) -> Iterator[Pair]:
    """A study a report, in the order of the list of images.

    The list names a study's images one after another, as published. CheXpert's labels are
    compared with the labeler's and decide nothing. Raises ``source_invalid`` without the list.
    """
    table = _list_of_images(path)
    if table is None:
        raise HilumError(Code.SOURCE_INVALID, path, "no metadata or record list of MIMIC-CXR")
    splits = {
        r["study_id"]: _SPLITS.get(r["split"].lower())
        for r in _optional(path, "split", ("study_id", "split"))
    }
    labels = {r["study_id"]: pack(r) for r in _optional(path, "chexpert", ("study_id",))}
    images = given.images or path
    suffix = None
    report_of = _reports(path)
    needed = ("dicom_id", "subject_id", "study_id")
    for key, group in groupby(rows(table, needed), lambda r: (r["subject_id"], r["study_id"])):
        records = list(group)
        subject, study = key
        folder = images / _folder(subject) / f"s{study}"
        suffix = suffix or _suffix(folder, records[0]["dicom_id"])
        films = [
            Film(folder / f"{r['dicom_id']}{suffix}", position=position(r.get("ViewPosition")))
            for r in records
        ]
        yield _pair(subject, study, films, report_of, splits.get(study), labels.get(study, ""))


def _pair(
    subject: str,
    study: str,
    films: list[Film],
    report_of: Callable[[str], str | None],
    split: str | None,
    labels: str,
) -> Pair:
    name = f"{_folder(subject)}/s{study}.txt"
    text = report_of(name)
    if text is None:
        error = HilumError(Code.FILE_NOT_FOUND, name, "the report")
        return Pair(f"s{study}", f"p{subject}", where=name, error=error)
    said = split_sections(text)
    return Pair(
        study_id=f"s{study}",
        patient_id=f"p{subject}",
        films=tuple(films),
        findings=said.findings,
        impression=said.impression,
        language="en",
        context=Context(indication=said.indication or None),
        published=unpack(labels),
        split=split,
        where=name,
    )


def _folder(subject: str) -> str:
    return f"files/p{subject[:2]}/p{subject}"


def _suffix(folder: Path, name: str) -> str:
    return ".dcm" if (folder / f"{name}.dcm").is_file() else ".jpg"


def _list_of_images(path: Path) -> Path | None:
    for pattern in ("mimic-cxr-2.*-metadata.csv*", _RECORDS):
        for found in sorted(path.glob(pattern)):
            return found
    return None


def _optional(path: Path, kind: str, needed: tuple[str, ...]) -> Iterator[dict[str, str]]:
    for table in sorted(path.glob(f"mimic-cxr-2.*-{kind}.csv*"))[:1]:
        yield from rows(table, needed)


def _reports(path: Path) -> Callable[[str], str | None]:
    """A function that gives a report by its name, or None."""
    archive = path / _ZIP
    packed = zipfile.ZipFile(archive) if archive.is_file() else None
    folders = [path, path / "mimic-cxr-reports"]

    def read(name: str) -> str | None:
        for folder in folders:
            try:
                return (folder / name).read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
        if packed is not None:
            for inside in (name, f"mimic-cxr-reports/{name}"):
                try:
                    return packed.read(inside).decode("utf-8", errors="replace")
                except (KeyError, zipfile.BadZipFile, RuntimeError):
                    continue
        return None

    return read
