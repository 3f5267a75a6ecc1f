"""Which files are studies: sniffing, walking folders, grouping by StudyInstanceUID.

Nothing here decodes a pixel, and what a file is called never decides what it is.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from hilum.codes import Code, HilumError

_RASTER_MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"II*\x00",
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
)
# First bytes of a DICOM data set without preamble: group 0002 or 0008, either byte order.
_BARE_DICOM = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")
# What export CDs and data sets carry beside images; passed over only inside a folder, and only
# where the content is no image either.
_NOT_IMAGES = frozenset(
    ".json .jsonl .csv .tsv .txt .md .rst .html .htm .css .js .xml .xsl .yaml .yml .toml .log .pdf"
    " .py .ipynb .sh .bat .exe .dll .so .jar .class .inf .ini .cfg .db .ico .sha256 .md5".split()
)
_NOT_IMAGE_NAMES = frozenset(
    "LICENSE LICENCE COPYING NOTICE README AUTHORS CHANGELOG VERSION MANIFEST MAKEFILE".split()
)


class Kind(StrEnum):
    """Which decoder reads a file."""

    DICOM = "dicom"
    RASTER = "raster"


@dataclass(frozen=True)
class StudyFiles:
    """The files of one study; ``error`` says why it cannot be loaded, where that is known.

    ``id`` is 12 hex digits and never patient text: from the hash of StudyInstanceUID (DICOM),
    of the content (raster, or DICOM without that UID), or of the path where nothing was read.
    """

    id: str
    paths: tuple[Path, ...]
    error: HilumError | None = None


@dataclass(frozen=True)
class Identity:
    """The study a file belongs to. ``shared``: other files of the same id join it;
    ``directory``: a DICOMDIR, whatever it is called.
    """

    id: str
    shared: bool = False
    directory: bool = False


def short_id(content: bytes) -> str:
    """First 12 hex digits of the sha256 of ``content``."""
    return hashlib.sha256(content).hexdigest()[:12]


def scan(paths: Iterable[str | Path]) -> list[StudyFiles]:
    """Find the studies among files and folders, in a fixed order, reading headers only.

    Folders are walked depth first in name order; hidden entries, DICOMDIR and files that are
    clearly no images are passed over. A file named outright is never passed over. DICOM files
    are grouped by StudyInstanceUID wherever they lie, at the place of the first; every other
    file is its own study. A file reached twice counts once. Never raises: a missing path, a
    folder without images or a file of another format gives a study with its ``error``.
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
        except HilumError as error:
            if not named and error.code is Code.FORMAT_UNKNOWN and _clearly_no_image(path):
                return False
            self.fail(path, error)
        else:
            if identity.directory and not named:
                return False
            key = (identity.id, "" if identity.shared else str(path))
            self.groups.setdefault(key, []).append(path)
        self.seen.add(real)
        return True

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
    """Read as much of a file as its study's id needs: a DICOM header, or a raster's bytes.

    Raises ``HilumError`` as :func:`sniff` does, and ``file_damaged`` for a DICOM header that
    cannot be parsed.
    """
    if sniff(path) is Kind.DICOM:
        from hilum.imaging import dicom

        study, directory = dicom.study_uid(path)
        if study:
            return Identity(short_id(study.encode()), shared=True, directory=directory)
        return Identity(_content_id(path), directory=directory)
    return Identity(_content_id(path))


def sniff(path: Path) -> Kind:
    """Tell the kind of a file from its first bytes (PS3.10 section 7.1), never from its name.

    A file with ``DICM`` at byte 128 is DICOM whatever its preamble holds; without a preamble
    it must begin like a data set and hold a SOPClassUID or Rows.

    Raises ``HilumError``: ``file_not_found``, ``file_unreadable`` (no permission, a folder, a
    device), ``file_empty`` or ``format_unknown``.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            detail = "a folder" if stat.S_ISDIR(mode) else "not a plain file"
            raise HilumError(Code.FILE_UNREADABLE, path, detail)
        with path.open("rb") as file:
            head = file.read(132)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        raise HilumError(Code.FILE_NOT_FOUND, path) from None
    except OSError as error:
        raise HilumError(Code.FILE_UNREADABLE, path, os.strerror(error.errno or 0)) from None
    if not head:
        raise HilumError(Code.FILE_EMPTY, path)
    if head[128:] == b"DICM":
        return Kind.DICOM
    if head.startswith(_RASTER_MAGIC):
        return Kind.RASTER
    if head.startswith(_BARE_DICOM):
        from hilum.imaging import dicom

        if dicom.is_bare_dataset(path):
            return Kind.DICOM
    raise HilumError(Code.FORMAT_UNKNOWN, path)


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


def _content_id(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError as error:
        raise HilumError(Code.FILE_UNREADABLE, path, os.strerror(error.errno or 0)) from None
