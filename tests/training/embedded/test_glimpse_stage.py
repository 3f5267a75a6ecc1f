"""The second look's training: pieces of broken and of whole bone, and of the encoder's mistakes."""

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
    HERE,
    Places,
    _piece,
    cut_pieces,
    fuse,
    mistakes,
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


def nothing(films: Shards) -> list[Any]:
    return [np.zeros((0, 2), np.float32) for _ in range(len(films))]


def pieces_of(films: Shards, seed: int = 1) -> Any:
    """Of broken and of whole bone, none of a mistake."""
    return cut_pieces(films, films, nothing(films), SIZE, np.random.default_rng(seed))


def places(films: Shards, seed: int) -> Places:
    pieces, broken = pieces_of(films, seed)
    return Places(pieces, np.zeros(len(pieces), np.float32), broken)


# -- pieces -----------------------------------------------------------------------------------


def test_pieces_hold_what_they_are_said_to() -> None:
    pieces, broken = pieces_of(bars(20))
    assert pieces.shape == (len(broken), PIECE, PIECE)
    assert pieces.dtype == np.uint8
    assert broken.mean() == pytest.approx(2 / 3)
    middle = pieces[:, 8:-8, 16:-16]
    # a column that the gap crosses holds no bright bone
    gap = (middle.max(1) < 140).any(1)
    assert (gap == broken).mean() > 0.93


def test_the_whole_and_the_broken_are_as_many_where_mistakes_are_cut_too() -> None:
    films = bars(10)
    mistaken = [np.array([[5.0, 5.0], [9.0, 99.0]], np.float32)] * 10
    _, broken = cut_pieces(films, films, mistaken, SIZE, np.random.default_rng(1))
    assert broken.mean() == 0.5


def test_a_mistakes_piece_lies_where_the_mistake_was() -> None:
    film = np.zeros((SIZE, SIZE), np.uint8)
    film[70, 50] = 255
    for seed in range(20):
        piece = _piece(film, 50, 70, SIZE, HERE, np.random.default_rng(seed))
        y, x = np.unravel_index(piece.argmax(), piece.shape)
        assert max(abs(x - PIECE / 2), abs(y - PIECE / 2)) <= HERE + 2


def test_half_of_the_pieces_are_as_sharp_as_they_will_be() -> None:
    film = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE)).astype(np.uint8)
    contrast = [
        np.abs(
            np.diff(_piece(film, 60, 60, SIZE, 3, np.random.default_rng(k)).astype(float))
        ).mean()
        for k in range(60)
    ]
    sharp = np.mean(np.array(contrast) > 75)  # whole pixels keep the noise, others smooth it
    assert 0.3 < sharp < 0.7


def test_a_film_without_fractures_gives_pieces_of_whole_bone_alone() -> None:
    films = Bars(6)
    for _, _, entry in films.rows:
        entry["instances"] = [[0, 1, 1, 9, 9, -1, -1, -1, -1, -1, -1]]
    pieces, broken = pieces_of(films)  # type: ignore[arg-type]
    assert len(pieces) == len(broken) > 0
    assert not broken.any()


def test_a_fracture_off_the_film_is_left_out() -> None:
    films = Bars(2)
    for row in films.rows:
        row[2]["instances"] = [[FRACTURE, -1, -1, -1, -1, 4, 0, 0, 0, -1, 0]]
    assert not pieces_of(films)[1].any()  # type: ignore[arg-type]


