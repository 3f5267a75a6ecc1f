"""The file that a conversation is kept in: readable text, or JSON lines where it ends in .jsonl."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from hilum.codes import Code, HilumError

if TYPE_CHECKING:
    from hilum.reading.conversation import Opening, Said

    Entry = Opening | Said


class Transcript:
    """Kept entry by entry, so that a conversation that breaks off is there up to that point.

    Raises ``output_exists`` for a file that is there, ``output_unwritable``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser()
        try:
            self._file = self.path.open("x", encoding="utf-8", errors="backslashreplace")
        except FileExistsError:
            raise HilumError(Code.OUTPUT_EXISTS, path, "name another file") from None
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise HilumError(Code.OUTPUT_UNWRITABLE, path, why) from error

    def __enter__(self) -> Transcript:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, entry: Entry) -> None:
        """Write one entry at once. Raises ``output_unwritable``."""
        from hilum.reading.conversation import plain

        line = entry.model_dump_json() if self.path.suffix == ".jsonl" else plain(entry)
        try:
            self._file.write(f"{line}\n")
            self._file.flush()
        except OSError as error:
            raise HilumError(Code.OUTPUT_UNWRITABLE, self.path, error.strerror or "") from error
