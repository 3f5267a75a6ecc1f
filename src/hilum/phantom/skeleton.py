"""Ribs and collar bones as tubes, with their fractures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hilum.findings import Side
from hilum.phantom.anatomy import RIB_REACH, SIGN, Habitus, Wide, sigmoid
from hilum.phantom.findings import Break, Lesions, rib_end
from hilum.phantom.physics import Array, project
from hilum.phantom.tube import FRONT, Tube, cross, tangents, towards

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


def _axes(numbers: Array, signs: Array, drawn: Wide, habitus: Habitus) -> tuple[Array, Array]:
    """Axes (ribs, n, 3) and angles (ribs, n) of whole ribs, evenly spaced along each one's length.

    ``drawn``: reach, slope and lift of each.
    """
    h, n = habitus, numbers[:, None]
    ends = np.array([rib_end(int(number)) for number in numbers])
    t = np.linspace(0.12, ends, 2 * NODES, axis=1)
    reach = (np.array(RIB_REACH)[numbers.astype(int) - 1] * h.width * drawn[:, 0])[:, None]
    depth = 88 * h.depth * (0.65 + 0.35 * np.minimum(1.0, n / 5))
    slope = drawn[:, 1, None] * h.height * (0.55 + 0.45 * np.minimum(1.0, n / 6))
    sine, cosine = np.sin(t), np.cos(t)
    y = -152 * h.height + 20.5 * h.height * n + slope * (t / 1.9) ** 1.6
    y += drawn[:, 2, None] - 6 * np.sin(np.clip(2.2 * t, 0, np.pi))
    path = np.stack([signs[:, None] * (12 + (reach - 12) * sine), y, -depth * cosine], 1)
    steps = np.sqrt((np.diff(path, axis=2) ** 2).sum(1))
    axes = np.empty((len(numbers), NODES, 3), np.float32)
    angles = np.empty((len(numbers), NODES), np.float32)
    for k, (way, angle) in enumerate(zip(path, t, strict=True)):
        length = np.concatenate([[0], np.cumsum(steps[k])])
        even = np.linspace(0, length[-1], NODES)
        axes[k] = np.stack([np.interp(even, length, part) for part in way], 1)
        angles[k] = np.interp(even, length, angle)
    return axes, angles


# Least and most of what is drawn for a rib: reach, slope, lift, half-height, half-width, cortex.
_DRAWN = ((0.985, 1.015), (44, 56), (-1.5, 1.5), (6.0, 7.6), (2.6, 3.4), (0.9, 1.5))


def _whole_ribs(habitus: Habitus, rng: np.random.Generator) -> list[Rib]:
    """All 24 ribs, all at once: a rib alone costs as many calls as the cage."""
    names = [(side, number) for side in SIGN for number in range(1, 13)]
    drawn = np.array([[rng.uniform(*least_most) for least_most in _DRAWN] for _ in names])
    numbers = np.array([number for _, number in names], np.float32)
    signs = np.array([SIGN[side] for side, _ in names], np.float32)
    axes, angles = _axes(numbers, signs, drawn, habitus)
    along = tangents(axes)
    radial = [signs[:, None] * np.sin(angles), np.zeros_like(angles), -np.cos(angles)]
    outwards = towards(np.stack(radial, 2).astype(np.float32), along)
    across = cross(along, outwards)
    # bone gives way to cartilage, which hardly shows, at the front
    bone = np.where(numbers[:, None] <= 10, sigmoid((angles[:, -1:] - 0.03 - angles) * 40), 1)
    density = (bone * habitus.bone_density).astype(np.float32)
    return [
        Rib(
            side,
            number,
            angles[k],
            Tube(
                centre=axes[k],
                across=across[k],
                through=outwards[k],
                half_height=np.full(NODES, high * (0.85 if number < 3 else 1.0), np.float32),
                half_width=np.full(NODES, wide, np.float32),
                density=density[k],
                spacing=float(np.linalg.norm(axes[k, 1] - axes[k, 0])),
                cortex=float(cortex),
                fill=0.22,
            ),
        )
        for k, ((side, number), (high, wide, cortex)) in enumerate(
            zip(names, drawn[:, 3:], strict=True)
        )
    ]


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
    broken = {(f.side, f.rib): f for f in lesions.fractures}
    out = []
    for rib in _whole_ribs(habitus, rng):
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
    along = tangents(axis)
    front = towards(FRONT, along)
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
    along = tangents(axis)
    front = towards(FRONT, along)
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
