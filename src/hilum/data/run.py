"""Work on many pairs at once, answers in order, never more in flight than fits in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from multiprocessing import get_context
from typing import Protocol

from hilum.cluster import join, lost
from hilum.codes import Code, HilumError
from hilum.data.pair import Pair
from hilum.data.work import Refusal, Row, Work, work
from hilum.processes import end_with_parent

Result = Row | Refusal
FILMS, PAIRS = 4, 64
"""A batch travels to a worker together: so many films at most, and so many pairs."""
AHEAD = 3
"""Batches in flight for each worker: one worked on, the others waiting."""


class Spread(Protocol):
    """A way to run batches: in this process, in others, or on other machines."""

    def __call__(
        self, function: Callable[[list[Pair]], list[Result]], batches: Iterator[list[Pair]]
    ) -> Iterator[list[Result]]:
        """The function's answers to the batches, in order."""
        ...


def in_order(pairs: Iterable[Pair], how: Work, spread: Spread) -> Iterator[Result]:
    """A result a pair, in the order of the pairs."""
    for results in spread(partial(_several, how=how), batched(pairs, with_films=not how.text_only)):
        yield from results


def _several(pairs: list[Pair], how: Work) -> list[Result]:
    return [work(pair, how) for pair in pairs]


def batched(pairs: Iterable[Pair], *, with_films: bool) -> Iterator[list[Pair]]:
    """Batches of nearly equal work: a film takes far longer than a text, which costs its way."""
    batch: list[Pair] = []
    films = 0
    for pair in pairs:
        batch.append(pair)
        films += len(pair.films) if with_films else 0
        if films >= FILMS or len(batch) == PAIRS:
            yield batch
            batch, films = [], 0
    if batch:
        yield batch


def here(
    function: Callable[[list[Pair]], list[Result]], batches: Iterator[list[Pair]]
) -> Iterator[list[Result]]:
    """In this process, one after another."""
    return map(function, batches)


def processes(count: int) -> Spread:
    """In ``count`` processes on this machine."""
    if count <= 1:
        return here

    def spread(
        function: Callable[[list[Pair]], list[Result]], batches: Iterator[list[Pair]]
    ) -> Iterator[list[Result]]:
        context = get_context("spawn")
        pool = ProcessPoolExecutor(count, mp_context=context, initializer=end_with_parent)
        waiting = deque(pool.submit(function, b) for b in islice(batches, AHEAD * count))
        try:
            while waiting:
                results = waiting.popleft().result()
                waiting.extend(pool.submit(function, b) for b in islice(batches, 1))
                yield results
        except BrokenProcessPool:
            detail = "a worker process died, perhaps for want of memory; run the same again"
            raise HilumError(Code.WORKER_LOST, "", detail) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    return spread


def cluster(address: str) -> Spread:
    """On a Ray cluster at ``address`` ("auto", "local", host:port or ray://host:port).

    Every node needs Hilum of this version and the source's files at the same paths. A node that
    is lost costs its batches in flight, which are done again elsewhere. Raises ``extra_missing``,
    ``remote_unreachable`` where no cluster answers, ``worker_lost`` where one keeps failing.
    """
    ray = join(address)

    def spread(
        function: Callable[[list[Pair]], list[Result]], batches: Iterator[list[Pair]]
    ) -> Iterator[list[Result]]:
        try:
            apart = ray.remote(max_retries=3)(_called)
            shared = ray.put(function)
            window = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
            waiting = deque(apart.remote(shared, b) for b in islice(batches, window))
            while waiting:
                results = ray.get(waiting.popleft())
                waiting.extend(apart.remote(shared, b) for b in islice(batches, 1))
                yield results
        except (ray.exceptions.RayError, ConnectionError, ValueError) as error:
            raise lost(address, "", error) from None

    return spread


def _called(function: Callable[[list[Pair]], list[Result]], batch: list[Pair]) -> list[Result]:
    return function(batch)