@pytest.mark.parametrize("side", [SIZE, SIZE * 4 // 5])
def test_a_piece_is_at_the_scale_of_the_encoders_input(side: int) -> None:
    """A film that is smaller than the input is enlarged as the reader would enlarge it."""
    film = np.zeros((side, side), np.uint8)
    film[:, np.arange(side) % 16 < 8] = 255  # bars 16 film pixels apart
    for seed in (1, 3):
        piece = _piece(film, side / 2, side / 2, SIZE, 6, np.random.default_rng(seed)).astype(float)
        spectrum = np.abs(np.fft.rfft(piece.mean(0) - piece.mean()))
        period = PIECE / spectrum.argmax()
        assert period == pytest.approx(16 * SIZE / side, rel=0.35)


def test_mistakes_are_places_of_the_film_far_from_what_is_broken(films: Path) -> None:
    """In the film's own pixels, though every other shard is coarser than the input."""
    encoder, single = make_encoder(SIZE), Shards(films, "single")
    done: list[int] = []
    found = mistakes(encoder, single, lambda: done.append(1))
    assert len(found) == len(single) == len(done)
    kept = encoder.fractures.stop - encoder.fractures.start
    sides = {len(single[k][0]) for k in range(len(single))}
    assert len(sides) == 2
    for k, points in enumerate(found):
        film, _, entry = single[k]
        assert points.shape[1:] == (2,)
        assert (points >= -1).all()
        assert (points <= len(film)).all()
        true = [r for r in entry["instances"] if r[0] == FRACTURE and r[1] >= 0]
        assert true or len(points) == kept
        for row in true:
            x, y = (row[1] + row[3]) / 2, (row[2] + row[4]) / 2
            assert (np.hypot(points[:, 0] - x, points[:, 1] - y) > 14 / 400 * len(film)).all()


# -- training ---------------------------------------------------------------------------------


def train(folder: Path, steps: int, stop: int | None = None) -> FilmEncoder:
    def progress(step: int) -> None:
        if step == stop:
            raise StopHereError

    folder.mkdir(exist_ok=True)
    encoder = make_encoder(SIZE)
    found, unseen, learnt = places(bars(40), 5), places(bars(20), 6), bars(40)
    say, mistaken = lambda _: None, nothing(learnt)
    train_glimpse(folder, encoder, learnt, learnt, mistaken, found, unseen, steps, 3, say, progress)
    return encoder


@pytest.mark.slow
def test_it_learns_to_tell_broken_from_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glimpse_stage, "CROWDED", 16)
    encoder = train(tmp_path / "run", 500)
    rows = [json.loads(x) for x in (tmp_path / "run/glimpse.jsonl").read_text().splitlines()]
    assert rows[-1]["auc_piece"] > 0.9
    assert rows[-1]["auc_heat"] == 0.5  # the scores given to it say nothing
    assert not encoder.glimpse.training


def test_nothing_but_the_second_look_is_changed(tmp_path: Path) -> None:
    before = make_encoder(SIZE).state_dict()
    after = train(tmp_path / "run", 2).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("glimpse.") for name in changed)
    assert not any("token" in name for name in changed)  # that learns with the decoder


def test_it_is_weighed_against_the_heatmap() -> None:
    """As much as each of the two is worth, whatever it was before."""
    encoder, given = make_encoder(SIZE), places(bars(40), 5)
    noise = np.random.default_rng(0).normal(size=len(given.broken)).astype(np.float32)
    worth = []
    for share in (0.0, 3.0):
        found = given._replace(scores=(noise + share * given.broken).astype(np.float32))
        fuse(encoder.glimpse, found)
        worth.append(encoder.glimpse.broken.weight[0, -1].item())
        with torch.no_grad():
            fused = encoder.glimpse.broken(torch.zeros(2, encoder.glimpse.broken.in_features))
        assert torch.isfinite(fused).all()
    assert abs(worth[0]) < 0.5 < 2 < worth[1]


@pytest.mark.parametrize("broken", [True, False])
def test_places_of_one_kind_only_weigh_nothing(broken: bool) -> None:
    """An encoder that has learnt nothing finds no true place."""
    encoder, given = make_encoder(SIZE), places(bars(5), 1)
    before = encoder.glimpse.broken.weight.clone()
    fuse(encoder.glimpse, Places(*(part[given.broken == broken] for part in given)))
    assert torch.equal(encoder.glimpse.broken.weight, before)


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
