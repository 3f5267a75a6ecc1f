"""Soft tissue from the front: body, lungs, diaphragm, heart, and the lesions among them.

All of it is smooth but for the vessels and the line of a pneumothorax, so it is drawn at half the
film's resolution and enlarged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from hilum.findings import Side
from hilum.phantom import lesions as shapes
from hilum.phantom.anatomy import SIGN, Grid, Habitus, Mask, Wide, sigmoid
from hilum.phantom.findings import Lesions, Pneumothorax
from hilum.phantom.physics import FIELD, Array, blur
from hilum.phantom.vessels import vessels

LUNG_DENSITY = 0.26  # of water, at inspiration
HEART_LEAN = 0.62  # of its long axis below the horizontal, radians
SOFT = 1.09  # mean magnification of soft tissue
DOME_SLOPES = (24.0, 9.0)  # the dome falls this far (mm) to its outer and to its inner edge
RECESS = 45.0  # the lung reaches this far below the dome behind and in front of it


@dataclass(frozen=True)
class SoftTissue:
    """Path length of water (mm), and where each large finding shows.

    ``masks``: True inside, at any resolution, by name: heart, effusion, pneumothorax, opacity0 ...
    """

    water: Array
    masks: dict[str, Mask]


def enlarge(image: Array, size: int) -> Array:
    """A square picture at the film's resolution."""
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)


