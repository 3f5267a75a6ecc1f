"""What is in or on the patient and is no disease: pacemaker, lines, tubes, wires, pads."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from hilum.phantom.anatomy import Habitus, Wide
from hilum.phantom.physics import FIELD, Array, blur, magnification, project
from hilum.phantom.tube import Tube, cross, unit

METAL = 6.0  # bone-equivalent of a millimetre of steel or a lead's coil
PLASTIC = 1.6  # of a catheter's radio-opaque wall

Points = list[tuple[float, float, float]]


def wire(points: Points, radius: float, density: float) -> Tube:
    """A round wire or catheter through the points, smoothly bent."""
    given = np.array(points, np.float32)
    chord = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(given, axis=0), axis=1))])
    n = max(30, round(float(chord[-1]) / 0.6))
    even = np.linspace(0, chord[-1], n)
    axis = np.stack([np.interp(even, chord, given[:, k]) for k in range(3)], 1)
    soft = max(3, 3 * n // (2 * len(points))) | 1
    padded = np.pad(axis, ((soft // 2, soft // 2), (0, 0)), mode="reflect", reflect_type="odd")
    kernel = np.hanning(soft + 2)[1:-1]
    kernel /= kernel.sum()
    axis = np.stack([np.convolve(padded[:, k], kernel, "valid") for k in range(3)], 1)
    axis = axis.astype(np.float32)
    along = unit(np.gradient(axis, axis=0) + 1e-6)
    across = unit(np.stack([-along[:, 1], along[:, 0], np.zeros(n)], 1) + 1e-6)
    return Tube(
        centre=axis,
        across=across,
        through=cross(along, across),
        half_height=np.full(n, radius, np.float32),
        half_width=np.full(n, radius, np.float32),
        density=np.full(n, density, np.float32),
        spacing=float(chord[-1]) / n,
        cortex=0.0,
        fill=1.0,
    )


def draw(habitus: Habitus, rng: np.random.Generator, size: int) -> tuple[Array, Wide]:
    """One device at random: its path (mm of bone) on the film, and its extent there (2, 2).

    The extent holds the smallest and largest x, y in pixels of what makes the device itself, not
    of every lead.
    """
    kind = KINDS[rng.integers(len(KINDS))]
    tubes, plates, extent = kind(habitus, rng)
    image = np.zeros((size, size), np.float32)
    for tube in tubes:
        tube.splat(image, habitus, rng.random())
    image = blur(image, 0.4 * size / 512 + 0.2)
    for corners, path in plates:
        image += _plate(corners, path, habitus, size)
    on_film = project(habitus.place(np.array(extent, np.float32)), size)
    return image, np.stack([on_film.min(0) - 2, on_film.max(0) + 2]).astype(float)


def _plate(corners: Points, path: float, habitus: Habitus, size: int) -> Array:
    flat = habitus.place(np.array(corners, np.float32))
    scale = np.asarray(magnification(flat[:, 2:])) * size / FIELD
    points = flat[:, :2] * scale + (size / 2 - 0.5)
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return blur(mask, 0.6 * size / 512 + 0.2) * np.float32(path / 255)


Device = tuple[list[Tube], list[tuple[Points, float]], Points]


def _ring(x: float, y: float, z: float, rx: float, ry: float, turn: float = 0.0) -> Points:
    angles = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    c, s = math.cos(turn), math.sin(turn)
    # a rounded square
    u = np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** 0.6 * rx
    v = np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** 0.6 * ry
    return [(x + a * c - b * s, y + a * s + b * c, z) for a, b in zip(u, v, strict=True)]


def _pacemaker(h: Habitus, rng: np.random.Generator) -> Device:
    sign = 1 if rng.random() < 0.8 else -1
    x, y = sign * rng.uniform(78, 108) * h.width, rng.uniform(-98, -78) * h.height
    can = _ring(x, y, 85, rng.uniform(20, 25), rng.uniform(17, 22), rng.uniform(-0.5, 0.5))
    inner = _ring(x, y + 4, 85, 14, 10, 0.2)
    start = (x - sign * 14, y - 16, 80.0)
    vein = (sign * 40.0, -104 * h.height, 45.0)
    cava = (-16 * h.width, -70 * h.height, 15.0)
    atrium = (-24 * h.width, h.dome - 70, 10.0)
    apex = (34 * h.width, h.dome - 14 + rng.uniform(-8, 6), 45.0)
    leads = [wire([start, vein, cava, atrium, (4.0, h.dome - 22, 20.0), apex], 0.9, METAL * 0.5)]
    if rng.random() < 0.6:
        tip = (-12.0 * h.width, h.dome - 88, 30.0)
        leads.append(
            wire([start, vein, cava, (-30 * h.width, h.dome - 72, 12.0), tip], 0.9, METAL * 0.5)
        )
    return leads, [(can, 9.0), (inner, 9.0)], can


def _line(h: Habitus, rng: np.random.Generator) -> Device:
    sign = -1 if rng.random() < 0.7 else 1
    tip = (-19 * h.width, rng.uniform(-50, -5) * h.height, 10.0)
    if rng.random() < 0.5:
        start = (sign * 38.0, -200.0 * h.height, 20.0)
        way = [start, (sign * 26.0, -140 * h.height, 25.0)]
    else:
        start = (sign * 120.0 * h.width, -112.0 * h.height, 60.0)
        way = [start, (sign * 70.0 * h.width, -122 * h.height, 55.0)]
    points = [
        *way,
        (sign * 12.0 - 8, -104 * h.height, 30.0),
        (-18 * h.width, -76 * h.height, 15.0),
        tip,
    ]
    return [wire(points, rng.uniform(0.9, 1.3), PLASTIC)], [], points


def _tube(h: Habitus, rng: np.random.Generator) -> Device:
    low = rng.uniform(-95, -60) * h.height
    airway: Points = [(1.0, -210.0, -5.0), (2.0, -150.0, -8.0), (2.0, low, -10.0)]
    tubes = [wire([(x + dx, y, z) for x, y, z in airway], 0.7, PLASTIC) for dx in (-4.5, 4.5)]
    points = airway
    if rng.random() < 0.6:
        gut: Points = [
            (-3.0, -210.0, -20.0),
            (2.0, -60.0, -25.0),
            (6.0, h.dome - 10, -20.0),
            (42.0 * h.width, h.dome + 50, 10.0),
        ]
        tubes.append(wire(gut, 1.3, PLASTIC))
    return tubes, [], points


def _wires(h: Habitus, rng: np.random.Generator) -> Device:
    """Electrodes of a monitor and their cables, outside the body."""
    tubes, plates = [], []
    extent: Points = []
    for sign, level in ((-1, -90), (1, -90), (1, 80), (-1, 80))[: rng.integers(2, 5)]:
        x, y = sign * rng.uniform(70, 130), level + rng.uniform(-25, 25)
        plates.append((_ring(x, y, 118, 3.5, 3.5), 9.0))
        plates.append((_ring(x, y, 118, rng.uniform(11, 15), rng.uniform(9, 13)), 0.5))
        bend = (x + rng.uniform(-40, 40), y + rng.uniform(20, 70), 118.0)
        tubes.append(
            wire([(x, y, 118.0), bend, (rng.uniform(-60, 60), 230.0, 118.0)], 0.7, METAL * 0.6)
        )
        extent += [(x - 6, y - 6, 118.0), (x + 6, y + 6, 118.0)]
    return tubes, plates, extent[:2]


def _sternal(h: Habitus, rng: np.random.Generator) -> Device:
    """Wires that close a split breastbone."""
    tubes, extent = [], []
    for k in range(rng.integers(4, 7)):
        y = (-92 + 23 * k + rng.uniform(-3, 3)) * h.height
        rx, ry = rng.uniform(8, 11), rng.uniform(4, 7)
        ring = _ring(rng.uniform(-2, 2), y, 92 * h.depth, rx, ry, rng.uniform(-0.4, 0.4))
        tubes.append(
            wire([*ring, ring[0], (ring[0][0] + 4, ring[0][1] + 3, ring[0][2])], 0.6, METAL)
        )
        extent += [ring[0], ring[20]]
    return tubes, [], extent


KINDS: tuple[Callable[[Habitus, np.random.Generator], Device], ...] = (
    _pacemaker,
    _line,
    _tube,
    _wires,
    _sternal,
)
