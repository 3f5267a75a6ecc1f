"""A tube: the shape of ribs, collar bones and vessels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hilum.phantom.anatomy import Habitus, Wide
from hilum.phantom.physics import FIELD, Array, splat_tube

FRONT = np.array([0, 0, 1], np.float32)


def unit(v: Array | Wide) -> Array:
    """Vectors (..., 3) of unit length."""
    return (v / np.sqrt((v * v).sum(-1, keepdims=True))).astype(np.float32)


def tangents(axis: Array | Wide) -> Array:
    """Directions (..., n, 3) of evenly spaced ways: from the point before to the one after."""
    steps = np.empty(axis.shape, axis.dtype)
    np.subtract(axis[..., 2:, :], axis[..., :-2, :], out=steps[..., 1:-1, :])
    steps[..., 0, :] = axis[..., 1, :] - axis[..., 0, :]
    steps[..., -1, :] = axis[..., -1, :] - axis[..., -2, :]
    return unit(steps)


def towards(direction: Array | Wide, along: Array) -> Array:
    """The part of a direction that is at right angles to ``along``, of unit length."""
    return unit(direction - (direction * along).sum(-1, keepdims=True) * along)


def cross(a: Array | Wide, b: Array | Wide) -> Array:
    """Cross products of vectors (..., 3)."""
    out = np.empty(a.shape, np.float32)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        out[..., i] = a[..., j] * b[..., k] - a[..., k] * b[..., j]
    return out


@dataclass(frozen=True)
class Tube:
    """A bone or vessel: axis, the two half-axes and density along it."""

    centre: Array
    across: Array
    through: Array
    half_height: Array
    half_width: Array
    density: Array
    spacing: float
    cortex: float
    fill: float

    def splat(self, image: Array, habitus: Habitus, start: float) -> None:
        """Add this tube's path length to the film; ``start`` turns its sections, 0 to 1."""
        girth = float(self.half_height.max() + self.half_width.max()) * math.pi
        around = int(np.clip(0.6 * girth * image.shape[0] / FIELD, 8, 96))
        splat_tube(
            image,
            habitus.place(self.centre),
            habitus.turned(self.across),
            habitus.turned(self.through),
            self.half_height,
            self.half_width,
            self.density,
            self.spacing,
            self.cortex,
            self.fill,
            around,
            start,
        )


def straight(
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    half_height: float,
    half_width: float,
    density: float,
    bow: float,
    cortex: float = 1.5,
    fill: float = 0.2,
    round_ends: bool = False,
) -> Tube:
    """A bone from ``start`` to ``end``, bowed sideways by ``bow`` mm at its middle."""
    a, b = np.array(start, np.float32), np.array(end, np.float32)
    length = float(np.linalg.norm(b - a))
    n = max(24, round(length / 0.7))
    t = np.linspace(0, 1, n, dtype=np.float32)
    axis = a + (b - a) * t[:, None]
    axis[:, 0] += bow * np.sin(math.pi * t)
    along = tangents(axis)
    front = towards(FRONT, along)
    thick = (
        np.sqrt(np.clip(1 - (2 * t - 1) ** 4, 0.02, 1)) if round_ends else np.ones(n, np.float32)
    )
    return Tube(
        centre=axis.astype(np.float32),
        across=cross(along, front),
        through=front,
        half_height=(half_height * thick).astype(np.float32),
        half_width=(half_width * thick).astype(np.float32),
        density=np.full(n, density, np.float32),
        spacing=length / n,
        cortex=cortex,
        fill=fill,
    )
