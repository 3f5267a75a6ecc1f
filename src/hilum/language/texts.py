"""Files of reports: txt, csv and jsonl, in UTF-8 or GBK, one row a report."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hilum.codes import Code, HilumError

# Names a column of reports goes by; the first one present is taken.
COLUMNS = ("text", "report", "caption", "findings", "报告", "影像所见", "所见", "检查所见")
IDS = ("id", "study_id", "study", "uid", "image_id", "编号", "检查号")
LARGEST_FIELD = 16 * 2**20


class Row(NamedTuple):
    """One report: its id, its text, and what was wrong with its line."""

    id: str
    text: str
    error: Code | None = None


def load(path: Path, column: str | None = None) -> list[Row]:
    """Every report of a file, in order; a line that cannot be read is a row with its code.

    txt: the whole file is one report. csv: ``column``, or the first of ``COLUMNS``, or the only
    one. jsonl: the same by key; json: a list of objects, also below "annotations". Ids are the
    column of ``IDS`` or the row's number from 1. Raises ``file_not_found``, ``file_empty``,
    ``file_unreadable``, ``file_damaged`` (neither UTF-8 nor GBK text, or no table),
    ``format_unknown`` and ``option_invalid`` (no such column).
    """
    text = _decoded(path)
    match path.suffix.lower():
        case ".txt" | "":
            return [Row(path.stem or "1", text)]
        case ".csv" | ".tsv":
            return list(_csv(path, text, column))
        case ".jsonl" | ".ndjson":
            return list(_objects(path, _lines(text), column))
        case ".json":
            return list(_objects(path, iter(_listed(path, text)), column))
    raise HilumError(Code.FORMAT_UNKNOWN, path.name, "give a txt, csv, tsv, jsonl or json file")


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise HilumError(Code.FILE_NOT_FOUND, path) from error
    except OSError as error:
        raise HilumError(Code.FILE_UNREADABLE, path, error.strerror or "") from error
    if not content.strip():
        raise HilumError(Code.FILE_EMPTY, path)
    if b"\0" in content[:4096] and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise HilumError(Code.FILE_DAMAGED, path, "binary, not text")
    for encoding in (
        "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig",
        "gb18030",
    ):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise HilumError(Code.FILE_DAMAGED, path, "neither UTF-8 nor GBK text")


def _csv(path: Path, text: str, column: str | None) -> Iterator[Row]:
    csv.field_size_limit(LARGEST_FIELD)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = list(rows.fieldnames or [])
        wanted = _column(path, names, column)
        ids = next((n for n in IDS if n in names and n != wanted), None)
        for number, row in enumerate(rows, 1):
            value = row.get(wanted)
            yield Row(_id(row.get(ids) if ids else None, number), value or "")
    except csv.Error as error:
        raise HilumError(Code.FILE_DAMAGED, path, "not a table") from error


def _column(path: Path, names: list[str], wanted: str | None) -> str:
    known = ", ".join(names[:12]) or "none"
    if wanted is not None:
        if wanted in names:
            return wanted
        raise HilumError(Code.OPTION_INVALID, path.name, f"no column {wanted}; it has {known}")
    if len(names) == 1:
        return names[0]
    for name in COLUMNS:
        if name in names:
            return name
    raise HilumError(Code.OPTION_INVALID, path.name, f"name --text-column, one of {known}")


def _lines(text: str) -> Iterator[Any]:
    for line in text.splitlines():
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield None


def _listed(path: Path, text: str) -> list[Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HilumError(Code.FILE_DAMAGED, path, "not JSON") from error
    if isinstance(content, dict):
        content = next((v for v in content.values() if isinstance(v, list)), [content])
    return content if isinstance(content, list) else [content]


def _objects(path: Path, values: Iterator[Any], column: str | None) -> Iterator[Row]:
    wanted = column
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            yield Row(str(number), "", Code.FILE_DAMAGED)
            continue
        if wanted is None or (number == 1 and wanted not in value):
            texts = [k for k, v in value.items() if isinstance(v, str)]
            wanted = _column(path, texts, column)
        ids = next((n for n in IDS if n in value and n != wanted), None)
        name, text = _id(value.get(ids) if ids else None, number), value.get(wanted)
        yield Row(name, text) if isinstance(text, str) else Row(name, "", Code.TEXT_EMPTY)


def _id(value: object, number: int) -> str:
    return str(value) if value not in (None, "") else str(number)
