"""The second looks' training: pieces of what is there, of whole bone, and of mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hilum.models.embedded import FilmEncoder
from hilum.models.embedded.configuration import CLASSES, LOOKS
from hilum.training.embedded import glimpse_stage
from hilum.training.embedded.encodings import Places
from hilum.training.embedded.glimpse_stage import (
    CUTS,
    HERE,
    Mistakes,
    Scale,
    _piece,
    cut_pieces,
    fuse,
    mistakes,
    train_glimpse,
)
from hilum.training.embedded.shards import Shards
from hilum.training.embedded.words import FRACTURE
from tests.training.embedded.conftest import make_encoder

SIZE = 128
PIECE = LOOKS["fracture"]
SCALE = Scale(SIZE, PIECE)
NODULE = list(CLASSES).index("nodule")


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


def pieces_of(films: Shards, seed: int = 1, mistaken: list[Mistakes] | None = None) -> Any:
    """Of broken and of whole bone, and of mistakes, if there are any."""
    rng = np.random.default_rng(seed)
    return cut_pieces(CUTS["fracture"], FRACTURE, films, mistaken or [], SCALE, rng)


def places(films: Shards, seed: int) -> Places:
    pieces, there = pieces_of(films, seed)
    return Places(pieces, np.zeros(len(pieces), np.float32), there)


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
    points = np.array([[5.0, 5.0], [9.0, 99.0]], np.float32)
    mistaken = [Mistakes(films[k][0], points) for k in range(10)]
    assert pieces_of(films, mistaken=mistaken)[1].mean() == 0.5


def test_each_class_is_cut_by_itself(films: Path) -> None:
    """Nodules' pieces are larger, and none is of bone where there are no mistakes."""
    crowded, rng = Shards(films, "crowded"), np.random.default_rng(1)
    scale = Scale(SIZE, LOOKS["nodule"])
    pieces, there = cut_pieces(CUTS["nodule"], NODULE, crowded, [], scale, rng)
    assert pieces.shape[1:] == (LOOKS["nodule"], LOOKS["nodule"])
    assert there.all()
    film, _, _ = crowded[0]
    mistaken = [Mistakes(film, np.array([[30.0, 30.0]], np.float32))]
    _, there = cut_pieces(CUTS["nodule"], NODULE, crowded, mistaken, scale, rng)
    assert 0.2 < there.mean() < 0.8


def test_a_mistakes_piece_lies_where_the_mistake_was() -> None:
    film = np.zeros((SIZE, SIZE), np.uint8)
    film[70, 50] = 255
    for seed in range(20):
        piece = _piece(film, 50, 70, SCALE, HERE, np.random.default_rng(seed))
        y, x = np.unravel_index(piece.argmax(), piece.shape)
        assert max(abs(x - PIECE / 2), abs(y - PIECE / 2)) <= HERE + 2


