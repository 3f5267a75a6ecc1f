"""One training step's films and targets: moved together, and the same ones every time."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hilum.models.embedded import FilmEncoder, FilmEncoderConfig, FilmEncoderOutput
from hilum.models.embedded.configuration import CLASSES
from hilum.training.embedded import batches
from hilum.training.embedded.batches import (
    Batch,
    _place,
    augment,
    make_batch,
    moved,
    stream,
    whole,
)
from hilum.training.embedded.shards import Shards

SIZE, CELLS = 64, 8


@pytest.fixture(scope="module")
def crowded(films: Path) -> Shards:
    return Shards(films, "crowded")


@pytest.fixture(scope="module")
def single(films: Path) -> Shards:
    return Shards(films, "single")


def same(a: Batch, b: Batch) -> bool:
    return all(
        torch.equal(getattr(a, n), getattr(b, n)) for n in ("films", "heat", "places", "rib_cells")
    )


# -- augmentation -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_box_moves_with_its_film(seed: int) -> None:
    """A bright square lies in the moved box, turned at most 3 degrees inside it."""
    film = np.full((320, 320), 20, np.uint8)
    rng = np.random.default_rng(1000 + seed)
    x, y = rng.integers(60, 230, 2)
    film[y : y + 30, x : x + 30] = 255
    turned, turn = augment(film, 320, np.random.default_rng(seed))
    box = moved(np.array([x, y, x + 29, y + 29], np.float32), turn)
    bright = np.argwhere(turned > 128)
    found = np.array(
        [bright[:, 1].min(), bright[:, 0].min(), bright[:, 1].max(), bright[:, 0].max()]
    )
    # a turned square's corners are the box's; half of each corner's pixels are dark
    assert np.abs(found - box).max() < 2.0
    middle = bright.mean(0)[::-1]
    np.testing.assert_allclose(middle, (box[:2] + box[2:]) / 2, atol=0.6)


def test_augmentation_is_drawn_from_its_generator_alone() -> None:
    film = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE)).astype(np.uint8)
    first, again = (augment(film, SIZE, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    other, _ = augment(film, SIZE, np.random.default_rng(6))
    assert not np.array_equal(first[0], other)


def test_augmentation_keeps_size_and_type_and_spares_the_original() -> None:
    film = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE)).astype(np.uint8)
    film.flags.writeable = False  # as a memory map is
    for seed in range(30):
        out, turn = augment(film, SIZE, np.random.default_rng(seed))
        assert (out.shape, out.dtype) == (film.shape, np.uint8)
        scale = np.sqrt(np.linalg.det(turn[:, :2]))
        assert 0.92 < scale < 1.08
        centre = turn @ [31.5, 31.5, 1]
        assert np.abs(centre - 31.5).max() <= 0.03 * SIZE + 1e-4


def test_grey_levels_keep_their_order() -> None:
    film = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    for seed in range(10):
        rng = np.random.default_rng(seed)
        out, _ = augment(film, 256, rng)
        inner = out[128, 40:216].astype(int)
        assert (np.diff(inner) >= 0).all()
        assert inner[-1] - inner[0] > 100


@pytest.mark.parametrize("side", [40, 64, 100])
def test_a_film_of_any_size_lands_on_the_encoders_input(side: int) -> None:
    """A bright square stays in its box, whole or augmented."""
    film = np.full((side, side), 20, np.uint8)
    low, high = side // 4, side // 2
    film[low:high, low:high] = 255
    for make in (
        lambda: whole(film, 320),
        lambda: augment(film, 320, np.random.default_rng(1)),
    ):
        out, turn = make()
        assert (out.shape, out.dtype) == ((320, 320), np.uint8)
        box = moved(np.array([low, low, high - 1, high - 1], np.float32), turn)
        bright = np.argwhere(out > 128)[:, ::-1]
        middle = (bright.min(0) + bright.max(0)) / 2
        np.testing.assert_allclose(middle, (box[:2] + box[2:]) / 2, atol=1.5)


# -- targets ----------------------------------------------------------------------------------


def row(kind: int, *box: float) -> list[float]:
    return [kind, *box, *([3, 1, 2, 0, -1] if kind == 4 else [-1] * 5)]


def test_a_place_on_the_grid() -> None:
    heat = np.zeros((len(CLASSES), CELLS, CELLS), np.float32)
    box = np.array([21.5, 29.5, 33.5, 41.5], np.float32)  # centre 27.5, 35.5: cell 3, 4
    place = _place(2, row(4, *box), box, heat)
    assert place is not None
    film, cell, kind, wide, high, *rest = place
    assert (film, cell, kind) == (2, 4 * CELLS + 3, 4)
    assert (np.exp(wide) * 4, np.exp(high) * 4) == (pytest.approx(6), pytest.approx(6))
    assert rest == [3, 1, 2, 0, -1]
    assert heat[4].argmax() == cell
    assert heat[4, 4, 3] == 1
    assert not heat[:4].any()
    assert 0.5 < heat[4, 4, 4] < 1  # one cell beside


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ((-20, 10, -10, 20), False),
        ((10, 64, 20, 80), False),
        ((-9, 10, 7, 20), False),  # its centre is a pixel off the film
        ((-9, 10, 8.5, 20), True),  # half of it is off the film, its centre is not
        ((60, 60, 66, 66), True),
        ((-1, -1, -1, -1), False),  # an instance that has no box
    ],
)
def test_what_has_left_the_film_is_no_target(box: tuple[float, ...], inside: bool) -> None:
    heat = np.zeros((len(CLASSES), CELLS, CELLS), np.float32)
    place = _place(0, row(3, *box), np.array(box, np.float32), heat)
    assert (place is not None) == inside == bool(heat.any())


def test_overlapping_peaks_keep_the_higher_value() -> None:
    heat = np.zeros((len(CLASSES), CELLS, CELLS), np.float32)
    for x in (20.0, 36.0):
        box = np.array([x - 4, 28, x + 4, 36], np.float32)
        _place(0, row(0, *box), box, heat)
    assert (heat[0] == 1).sum() == 2
    assert heat.max() == 1


def test_a_dot_has_a_size() -> None:
    heat = np.zeros((len(CLASSES), CELLS, CELLS), np.float32)
    place = _place(0, row(3, 30, 30, 30, 30), np.full(4, 30, np.float32), heat)
    assert place is not None
    assert np.isfinite(place).all()


def test_targets_are_what_the_encoder_makes_boxes_of(
    crowded: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map that equals the targets gives the true boxes back, to half a cell."""
    monkeypatch.setattr(batches, "augment", lambda film, *_: whole(film, SIZE))
    rng = np.random.default_rng(0)
    drawn = [int(rng.integers(len(crowded))) for _ in range(4)]
    places = make_batch(crowded, crowded, 4, 0, SIZE, np.random.default_rng(0)).places
    sizes = torch.zeros(4, 2 * len(CLASSES), CELLS, CELLS)
    film, cell, kind = (places[:, k].long() for k in range(3))
    sizes.unflatten(1, (-1, 2)).flatten(3)[film, kind, :, cell] = places[:, 3:5]
    config = FilmEncoderConfig(
        image_size=SIZE, channels=(8,) * 5, hidden_size=8, detail=8, attention_heads=2
    )
    out = FilmEncoderOutput(heatmaps=torch.zeros(4, len(CLASSES), CELLS, CELLS), sizes=sizes)
    out.cells = torch.arange(CELLS**2).expand(4, -1)
    checked, encoder = 0, FilmEncoder(config)
    for b, index in enumerate(drawn):
        seen = set()
        film, _, entry = crowded[index]
        _, turn = whole(film, SIZE)
        for row in reversed(entry["instances"]):  # of two in a cell the last is drawn
            if row[1] < 0:  # it lies off the film
                continue
            true_box = moved(np.array(row[1:5], np.float32), turn)
            heat = np.zeros((len(CLASSES), CELLS, CELLS), np.float32)
            place = _place(b, row, true_box, heat)
            assert place is not None
            if tuple(place[1:3]) in seen:
                continue
            seen.add(tuple(place[1:3]))
            boxes = encoder._boxes(out, torch.full((4, CELLS**2), int(row[0])))[b]
            found = boxes[int(place[1])].numpy()
            smallest = np.maximum(true_box[2:] - true_box[:2], 2)  # a box is at least 2 pixels
            middle = (true_box[:2] + true_box[2:]) / 2
            true = np.concatenate([middle - smallest / 2, middle + smallest / 2])
            assert np.abs(found - np.clip(true, 0, SIZE - 1)).max() <= 4.1
            checked += 1
    assert checked > 10


