"""A canvas of path lengths, and the simple solids that everything but a chest is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilum.phantom.physics import FIELD, Array

Point = tuple[float, float]


@dataclass
class Canvas:
    """Path lengths (mm) of water and bone over a square field of 400 mm."""

    water: Array
    bone: Array

    @classmethod
    def empty(cls, size: int) -> Canvas:
        """Air alone."""
        return cls(np.zeros((size, size), np.float32), np.zeros((size, size), np.float32))

    @property
    def size(self) -> int:
        """Side in pixels."""
        return int(self.water.shape[0])

    def axes(self) -> tuple[Array, Array]:
        """x (1, n) and y (n, 1) in mm from the middle."""
        axis = ((np.arange(self.size) - (self.size / 2 - 0.5)) * (FIELD / self.size)).astype(
            np.float32
        )
        return axis[None, :], axis[:, None]

    def add_flesh(self, a: Point, b: Point, start: float, end: float) -> None:
        """A rod of soft tissue; where several meet the thickest counts."""
        self.water = np.maximum(self.water, rod(self, a, b, start, end))

    def add_bone(self, a: Point, b: Point, ends: float, shaft: float, density: float) -> None:
        """A long bone: a dense wall, spongy inside, wider at both ends."""
        middle = (0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1]))
        for p in (a, b):
            outer = rod(self, p, middle, ends, shaft)
            inner = rod(self, p, middle, max(ends - 2.5, 0.5), max(shaft - 3.5, 0.5))
            wall = np.clip(outer - 0.75 * inner, 0, None) * np.float32(0.6 * density)
            self.bone = np.maximum(self.bone, wall)

    def add_ellipse(
        self, centre: Point, axes: Point, turn: float, flesh: float = 0.0, bone: float = 0.0
    ) -> None:
        """A solid ellipse ``flesh`` and ``bone`` mm thick in its middle; negative takes away."""
        q = np.sqrt(np.clip(1 - radius(self, centre, axes, turn) ** 2, 0, 1))
        self.water = np.clip(self.water + np.float32(flesh) * q, 0, None).astype(np.float32)
        self.bone = np.clip(self.bone + np.float32(bone) * q, 0, None).astype(np.float32)

    def add_shell(self, centre: Point, axes: Point, turn: float, wall: float, bone: float) -> None:
        """The rim of an ellipsoid: bright at its edge, fainter inside, as a skull."""
        r = radius(self, centre, axes, turn)
        inner = np.clip(1 - (r / (1 - wall)) ** 2, 0, 1)
        shell = np.sqrt(np.clip(1 - r**2, 0, 1)) - (1 - wall) * np.sqrt(inner)
        self.bone += (np.float32(bone) * shell).astype(np.float32)


def radius(canvas: Canvas, centre: Point, axes: Point, turn: float) -> Array:
    """Distance from an ellipse's centre, 1 on its edge."""
    x, y = canvas.axes()
    c, s = np.cos(turn), np.sin(turn)
    u, v = x - centre[0], y - centre[1]
    return np.asarray(np.hypot((u * c + v * s) / axes[0], (v * c - u * s) / axes[1]), np.float32)


def rod(canvas: Canvas, a: Point, b: Point, start: float, end: float) -> Array:
    """Path length (mm) through a round rod with round ends, ``start`` and ``end`` in radius."""
    x, y = canvas.axes()
    dx, dy = b[0] - a[0], b[1] - a[1]
    t = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
    away = (x - a[0] - t * dx) ** 2 + (y - a[1] - t * dy) ** 2
    wide = start + (end - start) * t
    return np.asarray(2 * np.sqrt(np.clip(wide * wide - away, 0, None)), np.float32)
