"""A worker between two batches: when it waits for more, and when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hilum.service import jobs, worker
from hilum.service.settings import Settings
from hilum.service.worker import GATHER, LONGEST, RUSH, Worker


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return False


class Queue:
    """How many wait at each look."""

    def __init__(self, counts: Iterator[int]) -> None:
        self.counts, self.looks = counts, 0

    def __call__(self, _: object) -> int:
        self.looks += 1
        return next(self.counts)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(worker, "time", clock)
    return clock


@pytest.fixture
def idle(tmp_path: Path, clock: Clock) -> Worker:
    reader: Any = None
    made = Worker(Settings(data=tmp_path, batch=16), reader, lambda _: None)
    made.stopping = clock  # type: ignore[assignment]
    return made


def looks(monkeypatch: pytest.MonkeyPatch, counts: Iterator[int]) -> Queue:
    queue = Queue(counts)
    monkeypatch.setattr(jobs, "waiting", queue)
    return queue


def test_a_worker_that_was_idle_takes_what_comes_at_once(
    idle: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = looks(monkeypatch, iter([]))
    idle._gather()
    idle._ended = clock.now - RUSH  # long enough ago
    idle._gather()
    assert (queue.looks, clock.now) == (0, 100.0)


@pytest.mark.parametrize(
    ("counts", "waits"),
    [
        ([0], 0),  # nobody is there: the queue will wake it
        ([16], 0),  # a whole batch
        ([3, 3], 1),
        ([1, 5, 13, 16], 3),
        ([4, 9, 9], 2),
        ([9, 4, 4], 2),  # another worker took some
    ],
)
def test_after_a_batch_the_queue_fills_as_long_as_it_grows(
    counts: list[int],
    waits: int,
    idle: Worker,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = looks(monkeypatch, iter(counts))
    idle._ended = clock.now
    idle._gather()
    assert queue.looks == len(counts)
    assert clock.now == pytest.approx(100.0 + waits * GATHER)


def test_a_queue_that_grows_slowly_is_not_waited_for_for_ever(
    idle: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks(monkeypatch, (1 + n % 2 for n in range(1000)))
    idle._ended = clock.now
    idle._gather()
    assert clock.now <= 100.0 + LONGEST + GATHER
