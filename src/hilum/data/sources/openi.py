"""OpenI: the Indiana University chest X-rays, as XML reports or as the CSV pair.

XML (openi.nlm.nih.gov): ``ecgen-radiology/<n>.xml`` beside ``NLMCXR_png`` or DICOM files. CSV
(the Kaggle copy): ``indiana_reports.csv`` and ``indiana_projections.csv`` beside the images.
A patient has one report, so the report's uid stands for the patient (Demner-Fushman et al.,
JAMIA 2016: no patient occurs twice).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from hilum.codes import Code, HilumError
from hilum.data.pair import Film, Pair
from hilum.data.sources import Given
from hilum.data.sources.files import by_number, images_by_uid, position, rows
from hilum.study import Context

REPORTS, PROJECTIONS = "indiana_reports.csv", "indiana_projections.csv"
_LARGEST_XML = 1 << 20


def recognise(path: Path) -> bool:
    """The CSV of reports, or XML reports that hold an ``eCitation``."""
    if not path.is_dir():
        return False
    return (path / REPORTS).is_file() or next(_xml_files(path), None) is not None


def pairs(path: Path, given: Given) -> Iterator[Pair]:
    """A study a report, in the order of their numbers."""
    images = {} if given.text_only else images_by_uid(given.images or path)
    if (path / REPORTS).is_file():
        yield from _from_csv(path, images)
    else:
        yield from _from_xml(path, images)


def _from_csv(path: Path, images: dict[str, list[Path]]) -> Iterator[Pair]:
    positions: dict[str, str | None] = {}
    listed: dict[str, list[str]] = defaultdict(list)
    if (path / PROJECTIONS).is_file():
        for row in rows(path / PROJECTIONS, ("uid", "filename", "projection")):
            positions[row["filename"]] = position(row["projection"])
            listed[row["uid"]].append(row["filename"])
    for number, row in enumerate(rows(path / REPORTS, ("uid", "findings", "impression")), 2):
        uid = row["uid"]
        films = [Film(p, position=positions.get(p.name)) for p in images.get(uid, [])]
        if not films:  # what is listed and not there is named in the quarantine
            films = [Film(path / name) for name in listed[uid]]
        yield Pair(
            study_id=f"CXR{uid}",
            patient_id=f"CXR{uid}",
            films=tuple(films),
            findings=row["findings"],
            impression=row["impression"],
            language="en",
            context=Context(indication=row.get("indication") or None),
            where=f"{REPORTS} row {number}",
        )


def _xml_files(path: Path) -> Iterator[Path]:
    for folder in (path / "ecgen-radiology", path / "NLMCXR_reports" / "ecgen-radiology", path):
        files = sorted(folder.glob("*.xml"), key=lambda p: by_number(p.stem))
        if files and b"eCitation" in files[0].read_bytes()[:2000]:
            yield from files
            return


def _from_xml(path: Path, images: dict[str, list[Path]]) -> Iterator[Pair]:
    for file in _xml_files(path):
        yield _read_xml(file, images)


def _read_xml(file: Path, images: dict[str, list[Path]]) -> Pair:
    try:
        root = _parse(file)
    except HilumError as error:
        uid = f"CXR{file.stem}"
        return Pair(uid, uid, where=file.name, error=error)
    named = root.find(".//uId")
    uid = (named.get("id") if named is not None else None) or f"CXR{file.stem}"
    texts = {node.get("Label", ""): node.text or "" for node in root.iter("AbstractText")}
    captions = {
        image.get("id", ""): (image.findtext("caption") or "") for image in root.iter("parentImage")
    }
    found = {p.name.split(".")[0]: p for p in images.get(uid.removeprefix("CXR"), [])}
    films = [Film(found[name], position=None) for name in captions if name in found]
    films += [Film(p) for name, p in found.items() if name not in captions]
    missing = [Film(file.parent / f"{name}.png") for name in captions if name not in found]
    return Pair(
        study_id=uid,
        patient_id=uid,
        films=tuple(films + missing),
        findings=texts.get("FINDINGS", ""),
        impression=texts.get("IMPRESSION", ""),
        language="en",
        context=Context(indication=texts.get("INDICATION") or None),
        where=file.name,
    )


def _parse(file: Path) -> ElementTree.Element:
    content = file.read_bytes()
    if len(content) > _LARGEST_XML or re.search(rb"<!(?:DOCTYPE|ENTITY)", content):
        raise HilumError(Code.ROW_INVALID, file, "too large, or with a document type")
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError:
        raise HilumError(Code.ROW_INVALID, file, "no XML") from None
