"""One child process that parses and decodes, seen from its parent: see :mod:`.children`."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

OUT_OF_MEMORY = 75
"""Exit status of a child whose file needed more memory than the limit."""

Answer = dict[str, Any]

_GRACE = 30.0  # a child stops itself; only one that cannot is stopped from here
_KEPT_BYTES = 1 << 26  # shared memory that a child keeps for its next film
_ANSWER_BYTES = 1 << 27  # far more than the names in an archive of most members
WORKER = ("-P", "-m", "hilum.imaging.worker")  # -P: no import from the current folder


class Limits(NamedTuple):
    """What one file may take: wall-clock seconds, and bytes of address space of its child."""

    seconds: float = 60.0
    memory: int = 3 << 30


class ChildDiedError(Exception):
    """A child that ended instead of answering; ``status`` is its exit status, or -signal."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


class Child:
    """One child process, its shared memory, and how many requests it was given."""

    def __init__(self, limits: Limits, program: tuple[str, ...] = WORKER) -> None:
        self.limits, self.requests = limits, 0
        self._memory = _memory()
        command = [sys.executable, *program, str(self._memory), *(str(part) for part in limits)]
        try:
            self.process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if _debugging() else subprocess.DEVNULL,
                pass_fds=(self._memory,),
                start_new_session=True,  # Ctrl-C in the terminal is for the parent alone
                env=_environment(),
            )
        except BaseException:
            os.close(self._memory)
            raise

    def ask(self, do: str, path: Path, **more: Any) -> tuple[Answer, list[np.ndarray[Any, Any]]]:
        """The answer to a request, and its arrays. Raises :class:`ChildDiedError`."""
        self.requests += 1
        request = json.dumps({"do": do, "path": str(path.absolute()), **more})
        try:
            self._send(request.encode() + b"\n")
            answer = json.loads(self._line())
            arrays = [self._array(*of) for of in _laid_out(answer.get("arrays", []))]
        except (OSError, ValueError, TypeError, EOFError):
            raise ChildDiedError(self.end()) from None
        if os.fstat(self._memory).st_size > _KEPT_BYTES:
            os.ftruncate(self._memory, 0)
        return answer, arrays

    def end(self) -> int:
        """Kill it if it still runs; its exit status."""
        with suppress(subprocess.TimeoutExpired):  # one that has closed its pipe is about to end
            self.process.wait(0.2)
        self.process.kill()
        status = self.process.wait()
        self.let_go()
        return status

    def let_go(self) -> None:
        """Close this process's ends; an idle child then ends by itself."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _send(self, content: bytes) -> None:
        assert self.process.stdin is not None
        while content:
            content = content[self.process.stdin.write(content) or 0 :]

    def _line(self) -> bytes:
        """One line of answer, within the time limit and a little more."""
        assert self.process.stdout is not None
        out, line = self.process.stdout.fileno(), bytearray()
        waiting = select.poll()
        waiting.register(out, select.POLLIN)
        while not line.endswith(b"\n"):
            if not waiting.poll((self.limits.seconds + _GRACE) * 1000):
                self.process.send_signal(signal.SIGALRM)
                raise EOFError
            part = os.read(out, 1 << 16)
            if not part or len(line) > _ANSWER_BYTES:
                raise EOFError
            line += part
        return bytes(line)

    def _array(self, dtype: np.dtype[Any], shape: tuple[int, ...], at: int) -> Any:
        array = np.empty(shape, dtype)
        content, done = memoryview(array.reshape(-1).view(np.uint8).data), 0
        while done < len(content):
            count = os.preadv(self._memory, [content[done:]], at + done)
            if not count:
                raise EOFError
            done += count
        return array


def _laid_out(arrays: list[Any]) -> list[tuple[np.dtype[Any], tuple[int, ...], int]]:
    """Each array's dtype, shape and offset in the shared memory."""
    at, found = 0, []
    for name, shape in arrays:
        dtype = np.dtype(name)
        if dtype.kind not in "uf" or min(shape, default=0) < 1:
            raise ValueError
        found.append((dtype, tuple(shape), at))
        at += math.prod(shape) * dtype.itemsize
    return found


def _memory() -> int:
    """A descriptor of anonymous memory, or of a file without a name; nothing stays behind."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("hilum")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _environment() -> dict[str, str]:
    """The parent's import path, so that a notebook's child finds the same packages; one thread."""
    home = str(Path(__file__).parents[2])
    paths = [home, *(str(Path(entry).absolute()) for entry in sys.path if entry)]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **one, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def _debugging() -> bool:
    return os.environ.get("HILUM_DEBUG", "0") not in ("", "0")
