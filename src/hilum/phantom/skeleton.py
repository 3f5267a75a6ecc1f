"""Bones: ribs and collar bones as tubes, spine and scapulae as flat shapes; and fractures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilum.findings import Side
from hilum.phantom.anatomy import SIGN, Grid, Habitus, sigmoid
from hilum.phantom.findings import Lesions, RibFracture, rib_end
from hilum.phantom.physics import Array, blur, project
from hilum.phantom.tube import Tube, unit

# Half-width of the rib cage at each rib, 1..12.
RIB_REACH = (58, 84, 101, 113, 121, 127, 131, 133, 132, 128, 118, 100)
BACK = 1.12  # magnification of the spine
NODES = 560  # along one rib: about one pixel at 640 px


@dataclass(frozen=True)
class Rib:
    """A rib's tube, and the angle of each of its points (0 at the spine)."""

    side: Side
    number: int
    angle: Array
    tube: Tube

    def near(self, angle: float, reach: float) -> Array:
        """Axis points within ``reach`` mm of the given angle, measured along the rib."""
        i = int(np.argmin(np.abs(self.angle - angle)))
        n = max(1, round(reach / self.tube.spacing))
        return self.tube.centre[max(0, i - n) : i + n + 1]


def _rib_axis(
    number: int, side: Side, habitus: Habitus, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Axis (n, 3) and angle (n,) of one whole rib, evenly spaced along its length."""
    h = habitus
    t = np.linspace(0.12, rib_end(number), 4 * NODES)
    reach = RIB_REACH[number - 1] * h.width * rng.uniform(0.985, 1.015)
    depth = 88 * h.depth * (0.65 + 0.35 * min(1.0, number / 5))
    slope = rng.uniform(44, 56) * h.height * (0.55 + 0.45 * min(1.0, number / 6))
    x = 12 + (reach - 12) * np.sin(t)
    z = -depth * np.cos(t)
    y = -152 * h.height + 20.5 * h.height * number + slope * (t / 1.9) ** 1.6
    y += rng.uniform(-1.5, 1.5) - 6 * np.sin(np.clip(2.2 * t, 0, np.pi))
    path = np.stack([SIGN[side] * x, y, z], 1)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    even = np.linspace(0, length[-1], NODES)
    axis = np.stack([np.interp(even, length, path[:, k]) for k in range(3)], 1).astype(np.float32)
    return axis, np.interp(even, length, t).astype(np.float32)


def _rib(number: int, side: Side, habitus: Habitus, rng: np.random.Generator) -> Rib:
    axis, angle = _rib_axis(number, side, habitus, rng)
    spacing = float(np.linalg.norm(axis[1] - axis[0]))
    along = unit(np.gradient(axis, axis=0))
    radial = [SIGN[side] * np.sin(angle), np.zeros(NODES), -np.cos(angle)]
    outwards = np.stack(radial, 1).astype(np.float32)
    outwards = unit(outwards - (outwards * along).sum(1, keepdims=True) * along)
    height = rng.uniform(6.0, 7.6) * (0.85 if number < 3 else 1.0)
    density = np.full(NODES, habitus.bone_density, np.float32)
    if number <= 10:  # bone gives way to cartilage, which hardly shows, at the front
        density *= sigmoid((angle[-1] - 0.03 - angle) * 40)
    tube = Tube(
        centre=axis,
        across=np.cross(along, outwards).astype(np.float32),
        through=outwards,
        half_height=np.full(NODES, height, np.float32),
        half_width=np.full(NODES, rng.uniform(2.6, 3.4), np.float32),
        density=density,
        spacing=spacing,
        cortex=rng.uniform(0.9, 1.5),
        fill=0.22,
    )
    return Rib(side, number, angle, tube)


def break_rib(rib: Rib, fracture: RibFracture) -> Rib:
    """The rib with its fracture: a gap and a step that fades along the rib, or a callus."""
    tube = rib.tube
    i = int(np.argmin(np.abs(rib.angle - fracture.angle)))
    along = (np.arange(NODES, dtype=np.float32) - i) * np.float32(tube.spacing)
    moved = (along > 0) * np.exp(-np.maximum(along, 0) / fracture.decay)
    centre = tube.centre + (moved * fracture.step)[:, None] * tube.across
    centre = centre + (moved * fracture.slip)[:, None] * tube.through
    bump = np.exp(-((along / fracture.callus_length) ** 2)) * (fracture.callus_gain > 0)
    whole = np.abs(along) > fracture.gap / 2 if fracture.gap else np.ones(NODES, bool)
    broken = Tube(
        centre=centre.astype(np.float32),
        across=tube.across,
        through=tube.through,
        half_height=(tube.half_height * (1 + fracture.callus_gain * bump)).astype(np.float32),
        half_width=(tube.half_width * (1 + 0.8 * bump)).astype(np.float32),
        density=(tube.density * whole * (1 + 0.5 * bump)).astype(np.float32),
        spacing=tube.spacing,
        cortex=tube.cortex,
        fill=tube.fill,
    )
    return Rib(rib.side, rib.number, rib.angle, broken)


def ribs(habitus: Habitus, lesions: Lesions, rng: np.random.Generator) -> list[Rib]:
    """All 24 ribs, fractures included."""
    cage = [_rib(n, side, habitus, rng) for side in SIGN for n in range(1, 13)]
    broken = {(f.side, f.rib): f for f in lesions.fractures}
    return [
        break_rib(rib, broken[rib.side, rib.number]) if (rib.side, rib.number) in broken else rib
        for rib in cage
    ]


def clavicle(side: Side, habitus: Habitus, rng: np.random.Generator) -> Tube:
    """One collar bone, as an S-shaped tube."""
    n = NODES // 2
    t = np.linspace(0, 1, n)
    y = rng.uniform(-140, -122) * habitus.height + 6 * np.sin(2 * np.pi * t)
    y = y - 18 * t + rng.uniform(-4, 4) * t
    axis = np.stack(
        [SIGN[side] * (14 + 118 * habitus.width * t), y, 70 * habitus.depth * (1 - 1.1 * t)], 1
    ).astype(np.float32)
    along = unit(np.gradient(axis, axis=0))
    front = np.tile(np.array([0, 0, 1], np.float32), (n, 1))
    front = unit(front - (front * along).sum(1, keepdims=True) * along)
    return Tube(
        centre=axis,
        across=np.cross(along, front).astype(np.float32),
        through=front,
        half_height=(6 * (1 + 0.25 * np.abs(2 * t - 1))).astype(np.float32),
        half_width=np.full(n, 6, np.float32),
        density=np.full(n, habitus.bone_density, np.float32),
        spacing=float(np.linalg.norm(axis[1] - axis[0])),
        cortex=1.3,
        fill=0.22,
    )


def bone_path(cage: list[Rib], habitus: Habitus, size: int, rng: np.random.Generator) -> Array:
    """Path length (mm) of bone through every pixel: ribs, collar bones, spine, scapulae."""
    image = np.zeros((size, size), np.float32)
    around = max(14, round(22 * size / 512))
    for rib in cage:
        rib.tube.splat(image, habitus, around, rng.random())
    for side in SIGN:
        clavicle(side, habitus, rng).splat(image, habitus, around, rng.random())
    image = blur(image, 0.8 * size / 512 + 0.25)
    return image + _spine_and_scapulae(Grid.over(size, habitus), habitus)


def _spine_and_scapulae(grid: Grid, habitus: Habitus) -> Array:
    bone = np.zeros((grid.size, grid.size), np.float32)
    middle = _columns(grid, 0, 34)
    bone[:, middle] += _spine(grid.x[:, middle] / BACK, grid.y[:, middle] / BACK, habitus)
    for sign in SIGN.values():
        # a blade with a denser rim
        reach = _columns(grid, sign * 140 * habitus.width, 75)
        x, y = grid.x[:, reach], grid.y[:, reach]
        u = (x - sign * 140 * habitus.width + sign * 0.25 * (y + 60)) / 26
        v = (y + 58 * habitus.height) / 62
        q = 1 - u * u - v * v
        blade = 1.5 * sigmoid(q * 9) + 1.6 * np.exp(-((q / 0.12) ** 2)) * sigmoid(-sign * u * 4)
        bone[:, reach] += habitus.bone_density * blade
    return bone


def _columns(grid: Grid, x: float, reach: float) -> slice:
    """The film's columns that lie within ``reach`` mm of ``x`` anywhere along their height."""
    near = np.flatnonzero((np.abs(grid.x - np.float32(x)) < reach * 1.3).any(0))
    return slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 0)


def _spine(x: Array, y: Array, habitus: Habitus) -> Array:
    pitch = 22 * habitus.height
    phase = ((y + 165) / pitch) % 1
    body = sigmoid((16 - np.abs(x)) * 1.2) * (1 + 0.6 * np.exp(-(((np.abs(x) - 15.5) / 1.3) ** 2)))
    plates = sigmoid((0.43 - np.abs(phase - 0.5)) * 26.4)
    plates *= 1 + 0.7 * np.exp(-(((np.abs(phase - 0.5) - 0.40) * 14.7) ** 2))
    pedicles = np.exp(-(((np.abs(x) - 9) / 3.2) ** 2) - (((phase - 0.35) * 22 / 4.0) ** 2))
    return np.asarray(habitus.bone_density * (4.5 * body * plates + 5 * pedicles), np.float32)


def rib_track(rib: Rib, habitus: Habitus, size: int, step: int = 5) -> Array:
    """The rib's axis on the film: (n, 3) of x, y in pixels and angle."""
    points = project(habitus.place(rib.tube.centre[::step]), size)
    return np.concatenate([points, rib.angle[::step, None]], 1)
