"""Training films, small and few."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import starmap
from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.models.embedded import FilmEncoder, FilmEncoderConfig
from hilum.training.embedded import decoder_stage, encoder_stage, glimpse_stage, shards

PER_SHARD = 8
SIZE = 64
COUNTS = {"standard": 2, "crowded": 2, "single": 2, "held_out": 3}
SEED = 77


class AtOnce:
    """A pool without processes, which a test can look into and change."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, work: Callable[..., Any], *rows: Iterable[Any]) -> Iterator[Any]:
        return starmap(work, zip(*rows, strict=True))


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Few films a shard, simulated in this process."""
    patch.setattr(shards, "PER_SHARD", PER_SHARD)
    patch.setattr(shards, "ProcessPoolExecutor", AtOnce)


def make_encoder(size: int) -> FilmEncoder:
    """A small encoder, always the same, whose heatmaps are not flat."""
    sizes = {"channels": (8, 8, 8, 16, 16), "hidden_size": 32, "detail": 16, "attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = FilmEncoder(FilmEncoderConfig(image_size=size, attention_layers=1, **sizes))
        torch.nn.init.normal_(encoder.heat[-1].weight, std=0.3)
    return encoder.eval()


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    shrink(monkeypatch)


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of shards; nobody writes into it."""
    folder = tmp_path_factory.mktemp("films")
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        shards.simulate_shards(folder, COUNTS, SEED, SIZE)
    return folder


def make_tiny(patch: pytest.MonkeyPatch) -> None:
    """A small architecture, few films a step, and a line in the log for every step."""
    real = encoder_stage.FilmEncoderConfig

    def small(**more: Any) -> Any:
        sizes = {"channels": (8, 8, 8, 16, 16), "hidden_size": 32, "detail": 16}
        return real(**sizes, attention_layers=1, attention_heads=2, **more)

    patch.setattr(encoder_stage, "FilmEncoderConfig", small)
    patch.setattr(encoder_stage, "CROWDED", 2)
    patch.setattr(encoder_stage, "SINGLE", 1)
    patch.setattr(encoder_stage, "BATCHES", 2)
    patch.setattr(decoder_stage, "FILMS", 5)
    for stage in (encoder_stage, glimpse_stage, decoder_stage):
        patch.setattr(stage, "PRINT_EVERY", 1)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains a small reader."""
    make_tiny(monkeypatch)
