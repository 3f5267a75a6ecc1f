"""Parsing and decoding in child processes that may die: the parent's half.

A child lives as long as its parent and serves one request after another; each thread that asks
borrows one. A file that crashes its decoder, takes too long or wants too much memory costs a
child and becomes a :class:`~hilum.codes.HilumError`; the next file gets a fresh child. See
:mod:`hilum.imaging.worker` for how the limits are held.

Where there are no POSIX processes (Windows) the work is done in the calling process: the checks
before decoding hold there, the limits on time and memory do not.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hilum.codes import Code, HilumError
from hilum.imaging import film
from hilum.imaging.source import Identity
from hilum.study import Context, View

OUT_OF_MEMORY = 75
"""Exit status of a child whose file needed more memory than the limit."""

Answer = dict[str, Any]

_STARTLED = 5  # times in a row, each of one request in some hundreds
_GRACE = 30.0  # a child stops itself; only one that cannot is stopped from here
_KEPT_BYTES = 1 << 26  # shared memory that a child keeps for its next film
_ANSWER_BYTES = 1 << 27  # far more than the names in an archive of most members
_WORKER = ("-P", "-m", "hilum.imaging.worker")  # -P: no import from the current folder


class Limits(NamedTuple):
    """What one file may take: wall-clock seconds, and bytes of address space of its child."""

    seconds: float = 60.0
    memory: int = 3 << 30


def start() -> None:
    """Start a child ahead of the first file, so that it gets ready while others import."""
    if _posix():
        _shared().start()


def identify(path: Path) -> Identity:
    """:func:`hilum.imaging.film.identify` in a child. Raises also what :func:`read` does."""
    if not _posix():
        return film.identify(path)
    return Identity(**_shared().ask("identify", path)["identity"])


def contents(path: Path) -> list[str]:
    """:func:`hilum.imaging.film.contents` in a child. Raises also what :func:`read` does."""
    return list(_shared().ask("contents", path)["contents"] if _posix() else film.contents(path))


def header(path: Path, keywords: list[str]) -> dict[str, Any]:
    """:func:`hilum.imaging.film.header` in a child. Raises also what :func:`read` does.

    ``pydicom.Dataset.from_json`` makes a data set of the answer.
    """
    if not _posix():
        return film.header(path, keywords)
    return dict(_shared().ask("header", path, keywords=keywords)["header"])


def read(path: Path) -> tuple[View, Context]:
    """:func:`hilum.imaging.film.read` in a child.

    Raises ``HilumError`` as that does, and ``decoder_died`` (a crash), ``decoder_too_slow`` and
    ``too_many_pixels`` where the file broke a limit.
    """
    return _shared().read(path) if _posix() else film.read(path)


def nifti(path: Path, most: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """:func:`hilum.imaging.nifti.read` in a child, contiguous; raises also as :func:`read`."""
    if not _posix():
        from hilum.imaging import nifti

        voxels, affine = nifti.read(path, most)
        return np.ascontiguousarray(voxels), affine
    return _shared().nifti(path, most)


class ChildDiedError(Exception):
    """A child that ended instead of answering; ``status`` is its exit status, or -signal."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


class Child:
    """One child process, its shared memory, and how many requests it was given."""

    def __init__(self, limits: Limits, program: tuple[str, ...] = _WORKER) -> None:
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


