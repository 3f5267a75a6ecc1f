"""The encoder's losses: nothing for a perfect prediction, finite for no target at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hilum.models.embedded import FilmEncoder, FilmEncoderConfig, FilmEncoderOutput
from hilum.models.embedded.attributes import ATTRIBUTES
from hilum.models.embedded.configuration import CLASSES
from hilum.training.embedded.batches import Batch, make_batch
from hilum.training.embedded.losses import (
    attribute_loss,
    encoder_losses,
    heat_loss,
    rib_loss,
    size_loss,
)
from hilum.training.embedded.shards import Shards

SIZE, CELLS = 64, 8


@pytest.fixture
def batch(films: Path) -> Batch:
    crowded, single = Shards(films, "crowded"), Shards(films, "single")
    return make_batch(crowded, single, 2, 2, SIZE, np.random.default_rng(0))


@pytest.fixture(scope="module")
def encoder() -> FilmEncoder:
    torch.manual_seed(0)
    sizes = {"channels": (8, 8, 8, 16, 16), "hidden_size": 32, "detail": 16, "attention_heads": 2}
    return FilmEncoder(FilmEncoderConfig(image_size=SIZE, attention_layers=1, **sizes))


def perfect(batch: Batch) -> FilmEncoderOutput:
    """Maps that say exactly what is there."""
    films = len(batch.films)
    ribs = torch.full((films, 36, CELLS, CELLS), -60.0)
    ribs[tuple(batch.rib_cells.T)] = 60.0
    sizes = torch.zeros(films, 2 * len(CLASSES), CELLS, CELLS)
    film, cell, kind = (batch.places[:, k].long() for k in range(3))
    sizes.unflatten(1, (-1, 2)).flatten(3)[film, kind, :, cell] = batch.places[:, 3:5]
    heat = torch.where(batch.heat > 0.999, 30.0, -30.0)
    return FilmEncoderOutput(heatmaps=heat, ribs=ribs, sizes=sizes)


class Knowing(torch.nn.Module):
    """Reads every attribute off the table of true places; is encoder and proposals in one."""

    def __init__(self, places: torch.Tensor, sure: float) -> None:
        super().__init__()
        self.config, self.sure = FilmEncoderConfig(image_size=SIZE), sure
        self.known = {tuple(p[:3].long().tolist()): p[5:].long() for p in places}

    @property
    def proposals(self) -> Knowing:
        return self

    def look(self, out: Any, cells: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        return cells

    def describe(self, cells: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        first = np.cumsum([0, *ATTRIBUTES.values()])
        logits = torch.zeros(*cells.shape, int(first[-1]))
        for b, row in enumerate(cells.tolist()):
            for k, cell in enumerate(row):
                truth = self.known.get((b, cell, int(kind[b, k])))
                for at, answer in zip(first, [] if truth is None else truth.tolist(), strict=False):
                    if answer >= 0:
                        logits[b, k, at + answer] = self.sure
        return logits

    def attributes(self, described: torch.Tensor) -> torch.Tensor:
        return described


def test_a_perfect_prediction_has_no_loss(batch: Batch) -> None:
    out = perfect(batch)
    places = _one_a_cell(batch.places)
    assert heat_loss(out.heatmaps, batch.heat) < 1e-3
    assert rib_loss(out.ribs, batch.rib_cells) < 1e-6
    assert attribute_loss(Knowing(places, 60.0), out, places) < 1e-6  # type: ignore[arg-type]
    assert size_loss(out, places) < 1e-6


def _one_a_cell(places: torch.Tensor) -> torch.Tensor:
    """Two breaks in one cell cannot both be told right; the last one was drawn."""
    last = {tuple(p[:3].long().tolist()): p for p in places}
    return torch.stack(list(last.values()))


def test_a_wrong_prediction_costs_more_than_an_undecided_one(batch: Batch) -> None:
    right, places = perfect(batch), _one_a_cell(batch.places)
    wrong = FilmEncoderOutput(
        heatmaps=-right.heatmaps, ribs=-right.ribs, sizes=right.sizes + 2, context=None
    )
    flat = torch.zeros_like
    for loss in (
        lambda o: heat_loss(o.heatmaps, batch.heat),
        lambda o: rib_loss(o.ribs, batch.rib_cells),
    ):
        undecided = loss(FilmEncoderOutput(heatmaps=flat(right.heatmaps), ribs=flat(right.ribs)))
        assert loss(right) < undecided < loss(wrong)
    assert size_loss(wrong, places) == pytest.approx(2, abs=1e-5)
    undecided = attribute_loss(Knowing(places, 0.0), right, places)  # type: ignore[arg-type]
    assert undecided == pytest.approx(np.log(list(ATTRIBUTES.values())).sum(), abs=1e-4)


def test_no_instances_at_all(encoder: FilmEncoder) -> None:
    """A batch of healthy films trains ribs and empty heatmaps, and breaks nothing."""
    nothing = Batch(
        films=torch.zeros(2, 1, SIZE, SIZE),
        heat=torch.zeros(2, len(CLASSES), CELLS, CELLS),
        places=torch.zeros(0, 5 + len(ATTRIBUTES)),
        rib_cells=torch.zeros(0, 4, dtype=torch.long),
    )
    losses = encoder_losses(encoder, encoder(nothing.films), nothing)
    assert all(torch.isfinite(value) for value in losses.values()), losses
    assert losses["size"] == losses["attributes"] == 0
    encoder.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    grads = [p.grad for p in encoder.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(g).all() for g in grads)


def test_lesions_without_attributes(encoder: FilmEncoder) -> None:
    places = torch.tensor([[0, 9, 0, 0.5, 0.5, *[-1] * 6], [1, 3, 0, 1, 1, *[-1] * 6]])
    out = encoder(torch.zeros(2, 1, SIZE, SIZE))
    assert attribute_loss(encoder, out, places) == 0
    assert torch.isfinite(size_loss(out, places))


def test_films_with_different_numbers_of_fractures(encoder: FilmEncoder) -> None:
    """The loss is a mean over fractures, wherever they lie: none is lost in the padding."""
    rows = [
        [0, 9, 7, 0, 0, 3, 1, 0, 0, -1, 0],
        [0, 30, 7, 0, 0, 5, 2, 1, 1, -1, 0],
        [2, 11, 7, 0, 0, 0, 0, 2, 1, -1, 0],
    ]
    films = torch.randn(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = encoder.eval()(films)
        together = attribute_loss(encoder, out, torch.tensor(rows, dtype=torch.float32))
        single = [
            attribute_loss(encoder, out, torch.tensor([r], dtype=torch.float32)) for r in rows
        ]
    encoder.train()
    assert float(together) == pytest.approx(float(torch.stack(single).mean()), rel=1e-4)


@pytest.mark.parametrize("value", [-1e4, 1e4])
def test_extreme_logits_stay_finite(value: float, batch: Batch) -> None:
    logits = torch.full_like(batch.heat, value, requires_grad=True)
    loss = heat_loss(logits, batch.heat)
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    ribs = torch.full((4, 36, CELLS, CELLS), value)
    assert torch.isfinite(rib_loss(ribs, batch.rib_cells))


def test_a_real_batch_has_a_finite_gradient_everywhere(encoder: FilmEncoder, batch: Batch) -> None:
    encoder.zero_grad()
    losses = encoder_losses(encoder, encoder(batch.films, second_look=False), batch)
    assert set(losses) == {"heat", "ribs", "size", "attributes"}
    torch.stack(list(losses.values())).sum().backward()
    # the slots are learnt by the decoder, the second look and what it tells after the encoder
    silent = {n for n, p in encoder.named_parameters() if p.grad is None}
    silent = {n for n in silent if not n.startswith("glimpses.")}
    assert silent == {"proposals.slot.weight"}
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)