# -- batches ----------------------------------------------------------------------------------


def test_a_batch(crowded: Shards, single: Shards) -> None:
    batch = make_batch(crowded, single, 2, 3, SIZE, np.random.default_rng(0))
    assert batch.films.shape == (5, 1, SIZE, SIZE)
    assert batch.films.dtype is torch.float32
    assert -2 <= float(batch.films.min()) < float(batch.films.max()) <= 2
    assert batch.heat.shape == (5, len(CLASSES), CELLS, CELLS)
    assert 0 <= float(batch.heat.min()) <= float(batch.heat.max()) == 1
    assert batch.places.shape[1] == 11
    assert batch.places[:, 0].max() <= 4
    peaks = (batch.heat == 1).nonzero()
    cells = {tuple(p) for p in peaks.tolist()}
    for film, cell, kind in batch.places[:, :3].long().tolist():
        assert (film, kind, cell // CELLS, cell % CELLS) in cells
    film, channel, line, column = batch.rib_cells.T
    assert set(film.tolist()) == set(range(5))
    assert 0 <= int(channel.min()) <= int(channel.max()) < 36
    for axis in (line, column):
        assert 0 <= int(axis.min()) <= int(axis.max()) < CELLS


def test_films_without_findings_have_empty_targets(films: Path) -> None:
    class Healthy(Shards):
        def __getitem__(self, i: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], dict]:
            film, track, entry = super().__getitem__(i)
            return film, track, {**entry, "instances": [], "present": [0] * 5}

    healthy = Healthy(films, "single")
    batch = make_batch(healthy, healthy, 0, 2, SIZE, np.random.default_rng(0))
    assert batch.places.shape == (0, 11)
    assert not batch.heat.any()


