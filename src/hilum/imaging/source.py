"""What a path names: a plain file, or a member of a zip archive as ``export.zip/A/IM1``.

Nothing is ever unpacked to disk, so a member's name can lead nowhere.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from hilum.codes import Code, HilumError

MAX_FILE_BYTES = 1 << 30
"""Largest file read; a single film has at most a fifth of that."""

MAX_MEMBER_BYTES = 1 << 28
"""Most bytes of one archive member, or of one deflated data set, once unpacked."""

MAX_ARCHIVE_BYTES = 1 << 34
"""Most bytes that the members of one archive say they hold."""

MAX_MEMBERS = 100_000
"""Most members of one archive."""

_HEAD = 132
_RASTER_MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"II*\x00",
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
)
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
# First bytes of a DICOM data set without preamble: group 0002 or 0008, either byte order.
_BARE_DICOM = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")


class Kind(StrEnum):
    """What the first bytes of a file are; BARE may be a DICOM data set without preamble."""

    DICOM = "dicom"
    BARE = "bare"
    RASTER = "raster"
    ARCHIVE = "archive"


@dataclass(frozen=True)
class Identity:
    """The study a file belongs to. ``shared``: other files of the same id join it.

    ``directory``: a DICOMDIR, whatever it is called. ``archive``: a zip, which has no study.
    """

    id: str
    shared: bool = False
    directory: bool = False
    archive: bool = False


def short_id(content: bytes) -> str:
    """First 12 hex digits of the sha256 of ``content``."""
    return hashlib.sha256(content).hexdigest()[:12]


def content_id(file: BinaryIO, path: Path) -> str:
    """First 12 hex digits of the sha256 of a whole file. Raises as :func:`check_size` does."""
    check_size(file, path)
    digest = hashlib.sha256()
    while block := file.read(1 << 18):
        digest.update(block)
    return digest.hexdigest()[:12]


def open_source(path: Path) -> BinaryIO:
    """Open a file, or unpack an archive's member into memory, for reading and seeking.

    Raises ``HilumError``: ``file_not_found``, ``file_unreadable`` (no permission, a folder, a
    device), and for a member ``archive_refused`` where it is damaged or too large.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            detail = "a folder" if stat.S_ISDIR(mode) else "not a plain file"
            raise HilumError(Code.FILE_UNREADABLE, path, detail)
        return path.open("rb")
    except NotADirectoryError:
        archive = archive_of(path)
        if archive is None:
            raise HilumError(Code.FILE_NOT_FOUND, path) from None
        return _member(archive, path)
    except (FileNotFoundError, ValueError):  # ValueError: a NUL in the path
        raise HilumError(Code.FILE_NOT_FOUND, path) from None
    except OSError as error:
        raise HilumError(Code.FILE_UNREADABLE, path, os.strerror(error.errno or 0)) from None


def check_size(file: BinaryIO, path: Path) -> None:
    """Go back to a file's start. Raises ``too_many_pixels`` beyond :data:`MAX_FILE_BYTES`."""
    if file.seek(0, io.SEEK_END) > MAX_FILE_BYTES:
        detail = f"a file of more than {MAX_FILE_BYTES} bytes"
        raise HilumError(Code.TOO_MANY_PIXELS, path, detail)
    file.seek(0)


def sniff(file: BinaryIO, path: Path) -> Kind:
    """Tell the kind of a file from its first bytes (PS3.10 section 7.1), never from its name.

    A file with ``DICM`` at byte 128 is DICOM whatever its preamble holds. Raises
    ``HilumError``: ``file_empty``, ``format_unknown`` or ``file_unreadable``.
    """
    try:
        head = file.read(_HEAD)
        file.seek(0)
    except OSError as error:
        raise HilumError(Code.FILE_UNREADABLE, path, os.strerror(error.errno or 0)) from None
    if not head:
        raise HilumError(Code.FILE_EMPTY, path)
    if head[128:] == b"DICM":
        return Kind.DICOM
    for kind, magic in (
        (Kind.RASTER, _RASTER_MAGIC),
        (Kind.ARCHIVE, _ZIP_MAGIC),
        (Kind.BARE, _BARE_DICOM),
    ):
        if head.startswith(magic):
            return kind
    raise HilumError(Code.FORMAT_UNKNOWN, path)


