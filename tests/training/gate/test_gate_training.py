"""The gate's training pictures, and that what is written computes what was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hilum.reading import pose
from hilum.reading.pose import SIDE
from hilum.training.gate import chests, distort, others, samples
from hilum.training.gate.shapes import Canvas, rod

WORK = distort.WORK


@pytest.fixture(scope="module")
def store() -> samples.Store:
    return samples.scenes(24, seed=3)


@pytest.mark.parametrize("make", [chests.frontal, chests.lateral, *dict.fromkeys(others.BODIES)])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_scene_is_matter_and_the_same_for_a_seed(
    make: Callable[[np.random.Generator, int], Canvas], seed: int
) -> None:
    canvas = make(np.random.default_rng(seed), WORK)
    again = make(np.random.default_rng(seed), WORK)
    for path in (canvas.water, canvas.bone):
        assert path.shape == (WORK, WORK)
        assert np.isfinite(path).all()
        assert path.min() >= 0
    assert canvas.bone.any()
    assert np.array_equal(canvas.water, again.water)
    assert np.array_equal(canvas.bone, again.bone)


def test_pictures_that_are_no_film_fill_their_range() -> None:
    for seed in range(12):
        drawn = others.picture(np.random.default_rng(seed), WORK)
        assert (float(drawn.min()), float(drawn.max())) == pytest.approx((0, 1))


def test_a_rod_is_as_thick_as_it_is_wide() -> None:
    canvas = Canvas.empty(200)  # 2 mm a pixel
    path = rod(canvas, (-50, 0), (50, 0), 20, 20)
    assert path.max() == pytest.approx(40, rel=0.01)
    assert (path[:, 100] > 0).sum() == pytest.approx(20, abs=1)
    assert (path[100] > 0).sum() == pytest.approx(70, abs=1)


def test_scenes_of_a_seed_are_the_same(store: samples.Store) -> None:
    again = samples.scenes(24, seed=3)
    assert store.keys() == again.keys() == samples.SCENES.keys()
    assert all(np.array_equal(store[kind], again[kind]) for kind in store)
    assert not np.array_equal(store["frontal"], samples.scenes(24, seed=4)["frontal"])


def test_samples_are_small_pictures_two_fifths_of_them_chests(store: samples.Store) -> None:
    rng = np.random.default_rng(0)
    drawn = [samples.sample(store, rng) for _ in range(400)]
    assert all(seen.shape == (SIDE, SIDE) and seen.dtype == np.uint8 for seen, _ in drawn)
    assert 0.3 < np.mean([kind == "frontal" for _, kind in drawn]) < 0.5
    assert {kind for _, kind in drawn} == samples.SHARES.keys()


def test_scenes_are_kept_for_the_next_run(tmp_path: Path) -> None:
    ticks: list[int] = []
    first = samples.kept(tmp_path, 12, 5, lambda: ticks.append(1))
    made = len(ticks)
    second = samples.kept(tmp_path, 12, 5, lambda: ticks.append(1))
    assert len(ticks) == made > 0
    assert all(np.array_equal(first[kind], second[kind]) for kind in first)


def test_what_is_written_computes_what_was_trained(store: samples.Store, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from hilum.training.gate import fit

    torch.set_num_threads(1)
    model = fit.fit(store, steps=12, seed=1, say=lambda _: None, tick=lambda: None)
    fit.save(model, tmp_path / "pose.npz")
    seen, _ = samples.batch(store, 16, np.random.default_rng(9))
    with torch.no_grad():
        expected = model.half().float()(torch.from_numpy(seen))[:, 0].numpy()
    written = pose.read(tmp_path / "pose.npz")
    assert np.allclose(written.score_once(seen), expected, atol=1e-3)
    assert expected.std() > 0
    counted = fit.accepted(written, store, 50, seed=2)
    assert sum(of for _, of in counted.values()) == 50
    assert all(0 <= passed <= of for passed, of in counted.values())
