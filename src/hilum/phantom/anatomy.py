"""One patient: size and posture, the shape of the chest, and the film's pixels in their frame.

Proportions are those of an adult; every length is in millimetres in the patient's frame
(x to the patient's left, y down, z to the front). The chest wall is where the ribs run, so lungs,
diaphragm and ribs fit together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.findings import Side
from hilum.phantom.physics import FIELD, Array

SIGN = {Side.LEFT: 1.0, Side.RIGHT: -1.0}
Wide = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Half-width of the rib cage at each rib, 1..12, and the height at which it is that wide.
RIB_REACH = (58, 84, 101, 113, 121, 127, 131, 133, 132, 128, 118, 100)
RIB_LEVEL = (-108, -85, -62, -39, -15, 8, 28, 49, 69, 90, 110, 131)
APEX = 30.0  # the lung rises this far above the widest part of the first rib
PLEURA = 3.0  # from the ribs' axis to the lung


def sigmoid(x: Array | Wide) -> Array:
    """The logistic function."""
    # numpy's own exponential is several times as fast as scipy's expit here
    half = np.tanh(np.asarray(x, np.float32) * np.float32(0.5))
    return half * np.float32(0.5) + np.float32(0.5)


@dataclass(frozen=True)
class Habitus:
    """Size and posture of one patient, as factors and millimetres."""

    width: float
    height: float
    depth: float
    shift: tuple[float, float]
    tilt: float  # rotation in the film's plane, radians
    yaw: float  # rotation about the long axis, radians; the side view adds a quarter turn
    bone_density: float
    dome: float  # y of the left diaphragm's dome
    cardiothoracic: float  # ratio of heart to chest width
    heart_height: float
    heart_shift: float
    mediastinum: float
    lung_texture: float
    fat: float  # soft tissue over the ribs
    breasts: float  # 0 where there are none
    sideways: bool = False

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
            yaw=u(-0.10, 0.10),
            bone_density=u(0.85, 1.25),
            dome=u(72, 114) * height,
            cardiothoracic=u(0.54, 0.66) if cardiomegaly else u(0.38, 0.47),
            heart_height=u(0.85, 1.0),
            heart_shift=u(0.22, 0.32),
            mediastinum=u(0.85, 1.25),
            lung_texture=u(0.012, 0.032),
            fat=u(14, 34),
            breasts=max(0.0, u(-1, 1)),
        )

    def turned(self, vectors: Array) -> Array:
        """Directions (n, 3) of an upright patient, as the patient stands."""
        turn = self.yaw + (math.pi / 2 if self.sideways else 0.0)
        ct, st = math.cos(turn), math.sin(turn)
        c, s = math.cos(self.tilt), math.sin(self.tilt)
        matrix = np.array([[ct * c, ct * s, st], [-s, c, 0.0], [-st * c, -st * s, ct]], np.float32)
        return np.asarray(vectors @ matrix, np.float32)

    def place(self, points: Array) -> Array:
        """Points (n, 3) of an upright, centred patient, turned, tilted and shifted."""
        return self.turned(points) + np.array([*self.shift, 0.0], np.float32)

    def half_width(self, y: Array) -> Array:
        """Half the inner width of the chest at each height; 0 above the lungs' tips."""
        return _profile(y, self.height, RIB_REACH, self.width)

    def half_depth(self, y: Array) -> Array:
        """Half the inner depth of the chest at each height."""
        reach = [88 * (0.40 + 0.60 * min(1.0, number / 5)) for number in range(1, 13)]
        return _profile(y, self.height, reach, self.depth)

    def dome_of(self, side: Side) -> float:
        """y of the dome of one side; the right one stands higher."""
        return self.dome + (4 if side is Side.LEFT else -10)


def _profile(y: Array, height: float, reach: tuple[int, ...] | list[float], scale: float) -> Array:
    """Half-axis at heights ``y``: interpolated between ribs, closing like an ellipse above."""
    table = np.arange(-220, 280, 0.5, dtype=np.float32)
    ribs = np.interp(table, RIB_LEVEL, reach) * scale - PLEURA
    above = np.clip((RIB_LEVEL[0] - table) / APEX, 0, 1)
    ribs = (ribs * np.sqrt(1 - above**2)).astype(np.float32)
    place = np.clip(y * np.float32(2 / height) + np.float32(440), 0, len(table) - 1)
    return np.asarray(np.take(ribs, place.astype(np.int32)), np.float32)


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