def archive_of(path: Path) -> Path | None:
    """The zip archive that a member's path begins with, or None."""
    for parent in path.parents:
        with suppress(OSError, ValueError):
            if stat.S_ISREG(parent.stat().st_mode):
                with parent.open("rb") as file:
                    return parent if file.read(4) in _ZIP_MAGIC else None
    return None


def members(path: Path) -> list[str]:
    """The names of an archive's files, folders left out, in the archive's order.

    Names without the UTF-8 flag are read as GB18030 where they can be, as Chinese systems write
    them, else as the zip format's code page 437.

    Raises ``HilumError`` ``archive_refused`` with the reason: damaged, encrypted, a name that
    leads out of the archive or comes twice, or more than :data:`MAX_MEMBERS` or
    :data:`MAX_ARCHIVE_BYTES`.
    """
    return list(_table(path)[1])


def _member(archive: Path, path: Path) -> BinaryIO:
    packed, table = _table(archive)
    entry = table.get(path.relative_to(archive).as_posix())
    if entry is None:
        raise HilumError(Code.FILE_NOT_FOUND, path, "no such member of the archive")
    if entry.file_size > MAX_MEMBER_BYTES:
        detail = f"unpacks to {entry.file_size} bytes, at most {MAX_MEMBER_BYTES}"
        raise HilumError(Code.ARCHIVE_REFUSED, path, detail)
    try:
        with packed.open(entry) as stream:  # read() without a size would unpack all there is
            return io.BytesIO(stream.read(entry.file_size))
    except MemoryError:
        raise
    except Exception as error:
        raise HilumError(Code.ARCHIVE_REFUSED, path, type(error).__name__) from None


def _table(path: Path) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    try:
        status = path.stat()
        return _opened(path, status.st_mtime_ns, status.st_size)
    except HilumError:
        raise
    except (MemoryError, FileNotFoundError):
        raise
    except Exception as error:
        raise HilumError(Code.ARCHIVE_REFUSED, path, type(error).__name__) from None


@lru_cache(maxsize=1)
def _opened(
    path: Path, _changed: int, _size: int
) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """An archive and its checked table; the last one stays open, as its members come in a row."""
    packed = zipfile.ZipFile(path)
    entries = [entry for entry in packed.infolist() if not entry.is_dir()]
    if len(entries) > MAX_MEMBERS:
        detail = f"{len(entries)} members, at most {MAX_MEMBERS}"
        raise HilumError(Code.ARCHIVE_REFUSED, path, detail)
    if sum(entry.file_size for entry in entries) > MAX_ARCHIVE_BYTES:
        detail = f"unpacks to more than {MAX_ARCHIVE_BYTES} bytes"
        raise HilumError(Code.ARCHIVE_REFUSED, path, detail)
    if any(entry.flag_bits & 1 for entry in entries):
        raise HilumError(Code.ARCHIVE_REFUSED, path, "encrypted; unpack it first")
    table: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = PurePosixPath(_name(entry))
        if name.is_absolute() or ".." in name.parts:
            raise HilumError(Code.ARCHIVE_REFUSED, path, "a name that leads out of the archive")
        if name.as_posix() in table:
            raise HilumError(Code.ARCHIVE_REFUSED, path, "two members of one name")
        table[name.as_posix()] = entry
    return packed, table


def _name(entry: zipfile.ZipInfo) -> str:
    name = entry.filename
    if not entry.flag_bits & 0x800:  # zipfile took it for code page 437
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("gb18030")
    return name.replace("\\", "/")
