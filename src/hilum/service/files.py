"""Films on disk: what arrives, and what is kept, named by the hash of its content.

A film is written, synced and only then renamed to its name, so one that has its name is whole.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from hilum.codes import Code, HilumError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
STRAY_SECONDS = 3600.0
"""Age from which a file that nothing refers to is swept away."""

_BLOCK = 1 << 20


class Incoming:
    """A file that arrives: its path, and once closed its size and sha256."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, 0
        self._digest = hashlib.sha256()
        self._file: BinaryIO = path.open("xb")

    @property
    def sha256(self) -> str:
        """The hash of what has been written."""
        return self._digest.hexdigest()

    def write(self, content: bytes) -> None:
        """Add content. Raises ``storage_full``."""
        with disk():
            self._file.write(content)
        self._digest.update(content)
        self.size += len(content)

    def close(self) -> None:
        """Bring it safely to the disk. Raises ``storage_full``."""
        with disk():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def drop(self) -> None:
        """Forget it."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self.path.unlink()


class Films:
    """The folders ``incoming`` and ``films`` below the service's own."""

    def __init__(self, root: Path, min_free: int = 0) -> None:
        self.root, self.min_free = root, min_free
        with disk():
            for folder in (self._incoming, self._films):
                folder.mkdir(mode=0o700, exist_ok=True)

    @property
    def _incoming(self) -> Path:
        return self.root / "incoming"

    @property
    def _films(self) -> Path:
        return self.root / "films"

    def has_room(self) -> bool:
        """Whether the disk still has its reserve."""
        with suppress(OSError):
            return shutil.disk_usage(self.root).free >= self.min_free
        return False

    def receive(self) -> Incoming:
        """A new file to write to. Raises ``storage_full``."""
        if not self.has_room():
            raise HilumError(Code.STORAGE_FULL)
        with disk():
            return Incoming(self._incoming / token_hex(16))

    def receive_all(self, content: bytes | BinaryIO) -> Incoming:
        """A new file of this content."""
        arriving = self.receive()
        try:
            if isinstance(content, bytes):
                arriving.write(content)
            else:
                while block := content.read(_BLOCK):
                    arriving.write(block)
            arriving.close()
        except BaseException:
            arriving.drop()
            raise
        return arriving

    def path(self, sha256: str) -> Path:
        """Where a film is kept."""
        return self._films / sha256[:2] / sha256

    def keep(self, arrived: Incoming) -> None:
        """Give a film its name; one that is there already stays."""
        place = self.path(arrived.sha256)
        if place.exists():
            return
        with disk():
            place.parent.mkdir(mode=0o700, exist_ok=True)
            arrived.path.replace(place)
            for folder in (place.parent, self._films):
                _sync(folder)

    def remove(self, hashes: Iterable[str]) -> None:
        """Delete films."""
        for sha256 in hashes:
            with suppress(OSError):
                self.path(sha256).unlink()

    def strays(self) -> Iterator[str]:
        """Films that have been kept for long enough to be known to the database."""
        for place in self._films.glob("??/*"):
            if _age(place) > STRAY_SECONDS:
                yield place.name

    def sweep_incoming(self) -> None:
        """Delete what arrived and was never taken, as by a server that was killed."""
        for place in self._incoming.iterdir():
            if _age(place) > STRAY_SECONDS:
                with suppress(OSError):
                    place.unlink()


@contextmanager
def disk() -> Iterator[None]:
    """A full disk as ``storage_full``."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise HilumError(Code.STORAGE_FULL) from None
        raise


def _age(place: Path) -> float:
    with suppress(OSError):
        return time.time() - place.stat().st_mtime
    return 0.0


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
