"""A tree of DICOM (or other film) files with a text report beside each study.

The report of a study is the text file of the same name as one of its images, else ``report.txt``
or ``报告.txt`` in their folder or the one above, else the only text file in one of these. Studies
are told apart by StudyInstanceUID, patients by PatientID; both enter the dataset as hashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hilum import imaging
from hilum.codes import Code, HilumError
from hilum.data.pair import Film, Pair
from hilum.data.sources import Given
from hilum.data.sources.files import encoding_of
from hilum.data.sources.sections import split_sections
from hilum.data.sources.table import pseudonym
from hilum.imaging import StudyFiles
from hilum.study import Context

_NAMES = ("report.txt", "报告.txt")
_LARGEST = 1 << 20


def recognise(path: Path) -> bool:
    """A folder with DICOM files and text files."""
    if not path.is_dir() or next(path.rglob("*.txt"), None) is None:
        return False
    return any(f.suffix.lower() in (".dcm", ".dicom") for f in path.rglob("*") if f.is_file())


def pairs(path: Path, given: Given) -> Iterator[Pair]:
    """A study a StudyInstanceUID, in the order of the folders."""
    for files in imaging.scan([given.images or path]):
        yield _pair(files, path)


def _pair(files: StudyFiles, root: Path) -> Pair:
    where = str(files.paths[0].relative_to(root)) if files.paths[0].is_relative_to(root) else ""
    if files.error is not None:
        return Pair(files.id, files.id, where=where, error=files.error)
    patient = _patient(files.paths[0])
    report = _report(files.paths, root)
    if report is None:
        error = HilumError(Code.FILE_NOT_FOUND, where, "its report, such as report.txt beside it")
        return Pair(files.id, patient or files.id, where=where, error=error)
    said = split_sections(report)
    return Pair(
        study_id=files.id,
        patient_id=patient or files.id,
        films=tuple(Film(p) for p in files.paths),
        findings=said.findings,
        impression=said.impression,
        context=Context(indication=said.indication or None),
        where=where,
        flags=() if patient else (Code.PATIENT_UNKNOWN,),
    )


def _patient(path: Path) -> str | None:
    """A hash of PatientID; None where there is none, or no DICOM."""
    from hilum.imaging import children

    try:
        found = children.header(path, ["PatientID"])
    except HilumError:  # a header that cannot be read is refused when the film is
        return None
    values = [v for element in found.values() for v in element.get("Value", [])]
    number = str(values[0] or "").strip() if values else ""
    return pseudonym(number) if number else None


def _report(images: tuple[Path, ...], root: Path) -> str | None:
    for image in images:
        if image.with_suffix(".txt").is_file():
            return _read(image.with_suffix(".txt"))
    for folder in (images[0].parent, images[0].parent.parent):
        if not folder.is_relative_to(root):
            return None
        for name in _NAMES:
            if (folder / name).is_file():
                return _read(folder / name)
        texts = sorted(folder.glob("*.txt"))
        if len(texts) == 1:
            return _read(texts[0])
    return None


def _read(file: Path) -> str | None:
    if file.stat().st_size > _LARGEST:
        return None
    try:
        return file.read_text(encoding=encoding_of(file))
    except (HilumError, OSError):
        return None
