"""The gate's eye: eight poses of one look, ranks that no window changes, and arrays alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.phantom.film import simulate
from hilum.reading import pose
from hilum.reading.pose import POSES, SIDE, UPRIGHT, Pose, contrast, look, scores

FILM = (simulate(77, 0, 256).pixels >> 4).astype(np.uint8)


@pytest.mark.parametrize("done", POSES)
def test_the_pose_that_was_done_scores_as_the_upright_film_did(done: Pose) -> None:
    posed = np.rot90(FILM, done.turns)
    found = scores(255 - posed if done.inverted else posed)
    assert max(found, key=found.__getitem__) == done
    assert found[done] == pytest.approx(scores(FILM)[UPRIGHT], abs=0.1)  # rounding


def test_a_mirror_image_scores_alike() -> None:
    assert scores(FILM[:, ::-1])[UPRIGHT] == pytest.approx(scores(FILM)[UPRIGHT], abs=0.05)
    assert scores(FILM[:, :128])[UPRIGHT] < 0  # half a chest is none


def test_every_pose_has_one_score() -> None:
    assert list(scores(FILM)) == list(POSES)
    assert len(set(POSES)) == 8


@given(seed=st.integers(0, 1000), levels=st.integers(1, 256))
def test_looks_of_negatives_are_negatives(seed: int, levels: int) -> None:
    small = np.random.default_rng(seed).integers(0, levels, (SIDE, SIDE)).astype(np.uint8)
    assert np.allclose(contrast(255 - small), -contrast(small), atol=1e-5)


@given(gain=st.integers(1, 6), offset=st.integers(0, 60))
def test_a_window_that_keeps_the_order_changes_nothing(gain: int, offset: int) -> None:
    small = np.random.default_rng(gain).integers(0, 32, (SIDE, SIDE)).astype(np.uint8)
    assert np.array_equal(contrast(small), contrast((small * gain + offset).astype(np.uint8)))


def test_ranks_are_centred_and_flat_ground_stays_flat() -> None:
    flat = contrast(np.full((SIDE, SIDE), 9, np.uint8))
    assert flat.shape == (2, SIDE, SIDE)
    assert not flat.any()
    seen = look(FILM)
    assert seen.dtype == np.float32
    assert abs(float(seen[0].mean())) < 1e-3
    assert np.abs(seen[0]).max() <= 0.5


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (64, 64), (1000, 65)])
def test_any_shape_has_finite_scores(shape: tuple[int, int]) -> None:
    picture = np.arange(shape[0] * shape[1]).reshape(shape).astype(np.uint8)
    assert np.isfinite(list(scores(picture).values())).all()


def test_the_weights_are_small_and_hold_no_pickle() -> None:
    assert pose.WEIGHTS.stat().st_size < 100_000
    with np.load(pose.WEIGHTS, allow_pickle=False) as file:
        assert all(file[name].dtype == np.float16 for name in file.files)
        assert all(np.isfinite(file[name]).all() for name in file.files)


def test_a_pickle_in_the_place_of_the_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pose.npz"
    np.savez(path, **{"conv0.weight": np.array([{"a": 1}], object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        pose.read(path)
