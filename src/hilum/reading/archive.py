"""How an archive is read, here or on a Ray cluster: one reader an actor, results as they come."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilum.cluster import join, lost, own_error
from hilum.codes import HilumError
from hilum.imaging import StudyFiles, load_or_error
from hilum.report import Language, Report
from hilum.study import Study

if TYPE_CHECKING:
    from hilum.engines.local.place import Precision
    from hilum.reading.reader import Reader

# Studies that are loaded, and read by an engine, at once.
BATCH = 32
# Processors of an actor where there are no GPUs, or all that the smallest node has.
PROCESSORS = 4


# A study's files, what was made of them, and its films where they are at hand.
Result = tuple[StudyFiles, Report | HilumError, Study | None]


@dataclass(frozen=True)
class Reading:
    """How studies are read: the options of ``hilum read``."""

    reader: str
    precision: Precision = "auto"
    calibration: Path | None = None
    site: str | None = None
    language: Language = "en"
    outside_domain: bool = False

    def settings(self) -> dict[str, Any]:
        """What a journal is begun with, and a run that goes on must have again."""
        kept = {
            "reader": self.reader,
            "language": self.language,
            "outside_domain": self.outside_domain,
            "precision": self.precision,
        }
        return kept | ({"calibration": str(self.calibration)} if self.calibration else {})

    def open(self) -> Reader:
        """The reader; raises what opening it and its calibration raise."""
        from hilum.reading.reader import Reader

        reader = Reader.load(self.reader, self.precision)
        return reader.calibrated(self.calibration, self.site) if self.calibration else reader

    def read(self, reader: Reader, studies: Sequence[Study]) -> list[Report]:
        """One report a study, in order."""
        return reader.read_studies(studies, self.language, self.outside_domain)

    def read_files(
        self, reader: Reader, files: Sequence[StudyFiles], threads: int
    ) -> list[Report | HilumError]:
        """A report or what is wrong, in order; so many threads load the films."""
        with ThreadPoolExecutor(threads) as pool:
            loaded = list(pool.map(load_or_error, files))
        reports = iter(self.read(reader, [s for s in loaded if isinstance(s, Study)]))
        return [next(reports) if isinstance(s, Study) else s for s in loaded]


def read_on_cluster(
    address: str, files: Sequence[StudyFiles], how: Reading
) -> Generator[Result, None, None]:
    """Every study of ``files`` once, read or failed, in the order in which they are finished.

    ``address``: "auto", "local", host:port or ray://host:port. Every node needs Hilum of this
    version, and films, reader and calibration at the same paths; relative ones start where this
    process runs. An actor or a node that is lost costs its batches in flight, which are read again
    elsewhere. Raises ``extra_missing``, ``remote_unreachable``, what opening the reader raises,
    else ``worker_lost``.
    """
    if not files:
        return
    ray = join(address)
    rows = [{"number": n, "files": pickle.dumps(f)} for n, f in enumerate(files)]
    try:
        with _quiet(ray):
            count, each = _actors(ray, len(files))
            given = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // BATCH))
            done = given.map_batches(
                _Actor,
                fn_constructor_args=[how, str(Path.cwd())],
                batch_size=BATCH,
                concurrency=count,
                **each,
            )
            for row in done.iter_rows():
                said = pickle.loads(row["said"])
                if row["refused"]:
                    raise said
                yield files[row["number"]], said, None
    except Exception as error:  # Ray wraps what its workers raise in errors of its own
        raise own_error(error) or lost(address, "", error) from None


def _actors(ray: Any, studies: int) -> tuple[int, dict[str, float]]:
    """How many actors, and what each has: a GPU each, else as many processors as fit a node."""
    batches = -(-studies // BATCH)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if gpus := int(sum(node.get("GPU", 0) for node in nodes)):
        return min(gpus, batches), {"num_gpus": 1}
    processors = [int(node.get("CPU", 0)) for node in nodes]
    each = min([PROCESSORS, *(n for n in processors if n)])
    return min(sum(n // each for n in processors), batches), {"num_cpus": each}


class _Actor:
    """A reader of its own; batches of files to what is said of them.

    Ray hides what an actor raises: that the reader cannot be opened, or refuses, is an answer.
    """

    def __init__(self, how: Reading, here: str) -> None:
        os.chdir(here)  # Ray's own is a folder of its session
        self.how = how
        self.reader: Reader | HilumError
        try:
            self.reader = how.open()
        except HilumError as error:
            self.reader = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        said: list[Report | HilumError]
        refused = False
        try:
            said = self._read([pickle.loads(files) for files in batch["files"]])
        except HilumError as error:
            said, refused = [error] * len(batch["files"]), True
        answers = [pickle.dumps(one) for one in said]
        return {"number": batch["number"], "said": answers, "refused": [refused] * len(said)}

    def _read(self, files: list[StudyFiles]) -> list[Report | HilumError]:
        if isinstance(self.reader, HilumError):
            raise self.reader
        return self.how.read_files(self.reader, files, PROCESSORS)


@contextlib.contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Ray Data without its bars and plans: they would stand between the reports."""
    context = ray.data.DataContext.get_current()
    before = context.enable_progress_bars
    context.enable_progress_bars = False
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars = before
        logger.setLevel(level)
