"""Sampling for transformers' ``generate``: its arguments, and a seed of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hilum.engines.base import Sampling


def arguments(sampling: Sampling) -> dict[str, Any]:
    """What ``generate`` is told; a model's own top_k and the like do not count."""
    if sampling.greedy:
        return {"do_sample": False, "num_beams": 1}
    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    return {"do_sample": True, "num_beams": 1, **drawn}


@contextmanager
def seeded(sampling: Sampling) -> Iterator[None]:
    """Torch draws from the seed inside; outside nobody notices."""
    if sampling.greedy or sampling.seed is None:
        yield
        return
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(sampling.seed)
        yield
