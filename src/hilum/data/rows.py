"""A dataset to be judged on: its references, its films and its hash, study by study.

Three forms are opened: what ``hilum prepare`` wrote, a folder of ``hilum phantom``, and a ReXrank
JSON file. Films are read one at a time, so a dataset may be larger than memory.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from hilum import imaging
from hilum.codes import Code, HilumError
from hilum.data.build import DATA
from hilum.data.pair import join
from hilum.data.prepare import CARD
from hilum.data.schema import SPLITS
from hilum.data.sources.phantom import TRUTH
from hilum.findings import Finding
from hilum.language import label
from hilum.language.words import language_of
from hilum.report import LANGUAGES, Language
from hilum.study import Context, Study, View, Window

ALL = "all"
EIGHT_BITS = Window(center=128, width=256)


@dataclass(frozen=True)
class Reference:
    """What is known of one study before any reader sees it.

    ``source`` says who knows the findings: truth, expert or labeler. ``sizes``: rows and columns
    of each original film, in whose pixels the boxes are; none where the film is the original.
    ``text`` is empty where there is none in a language that the labeler reads.
    """

    study_id: str
    patient_id: str
    findings: list[Finding]
    source: str
    text: str
    language: Language
    context: Context = field(default_factory=Context)
    positions: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()


class Dataset(Protocol):
    """References without films, then films; both in one order."""

    name: str
    sha256: str
    split: str
    licence: str

    def references(self) -> list[Reference]:
        """Every study, without its films."""
        ...

    def studies(self, start: int = 0) -> Iterator[Study | HilumError]:
        """The films of every study from number ``start`` on, or why they cannot be read."""
        ...


def open_dataset(path: Path, split: str = "test", images: Path | None = None) -> Dataset:
    """Open a dataset to judge on. ``split``: train, validation, test or all.

    ``images``: where a ReXrank file's images lie, if not beside it. Raises ``file_not_found``,
    ``dataset_invalid`` for anything else than the three forms, for a split without studies and
    for a study id that stands twice.
    """
    if not path.exists():
        raise HilumError(Code.FILE_NOT_FOUND, path)
    try:
        if (path / CARD).is_file():
            found: Dataset = Prepared(path, split)
        elif (path / TRUTH).is_file():
            found = Phantoms(path)
        elif path.is_file() and path.suffix.lower() == ".json":
            found = Rexrank(path, images or path.parent)
        else:
            detail = "a folder of hilum prepare or hilum phantom, or a ReXrank .json"
            raise HilumError(Code.DATASET_INVALID, path, detail)
        ids = [reference.study_id for reference in found.references()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HilumError(Code.DATASET_INVALID, path, type(error).__name__) from error
    if not ids:
        raise HilumError(Code.DATASET_INVALID, path, f"no study in split {split}; try --split all")
    if len(set(ids)) < len(ids):
        raise HilumError(Code.DATASET_INVALID, path, "a study id stands twice")
    return found


class Prepared:
    """A folder of ``hilum prepare``."""

    def __init__(self, folder: Path, split: str) -> None:
        if split not in (*SPLITS, ALL):
            detail = f"choose one of {', '.join((*SPLITS, ALL))}"
            raise HilumError(Code.OPTION_INVALID, "--split", detail)
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        self.name, self.split, self.licence = folder.name, split, card["facts"]["licence"]
        wanted = SPLITS if split == ALL else (split,)
        self.files = [f for s in wanted for f in sorted((folder / DATA).glob(f"{s}-*.parquet"))]
        self.sha256 = _digest(self.files)

    def references(self) -> list[Reference]:
        """Every study, without its films."""
        columns = ["study_id", "patient_id", "findings", "findings_source", "report", "context"]
        columns += ["views"]
        return [_reference(row) for row in self._rows(columns, 0, 1024)]

    def studies(self, start: int = 0) -> Iterator[Study | HilumError]:
        """The films of every study from number ``start`` on, or why they cannot be read."""
        for row in self._rows(["study_id", "context", "images", "views"], start, 16):
            try:
                yield study_of(row)
            except HilumError as error:
                yield error

    def _rows(self, columns: list[str], start: int, batch: int) -> Iterator[dict[str, Any]]:
        for path in self.files:
            file = pq.ParquetFile(path)
            if start >= file.metadata.num_rows:
                start -= file.metadata.num_rows
                continue
            for some in file.iter_batches(batch_size=batch, columns=columns):
                if start < len(some):
                    yield from some.slice(start).to_pylist()
                start = max(0, start - len(some))


def _reference(row: dict[str, Any]) -> Reference:
    report = row["report"]
    spoken = report["language"] in LANGUAGES
    return Reference(
        study_id=row["study_id"],
        patient_id=row["patient_id"],
        findings=[Finding.model_validate(finding) for finding in row["findings"]],
        source=row["findings_source"] or "labeler",
        text=join(report["findings"], report["impression"]) if spoken else "",
        language=report["language"] if spoken else "en",
        context=Context.model_validate(row["context"]),
        positions=tuple(view["position"] or "" for view in row["views"]),
        sizes=tuple((view["rows"], view["columns"]) for view in row["views"]),
    )


def study_of(row: dict[str, Any]) -> Study:
    """A row of a dataset as a study: 8-bit films as they are looked at, boxes in their pixels.

    Raises ``no_images`` and, for bytes that are no picture, ``file_damaged``.
    """
    if not row["images"]:
        raise HilumError(Code.NO_IMAGES, row["study_id"])
    pairs = zip(row["images"], row["views"], strict=True)
    views = [_view(image["bytes"], view, row["study_id"]) for image, view in pairs]
    return Study(id=row["study_id"], views=views, context=Context.model_validate(row["context"]))


def _view(data: bytes, about: dict[str, Any], study_id: str) -> View:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            pixels = np.asarray(image.convert("L")).astype(np.uint16)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise HilumError(Code.FILE_DAMAGED, study_id, type(error).__name__) from error
    size = about["mm_per_pixel"]
    return View(
        pixels=pixels,
        position=about["position"],
        mm_per_pixel=size * about["columns"] / pixels.shape[1] if size else None,
        voi=[EIGHT_BITS],
        simulated=bool(about["simulated"]),
    )


class Phantoms:
    """A folder of ``hilum phantom``; every film is a study, and all are one split."""

    split, licence = ALL, "Apache-2.0"

    def __init__(self, folder: Path) -> None:
        self.name, self.folder = folder.name, folder
        lines = (folder / TRUTH).read_text(encoding="utf-8").splitlines()
        self.rows = [json.loads(line) for line in lines if line.strip()]
        self.sha256 = _digest([folder / TRUTH, *self._paths()])

    def _paths(self) -> list[Path]:
        return [self.folder / Path(row["path"]).name for row in self.rows]

    def references(self) -> list[Reference]:
        """Every study, without its films; reports in English."""
        return [
            Reference(
                study_id=Path(row["path"]).stem,
                patient_id=str(row["patient_id"]),
                findings=[Finding.model_validate(finding) for finding in row["findings"]],
                source="truth",
                text=row["report"]["en"],
                language="en",
                positions=(row.get("position") or "",),
            )
            for row in self.rows
        ]

    def studies(self, start: int = 0) -> Iterator[Study | HilumError]:
        """The films of every study from number ``start`` on, or why they cannot be read."""
        for path in self._paths()[start:]:
            yield _load([path])


class Rexrank:
    """ReXrank's JSON: study id to images, context and reference report (rexrank.ai).

    Findings are what the labeler reads in the reference.
    """

    split, licence = ALL, "as its source"

    def __init__(self, path: Path, images: Path) -> None:
        self.name, self.images = path.stem, images
        self.rows: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(row, dict) for row in self.rows.values()):
            raise ValueError("an entry that is no object")
        self.sha256 = _digest([path])

    def references(self) -> list[Reference]:
        """Every study with its reference report, without its films."""
        found = []
        for study_id, row in self.rows.items():
            sections = ("findings", "impression")
            text = join(*(str(row.get(f"section_{s}") or row.get(s) or "") for s in sections))
            language = language_of(text)
            found.append(
                Reference(
                    study_id=study_id,
                    patient_id=str(row.get("subject_id") or study_id),
                    findings=label(text, language),
                    source="labeler",
                    text=text,
                    language=language,
                    context=_context(row.get("context")),
                    positions=tuple(_listed(row.get("frontal_lateral"))),
                )
            )
        return found

    def studies(self, start: int = 0) -> Iterator[Study | HilumError]:
        """The key image of every study from number ``start`` on, or why it cannot be read."""
        for study_id, row in list(self.rows.items())[start:]:
            names = _listed(row.get("key_image_path")) or _listed(row.get("image_path"))[:1]
            paths = [self.images / name.lstrip("/") for name in names]
            if not paths:
                yield HilumError(Code.NO_IMAGES, study_id)
            elif any(not p.resolve().is_relative_to(self.images.resolve()) for p in paths):
                yield HilumError(Code.FILE_NOT_FOUND, study_id, "an image outside of its folder")
            else:
                yield _load(paths)


def _context(given: object) -> Context:
    """Age in years and sex of ReXrank's context, a dictionary or words; the rest is left alone."""
    if isinstance(given, dict):
        given = ". ".join(f"{name}: {value}" for name, value in given.items())
    words = str(given or "")
    age = re.search(r"age:\s*(\d{1,3})\b", words, re.IGNORECASE)
    sex = re.search(r"(?:gender|sex):\s*([FM])", words, re.IGNORECASE)
    years = int(age[1]) if age else None
    return Context(
        age=years if years is not None and years <= 130 else None,
        sex=sex[1].upper() if sex else None,
    )


def _listed(value: object) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    return [str(v) for v in value if v] if isinstance(value, list) else []


def _load(paths: Sequence[Path]) -> Study | HilumError:
    try:
        return imaging.load_study(paths)
    except HilumError as error:
        return error


def _digest(paths: Sequence[Path]) -> str:
    """One hash of names and contents; a file that is missing is hashed as such."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode("utf-8", "backslashreplace"))
        if path.is_file():
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
