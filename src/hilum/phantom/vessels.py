"""The lungs' vessels: arteries that leave the hilum along two trunks and fork outwards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilum.findings import Side
from hilum.phantom.anatomy import SIGN, Habitus, Wide
from hilum.phantom.tube import Tube, cross


@dataclass(frozen=True)
class Branches:
    """Vessels of one generation: (n, 3) start, span and bend in mm, (n,) radius at the start."""

    start: Wide
    span: Wide
    bend: Wide
    radius: Wide
    taper: float = 0.75  # radius at the end, as a share of that at the start


# Trunks in the frame of a left lung: start and end (x, y, z), radius at either end, twigs, and
# the range of angles at which twigs leave (0 sideways, positive downwards).
TRUNKS = (
    ((22, -24, 0), (46, 44, -18), 6.2, 3.2, 9, (-0.25, 1.25)),
    ((24, -28, 6), (36, -70, 4), 4.6, 2.6, 6, (-1.35, 0.05)),
    ((18, 6, -10), (52, 22, -26), 4.6, 2.6, 4, (-0.2, 0.9)),
)
GENERATIONS = 4


def vessels(side: Side, habitus: Habitus, rng: np.random.Generator) -> Tube:
    """The vessels of one lung as one bundle of branches."""
    size = np.array([habitus.width, habitus.height, habitus.depth])
    levels: list[Branches] = []
    for start, end, thick, thin, twigs, (low, high) in TRUNKS:
        a = np.array(start) * size + rng.normal(0, 2.5, 3)
        span = np.array(end) * size + rng.normal(0, 5, 3) - a
        bend = rng.normal(0, 3, 3)
        levels.append(
            Branches(a[None], span[None], bend[None], np.array([thick], float), thin / thick)
        )
        u = rng.random((twigs, 5))
        t = (np.arange(twigs) + 0.2 + 0.6 * u[:, 0])[:, None] / twigs
        angle = low + (high - low) * (np.arange(twigs) + u[:, 1]) / twigs
        heading = np.stack([np.cos(angle), np.sin(angle), rng.normal(0, 0.5, twigs)], 1)
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        twig = Branches(
            a + span * t + bend * t * t,
            heading * (20 + 14 * u[:, 2:3]),
            rng.normal(0, 2.6, (twigs, 3)),
            (thick + (thin - thick) * t[:, 0]) * (0.42 + 0.24 * u[:, 3]),
        )
        levels.append(twig)
        for generation in range(1, GENERATIONS):
            twig = _fork(twig, rng, share=1.0 if generation == 1 else 0.88)
            levels.append(twig)
    return _bundle(levels, SIGN[side])


def _fork(parent: Branches, rng: np.random.Generator, share: float) -> Branches:
    """Two branches from the end of each; ``share`` of them are there."""
    ahead = parent.span + 2 * parent.bend
    ahead = ahead / np.linalg.norm(ahead, axis=1, keepdims=True)
    length = np.linalg.norm(parent.span, axis=1)
    kept = []
    for turn in (-1, 1):
        u = rng.random((len(length), 5))
        angle = turn * (0.12 + 0.5 * u[:, 0])
        c, s = np.cos(angle), np.sin(angle)
        fork = np.stack(
            [
                ahead[:, 0] * c - ahead[:, 1] * s,
                ahead[:, 0] * s + ahead[:, 1] * c,
                ahead[:, 2] + 1.2 * (u[:, 3] - 0.5),
            ],
            1,
        )
        fork /= np.linalg.norm(fork, axis=1, keepdims=True)
        long = (length * (0.6 + 0.4 * u[:, 2]))[:, None]
        bend = rng.normal(0, 0.13, (len(length), 3)) * long
        kept.append((fork * long, bend, parent.radius * (0.58 + 0.25 * u[:, 1]), u[:, 4] < share))
    end = parent.start + parent.span + parent.bend
    there = np.concatenate([k[3] for k in kept])
    span, bend, radius = (np.concatenate([k[i] for k in kept])[there] for i in range(3))
    return Branches(np.concatenate([end, end])[there], span, bend, radius)


def _bundle(levels: list[Branches], sign: float) -> Tube:
    """Branches as one tube of unit spacing: each point's own spacing sits in its density."""
    start, span, bend = (
        np.concatenate([getattr(b, name) for b in levels]) * (sign, 1.0, 1.0)
        for name in ("start", "span", "bend")
    )
    radius = np.concatenate([b.radius for b in levels])
    taper = np.concatenate([np.full(len(b.radius), b.taper) for b in levels])
    length = np.linalg.norm(span, axis=1)
    nodes = np.maximum(6, (length / np.clip(0.4 * radius, 0.6, 1.3)).astype(int))
    which = np.repeat(np.arange(len(length)), nodes)
    first = np.repeat(np.cumsum(nodes) - nodes, nodes)
    t = ((np.arange(len(which)) - first + 0.5) / nodes[which])[:, None]
    axis = start[which] + span[which] * t + bend[which] * t * t
    along = span[which] + 2 * bend[which] * t
    along /= np.sqrt((along * along).sum(1, keepdims=True))
    across = np.stack([-along[:, 1], along[:, 0], np.zeros(len(along))], 1) + 1e-6
    across /= np.sqrt((across * across).sum(1, keepdims=True))
    thin = (radius[which] * (1 - (1 - taper[which]) * t[:, 0])).astype(np.float32)
    return Tube(
        centre=axis.astype(np.float32),
        across=across.astype(np.float32),
        through=cross(along, across),
        half_height=thin,
        half_width=thin,
        density=(length / nodes)[which].astype(np.float32),
        spacing=1.0,
        cortex=0.0,
        fill=1.0,
    )
