"""Films into the encoder's square and boxes back: whole, centred, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.models.embedded.processing import fit, normalise

SIDES = st.one_of(st.integers(1, 60), st.sampled_from([1, 2, 50, 127, 128, 129, 640, 3000]))
SIZES = st.sampled_from([32, 128, 640])


def content(rows: int, columns: int, size: int) -> tuple[int, int, int, int]:
    """Where the film itself lies in the square: left, top, width, height, found by its light."""
    square, _ = fit(np.full((rows, columns), 200, np.uint8), size)
    ys, xs = np.nonzero(square)
    return int(xs[0]), int(ys[0]), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1


@settings(deadline=None, max_examples=60)
@given(rows=SIDES, columns=SIDES, size=SIZES)
def test_nothing_is_cropped_and_the_rest_is_black(rows: int, columns: int, size: int) -> None:
    square, _ = fit(np.full((rows, columns), 200, np.uint8), size)
    assert square.shape == (size, size)
    assert square.dtype == np.uint8
    left, top, wide, high = content(rows, columns, size)
    assert max(wide, high) == size
    scale = size / max(rows, columns)
    assert abs(wide - max(1, columns * scale)) <= 0.5
    assert abs(high - max(1, rows * scale)) <= 0.5
    inside = np.zeros_like(square, bool)
    inside[top : top + high, left : left + wide] = True
    assert (square[inside] == 200).all()
    assert not square[~inside].any()
    assert abs(left - (size - wide - left)) <= 1  # centred
    assert abs(top - (size - high - top)) <= 1


@settings(deadline=None, max_examples=150)
@given(rows=SIDES, columns=SIDES, size=SIZES, data=st.data())
def test_a_box_there_and_back_is_the_same_within_a_pixel(
    rows: int, columns: int, size: int, data: st.DataObject
) -> None:
    """There: by where the film's edges were found in the square, not by what `fit` says of it."""
    left, top, wide, high = content(rows, columns, size)
    x = sorted(data.draw(st.lists(st.floats(-0.5, columns - 0.5), min_size=2, max_size=2)))
    y = sorted(data.draw(st.lists(st.floats(-0.5, rows - 0.5), min_size=2, max_size=2)))
    there = np.array(
        [
            *((v + 0.5) * scale + start - 0.5
              for v, scale, start in (
                  (x[0], wide / columns, left),
                  (y[0], high / rows, top),
                  (x[1], wide / columns, left),
                  (y[1], high / rows, top),
              ))
        ]
    )  # fmt: skip
    _, how = fit(np.zeros((rows, columns), np.uint8), size)
    np.testing.assert_allclose(how.to_film(there), (x[0], y[0], x[1], y[1]), atol=1)


@settings(deadline=None, max_examples=60)
@given(rows=st.integers(2, 60), columns=st.integers(2, 60))
def test_the_corners_survive_when_enlarged(rows: int, columns: int) -> None:
    """A lateral rib lies at the margin: the outermost pixel must reach the encoder."""
    left, top, wide, high = content(rows, columns, 640)
    corners = [(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)]
    places = [
        (top, left),
        (top, left + wide - 1),
        (top + high - 1, left),
        (top + high - 1, left + wide - 1),
    ]
    for (y, x), (v, u) in zip(corners, places, strict=True):
        film = np.zeros((rows, columns), np.uint8)
        film[y, x] = 255
        square, how = fit(film, 640)
        assert square[v, u] == 255
        bright = np.argwhere(square > 127)
        middle = bright.mean(0)
        box = how.to_film(np.array([middle[1], middle[0], middle[1], middle[0]]))
        assert box[0] == pytest.approx(x, abs=0.5)
        assert box[1] == pytest.approx(y, abs=0.5)


@pytest.mark.parametrize(("rows", "columns"), [(3000, 2500), (641, 640), (2048, 1), (50, 3000)])
def test_a_bright_block_is_found_again_when_reduced(rows: int, columns: int) -> None:
    film = np.zeros((rows, columns), np.uint8)
    least = max(rows, columns) // 100
    high, wide = min(rows, max(least, rows // 20)), min(columns, max(least, columns // 20))
    y, x = (rows - high) * 3 // 4, (columns - wide) * 3 // 4
    film[y : y + high, x : x + wide] = 255
    square, how = fit(film, 640)
    bright = np.argwhere(square > 127)
    (v0, u0), (v1, u1) = bright.min(0), bright.max(0)
    # the block's edges, half a pixel outside its outermost centres
    found = how.to_film(np.array([u0 - 0.5, v0 - 0.5, u1 + 0.5, v1 + 0.5]))
    pixel = max(rows, columns) / 640  # of the square, in pixels of the film
    expected = (x - 0.5, y - 0.5, x + wide - 0.5, y + high - 0.5)
    np.testing.assert_allclose(found, expected, atol=max(1.0, pixel))


def test_a_film_of_the_encoders_size_is_passed_on_untouched() -> None:
    film = np.random.default_rng(0).integers(0, 256, (128, 128)).astype(np.uint8)
    square, how = fit(film, 128)
    assert np.array_equal(square, film)
    assert how.to_film(np.array([1.5, 2, 30, 40])) == (1.5, 2, 30, 40)
    wide = film[:64]
    assert np.array_equal(fit(wide, 128)[0][32:96], wide)  # padded only


def test_any_memory_layout_is_read_and_none_is_written() -> None:
    film = np.random.default_rng(0).integers(0, 256, (90, 70)).astype(np.uint8)
    film.flags.writeable = False
    square, _ = fit(film, 128)
    assert np.array_equal(fit(np.asfortranarray(film), 128)[0], square)
    assert np.array_equal(fit(film[::-1], 128)[0], fit(film[::-1].copy(), 128)[0])


def test_normalise() -> None:
    films = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    scaled = normalise(films)
    assert scaled.dtype is torch.float32
    torch.testing.assert_close(scaled.flatten(), torch.tensor([-2.0, -1.2, 2.0]))
