"""The second look's training: pieces of broken and of whole bone, then the encoder's own places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hilum.models.embedded import FilmEncoder
from hilum.models.embedded.encoder import PIECE
from hilum.training.embedded import glimpse_stage
from hilum.training.embedded.decoder_stage import Encodings, encode
from hilum.training.embedded.glimpse_stage import (
    FRACTURE,
    Places,
    _draw,
    _piece,
    cut_pieces,
    train_glimpse,
)
from hilum.training.embedded.shards import Shards
from tests.training.embedded.conftest import make_encoder

SIZE = 128


class StopHereError(Exception):
    """An interruption."""


class Bars:
    """Films of one bone each: a bright bar with a gap; the truth says where."""

    def __init__(self, n: int, size: int = SIZE) -> None:
        rng = np.random.default_rng(0)
        self.rows = []
        for _ in range(n):
            film = rng.integers(60, 80, (size, size)).astype(np.uint8)
            y, x = rng.integers(40, size - 40, 2)
            film[y - 4 : y + 5] = 180
            film[y - 4 : y + 5, x - 2 : x + 3] = 70
            box = [x - 8.0, y - 8.0, x + 8.0, y + 8.0]
            track = np.zeros((24, size // 2, 4), np.float32)
            track[..., 0], track[..., 1] = np.arange(0, size, 2), y
            self.rows.append((film, track, {"instances": [[FRACTURE, *box, 4, 0, 0, 0, -1, 0]]}))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, k: int) -> Any:
        return self.rows[k]


def bars(n: int) -> Shards:
    return Bars(n)  # type: ignore[return-value]


def places(films: Shards, seed: int) -> Places:
    pieces, broken = cut_pieces(films, SIZE, np.random.default_rng(seed))
    return Places(pieces, np.zeros(len(pieces), np.float32), broken)


# -- pieces -----------------------------------------------------------------------------------


def test_pieces_come_in_equal_parts_and_hold_what_they_are_said_to() -> None:
    pieces, broken = cut_pieces(bars(20), SIZE, np.random.default_rng(1))
    assert pieces.shape == (len(broken), PIECE, PIECE)
    assert pieces.dtype == np.uint8
    assert broken.mean() == 0.5
    middle = pieces[:, 8:-8, 16:-16]
    # a column that the gap crosses holds no bright bone
    gap = (middle.max(1) < 140).any(1)
    assert (gap == broken).mean() > 0.93


def test_a_film_without_fractures_gives_no_piece() -> None:
    films = Bars(6)
    for _, _, entry in films.rows[:3]:
        entry["instances"] = [[0, 1, 1, 9, 9, -1, -1, -1, -1, -1, -1]]
    pieces, broken = cut_pieces(films, SIZE, np.random.default_rng(1))  # type: ignore[arg-type]
    assert len(pieces) == len(broken) > 0


def test_a_fracture_off_the_film_is_left_out() -> None:
    films = Bars(2)
    films.rows[0][2]["instances"] = [[FRACTURE, -1, -1, -1, -1, 4, 0, 0, 0, -1, 0]]
    pieces, _ = cut_pieces(films, SIZE, np.random.default_rng(1))  # type: ignore[arg-type]
    assert len(pieces)


@pytest.mark.parametrize("side", [SIZE, SIZE * 4 // 5])
def test_a_piece_is_at_the_scale_of_the_encoders_input(side: int) -> None:
    """A film that is smaller than the input is enlarged as the reader would enlarge it."""
    film = np.zeros((side, side), np.uint8)
    film[:, side // 2 :: 16] = 255  # lines 16 film pixels apart
    piece = _piece(film, side / 2, side / 2, SIZE, np.random.default_rng(3)).astype(float)
    spectrum = np.abs(np.fft.rfft(piece.mean(0) - piece.mean()))
    period = PIECE / spectrum.argmax()
    assert period == pytest.approx(16 * SIZE / side, rel=0.35)


def test_the_encoders_places_are_drawn_in_equal_parts_and_not_changed() -> None:
    given = places(bars(20), 1)
    few = np.flatnonzero(given.broken)[3:]
    rare = Places(*(np.delete(part, few, 0) for part in given))
    before = rare.pieces.copy()
    pieces, scores, broken = _draw(rare, np.random.default_rng(0))
    assert broken.mean() == 0.5
    assert len(pieces) == len(scores) == len(broken)
    np.testing.assert_array_equal(rare.pieces, before)


@pytest.mark.parametrize("broken", [True, False])
def test_places_of_one_kind_only_are_drawn_too(broken: bool) -> None:
    """An encoder that has learnt nothing finds no true place."""
    given = places(bars(20), 1)
    one = Places(*(part[given.broken == broken] for part in given))
    assert (_draw(one, np.random.default_rng(0))[2] == broken).all()


# -- training ---------------------------------------------------------------------------------


def train(folder: Path, steps: int, stop: int | None = None) -> FilmEncoder:
    def progress(step: int) -> None:
        if step == stop:
            raise StopHereError

    folder.mkdir(exist_ok=True)
    encoder = make_encoder(SIZE)
    found, unseen = places(bars(40), 5), places(bars(20), 6)
    train_glimpse(folder, encoder, bars(40), found, unseen, steps, 3, lambda _: None, progress)
    return encoder


@pytest.mark.slow
def test_it_learns_to_tell_broken_from_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glimpse_stage, "PIECES", 96)
    encoder = train(tmp_path / "run", 200)
    rows = [json.loads(x) for x in (tmp_path / "run/glimpse.jsonl").read_text().splitlines()]
    assert rows[-1]["auc_place"] > 0.9
    assert rows[-1]["auc_heat"] == 0.5  # the scores given to it say nothing
    assert not encoder.glimpse.training


def test_nothing_but_the_second_look_is_changed(tmp_path: Path) -> None:
    before = make_encoder(SIZE).state_dict()
    after = train(tmp_path / "run", 2).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("glimpse.") for name in changed)
    assert not any("token" in name for name in changed)  # that learns with the decoder


# -- on the reader's way ----------------------------------------------------------------------


@pytest.fixture
def encodings(films: Path) -> Encodings:
    return encode(make_encoder(SIZE), Shards(films, "standard"), 1, 5, lambda: None)


def test_kept_places_give_the_tokens_that_the_encoder_gives(
    films: Path, encodings: Encodings
) -> None:
    """The decoder must learn from what it will read."""
    from hilum.models.embedded.processing import normalise
    from hilum.training.embedded.batches import whole

    encoder, standard = make_encoder(SIZE), Shards(films, "standard")
    encodings.look_again(encoder)
    for k in (0, 5):
        film = normalise(torch.from_numpy(whole(standard[k][0], SIZE)[0])[None, None])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            out = encoder(film)
        with torch.no_grad():
            kept = encodings.tokens(encoder, [k])
        assert (kept - out.last_hidden_state.float()).abs().median() < 0.02


def test_only_the_tokens_of_fractures_are_told(encodings: Encodings) -> None:
    encoder = make_encoder(SIZE)
    encodings.look_again(encoder)
    with torch.no_grad():
        plain = encoder.proposals(encodings.seen[:3].float())
        told = encodings.tokens(encoder, [0, 1, 2])
    changed = (plain != told).any(-1).any(0)
    assert changed[encoder.fractures].all()
    assert changed.sum() == encoder.fractures.stop - encoder.fractures.start


def test_a_place_is_broken_where_a_true_fracture_lies_near(
    films: Path, encodings: Encodings
) -> None:
    standard = Shards(films, "standard")
    for k, entry in enumerate(standard.entries):
        if not any(row[0] == FRACTURE for row in entry["instances"]):
            assert not encodings.broken[k].any()
