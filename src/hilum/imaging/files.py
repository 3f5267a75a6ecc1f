"""Which files are studies: sniffing, walking folders, grouping by StudyInstanceUID.

Nothing here decodes a pixel, and what a file is called never decides what it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from hilum.codes import Code, HilumError
from hilum.imaging import children
from hilum.imaging.source import (
    Identity,
    Kind,
    archive_of,
    content_id,
    open_source,
    short_id,
    sniff,
)

# What export CDs and data sets carry beside images; passed over only inside a folder, and only
# where the content is no image either.
_NOT_IMAGES = frozenset(
    ".json .jsonl .csv .tsv .txt .md .rst .html .htm .css .js .xml .xsl .yaml .yml .toml .log .pdf"
    " .py .ipynb .sh .bat .exe .dll .so .jar .class .inf .ini .cfg .db .ico .sha256 .md5".split()
)
_NOT_IMAGE_NAMES = frozenset(
    "LICENSE LICENCE COPYING NOTICE README AUTHORS CHANGELOG VERSION MANIFEST MAKEFILE".split()
)


@dataclass(frozen=True)
class StudyFiles:
    """The files of one study; ``error`` says why it cannot be loaded, where that is known.

    ``id`` is 12 hex digits and never patient text: from the hash of StudyInstanceUID (DICOM),
    of the content (raster, or DICOM without that UID), or of the path where nothing was read.
    """

    id: str
    paths: tuple[Path, ...]
    error: HilumError | None = None


def scan(paths: Iterable[str | Path]) -> list[StudyFiles]:
    """Find the studies among files and folders, in a fixed order, reading headers only.

    Folders and zip archives are walked depth first in name order; hidden entries, DICOMDIR and
    files that are clearly no images are passed over. A member of an archive has a path like
    ``export.zip/A/IM1``. A DICOMDIR named outright stands for the files it lists. Any other file
    named outright is never passed over. DICOM files are grouped by StudyInstanceUID wherever
    they lie, at the place of the first; every other file is its own study. A file reached twice
    counts once. Never raises: a missing path, a folder without images or a file of another
    format gives a study with its ``error``.
    """
    found = _Found()
    for given in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(given)
        if not _is_folder(path):
            found.add(path, named=True)
        elif not sum(found.add(entry, named=False) for entry in _walk(path)):
            found.fail(path, HilumError(Code.NO_FILES, path, "none that could be an image"))
    return found.studies()


@dataclass
class _Found:
    """Studies in order of first sight; only ids and paths are kept."""

    groups: dict[tuple[str, str], list[Path]] = field(default_factory=dict)
    errors: dict[tuple[str, str], HilumError] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def add(self, path: Path, *, named: bool) -> bool:
        """Sort one file in; False where it was passed over."""
        real = _real(path)
        if real in self.seen:
            return True
        try:
            identity = identify(path)
            if identity.archive or (identity.directory and named):
                self.seen.add(real)
                return self._add_contents(path, identity, named=named)
        except HilumError as error:
            if not named and error.code is Code.FORMAT_UNKNOWN and _clearly_no_image(path):
                return False
            self.fail(path, error)
        else:
            if identity.directory:
                return False
            key = (identity.id, "" if identity.shared else str(path))
            self.groups.setdefault(key, []).append(path)
        self.seen.add(real)
        return True

    def _add_contents(self, path: Path, identity: Identity, *, named: bool) -> bool:
        """Sort in what an archive holds or a DICOMDIR lists; False where that is nothing."""
        names = sorted(children.contents(path)) if identity.archive else children.contents(path)
        if identity.archive:
            shown = [name for name in names if not any(map(_hidden, Path(name).parts))]
            inside = [path / name for name in shown]
        else:
            inside = [_on_disk(path.parent, name) for name in names]
        count = sum(self.add(entry, named=False) for entry in inside)
        if not count and (named or not _clearly_no_image(path)):
            self.fail(path, HilumError(Code.NO_FILES, path, "none that could be an image"))
            return True
        return bool(count)

    def fail(self, path: Path, error: HilumError) -> None:
        """Keep a path that cannot be read, with the reason."""
        key = (short_id(os.fsencode(path)), str(path))
        self.groups.setdefault(key, []).append(path)
        self.errors[key] = error

    def studies(self) -> list[StudyFiles]:
        """What was found, in order."""
        return [
            StudyFiles(key[0], tuple(paths), self.errors.get(key))
            for key, paths in self.groups.items()
        ]


def identify(path: Path) -> Identity:
    """What :func:`hilum.imaging.film.identify` says; a file that must be parsed goes to a child.

    Raises ``HilumError`` as that does, and ``decoder_died`` or ``decoder_too_slow``.
    """
    if archive_of(path) is None:
        with open_source(path) as file:
            if sniff(file, path) is Kind.RASTER:
                return Identity(_content_id(file, path))
    return children.identify(path)


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below ``folder``, depth first in name order, each folder once for all links."""
    waiting, entered = [folder], set[str]()
    while waiting:
        path = waiting.pop()
        if not path.is_dir():
            yield path
            continue
        real = _real(path)
        if real in entered:  # a link back up, or a second one
            continue
        entered.add(real)
        try:
            entries = sorted(path.iterdir(), reverse=True)
        except OSError:
            yield path  # reported as unreadable
            continue
        waiting.extend(entry for entry in entries if not _hidden(entry.name))


def _on_disk(folder: Path, name: str) -> Path:
    """A file that a DICOMDIR lists: systems that copy a CD change the case of its names."""
    for part in Path(name).parts:
        exact = folder / part
        try:
            same = [] if exact.exists() else [e for e in folder.iterdir() if _same(e.name, part)]
        except OSError:
            same = []
        folder = same[0] if len(same) == 1 else exact
    return folder


def _same(found: str, listed: str) -> bool:
    """Whether a name is the listed one but for case and ISO 9660's version suffix."""
    return found.split(";")[0].rstrip(".").upper() == listed.upper()


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX" or name.upper() == "DICOMDIR"


def _clearly_no_image(path: Path) -> bool:
    plain = path.name.split(".")[0].upper()
    return path.suffix.lower() in _NOT_IMAGES or plain in _NOT_IMAGE_NAMES


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _real(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)


def _content_id(file: BinaryIO, path: Path) -> str:
    try:
        return content_id(file, path)
    except OSError as error:
        raise HilumError(Code.FILE_UNREADABLE, path, os.strerror(error.errno or 0)) from None