def test_half_of_the_pieces_are_as_sharp_as_they_will_be() -> None:
    film = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE)).astype(np.uint8)
    contrast = [
        np.abs(
            np.diff(_piece(film, 60, 60, SCALE, 3, np.random.default_rng(k)).astype(float))
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
        piece = _piece(film, side / 2, side / 2, SCALE, 6, np.random.default_rng(seed)).astype(
            float
        )
        spectrum = np.abs(np.fft.rfft(piece.mean(0) - piece.mean()))
        period = PIECE / spectrum.argmax()
        assert period == pytest.approx(16 * SIZE / side, rel=0.35)


@pytest.mark.parametrize("name", LOOKS)
def test_mistakes_are_places_of_the_film_far_from_what_is_true(
    films: Path, name: str, tmp_path: Path
) -> None:
    """In the film's own pixels, though every other shard is coarser than the input."""
    encoder, single = make_encoder(SIZE), Shards(films, "single")
    done: list[int] = []
    found = mistakes(encoder, single, tmp_path / "m", lambda: done.append(1))[name]
    assert len(single) == len(done)
    kept = CLASSES[name]
    assert len({len(row.film) for row in found}) == 2
    given = iter(found)
    for film, _, entry in (single[k] for k in range(len(single))):
        true = [r for r in entry["instances"] if r[0] == list(CLASSES).index(name) and r[1] >= 0]
        row = next(given)
        assert np.array_equal(row.film, film)
        points = row.points
        assert points.shape[1:] == (2,)
        assert 0 < len(points) <= kept
        assert (points >= -1).all()
        assert (points <= len(film)).all()
        assert true or len(points) == kept
        for r in true:
            x, y = (r[1] + r[3]) / 2, (r[2] + r[4]) / 2
            assert (np.hypot(points[:, 0] - x, points[:, 1] - y) > 14 / 400 * len(film)).all()


def test_a_film_without_a_mistake_is_left_out(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glimpse_stage, "CLEAR", 2.0)  # no place of the film is that far away
    single = Shards(films, "single")
    found = mistakes(make_encoder(SIZE), single, tmp_path / "m", lambda: None)["fracture"]
    broken = [any(r[0] == FRACTURE and r[1] >= 0 for r in e["instances"]) for e in single.entries]
    assert 0 < len(found) == broken.count(False) < len(single)


# -- training ---------------------------------------------------------------------------------


def train(folder: Path, steps: int, stop: int | None = None) -> FilmEncoder:
    def progress(step: int) -> None:
        if step == stop:
            raise StopHereError

    folder.mkdir(exist_ok=True)
    encoder = make_encoder(SIZE)
    learnt = bars(40)
    checked = (places(learnt, 5), places(bars(20), 6), places(learnt, 7))
    say: Any = lambda _: None  # noqa: E731
    train_glimpse(folder, encoder, "fracture", learnt, [], *checked, steps, 3, say, progress)
    return encoder


@pytest.mark.slow
def test_it_learns_to_tell_broken_from_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = CUTS["fracture"]._replace(crowded=16)
    monkeypatch.setitem(glimpse_stage.CUTS, "fracture", cut)
    encoder = train(tmp_path / "run", 500)
    rows = [
        json.loads(x) for x in (tmp_path / "run/glimpse-fracture.jsonl").read_text().splitlines()
    ]
    assert rows[-1]["auc_piece"] > 0.9
    assert rows[-1]["learnt_auc_piece"] > 0.9
    assert rows[-1]["auc_heat"] == 0.5  # the scores given to it say nothing
    assert not encoder.glimpse("fracture").training


def test_nothing_but_the_second_look_is_changed(tmp_path: Path) -> None:
    before = make_encoder(SIZE).state_dict()
    after = train(tmp_path / "run", 2).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("glimpses.fracture.") for name in changed)
    assert not any("token" in name for name in changed)  # that learns with the decoder


def test_it_is_weighed_against_the_heatmap() -> None:
    """As much as each of the two is worth, whatever it was before."""
    encoder, given = make_encoder(SIZE), places(bars(40), 5)
    noise = np.random.default_rng(0).normal(size=len(given.there)).astype(np.float32)
    worth, there = [], encoder.glimpse("fracture").there
    for share in (0.0, 3.0):
        found = given._replace(scores=(noise + share * given.there).astype(np.float32))
        fuse(encoder.glimpse("fracture"), found)
        worth.append(there.weight[0, -1].item())
        with torch.no_grad():
            fused = encoder.glimpse("fracture").there(
                torch.zeros(2, encoder.glimpse("fracture").there.in_features)
            )
        assert torch.isfinite(fused).all()
    assert abs(worth[0]) < 0.5 < 2 < worth[1]


@pytest.mark.parametrize("broken", [True, False])
def test_places_of_one_kind_only_weigh_nothing(broken: bool) -> None:
    """An encoder that has learnt nothing finds no true place."""
    encoder, given = make_encoder(SIZE), places(bars(5), 1)
    before = encoder.glimpse("fracture").there.weight.clone()
    fuse(encoder.glimpse("fracture"), Places(*(part[given.there == broken] for part in given)))
    assert torch.equal(encoder.glimpse("fracture").there.weight, before)