class Pool:
    """At most ``size`` children, started when they are needed, and what ended those that died."""

    def __init__(
        self, size: int, limits: Limits | None = None, program: tuple[str, ...] = _WORKER
    ) -> None:
        self.limits, self.program = limits or Limits(), program
        self.deaths: Counter[Code] = Counter()
        self._slots, self._lock = threading.BoundedSemaphore(size), threading.Lock()
        self._idle: list[Child] = []
        self._busy: set[Child] = set()
        self._closed = False

    def start(self) -> None:
        """Start one child that waits. What keeps it from starting the first file will say."""
        with suppress(OSError):
            child = Child(self.limits, self.program)
            with self._lock:
                self._idle.append(child)

    def ask(self, do: str, path: Path, **more: Any) -> Answer:
        """The answer to a request about one file. Raises ``HilumError``, as :func:`read` does."""
        return self._ask(do, path, **more)[0]

    def read(self, path: Path) -> tuple[View, Context]:
        """As the module's :func:`read`."""
        answer, arrays = self._ask("read", path)
        return _unpacked(answer, arrays, path)

    def nifti(self, path: Path, most: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """As the module's :func:`nifti`."""
        answer, (voxels,) = self._ask("nifti", path, most=most)
        return voxels, np.array(answer["affine"], np.float64)

    def close(self) -> None:
        """End every child, busy ones too; what is asked from now on is ``decoder_died``."""
        with self._lock:
            self._closed = True
            idle, self._idle, busy = self._idle, [], list(self._busy)
        for child in (*idle, *busy):
            child.process.kill()
        for child in (*idle, *busy):
            child.process.wait()
        for child in idle:  # a busy one's ends are closed by the thread that waits for it
            child.let_go()

    def forget(self) -> None:
        """Close what a fork of the parent has copied; the children are the parent's."""
        for child in (*self._idle, *self._busy):
            child.let_go()
            child.process.returncode = 0  # keeps Popen from waiting for another's child

    def _ask(self, do: str, path: Path, **more: Any) -> tuple[Answer, list[np.ndarray[Any, Any]]]:
        startled = 0
        with self._slots:
            while True:
                child = self._borrow(path)
                try:
                    answer, arrays = child.ask(do, path, **more)
                except ChildDiedError as death:
                    self._release(child)
                    # It watches its pipe for the end of this process, and may see the end of the
                    # request's own write instead: we are still here, so it is asked again.
                    if death.status == -signal.SIGIO and startled < _STARTLED:
                        startled += 1
                        continue
                    error = _cause(death, path, self.limits)
                    self.deaths[error.code] += 1
                    # what earlier files left behind may have killed it: once more, alone
                    if child.requests > 1 and error.code is not Code.DECODER_TOO_SLOW:
                        continue
                    raise error from None
                except BaseException:  # Ctrl-C: its answer would be taken for the next file's
                    self._release(child)
                    child.process.kill()
                    child.end()
                    raise
                self._release(child, alive=True)
                break
        if "error" in answer:
            code, detail = answer["error"]
            raise HilumError(Code(code), path, detail)
        return answer, arrays

    def _borrow(self, path: Path) -> Child:
        with self._lock:
            child = self._idle.pop() if self._idle else None
        if child is None and not self._closed:
            try:
                child = Child(self.limits, self.program)
            except OSError as error:
                detail = f"it cannot be started: {os.strerror(error.errno or 0).lower()}"
                raise HilumError(Code.DECODER_DIED, path, detail) from None
        with self._lock:
            if child is not None and not self._closed:
                self._busy.add(child)
                return child
        if child is not None:
            child.process.kill()
            child.end()
        raise HilumError(Code.DECODER_DIED, path, "its children were ended")

    def _release(self, child: Child, *, alive: bool = False) -> None:
        with self._lock:
            self._busy.discard(child)
            if alive:
                self._idle.append(child)


def _cause(death: ChildDiedError, path: Path, limits: Limits) -> HilumError:
    if death.status == OUT_OF_MEMORY:
        detail = f"decoding needs more than {limits.memory >> 20} MiB of memory"
        return HilumError(Code.TOO_MANY_PIXELS, path, detail)
    if death.status == -signal.SIGALRM:
        return HilumError(Code.DECODER_TOO_SLOW, path, f"{limits.seconds:g} s")
    detail = f"exit status {death.status}"
    with suppress(ValueError):
        detail = signal.Signals(-death.status).name
    return HilumError(Code.DECODER_DIED, path, detail)


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


def _unpacked(
    answer: Answer, arrays: list[np.ndarray[Any, Any]], path: Path
) -> tuple[View, Context]:
    fields, tables = answer["view"], iter(arrays[1:])
    voi = [entry | ({"table": next(tables)} if "first" in entry else {}) for entry in fields["voi"]]
    view = View.model_validate(fields | {"pixels": arrays[0], "voi": voi, "path": str(path)})
    return view, Context.model_validate(answer["context"])


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


def _posix() -> bool:
    return os.name == "posix"


_lock = threading.Lock()
_pool: Pool | None = None


def _shared() -> Pool:
    global _pool
    with _lock:
        if _pool is None:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4
            _pool = Pool(cores)
            atexit.register(_pool.close)
        return _pool


def _start_anew() -> None:
    """In a forked process: the children belong to the parent."""
    global _pool, _lock
    if _pool is not None:
        atexit.unregister(_pool.close)
        _pool.forget()
    _pool, _lock = None, threading.Lock()


if _posix():
    os.register_at_fork(after_in_child=_start_anew)
