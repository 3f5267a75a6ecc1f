"""The bones that do not break here: spine, scapulae, upper arms, breastbone."""

from __future__ import annotations

import cv2
import numpy as np

from hilum.findings import Side
from hilum.phantom.anatomy import SIGN, Grid, Habitus, sigmoid
from hilum.phantom.physics import FIELD, Array, blur, magnification
from hilum.phantom.tube import Tube, straight

BACK = 1.12  # magnification of the spine


def _columns(grid: Grid, x: float, reach: float) -> slice:
    """The film's columns that lie within ``reach`` mm of ``x`` anywhere along their height."""
    near = np.flatnonzero((np.abs(grid.x - np.float32(x)) < reach * 1.3).any(0))
    return slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 0)


def spine(grid: Grid, habitus: Habitus, rng: np.random.Generator) -> Array:
    """Vertebral bodies with their end plates, pedicles and spinous processes, from the front."""
    bone = np.zeros((grid.size, grid.size), np.float32)
    middle = _columns(grid, 0, 34)
    sway = rng.uniform(-5, 5)
    x, y = grid.x[:, middle] / np.float32(BACK), grid.y[:, middle] / np.float32(BACK)
    x = x - np.float32(sway) * np.sin(y / 95)
    low = np.clip((y + 170) / 340, 0, 1)
    half = 13 + 5 * low  # bodies grow downwards
    pitch = 22 * habitus.height
    phase = ((y + rng.uniform(150, 172)) / pitch) % 1
    waist = half - 1.6 * (1 - (2 * phase - 1) ** 2)
    body = sigmoid((waist - np.abs(x)) * 0.9) * (
        0.8 + 0.35 * np.exp(-(((np.abs(x) - waist + 1) / 1.6) ** 2))
    )
    off = np.abs(phase - 0.5)
    plates = sigmoid((0.43 - off) * 22) * (1 + 0.45 * np.exp(-(((off - 0.40) * 13) ** 2)))
    pedicles = np.exp(
        -(((np.abs(x) - 0.62 * half) / 2.6) ** 2) - (((phase - 0.33) * 22 / 3.6) ** 2)
    )
    spines = np.exp(-((x / 2.4) ** 2) - (((phase - 0.75) * 22 / 5.0) ** 2))
    bone[:, middle] = habitus.bone_density * (
        2.3 * body * (0.25 + 0.75 * plates) + 2.4 * pedicles + 2.2 * spines
    )
    return bone


# Corners of a right-angled scapula of the left side, mm: superior angle, acromion's root, glenoid
# (above and below), lateral border, inferior angle, medial border.
_BLADE = (
    (92, -128),
    (120, -134),
    (143, -120),
    (145, -96),
    (132, -60),
    (113, 8),
    (104, 10),
    (90, -60),
)


def scapulae(grid: Grid, habitus: Habitus, rng: np.random.Generator) -> tuple[Array, list[Tube]]:
    """Both blades as flat shapes on the film, and their ridges as tubes."""
    bone = np.zeros((grid.size, grid.size), np.float32)
    tubes = []
    for side, sign in SIGN.items():
        turn = rng.uniform(-0.10, 0.16)
        out = rng.uniform(0, 16)
        jitter = rng.normal(0, 2.5, (len(_BLADE), 2))
        corners = (np.array(_BLADE) + jitter) * (habitus.width, habitus.height) + (out, 0)
        pivot = np.array((140, -110)) * (habitus.width, habitus.height)
        c, s = np.cos(turn), np.sin(turn)
        corners = (corners - pivot) @ np.array([[c, s], [-s, c]]) + pivot
        points = np.stack([sign * corners[:, 0], corners[:, 1], np.full(len(corners), -75.0)], 1)
        flat = habitus.place(points.astype(np.float32))
        scale = grid.size / FIELD
        on_film = flat[:, :2] * np.asarray(magnification(flat[:, 2:])) * scale + (
            grid.size / 2 - 0.5
        )
        mask = np.zeros((grid.size, grid.size), np.uint8)
        cv2.fillPoly(mask, [np.round(on_film * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        bone += blur(mask, 1.0 * grid.size / 256) * np.float32(1.5 / 255 * habitus.bone_density)
        tubes += _ridges(side, corners, habitus)
    return bone, tubes


def _ridges(side: Side, corners: Array, habitus: Habitus) -> list[Tube]:
    """Lateral border, spine of the scapula with the acromion, glenoid rim, medial border."""
    sign, d = SIGN[side], habitus.bone_density

    def at(
        k: int, dx: float = 0.0, dy: float = 0.0, z: float = -72.0
    ) -> tuple[float, float, float]:
        return (float(sign * (corners[k][0] + dx)), float(corners[k][1] + dy), z)

    return [
        straight(at(3, -2, 4), at(5), 3.4, 2.6, 0.9 * d, bow=3.0 * sign),
        straight(at(7, 0, -28), at(2, 18, -26, -60.0), 4.0, 2.2, 0.6 * d, bow=0.0),
        straight(at(2, 0, 2), at(3, 0, -2), 3.0, 4.0, 0.9 * d, bow=2.0 * sign),
        straight(at(0), at(6), 1.6, 1.4, 0.6 * d, bow=-4.0 * sign),
    ]


def arms(grid: Grid, habitus: Habitus, rng: np.random.Generator) -> tuple[list[Tube], Array]:
    """Shafts of the upper arms as tubes, and their heads on the film."""
    tubes, heads = [], []
    for sign in SIGN.values():
        x, y = 166 * habitus.width + rng.uniform(0, 14), rng.uniform(-116, -102) * habitus.height
        splay = rng.uniform(0.12, 0.5)
        end = (sign * (x + 240 * splay), y + 240, -50.0)
        start = (sign * (x + 2), y + 14, -50.0)
        tubes.append(
            straight(start, end, 12, 12, 0.8 * habitus.bone_density, 0.0, cortex=2.4, fill=0.04)
        )
        heads.append((sign * x, y))
    return tubes, _heads(heads, grid, habitus)


def _heads(centres: list[tuple[float, float]], grid: Grid, habitus: Habitus) -> Array:
    """Heads of the upper arms: hollow balls with some bone inside."""
    x, y = grid.at(BACK)
    path = np.zeros_like(x)
    for u, v in centres:
        apart = (x - u) ** 2 + (y - v) ** 2
        outer = np.sqrt(np.clip(22.0**2 - apart, 0, None))
        inner = np.sqrt(np.clip(20.8**2 - apart, 0, None))
        path += np.minimum(2 * (outer - inner), 8.0) + 0.16 * inner
    return np.asarray(habitus.bone_density * path, np.float32)


def breastbone(habitus: Habitus) -> Tube:
    """Manubrium and body of the sternum."""
    y, z = -118 * habitus.height, 84 * habitus.depth
    return straight((0, y, z * 0.8), (0, y + 165, z * 1.12), 17, 5, 0.32 * habitus.bone_density, 0)
