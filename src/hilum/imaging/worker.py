"""The child process that parses and decodes: ``python -m hilum.imaging.worker``.

It reads one request a line on standard input, answers each with one line on standard output, and
leaves pixels in the shared memory whose descriptor it was given. What goes wrong with a file is
an answer; what breaks a limit ends the process, and :mod:`hilum.imaging.children` says so. It
imports neither torch nor an engine.

The limits hold even where the parent is gone or a decoder never returns to Python: they are the
kernel's (setrlimit, an interval timer whose signal is not caught, and the signal that the request
pipe sends when its other end closes).
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.codes import Code, HilumError
from hilum.imaging import film
from hilum.imaging.child import OUT_OF_MEMORY, Answer
from hilum.study import Context, View, VoiLut

_TABLES: dict[str, set[str]] = {"__all__": {"table"}}


def main() -> None:
    """Serve requests until the other end closes."""
    memory, seconds, most_bytes = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)  # what a C library prints is no answer
    for number in (signal.SIGALRM, signal.SIGIO):  # what the parent ignores is inherited
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    limit(most_bytes)
    for line in sys.stdin.buffer:
        with guarded(seconds):
            answer = respond(json.loads(line), memory)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def limit(most_bytes: int) -> None:
    """Cap address space and shared memory, and leave no core file, which would hold a film."""
    import resource

    wanted = {
        resource.RLIMIT_AS: most_bytes,
        resource.RLIMIT_FSIZE: most_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in wanted.items():
        hard = resource.getrlimit(kind)[1]
        with suppress(ValueError, OSError):  # macOS refuses some
            value = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (value, value))


@contextmanager
def guarded(seconds: float) -> Iterator[None]:
    """While a request is at work, its time and the loss of the parent each end the process."""
    import fcntl

    signal.setitimer(signal.ITIMER_REAL, seconds)
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    if sys.platform == "linux":  # no request comes now: SIGIO means that the parent is gone
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, flags | os.O_ASYNC)
        ended = select.poll()
        ended.register(0, 0)
        if ended.poll(0):  # it was gone before that, and no signal will come
            signal.raise_signal(signal.SIGIO)
    try:
        yield
    finally:
        fcntl.fcntl(0, fcntl.F_SETFL, flags)
        signal.setitimer(signal.ITIMER_REAL, 0)


def respond(request: dict[str, Any], memory: int) -> Answer:
    """Do what a request asks. Errors are answers; running out of memory ends the process."""
    path = Path(request["path"])
    try:
        match request["do"]:
            case "identify":
                return {"identity": vars(film.identify(path))}
            case "contents":
                return {"contents": film.contents(path)}
            case "header":
                return {"header": film.header(path, request["keywords"])}
            case "nifti":
                from hilum.imaging import nifti

                return pack_volume(*nifti.read(path, request["most"]), memory)
            case _:
                return pack(*film.read(path), memory)
    except HilumError as error:
        return {"error": [error.code, error.detail]}
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Exception as error:  # a defect; its message may hold a patient's data
        traceback.print_exc()  # seen with HILUM_DEBUG only
        place = traceback.extract_tb(error.__traceback__)[-1]
        detail = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
        return {"error": [Code.INTERNAL_ERROR, detail]}


def pack(view: View, context: Context, memory: int) -> Answer:
    """A view's arrays, one after the other in the shared memory, and the rest as JSON."""
    arrays = [view.pixels, *(entry.table for entry in view.voi if isinstance(entry, VoiLut))]
    at = 0
    for array in arrays:
        at += write(memory, np.ascontiguousarray(array), at)
    return {
        "view": view.model_dump(mode="json", exclude={"pixels": True, "voi": _TABLES}),
        "context": context.model_dump(mode="json"),
        "arrays": [[array.dtype.str, array.shape] for array in arrays],
    }


def pack_volume(voxels: NDArray[Any], affine: NDArray[Any], memory: int) -> Answer:
    """A volume's voxels slice by slice, so that they are not held twice."""
    at = 0
    for one in voxels:
        at += write(memory, np.ascontiguousarray(one), at)
    return {"affine": affine.tolist(), "arrays": [[voxels.dtype.str, voxels.shape]]}


def write(memory: int, array: NDArray[Any], at: int) -> int:
    """Write an array's bytes at an offset; returns how many."""
    content, done = memoryview(array.reshape(-1).view(np.uint8).data), 0
    while done < len(content):
        done += os.pwrite(memory, content[done:], at + done)
    return done


if __name__ == "__main__":
    main()
