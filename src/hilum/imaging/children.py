"""Parsing and decoding in child processes that may die: who gets which child.

A child lives as long as its parent and serves one request after another; each thread that asks
borrows one. A file that crashes its decoder, takes too long or wants too much memory costs a
child and becomes a :class:`~hilum.codes.HilumError`; the next file gets a fresh child. See
:mod:`hilum.imaging.worker` for how the limits are held.

Where there are no POSIX processes (Windows) the work is done in the calling process: the checks
before decoding hold there, the limits on time and memory do not.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from hilum.codes import Code, HilumError
from hilum.imaging import film
from hilum.imaging.child import OUT_OF_MEMORY, WORKER, Answer, Child, ChildDiedError, Limits
from hilum.imaging.source import Identity
from hilum.processes import processors
from hilum.study import Context, View

_STARTLED = 5  # times in a row, each of one request in some hundreds


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


class Pool:
    """At most ``size`` children, started when they are needed, and what ended those that died."""

    def __init__(
        self, size: int, limits: Limits | None = None, program: tuple[str, ...] = WORKER
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


def _unpacked(
    answer: Answer, arrays: list[np.ndarray[Any, Any]], path: Path
) -> tuple[View, Context]:
    fields, tables = answer["view"], iter(arrays[1:])
    voi = [entry | ({"table": next(tables)} if "first" in entry else {}) for entry in fields["voi"]]
    view = View.model_validate(fields | {"pixels": arrays[0], "voi": voi, "path": str(path)})
    return view, Context.model_validate(answer["context"])


def _posix() -> bool:
    return os.name == "posix"


_lock = threading.Lock()
_pool: Pool | None = None


def _shared() -> Pool:
    global _pool
    with _lock:
        if _pool is None:
            _pool = Pool(processors())
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
