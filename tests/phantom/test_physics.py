"""Physics of the phantom: mass is kept, the beam is a cone, more bone is brighter, 12 bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hilum.phantom.physics import (
    CENTRE_DETECTOR,
    FIELD,
    SOURCE_DETECTOR,
    Exposure,
    blur,
    expose,
    magnification,
    project,
    splat_tube,
)

CLEAN = Exposure(
    photons=1e7,
    scatter=0.0,
    blur=0.3,
    detail=1.0,
    latitude=1.0,
    percentiles=(1.0, 99.0),
    gamma=1.0,
    gain=1.0,
)


def splat(
    size: int = 256,
    start: tuple[float, float, float] = (-60.0, 10.0, 0.0),
    end: tuple[float, float, float] = (60.0, 10.0, 0.0),
    half_height: float = 8.0,
    half_width: float = 5.0,
    density: float = 1.0,
    cortex: float = 0.0,
    fill: float = 1.0,
    around: int = 22,
    nodes: int = 400,
) -> NDArray[np.float32]:
    """The film of one straight tube."""
    image = np.zeros((size, size), np.float32)
    axis = np.linspace(start, end, nodes).astype(np.float32)
    along = (axis[-1] - axis[0]) / np.linalg.norm(axis[-1] - axis[0])
    through = np.array([0, 0, 1], np.float32)
    if abs(along[2]) > 0.9:
        through = np.array([0, 1, 0], np.float32)
    through = through - (through @ along) * along
    through /= np.linalg.norm(through)
    across = np.cross(along, through)
    length = float(np.linalg.norm(axis[-1] - axis[0]))
    splat_tube(
        image,
        axis,
        np.tile(across, (nodes, 1)).astype(np.float32),
        np.tile(through, (nodes, 1)).astype(np.float32),
        np.full(nodes, half_height, np.float32),
        np.full(nodes, half_width, np.float32),
        np.full(nodes, density, np.float32),
        length / nodes,
        cortex,
        fill,
        around,
        0.3,
    )
    return image


def volume(image: NDArray[np.float32], z: float = 0.0) -> float:
    """mm3 of what is on the film, if all of it lies at height ``z``."""
    pixel = FIELD / image.shape[0] / float(magnification(z))
    return float(image.sum(dtype=np.float64)) * pixel**2


@pytest.mark.parametrize("size", [128, 333, 640])
@pytest.mark.parametrize("z", [-90.0, 0.0, 90.0])
def test_a_filled_tube_keeps_its_volume(size: int, z: float) -> None:
    image = splat(size, (-60, 10, z), (60, 10, z), fill=1.0)
    assert volume(image, z) == pytest.approx(math.pi * 8 * 5 * 120, rel=0.02)


@settings(deadline=None, max_examples=60)
@given(
    st.floats(1, 12),
    st.floats(1, 12),
    st.floats(0.1, 2),
    st.floats(0.1, 1),
    st.integers(8, 40),
    st.floats(-80, 80),
    st.floats(-80, 80),
)
def test_volume_is_kept_at_any_slant(
    high: float, wide: float, density: float, fill: float, around: int, x: float, y: float
) -> None:
    end = (x, y + 100, 20.0)
    image = splat(
        160, (x - 30, y, -20), end, high, wide, density, cortex=0, fill=fill, around=around
    )
    length = math.hypot(30, 100, 40)
    assert volume(image) == pytest.approx(math.pi * high * wide * length * density * fill, rel=0.03)


def test_a_hollow_tube_has_the_volume_of_its_wall() -> None:
    image = splat(half_height=6, half_width=6, cortex=1.2, fill=0.0)
    assert volume(image) == pytest.approx(2 * math.pi * 6 * 1.2 * 120, rel=0.02)
    both = splat(half_height=6, half_width=6, cortex=1.2, fill=0.22)
    inside = splat(half_height=6, half_width=6, cortex=0, fill=0.22)
    np.testing.assert_allclose(both, image + inside, atol=1e-3)


def test_a_tubes_path_is_longest_at_its_middle_when_full_and_at_its_rim_when_hollow() -> None:
    scale = 256 / FIELD * float(magnification(0))
    middle, rim = round(10 * scale + 127.5), round((10 + 7) * scale + 127.5)
    columns = slice(110, 146)
    full = blur(splat(fill=1.0), 1.0)[:, columns].mean(1)
    assert full[middle] == pytest.approx(2 * 5, rel=0.15)  # twice the half-width through it
    assert full[middle] > full[rim]
    hollow = blur(splat(fill=0.0, cortex=1.0), 1.0)[:, columns].mean(1)
    assert hollow[rim] > 1.15 * hollow[middle]
    assert hollow[middle] == pytest.approx(2, rel=0.3)  # the wall is crossed twice


@pytest.mark.parametrize(
    "change", [{"density": 0.0}, {"density": -1.0}, {"cortex": 0.0, "fill": 0.0}]
)
def test_nothing_leaves_nothing(change: dict[str, Any]) -> None:
    assert splat(**change).max() == 0


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((900.0, 0.0, 0.0), (990.0, 0.0, 0.0)),
        ((-900.0, -900.0, 0.0), (-800.0, -900.0, 0.0)),
        ((0.0, 900.0, 0.0), (1.0, 990.0, 0.0)),
    ],
)
def test_what_lies_off_the_film_leaves_nothing_and_does_not_wrap(start: Any, end: Any) -> None:
    assert splat(128, start, end).max() == 0


def test_a_tube_across_the_edge_loses_only_what_is_off_the_film() -> None:
    edge = FIELD / 2 / float(magnification(0))
    image = splat(256, (edge - 60, 0, 0), (edge + 60, 0, 0))
    assert volume(image) == pytest.approx(math.pi * 8 * 5 * 60, rel=0.04)
    assert image[:, :100].max() == 0
    assert np.isfinite(image).all()


def test_the_beam_is_a_cone() -> None:
    assert magnification(0.0) == pytest.approx(1800 / 1650)
    assert magnification(CENTRE_DETECTOR - SOURCE_DETECTOR + SOURCE_DETECTOR) == pytest.approx(1)
    heights = np.linspace(-150, 150, 31)
    assert (np.diff(magnification(heights)) < 0).all()  # the back is nearer to the source


@pytest.mark.parametrize("size", [128, 333, 640])
def test_projection_agrees_with_magnification(size: int) -> None:
    points = np.array([[0, 0, -90], [0, 0, 90], [100, -50, 0], [100, -50, 90]], np.float32)
    u = project(points, size)
    middle, scale = size / 2 - 0.5, size / FIELD
    np.testing.assert_allclose(u[:2], middle, atol=1e-3)
    for point, on_film in zip(points[2:], u[2:], strict=True):
        expected = point[:2] * float(magnification(float(point[2]))) * scale + middle
        np.testing.assert_allclose(on_film, expected, atol=1e-3)
    assert np.ptp(u[[0, 2], 0]) > np.ptp(u[[1, 3], 0])


def test_a_tube_falls_where_its_axis_is_projected() -> None:
    for z in (-90.0, 90.0):
        image = splat(256, (80, -70, z), (81, 70, z), 3, 3)
        x = (image.sum(0) * np.arange(256)).sum() / image.sum()
        assert x == pytest.approx(
            float(project(np.array([[80.5, 0, z]], np.float32), 256)[0, 0]), abs=0.3
        )


def wedge(steps: list[float], size: int = 256) -> NDArray[np.float32]:
    """Vertical bands, one a step."""
    place = np.minimum(np.arange(size) * len(steps) // size, len(steps) - 1)
    return np.tile(np.array(steps, np.float32)[place], (size, 1))


def bands(film: NDArray[np.uint16], n: int) -> list[float]:
    size = film.shape[0]
    return [
        float(film[20:-20, round((k + 0.3) * size / n) : round((k + 0.7) * size / n)].mean())
        for k in range(n)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_more_bone_is_brighter_however_the_film_was_exposed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    water = np.full((256, 256), 150, np.float32)
    shown = bands(expose(water, wedge([0, 3, 6, 9, 12, 15]), Exposure.draw(rng), rng), 6)
    assert (np.diff(shown) > 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_more_water_is_brighter_and_bone_more_so_than_water(seed: int) -> None:
    rng = np.random.default_rng(seed)
    none = np.zeros((256, 256), np.float32)
    shown = bands(expose(wedge([40, 80, 120, 160, 200]), none, Exposure.draw(rng), rng), 5)
    assert (np.diff(shown) > 0).all()
    bone, water = wedge([0, 0, 10]), wedge([100, 110, 100])
    plain, wet, bony = bands(expose(water, bone, CLEAN, rng), 3)
    assert bony > wet > plain


def test_the_same_stream_gives_the_same_film_and_noise_falls_with_photons() -> None:
    water, bone = np.full((128, 128), 100, np.float32), wedge([0, 10], 128)
    films = [expose(water, bone, CLEAN, np.random.default_rng(3)) for _ in range(2)]
    np.testing.assert_array_equal(films[0], films[1])
    dim = Exposure(**(vars(CLEAN) | {"photons": 1e4}))
    noisy = expose(water, bone, dim, np.random.default_rng(3))
    assert noisy[:, :50].std() > 3 * films[0][:, :50].std()


@pytest.mark.parametrize("size", [128, 129, 191, 333])
@pytest.mark.parametrize("depth", [0.0, 50.0, 1000.0, 1e6])
def test_every_film_has_12_bits_even_with_no_light_at_all(size: int, depth: float) -> None:
    rng = np.random.default_rng(0)
    water = np.full((size, size), depth, np.float32)
    with np.errstate(all="raise", under="ignore"):
        film = expose(water, water / 10, Exposure.draw(rng), rng)
    assert film.shape == (size, size)
    assert film.dtype == np.uint16
    assert film.max() <= 4095


def test_a_usual_film_uses_the_range() -> None:
    rng = np.random.default_rng(0)
    film = expose(wedge([20, 60, 100, 140, 180]), wedge([0, 10]), CLEAN, rng)
    assert film.min() < 200
    assert film.max() > 3800


def test_exposures_are_drawn_within_reason() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        e = Exposure.draw(rng)
        assert 10**4.5 <= e.photons <= 10**5.6
        assert 0.15 <= e.scatter <= 0.7
        assert 0.85 <= e.gain <= 1
        assert e.percentiles[0] < e.percentiles[1]
