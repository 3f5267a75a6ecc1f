"""Shapes of the lesions of lung and pleura, as shares of air or path lengths (mm)."""

from __future__ import annotations

import math

import cv2
import numpy as np

from hilum.phantom.anatomy import SIGN, Habitus, sigmoid
from hilum.phantom.findings import Band, Effusion, Nodule, Opacity, Pneumothorax
from hilum.phantom.physics import Array, blur

_CLOUD = 200  # a consolidation's texture is drawn at this size, whatever the film's
_OPEN = 55.0  # a pneumothorax thins out below this height


def _collapsed(y: Array, lesion: Pneumothorax, habitus: Habitus) -> Array:
    """Half-width of the lung that has shrunk towards its base."""
    return habitus.half_width(y - 85 * lesion.size * habitus.height) * (1 - 0.8 * lesion.size)


def free_air(x: Array, y: Array, lesion: Pneumothorax, habitus: Habitus) -> Array:
    """Share of free air in the pleural space."""
    edge = _collapsed(y, lesion, habitus)
    return sigmoid((np.abs(x) - edge) / 0.9) * _high(y, habitus)


def pleural_line(x: Array, y: Array, lesion: Pneumothorax, habitus: Habitus) -> Array:
    """The visceral pleura, a line 1 mm thick, in mm of water."""
    edge = _collapsed(y, lesion, habitus)
    slope = (_collapsed(y + 2, lesion, habitus) - edge) / 2
    distance = (np.abs(x) - edge) / np.sqrt(1 + np.minimum(slope, 3) ** 2)
    inside = (habitus.half_width(y) - np.abs(x) > 1) & (edge > 8)
    line = 5 * np.exp(-((distance / 1.0) ** 2)) * _high(y, habitus) * inside
    return np.asarray(line, np.float32)


def _high(y: Array, habitus: Habitus) -> Array:
    return sigmoid((_OPEN * habitus.height - y) * 0.15)


def fluid(x: Array, y: Array, effusion: Effusion, habitus: Habitus) -> Array:
    """Share of the lung's path taken by fluid: level at the middle, rising to the wall."""
    wall = np.maximum(habitus.half_width(y) - np.abs(x), 0)
    level = habitus.dome_of(effusion.side) - effusion.height
    surface = level - effusion.meniscus * np.exp(-wall / 14) - 8 * np.exp(-np.abs(x) / 30)
    surface = surface + 6 * np.sin(x * SIGN[effusion.side] / 21 + effusion.meniscus)
    return sigmoid((y - surface) / 4.0)


def balls(x: Array, y: Array, nodules: tuple[Nodule, ...]) -> Array:
    """Path through the nodules."""
    path = np.zeros_like(x)
    for nodule in nodules:
        ball = nodule.radius**2 - (x - nodule.x) ** 2 - (y - nodule.y) ** 2
        path += np.float32(1.6) * np.sqrt(np.clip(ball, 0, None))
    return path


def opacity(x: Array, y: Array, lesion: Opacity, rng: np.random.Generator) -> Array:
    """Share of air that a consolidation has filled: a cloud with ragged edges."""
    noise = rng.standard_normal((_CLOUD, _CLOUD), dtype=np.float32)
    cloud = blur(noise, _CLOUD / 100) * (_CLOUD / 28) + blur(noise, _CLOUD / 36) * (_CLOUD / 10)
    cloud = cv2.resize(cloud, x.shape[::-1], interpolation=cv2.INTER_LINEAR)
    c, s = math.cos(lesion.turn), math.sin(lesion.turn)
    u, v = x - lesion.x, y - lesion.y
    u, v = (u * c + v * s) / lesion.reach[0], (v * c - u * s) / lesion.reach[1]
    near = 1 - (u * u + v * v)
    return np.asarray(
        lesion.density * sigmoid((near + 0.30 * cloud) * 2.6) * (near > -1.5), np.float32
    )


def band(x: Array, y: Array, lesion: Band) -> Array:
    """Path through a plate of collapsed lung seen on edge."""
    c, s = math.cos(lesion.turn), math.sin(lesion.turn)
    u, v = x - lesion.x, y - lesion.y
    along, across = u * c + v * s, v * c - u * s
    across = across + lesion.bow * (along / lesion.length) ** 2
    ends = sigmoid((lesion.length / 2 - np.abs(along)) / 3)
    return np.asarray(lesion.path * np.exp(-((across / lesion.thickness) ** 2)) * ends, np.float32)
