"""Encodings: what is kept of a film is what the reader will see of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.models.embedded.configuration import CLASSES, LOOKS
from hilum.models.embedded.processing import normalise
from hilum.training.embedded import looking
from hilum.training.embedded.batches import moved, whole
from hilum.training.embedded.encodings import Encodings, encode
from hilum.training.embedded.shards import Shards
from hilum.training.embedded.words import SLOTS, match
from tests.training.embedded.conftest import make_encoder

SIZE = 64


@pytest.fixture(scope="module")
def standard(films: Path) -> Shards:
    return Shards(films, "standard")


@pytest.fixture
def encodings(standard: Shards, tmp_path: Path) -> Encodings:
    encodings = encode(make_encoder(SIZE), standard, tmp_path / "standard", lambda: None)
    encodings.look_again(make_encoder(SIZE))
    return encodings


def test_a_film_is_encoded_as_it_is(standard: Shards, encodings: Encodings) -> None:
    encoder = make_encoder(SIZE)
    assert encodings.seen.shape[:2] == (len(standard), SLOTS)
    for k in (0, 9, len(standard) - 1):
        film, _, entry = standard[k]
        with torch.no_grad():
            square, turn = whole(film, SIZE)
            out = encoder(normalise(torch.from_numpy(square)[None, None]))
        near = (encodings.seen[k].float() - out.seen[0]).abs()
        assert near.median() < 0.02  # bfloat16 inside; a proposal may be another peak
        boxes = [moved(np.array(r[1:5], np.float32), turn) for r in entry["instances"]]
        kinds = [int(r[0]) for r in entry["instances"]]
        assert len(encodings.slots[k]) == len(kinds)
        exact = match(boxes, kinds, out.boxes[0].numpy(), SIZE)
        assert sum(a == b for a, b in zip(exact, encodings.slots[k], strict=True)) >= len(kinds) - 1


def test_every_film_is_counted_once(
    standard: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "PART", 6)
    ticks: list[int] = []
    for runs in (1, 2):  # looked at, and kept
        encode(make_encoder(SIZE), standard, tmp_path / "s", lambda: ticks.append(1))
        assert len(ticks) == runs * len(standard)


def test_no_more_films_than_asked_for(
    standard: Shards, encodings: Encodings, tmp_path: Path
) -> None:
    few = encode(make_encoder(SIZE), standard, tmp_path / "few", lambda: None, 3)
    assert few.slots == encodings.slots[:3]
    for name in few.pieces:
        assert torch.equal(few.pieces[name], encodings.pieces[name][:3])


def test_what_is_kept_is_what_was_seen(
    standard: Shards, encodings: Encodings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts that cut through a shard, made in one run and kept for the next."""
    monkeypatch.setattr(looking, "PART", 6)
    for _ in ("looked at", "kept"):
        again = encode(make_encoder(SIZE), standard, tmp_path / "s", lambda: None)
        assert torch.allclose(again.seen.float(), encodings.seen.float(), atol=0.05)
        assert again.slots == encodings.slots
        for name in LOOKS:
            assert torch.equal(again.there[name], encodings.there[name])
            assert torch.equal(again.pieces[name], encodings.pieces[name])


def test_kept_places_give_the_tokens_that_the_encoder_gives(
    standard: Shards, encodings: Encodings
) -> None:
    """The decoder must learn from what it will read."""
    encoder = make_encoder(SIZE)
    for k in (0, 5):
        film = normalise(torch.from_numpy(whole(standard[k][0], SIZE)[0])[None, None])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            out = encoder(film)
        with torch.no_grad():
            kept = encodings.tokens(encoder, [k])
        assert (kept - out.last_hidden_state.float()).abs().median() < 0.02


def test_only_the_tokens_that_were_looked_at_again_are_told(encodings: Encodings) -> None:
    encoder = make_encoder(SIZE)
    looked = [k for name in LOOKS for k in range(SLOTS)[encoder.slots[name]]]
    with torch.no_grad():
        plain = encoder.proposals(encodings.seen[:3].float())
        told = encodings.tokens(encoder, [0, 1, 2])
    changed = (plain != told).any(-1).any(0)
    assert changed.nonzero().flatten().tolist() == looked


def test_what_is_there_has_a_true_one_near(standard: Shards, encodings: Encodings) -> None:
    for name, there in encodings.there.items():
        kind = list(CLASSES).index(name)
        for k, entry in enumerate(standard.entries):
            assert not there[k].any() or any(row[0] == kind for row in entry["instances"])
