"""Phantoms: a folder that ``hilum phantom`` wrote, with truth.jsonl. The findings are truth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from hilum.codes import Code, HilumError
from hilum.data.pair import Film, Pair
from hilum.data.sources import Given
from hilum.findings import Finding

TRUTH = "truth.jsonl"


def recognise(path: Path) -> bool:
    """A folder with truth.jsonl."""
    return (path / TRUTH).is_file()


def pairs(path: Path, given: Given) -> Iterator[Pair]:
    """A study a line of truth.jsonl; the report in ``given.language``, English by default."""
    language = given.language or "en"
    try:
        file = (path / TRUTH).open(encoding="utf-8")
    except OSError:
        raise HilumError(Code.SOURCE_INVALID, path, f"no {TRUTH}") from None
    with file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _pair(path, line, number, language)


def _pair(folder: Path, line: str, number: int, language: str) -> Pair:
    where = f"{TRUTH} line {number}"
    try:
        row = json.loads(line)
        name = Path(row["path"]).name  # never out of the folder
        views = [row, *row.get("views", [])] if "views" in row else [row]
        return Pair(
            study_id=Path(name).stem,
            patient_id=str(row["patient_id"]),
            films=tuple(Film(folder / Path(v["path"]).name, position=v["position"]) for v in views),
            findings=row["report"][language],
            language=language,
            truth=[Finding.model_validate(finding) for finding in row["findings"]],
            where=where,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = HilumError(Code.ROW_INVALID, "", type(error).__name__)
        return Pair(f"line-{number}", f"line-{number}", where=where, error=problem)
