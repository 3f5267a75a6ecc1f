"""An archive read by processes of this machine side by side, each with a reader of its own.

A small reader's steps are too short to be shared out among threads: four processes of one thread
read 1.4 times what one of four does, their start included (``python -m benchmarks.reading``).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from hilum.codes import Code, HilumError
from hilum.engines.open import is_embedded
from hilum.imaging import StudyFiles
from hilum.processes import end_with_parent, processors
from hilum.reading.archive import BATCH, Reading, Result
from hilum.report import Report

# An embedded reader's process holds some 0.8 GB. Several begin more slowly than one, which has read
# fewer films than these before they are ready.
MOST = 8
WORTH = 100
FEWEST = 8  # films a batch, where they share out evenly

# Of one batch: what is said of each study, or why the reader says nothing.
Said = list[Report | HilumError] | HilumError


def suggested(reader: str, studies: int) -> int:
    """How many processes read so many studies soonest: one, but for an embedded reader's many."""
    if studies < WORTH or not (reader == "embedded" or is_embedded(Path(reader))):
        return 1
    return min(processors(), MOST)


def read_in_processes(
    files: Sequence[StudyFiles], how: Reading, count: int
) -> Generator[Result, None, None]:
    """Every study once, read or failed, in order, by ``count`` processes.

    Raises what opening the reader raises, and ``worker_lost`` where a process ends before its
    work does, as one does that the system kills for want of memory.
    """
    if not files:
        return
    size = _batch(len(files), count)
    batches = [files[k : k + size] for k in range(0, len(files), size)]
    count = min(count, len(batches))
    with _begun(how, [batches[k::count] for k in range(count)]) as pipes:
        for k, batch in enumerate(batches):
            said = _next(pipes[k % count])
            if isinstance(said, HilumError):
                raise said
            yield from ((study, one, None) for study, one in zip(batch, said, strict=True))


def _batch(studies: int, count: int) -> int:
    """Films a batch, so that all processes have as many and end together."""
    most = min(BATCH, max(FEWEST, -(-studies // (4 * count))))
    rounds = -(-studies // (count * most))
    return -(-studies // (count * rounds))


@contextmanager
def _begun(how: Reading, shares: list[list[Sequence[StudyFiles]]]) -> Iterator[list[Connection]]:
    """A process a share; what it says of a batch comes through its pipe.

    A pipe holds a batch or so: nobody reads far ahead of who listens.
    """
    context = get_context("spawn")
    threads = max(1, processors() // max(1, len(shares)))
    pipes, begun = [], []
    try:
        for share in shares:
            pipe, far = context.Pipe(duplex=False)
            process = context.Process(target=_read, args=(far, how, share, threads), daemon=True)
            process.start()
            far.close()  # theirs alone, so that a process that ends is noticed
            pipes.append(pipe)
            begun.append(process)
        yield pipes
    finally:
        for process in begun:
            process.kill()
        for process in begun:
            process.join()


def _next(pipe: Connection) -> Said:
    try:
        said: Said = pipe.recv()
    except (EOFError, OSError):  # before an answer, or in the middle of one
        hint = "memory may have run out; run the same again, or with fewer --workers"
        raise HilumError(Code.WORKER_LOST, "", hint) from None
    return said


def _read(pipe: Connection, how: Reading, share: list[Sequence[StudyFiles]], threads: int) -> None:
    """One process: says what is said of each of its batches, in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who began it ends it
    end_with_parent()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # before torch is imported
    try:
        reader = how.open()
        for batch in share:
            pipe.send(how.read_files(reader, batch, threads))
    except HilumError as error:
        pipe.send(error)
    except Exception as error:  # a defect of ours, and not the system's want of memory
        pipe.send(HilumError(Code.INTERNAL_ERROR, how.reader, type(error).__name__))
