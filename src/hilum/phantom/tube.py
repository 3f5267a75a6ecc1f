"""A tube: the shape of ribs, collar bones and vessels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hilum.phantom.anatomy import Habitus, Wide
from hilum.phantom.physics import FIELD, Array, splat_tube


def unit(v: Array | Wide) -> Array:
    """Rows of unit length."""
    return (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32)


def cross(a: Array | Wide, b: Array | Wide) -> Array:
    """Cross products of rows."""
    out = np.empty(a.shape, np.float32)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        out[:, i] = a[:, j] * b[:, k] - a[:, k] * b[:, j]
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
    along = unit(np.gradient(axis, axis=0))
    front = np.array([0, 0, 1], np.float32) - along[:, 2:] * along
    front = unit(front)
    thick = (
        np.sqrt(np.clip(1 - (2 * t - 1) ** 4, 0.02, 1)) if round_ends else np.ones(n, np.float32)
    )
    return Tube(
        centre=axis.astype(np.float32),
        across=cross(along, front),
        through=front.astype(np.float32),
        half_height=(half_height * thick).astype(np.float32),
        half_width=(half_width * thick).astype(np.float32),
        density=np.full(n, density, np.float32),
        spacing=length / n,
        cortex=cortex,
        fill=fill,
    )
