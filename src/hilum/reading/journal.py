"""A journal of results, for archives: a run that was killed goes on where it stopped.

One JSON line a study, read, abstained or failed, with the ``key`` of its files. A line that was
not written whole is taken off when the journal is opened again, and its study is read again; so
each study has exactly one line, whenever the run was killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hilum.codes import Code, HilumError


def key_of(study_id: str, paths: Sequence[Path]) -> str:
    """A study's key: the hash of its id and of its files' paths, in order."""
    named = b"\0".join([study_id.encode(), *(os.fsencode(path.absolute()) for path in paths)])
    return hashlib.sha256(named).hexdigest()[:24]


class Journal:
    """The journal at ``path``, for a run with ``settings``; held by one process at a time.

    Raises ``output_busy`` where another process has it, ``source_changed`` where it was begun with
    other settings, ``row_invalid`` for a line that is none of a journal's, ``output_unwritable``.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.done: set[str] = set()
        try:
            self._file = path.open("a+b")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                raise HilumError(Code.OUTPUT_BUSY, path) from None
            self._resume(settings)
        except OSError as error:
            raise HilumError(Code.OUTPUT_UNWRITABLE, path, error.strerror or "") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, key: str, line: str) -> None:
        """Write the result of a study: one JSON object in one line."""
        self.done.add(key)
        self._write({"key": key, **json.loads(line)})

    def keep(self) -> None:
        """See to it that what was added outlives a loss of power."""
        os.fsync(self._file.fileno())

    def _write(self, row: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise HilumError(Code.OUTPUT_UNWRITABLE, self.path, error.strerror or "") from error

    def _resume(self, settings: dict[str, Any]) -> None:
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file):
            if not line.endswith(b"\n"):
                break  # killed in the middle of it
            whole += len(line)
            self._take(number, line, settings)
        self._file.truncate(whole)
        if not whole:
            self._write({"journal": settings})

    def _take(self, number: int, line: bytes, settings: dict[str, Any]) -> None:
        try:
            row = json.loads(line)
            if number == 0:
                if row["journal"] != settings:
                    raise HilumError(Code.SOURCE_CHANGED, self.path, "name another journal")
            else:
                self.done.add(str(row["key"]))
        except (ValueError, KeyError, TypeError) as error:
            wrong = f"line {number + 1} is none of a journal's"
            raise HilumError(Code.ROW_INVALID, self.path, wrong) from error
