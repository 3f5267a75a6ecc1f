"""Processes that train one model side by side.

Every member runs the same loop on batches of its own, and the gradients are added up before each
step, so all hold the same weights. The first member is the process that was asked to train.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from multiprocessing import get_context
from typing import Any

import torch
from torch import distributed

PATIENCE = timedelta(minutes=10)  # the others wait while the first checks and saves


@dataclass(frozen=True)
class Team:
    """Member ``rank`` of ``size``."""

    rank: int = 0
    size: int = 1

    def part(self, batches: int) -> range:
        """Which of a step's batches are this member's."""
        return range(self.rank, batches, self.size)

    def numbers(self, step: int, batches: int) -> Iterator[int]:
        """This member's batches of ``batches`` a step, from ``step`` on, without end.

        A step's batches are the same, however many share them.
        """
        return (step * batches + k for step in count(step) for k in self.part(batches))

    def share(self, model: torch.nn.Module) -> None:
        """Add up the gradients of all members, in all of them.

        A parameter without one here, for want of such a finding in a batch, may have one elsewhere.
        """
        if self.size == 1:
            return
        given = list(model.parameters())
        has = torch.tensor([float(p.grad is not None) for p in given])
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in given]
        flat = torch.cat([has, *(g.flatten() for g in grads)])
        distributed.all_reduce(flat)
        has, *parts = flat.split([len(given), *(p.numel() for p in given)])
        for p, part, somewhere in zip(given, parts, has, strict=True):
            p.grad = part.view_as(p).clone() if somewhere else None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """This member's work while the others wait for it: their threads are its own."""
        threads = torch.get_num_threads()
        torch.set_num_threads(threads * self.size)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@contextmanager
def together(size: int, follow: Callable[..., object], *args: Any) -> Iterator[Team]:
    """A team of ``size``: ``follow(team, *args)`` in all processes but this, its first.

    This process's threads are shared out. A member that fails ends the others: their next step
    raises.
    """
    if size == 1:
        yield Team()
        return
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        others = [
            get_context("spawn").Process(
                target=_member,
                args=(folder, threads // size, Team(rank, size), follow, args),
                daemon=True,
            )
            for rank in range(1, size)
        ]
        for process in others:
            process.start()
        try:
            yield _join(folder, threads // size, Team(0, size))
            for process in others:
                process.join()
        finally:
            for process in others:
                process.kill()  # it would wait for a member that is gone
            if distributed.is_initialized():
                distributed.destroy_process_group()
            torch.set_num_threads(threads)


def _member(
    folder: str, threads: int, team: Team, follow: Callable[..., object], args: tuple[Any, ...]
) -> None:
    follow(_join(folder, threads, team), *args)


def _join(folder: str, threads: int, team: Team) -> Team:
    """Meet at a file, and talk on the loopback device: nobody listens on the network."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    torch.set_num_threads(max(1, threads))
    # documented, though not in the module's list of exports; a file:// address ends at a "#"
    place = distributed.FileStore(f"{folder}/team", team.size)  # type: ignore[attr-defined]
    distributed.init_process_group(
        "gloo", store=place, timeout=PATIENCE, rank=team.rank, world_size=team.size
    )
    return team
