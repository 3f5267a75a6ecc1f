"""What several layouts need: text tables in any usual encoding, and images by their names."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from hilum.codes import Code, HilumError

IMAGE_SUFFIXES = frozenset(".png .jpg .jpeg .tif .tiff .dcm .dicom".split())
_ENCODINGS = ("utf-8-sig", "gb18030")  # GB 18030 reads GBK and GB 2312
_LONGEST_FIELD = 1 << 24

POSITIONS = {
    "frontal": "PA",
    "pa": "PA",
    "ap": "AP",
    "ap_horizontal": "AP",
    "lateral": "LATERAL",
    "l": "LATERAL",
    "ll": "LL",
    "正位": "PA",
    "后前位": "PA",
    "前后位": "AP",
    "侧位": "LATERAL",
}


def encoding_of(path: Path) -> str:
    """UTF-8, UTF-16 by its mark, else GB 18030. Raises ``source_invalid`` for none of them."""
    with opened(path, "rb") as file:
        head = file.read(2)
    if head in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    for encoding in _ENCODINGS:
        try:
            with opened(path, "rt", encoding=encoding) as file:
                while file.read(1 << 20):
                    pass
        except UnicodeError:
            continue
        return encoding
    raise HilumError(Code.SOURCE_INVALID, path, "neither UTF-8, UTF-16 nor GBK text")


@contextmanager
def opened(path: Path, mode: str, encoding: str | None = None) -> Iterator[IO[Any]]:
    """A plain or gzipped file. Raises ``source_invalid`` or ``file_not_found``."""
    newline = "" if "t" in mode else None
    try:
        if path.suffix == ".gz":
            with gzip.open(path, mode, encoding=encoding, newline=newline) as packed:
                yield cast(IO[Any], packed)
        else:
            with path.open(mode.replace("t", ""), encoding=encoding, newline=newline) as plain:
                yield plain
    except FileNotFoundError:
        raise HilumError(Code.FILE_NOT_FOUND, path) from None
    except (gzip.BadGzipFile, EOFError):
        raise HilumError(
            Code.SOURCE_INVALID, path, "the gzip file is damaged or cut short"
        ) from None


def rows(path: Path, needed: tuple[str, ...] = ()) -> Iterator[dict[str, str]]:
    """Rows of a CSV or TSV file, gzipped or not, every value a string without outer spaces.

    Raises ``source_invalid`` where the header lacks a ``needed`` column or the text is no table.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    with opened(path, "rt", encoding=encoding_of(path)) as file:
        first = file.readline()
        file.seek(0)
        delimiter = max("\t;,", key=first.count)
        reader = csv.DictReader(file, delimiter=delimiter)
        try:
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            missing = [name for name in needed if name not in header]
            if missing:
                raise HilumError(Code.SOURCE_INVALID, path, f"no column {', '.join(missing)}")
            for row in reader:
                yield {name: (row[name] or "").strip() for name in header}
        except csv.Error as error:
            detail = f"line {reader.line_num}: {str(error)[:60]}"
            raise HilumError(Code.SOURCE_INVALID, path, detail) from None


def load_json(path: Path) -> Any:
    """A JSON file. Raises ``source_invalid`` for anything else."""
    try:
        with opened(path, "rt", encoding=encoding_of(path)) as file:
            return json.load(file)
    except (ValueError, RecursionError):
        raise HilumError(Code.SOURCE_INVALID, path, "no JSON") from None


def images_by_uid(folder: Path) -> dict[str, list[Path]]:
    """Images named ``<uid>_...`` or ``CXR<uid>_...`` anywhere below a folder, by uid, in order."""
    found: dict[str, list[Path]] = defaultdict(list)
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names, key=_natural):
            match = re.match(r"(?:CXR)?(\d+)_", name)
            if match and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                found[match[1]].append(Path(where) / name)
    return found


def by_number(uid: str) -> tuple[int, str]:
    """Sorts ids that are numbers as numbers."""
    return (int(uid), "") if uid.isdigit() else (1 << 62, uid)


def position(word: str | None) -> str | None:
    """A DICOM ViewPosition for a source's word; an unknown word is kept, none is None."""
    plain = (word or "").strip()
    return POSITIONS.get(plain.lower(), plain.upper()) or None


def _natural(name: str) -> list[Any]:
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", name) if p]
