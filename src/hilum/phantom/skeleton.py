"""Ribs and collar bones as tubes, with their fractures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hilum.findings import Side
from hilum.phantom.anatomy import RIB_REACH, SIGN, Habitus, sigmoid
from hilum.phantom.findings import Break, Lesions, rib_end
from hilum.phantom.physics import Array, project
from hilum.phantom.tube import Tube, cross, unit

NODES = 500  # along one rib: about one pixel at 640 px


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
    t = np.linspace(0.12, rib_end(number), 2 * NODES)
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
        across=cross(along, outwards),
        through=outwards,
        half_height=np.full(NODES, height, np.float32),
        half_width=np.full(NODES, rng.uniform(2.6, 3.4), np.float32),
        density=density,
        spacing=spacing,
        cortex=rng.uniform(0.9, 1.5),
        fill=0.22,
    )
    return Rib(side, number, angle, tube)


def break_tube(tube: Tube, node: int, fracture: Break) -> Tube:
    """The bone broken at one of its nodes: a gap and a step that fades, a callus, or a bend."""
    f = fracture
    along = (np.arange(len(tube.centre), dtype=np.float32) - node) * np.float32(tube.spacing)
    moved = (along > 0) * np.exp(-np.maximum(along, 0) / f.decay)
    bump = np.exp(-((along / f.callus_length) ** 2)) * (f.callus_gain > 0)
    across = moved * f.step + f.bend * np.exp(-np.abs(along) / 14)
    centre = tube.centre + across[:, None] * tube.across
    centre = centre + (moved * f.slip)[:, None] * tube.through
    # a node at the gap's edge counts for the share of it that is bone
    bone = np.clip((np.abs(along) - f.gap / 2) / tube.spacing + 0.5, 0, 1) if f.gap else 1.0
    return replace(
        tube,
        centre=centre.astype(np.float32),
        half_height=(tube.half_height * (1 + f.callus_gain * bump)).astype(np.float32),
        half_width=(tube.half_width * (1 + 0.8 * min(1.0, 2 * f.callus_gain) * bump)).astype(
            np.float32
        ),
        density=(tube.density * bone * (1 + 0.5 * min(1.0, 2 * f.callus_gain) * bump)).astype(
            np.float32
        ),
    )


def ribs(habitus: Habitus, lesions: Lesions, rng: np.random.Generator) -> list[Rib]:
    """All 24 ribs, fractures included."""
    cage = [_rib(n, side, habitus, rng) for side in SIGN for n in range(1, 13)]
    broken = {(f.side, f.rib): f for f in lesions.fractures}
    out = []
    for rib in cage:
        fracture = broken.get((rib.side, rib.number))
        if fracture:
            node = int(np.argmin(np.abs(rib.angle - fracture.angle)))
            rib = replace(rib, tube=break_tube(rib.tube, node, fracture))
        out.append(rib)
    return out


def cartilage(rib: Rib, habitus: Habitus, rng: np.random.Generator) -> Tube:
    """The cartilage from a rib's end to the sternum: faint, with patches of lime in the old."""
    n = 90
    end, lime = rib.tube.centre[-1], rng.uniform(0, 0.22) * (rng.random() < 0.5)
    t = np.linspace(0, 1, n, dtype=np.float32)[:, None]
    goal = np.array([SIGN[rib.side] * 16, min(end[1] - 4, end[1] * 0.55 - 10), end[2] + 12])
    sag = np.array([0, 10 if rib.number > 4 else 3, 4])
    axis = (end + (goal - end) * t + sag * (4 * t * (1 - t))).astype(np.float32)
    along = unit(np.gradient(axis, axis=0))
    front = np.tile(np.array([0, 0, 1], np.float32), (n, 1))
    front = unit(front - (front * along).sum(1, keepdims=True) * along)
    patches = np.convolve(rng.random(n + 14), np.ones(15) / 15, "valid")
    density = habitus.bone_density * (0.04 + lime * np.clip(8 * (patches - 0.5), 0, 1))
    return Tube(
        centre=axis,
        across=cross(along, front),
        through=front,
        half_height=np.full(n, 6.0, np.float32),
        half_width=np.full(n, 4.0, np.float32),
        density=density.astype(np.float32),
        spacing=float(np.linalg.norm(axis[1] - axis[0])),
        cortex=1.2,
        fill=0.3,
    )


def clavicle(side: Side, habitus: Habitus, lesions: Lesions, rng: np.random.Generator) -> Tube:
    """One collar bone, as an S-shaped tube, with its fracture."""
    n = NODES
    t = np.linspace(0, 1, n)
    y = rng.uniform(-122, -104) * habitus.height + 6 * np.sin(2 * np.pi * t)
    y = y - 20 * t + rng.uniform(-4, 4) * t
    axis = np.stack(
        [SIGN[side] * (16 + 126 * habitus.width * t), y, 70 * habitus.depth * (1 - 1.1 * t)], 1
    ).astype(np.float32)
    along = unit(np.gradient(axis, axis=0))
    front = np.tile(np.array([0, 0, 1], np.float32), (n, 1))
    front = unit(front - (front * along).sum(1, keepdims=True) * along)
    tube = Tube(
        centre=axis,
        across=cross(along, front),
        through=front,
        half_height=(5.6 * (1 + 0.35 * (2 * t - 1) ** 2)).astype(np.float32),
        half_width=np.full(n, 5.5, np.float32),
        density=(habitus.bone_density * sigmoid((1 - t) * 60) * 1.0).astype(np.float32),
        spacing=float(np.linalg.norm(axis[1] - axis[0])),
        cortex=1.3,
        fill=0.22,
    )
    for fracture in lesions.clavicles:
        if fracture.side is side:
            tube = break_tube(tube, round(fracture.along * (n - 1)), fracture)
    return tube


def rib_track(rib: Rib, habitus: Habitus, size: int, step: int = 5) -> Array:
    """The rib's axis on the film: (n, 3) of x, y in pixels and angle."""
    points = project(habitus.place(rib.tube.centre[::step]), size)
    return np.concatenate([points, rib.angle[::step, None]], 1)