def soft_tissue(
    size: int,
    habitus: Habitus,
    lesions: Lesions,
    rng: np.random.Generator,
    mottle: np.random.Generator,
) -> SoftTissue:
    """Body, lungs, heart, vessels, and the lesions among them.

    ``rng`` draws the anatomy, ``mottle`` the lesions' own texture: leaving a lesion out changes
    nothing else.
    """
    h = habitus
    grid = Grid.over(max(128, size // 2), h)
    x, y = grid.at(SOFT)
    side = {Side.LEFT: x > 0, Side.RIGHT: x <= 0}
    heart, outline = _heart(x + 30 * math.sin(h.yaw), y, h)
    air = lung_path(x, y, heart, h)
    fraction = (1 - LUNG_DENSITY) * (1 - texture(grid.size, rng) * np.float32(h.lung_texture))
    masks: dict[str, Mask] = {"heart": outline}
    if lesions.pneumothorax:
        free = shapes.free_air(x, y, lesions.pneumothorax, h) * side[lesions.pneumothorax.side]
        fraction = fraction * (1 - free) * 0.92 + free
        masks["pneumothorax"] = (free > 0.5) & (air > 8)
    else:
        free = None
    if lesions.effusion:
        fluid = shapes.fluid(x, y, lesions.effusion, h) * side[lesions.effusion.side]
        masks["effusion"] = (fluid > 0.5) & (air > 8)
        air = air * (1 - fluid)
    for k, opacity in enumerate(lesions.opacities):
        share = shapes.opacity(x, y, opacity, mottle)
        masks[f"opacity{k}"] = (share > 0.4 * opacity.density) & (air > 8)
        air = air * (1 - share)
    water = body(x, y, h) - air * fraction + shapes.balls(x, y, lesions.nodules)
    for k, band in enumerate(lesions.bands):
        path = shapes.band(x, y, band)
        masks[f"band{k}"] = (path > 0.3 * band.path) & (air > 8)
        water += path * (air > 8)
    water -= _airways(x, y, h)
    water = enlarge(np.clip(water, 0, None), size)
    tree = np.zeros((size, size), np.float32)
    for s in SIGN:
        vessels(s, h, rng).splat(tree, h, rng.random())
    marking = np.minimum(1.25 * blur(tree, 0.5 * size / 512 + 0.2), 0.9 * enlarge(air, size))
    if free is not None:
        marking *= 1 - enlarge(free, size)
        assert lesions.pneumothorax is not None
        water += _line(size, lesions.pneumothorax, h)
    return SoftTissue(water + marking, masks)


def _line(size: int, lesion: Pneumothorax, habitus: Habitus) -> Array:
    """The visceral pleura, too thin for half the resolution."""
    fine_x, fine_y = Grid.over(size, habitus).at(SOFT)
    side = fine_x * SIGN[lesion.side] > 0
    return np.asarray(shapes.pleural_line(fine_x, fine_y, lesion, habitus) * side, np.float32)


def texture(size: int, rng: np.random.Generator) -> Array:
    """Fine and coarse mottle of unit variance: interstitium and small vessels."""
    scale = size / 256
    noise = rng.standard_normal((size, size), dtype=np.float32)
    fine = blur(noise, 0.9 * scale) * (3.2 * scale)
    medium = blur(noise, 2.5 * scale) * (8.9 * scale)
    coarse = blur(noise, 8 * scale) * (28 * scale)
    return np.asarray((0.9 * fine + medium + 0.7 * coarse) / 1.7, np.float32)


def lung_path(x: Array, y: Array, heart: Array, habitus: Habitus) -> Array:
    """Path through both lungs: the chest's inside without diaphragm, mediastinum and heart."""
    h = habitus
    wide, deep = h.half_width(y), h.half_depth(y)
    chest = 2 * deep * np.sqrt(np.clip(1 - (np.abs(x) / np.maximum(wide, 1)) ** 2.3, 0, 1))
    off = np.abs(x) - 56 * h.width
    slope = np.where(off > 0, *DOME_SLOPES).astype(np.float32)
    dome = np.where(x > 0, h.dome_of(Side.LEFT), h.dome_of(Side.RIGHT)).astype(np.float32)
    below = y - dome - slope * (off / (60 * h.width)) ** 2
    belly = 2 * deep * np.sqrt(np.clip(below / RECESS, 0, 1))
    middle = sigmoid((_mediastinum(x, y, h) - np.abs(x)) / 1.6)
    lung = np.clip(chest - belly, 0, None)
    return np.asarray(lung - np.minimum(lung, np.maximum(heart, 0.86 * lung * middle)), np.float32)


# Half-width of the mediastinum at each height: apex, arch, pulmonary window, hilum, heart, dome.
_LEVELS = (-150, -110, -80, -62, -44, -22, 8, 60, 140)
_MIDDLE = {
    Side.LEFT: (15, 20, 25, 33, 25, 32, 33, 27, 22),
    Side.RIGHT: (16, 22, 25, 26, 25, 28, 28, 24, 19),
}


def _mediastinum(x: Array, y: Array, habitus: Habitus) -> Array:
    level = np.arange(-200, 260, dtype=np.float32)
    place = np.clip(y / habitus.height + 200, 0, len(level) - 1).astype(np.int32)
    half = {}
    for side, width in _MIDDLE.items():
        profile = np.interp(level, _LEVELS, width).astype(np.float32)
        profile = cv2.GaussianBlur(profile[None], (0, 0), 7)[0] * habitus.mediastinum
        half[side] = profile[place]
    lean = 18 * math.sin(habitus.yaw)  # its front lies 18 mm before the middle
    return np.asarray(np.where(x > 0, half[Side.LEFT] - lean, half[Side.RIGHT] + lean), np.float32)


def body(x: Array, y: Array, habitus: Habitus) -> Array:
    """Path through the whole body: trunk, neck, shoulders, arms, breasts, without its air."""
    h = habitus
    level = np.clip(y, -62 * h.height, 52 * h.height)
    wide = h.half_width(level) + h.fat - 0.06 * np.clip(y - 52 * h.height, 0, None)
    thick = 209 * h.depth * (1 + 0.12 * sigmoid((y - 75) / 18))  # the belly stands out
    trunk = thick * chord(x / wide, 2.6) * sigmoid((y + 122) / 14)
    neck = 118 * chord(x / (54 * h.width), 2.0) * sigmoid((-108 - y) / 9)
    far = np.abs(x) - 44 * h.width
    shoulder = (
        -182 * h.height + 0.42 * np.clip(far, 0, None) + 0.0016 * np.clip(far - 60, 0, None) ** 2
    )
    over = 128 * h.depth * np.sqrt(np.clip((y - shoulder) / 60, 0, 1)) * sigmoid((-62 - y) / 15)
    arm = 88 * chord((np.abs(x) - (163 * h.width + 0.30 * (y + 118))) / 43, 2.0)
    arm *= sigmoid((y + 124) / 10)
    path = np.maximum(np.maximum(trunk, neck), np.maximum(over, arm))
    path = blur(path.astype(np.float32), 4 * x.shape[0] / FIELD)  # one skin over all of them
    if h.breasts:
        u = (np.abs(x) - 78 * h.width) / (50 + 16 * h.breasts)
        v = (y - 52 * h.height) / (44 + 22 * h.breasts)
        v = np.where(v < 0, v * 0.55, v)
        path = path + (14 + 42 * h.breasts) * np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
    return path.astype(np.float32)


def chord(u: Array | Wide, power: float) -> Array:
    """Height of a superellipse of unit half-axes at ``u``; 2 is a circle, more is squarer."""
    return np.asarray(np.sqrt(np.clip(1 - np.abs(u) ** power, 0, 1)), np.float32)


def heart_size(habitus: Habitus) -> tuple[float, tuple[float, float], float]:
    """Half the heart's width on the film, its half-axes, and half its height, in mm."""
    half = habitus.cardiothoracic * 128 * habitus.width
    long, short = 1.10 * half, 0.83 * half * (0.2 + 0.8 * habitus.heart_height)
    rise = math.hypot(long * math.sin(HEART_LEAN), short * math.cos(HEART_LEAN))
    return half, (long, short), rise


def _heart(x: Array, y: Array, habitus: Habitus) -> tuple[Array, Mask]:
    """Path of the heart, and its own outline."""
    h = habitus
    half, (long, short), rise = heart_size(h)
    dx, dy = x - half * h.heart_shift, y - (h.dome + 8 - 0.80 * rise)
    c, s = math.cos(HEART_LEAN), math.sin(HEART_LEAN)
    along, across = dx * c + dy * s, dy * c - dx * s
    # broad at its base, narrower at its apex
    taper = 1 - 0.10 * np.clip(along / long, -1, 1)
    q = 1 - (along / long) ** 2 - (across / (short * taper)) ** 2
    return (125 * h.depth * np.sqrt(np.clip(q, 0, 1))).astype(np.float32), q > 0


def _airways(x: Array, y: Array, habitus: Habitus) -> Array:
    """Trachea, main bronchi, and gas in the stomach and bowel."""
    h = habitus
    carina = -42 * h.height
    trachea = 15 * chord((x - 1.5) / 8.5, 2.0) * sigmoid((carina - y) / 3)
    fork = y - carina
    reach = sigmoid((fork - 1) / 2) * sigmoid((38 - fork) / 4)
    right = 9 * chord((x + 2 + 0.62 * fork) / 6.5, 2.0) * reach
    left = 8 * chord((x - 2 - 0.95 * fork) / 7, 2.0) * reach
    gas = np.zeros_like(x)
    for k, (gx, gy, rx, ry, path) in enumerate(
        ((58, 30, 30, 13, 55), (86, 58, 18, 14, 40), (102, 78, 14, 17, 40), (-96, 88, 22, 14, 30))
    ):
        wobble = 1 + 0.35 * math.sin(37.0 * (h.fat + k) + 91.0 * h.depth)  # each patient's own
        q = ((x - gx * h.width) / (rx * wobble)) ** 2 + ((y - h.dome - gy) / (ry * wobble)) ** 2
        gas += path * wobble * (wobble > 0.85) * np.sqrt(np.clip(1 - q, 0, 1))
    return np.asarray(np.maximum(trachea, np.maximum(left, right)) + gas, np.float32)


def on_film(x: float, y: float, habitus: Habitus, size: int) -> tuple[float, float]:
    """Where a point of the lung's middle plane falls on the film, in pixels."""
    c, s = math.cos(habitus.tilt), math.sin(habitus.tilt)
    u, v = x * SOFT, y * SOFT
    scale = size / FIELD
    return (
        (u * c - v * s + habitus.shift[0]) * scale + size / 2 - 0.5,
        (u * s + v * c + habitus.shift[1]) * scale + size / 2 - 0.5,
    )
