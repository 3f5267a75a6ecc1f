"""The lines that a user types or pipes in, also while an answer is being written."""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress
from types import TracebackType
from typing import Any

PROMPT = "> "
STOP = "/stop"


class Lines:
    """Lines of stdin: with a prompt and editing on a terminal, plainly from a pipe or file.

    As a context it takes Ctrl-C for itself: KeyboardInterrupt is raised where the program is.
    ``prompted`` False: plainly on a terminal too. ``stopped``: the last thing that happened was
    a Ctrl-C. Nothing that was typed is kept in a history file.
    """

    def __init__(self, prompted: bool) -> None:
        self.interactive = prompted and sys.stdin.isatty() and sys.stdout.isatty()
        self.prompted, self.stopped = prompted, False
        self._early: list[str] = []
        self._part = b""
        self._before: Any = None
        if hasattr(sys.stdin, "reconfigure"):  # a byte that is no UTF-8 is no reason to leave
            sys.stdin.reconfigure(errors="replace")
        if self.interactive:
            with suppress(ImportError):
                import readline  # noqa: F401 - input() edits lines with it

    def __enter__(self) -> Lines:
        if callable(signal.getsignal(signal.SIGINT)):  # not where a shell has it ignored
            self._before = signal.signal(signal.SIGINT, signal.default_int_handler)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def next(self) -> str | None:
        """The next line without its end; None after the last, or Ctrl-D."""
        if self._early:
            line = self._early.pop(0)
            print(f"{PROMPT}{line}")
            return line
        if not self.interactive:
            line = sys.stdin.readline()
            if line.strip() and self.prompted:  # what is piped in is not seen otherwise
                print(f"{PROMPT}{line.strip()}", flush=True)
            return line or None
        try:
            return input(PROMPT)
        except EOFError:
            print()
            return None

    def asked_to_stop(self) -> bool:
        """Whether /stop was typed meanwhile; any other line is kept for :meth:`next`."""
        if not self.interactive:
            return False
        fd = sys.stdin.fileno()
        stop = False
        while select.select([fd], [], [], 0)[0]:
            read = os.read(fd, 4096)
            if not read:
                break
            *lines, self._part = (self._part + read).replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                text = line.decode(errors="replace").strip()
                if text == STOP:
                    stop = True
                elif text:
                    self._early.append(text)
        return stop
