"""Dynamic batching: who waits goes together, in order, and fails alone."""

from __future__ import annotations

import threading
from collections.abc import Hashable

import pytest

from hilum.engines.local.together import Together


class Runner:
    """Doubles numbers; keeps its batches; raises for 13."""

    def __init__(self, most: int = 4) -> None:
        self.batches: list[list[int]] = []
        self.together: Together[int, int] = Together(self.run, most)

    def run(self, tasks: list[int], kind: Hashable) -> list[int]:
        self.batches.append(list(tasks))
        if 13 in tasks:
            raise ValueError("thirteen")
        return [2 * t for t in tasks]


def test_one_caller_is_run_at_once_in_parts() -> None:
    runner = Runner()
    assert runner.together.run(range(10), "a") == [2 * i for i in range(10)]
    assert [len(b) for b in runner.batches] == [4, 4, 2]
    assert runner.together.run([], "a") == []


def test_callers_that_wait_go_together_by_kind() -> None:
    runner = Runner(most=8)
    found: dict[int, list[int]] = {}

    def ask(i: int) -> None:
        found[i] = runner.together.run([i], i % 2)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    with runner.together.alone():
        for thread in threads:
            thread.start()
        while len(runner.together._waiting) < 8:
            threading.Event().wait(0.005)
    for thread in threads:
        thread.join()
    assert found == {i: [2 * i] for i in range(8)}
    assert sorted(map(sorted, runner.batches)) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_one_bad_task_fails_alone() -> None:
    runner = Runner(most=8)
    found: dict[int, object] = {}

    def ask(i: int) -> None:
        try:
            found[i] = runner.together.run([i], "a")[0]
        except ValueError as error:
            found[i] = str(error)

    threads = [threading.Thread(target=ask, args=(i,)) for i in (1, 13, 2)]
    with runner.together.alone():
        for thread in threads:
            thread.start()
        while len(runner.together._waiting) < 3:
            threading.Event().wait(0.005)
    for thread in threads:
        thread.join()
    assert found == {1: 2, 13: "thirteen", 2: 4}
    with pytest.raises(ValueError, match="thirteen"):
        runner.together.run([5, 13], "a")
    assert runner.together.run([5], "a") == [10]  # and nothing is left behind
    assert not runner.together._waiting
