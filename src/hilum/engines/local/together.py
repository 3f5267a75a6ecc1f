"""Dynamic batching: requests that come while others run are run together, next.

Nobody waits for company: the first caller runs at once, and whoever comes meanwhile goes into the
next batch, run by whichever of them gets its turn first (flat combining, Hendler et al. 2010).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(eq=False)
class _Ticket(Generic[Task, Result]):
    task: Task
    kind: Hashable
    result: Result | None = None
    failure: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Together(Generic[Task, Result]):
    """Runs tasks of any number of threads in batches of one kind, at most ``most`` at a time.

    A batch that fails is run again one task at a time, so that one bad task fails alone.
    """

    def __init__(self, run: Callable[[list[Task], Hashable], list[Result]], most: int) -> None:
        self.most = most
        self._run = run
        self._waiting: list[_Ticket[Task, Result]] = []
        self._mutex = threading.Lock()  # of the list
        self._turn = threading.RLock()  # of the weights

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The weights for oneself, for what is not batched."""
        with self._turn:
            yield

    def run(self, tasks: Sequence[Task], kind: Hashable) -> list[Result]:
        """The result of each task, in order; raises what the first failed one raised."""
        tickets: list[_Ticket[Task, Result]] = [_Ticket(task, kind) for task in tasks]
        with self._mutex:
            self._waiting += tickets
        while not all(t.done.is_set() for t in tickets):
            with self._turn:
                if not all(t.done.is_set() for t in tickets):
                    self._next()
        for ticket in tickets:
            if ticket.failure is not None:
                raise ticket.failure
        return [t.result for t in tickets]  # type: ignore[misc]

    def _next(self) -> None:
        """Run the oldest waiting task with all others of its kind that there is room for."""
        with self._mutex:
            kind = self._waiting[0].kind
            batch = [t for t in self._waiting if t.kind == kind][: self.most]
            self._waiting = [t for t in self._waiting if t not in batch]
        try:
            self._finish(batch)
        except BaseException as error:
            again = isinstance(error, Exception) and len(batch) > 1
            for ticket in batch:
                if again:
                    self._alone(ticket)
                else:
                    ticket.failure = error
        finally:
            for ticket in batch:
                ticket.done.set()

    def _finish(self, batch: list[_Ticket[Task, Result]]) -> None:
        results = self._run([t.task for t in batch], batch[0].kind)
        for ticket, result in zip(batch, results, strict=True):
            ticket.result = result

    def _alone(self, ticket: _Ticket[Task, Result]) -> None:
        try:
            self._finish([ticket])
        except BaseException as error:
            ticket.failure = error