def test_films_are_not_changed_on_disk(crowded: Shards, single: Shards) -> None:
    before = np.array(single[0][0])
    make_batch(crowded, single, 4, 4, SIZE, np.random.default_rng(0))
    assert np.array_equal(single[0][0], before)
    assert not single[0][0].flags.writeable


# -- streams ----------------------------------------------------------------------------------


def test_number_k_of_a_seed_is_always_the_same_batch(crowded: Shards, single: Shards) -> None:
    endless = stream(crowded, single, 1, 2, SIZE, 9, count(0))
    first = [next(endless) for _ in range(4)]
    for k in (0, 1, 3):
        assert same(next(stream(crowded, single, 1, 2, SIZE, 9, count(k))), first[k])
    assert not same(first[0], first[1])
    assert not same(next(stream(crowded, single, 1, 2, SIZE, 10, count(0))), first[0])


def test_threads_of_opencv_do_not_matter(crowded: Shards, single: Shards) -> None:
    before = cv2.getNumThreads()
    first = next(stream(crowded, single, 1, 2, SIZE, 9, count(0)))
    cv2.setNumThreads(1 if before != 1 else 2)
    try:
        assert same(next(stream(crowded, single, 1, 2, SIZE, 9, count(0))), first)
    finally:
        cv2.setNumThreads(before)


def test_a_stream_that_fails_raises_and_does_not_hang(
    crowded: Shards, single: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = batches.make_batch, []

    def fail(*arguments: object) -> Batch:
        if arguments[2] == 3:  # other tests' threads may still be at work
            calls.append(arguments)
        if len(calls) > 2:
            raise OSError("the disk is gone")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(batches, "make_batch", fail)
    made = stream(crowded, single, 3, 0, SIZE, 9, count(0))
    next(made)
    next(made)
    with pytest.raises(OSError, match="disk is gone"):
        next(made)
