"""One patient: size and posture, and the film's pixels in the patient's frame.

Proportions are those of an adult; every length is in millimetres in the patient's frame
(x to the patient's left, y down, z to the front).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from hilum.findings import Side
from hilum.phantom.physics import FIELD, Array

SIGN = {Side.LEFT: 1.0, Side.RIGHT: -1.0}
Wide = NDArray[np.float64]
Mask = NDArray[np.bool_]


def sigmoid(x: Array | Wide) -> Array:
    """The logistic function."""
    return np.asarray(expit(x), np.float32)


@dataclass(frozen=True)
class Habitus:
    """Size and posture of one patient, as factors and millimetres."""

    width: float
    height: float
    depth: float
    shift: tuple[float, float]
    tilt: float  # rotation in the film's plane, radians
    bone_density: float
    dome: float  # y of the left diaphragm's dome
    cardiothoracic: float  # ratio of heart to chest width
    heart_height: float
    heart_shift: float
    mediastinum: float
    lung_texture: float

    @classmethod
    def draw(cls, rng: np.random.Generator, cardiomegaly: bool) -> Habitus:
        """A plausible adult; the cardiothoracic ratio is 0.38-0.47, or 0.54-0.66 if enlarged."""
        u = rng.uniform
        height = u(0.92, 1.08)
        return cls(
            width=u(0.90, 1.08),
            height=height,
            depth=u(0.85, 1.20),
            shift=(u(-12, 12), u(-12, 12)),
            tilt=u(-0.05, 0.05),
            bone_density=u(0.75, 1.15),
            dome=u(85, 112) * height,
            cardiothoracic=u(0.54, 0.66) if cardiomegaly else u(0.38, 0.47),
            heart_height=u(0.85, 1.0),
            heart_shift=u(0.22, 0.32),
            mediastinum=u(24, 34),
            lung_texture=u(0.015, 0.035),
        )

    def place(self, points: Array) -> Array:
        """Points (n, 3) of an upright, centred patient, tilted and shifted on the stand."""
        c, s = math.cos(self.tilt), math.sin(self.tilt)
        x, y = points[:, 0], points[:, 1]
        return np.stack(
            [x * c - y * s + self.shift[0], x * s + y * c + self.shift[1], points[:, 2]], 1
        ).astype(np.float32)


@dataclass(frozen=True)
class Grid:
    """Patient coordinates (mm) of every pixel, before magnification."""

    size: int
    x: Array
    y: Array

    @classmethod
    def over(cls, size: int, habitus: Habitus) -> Grid:
        """The grid of a square film of ``size`` pixels."""
        axis = ((np.arange(size) - (size / 2 - 0.5)) * (FIELD / size)).astype(np.float32)
        x, y = axis[None, :] - habitus.shift[0], axis[:, None] - habitus.shift[1]
        c, s = math.cos(habitus.tilt), math.sin(habitus.tilt)
        return cls(size, (x * c + y * s).astype(np.float32), (y * c - x * s).astype(np.float32))

    def at(self, magnification: float) -> tuple[Array, Array]:
        """x and y of the plane that is magnified by this factor."""
        k = np.float32(1 / magnification)
        return self.x * k, self.y * k
