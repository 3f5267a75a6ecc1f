"""The same chest from the side: the patient's left against the detector, facing the picture's left.

Ribs, collar bones, breastbone and vessels are the very tubes of the front view, turned; what is
drawn flat there is drawn flat here, from the same numbers.
"""

from __future__ import annotations

import numpy as np

from hilum.findings import Side
from hilum.phantom.anatomy import SIGN, Grid, Habitus, sigmoid
from hilum.phantom.findings import Lesions
from hilum.phantom.physics import FIELD, Array, blur
from hilum.phantom.tissue import (
    DOME_SLOPES,
    LUNG_DENSITY,
    RECESS,
    SOFT,
    chord,
    enlarge,
    heart_size,
    texture,
)
from hilum.phantom.vessels import vessels

SPINE = -78.0  # mm before the middle of the body, at mean depth


def soft_tissue(
    size: int,
    habitus: Habitus,
    lesions: Lesions,
    rng: np.random.Generator,
    mottle: np.random.Generator,
) -> Array:
    """Path length of water (mm) of the body from the side.

    A free pneumothorax is left out: on a side view it can hardly be seen.
    """
    h = habitus
    grid = Grid.over(max(128, size // 2), h)
    x, y = grid.at(SOFT)
    z = -x
    sides = _lungs(z, y, h)
    if lesions.effusion:
        sides[lesions.effusion.side] *= 1 - _fluid(z, y, lesions, h)
    air = np.asarray(sum(sides.values()), np.float32)
    for opacity in lesions.opacities:
        depth = mottle.uniform(-40, 40)
        q = ((z - depth) / opacity.reach[0]) ** 2 + ((y - opacity.y) / opacity.reach[1]) ** 2
        share = 0.5 * opacity.density * sigmoid((1 - q) * 2.5)  # one lung of the two
        air = air * (1 - share)
    fraction = (1 - LUNG_DENSITY) * (1 - texture(grid.size, rng) * np.float32(h.lung_texture))
    water = _body(z, y, h) - air * fraction
    for nodule in lesions.nodules:
        ball = nodule.radius**2 - (z - mottle.uniform(-45, 45)) ** 2 - (y - nodule.y) ** 2
        water += 1.6 * np.sqrt(np.clip(ball, 0, None))
    trachea = 14 * chord((z + 12 + 0.10 * y) / 8, 2.0) * sigmoid((-42 * h.height - y) / 3)
    water = enlarge(np.clip(water - trachea, 0, None), size)
    tree = np.zeros((size, size), np.float32)
    for side in SIGN:
        vessels(side, h, rng).splat(tree, h, rng.random())
    marking = 1.1 * blur(tree, 0.5 * size / 512 + 0.2)
    return water + np.minimum(marking, 0.9 * enlarge(air, size))


def _lungs(z: Array, y: Array, habitus: Habitus) -> dict[Side, Array]:
    """Path through each lung: half the chest without its share of diaphragm, middle and heart."""
    h = habitus
    deep = np.maximum(h.half_depth(y), 1)
    half = h.half_width(y) * chord(z / deep, 2.3)
    half_heart, _, rise = heart_size(h)
    q = ((z - 30 * h.depth) / (0.92 * half_heart)) ** 2
    q = q + ((y - (h.dome + 8 - 0.80 * rise)) / (0.95 * rise)) ** 2
    ball = np.sqrt(np.clip(1 - q, 0, 1))
    lungs = {}
    for side in SIGN:
        below = np.clip(y - h.dome_of(side) - RECESS * (z / (h.half_depth(y) + 1)) ** 2, 0, None)
        steep = sum(np.sqrt(below / slope) for slope in DOME_SLOPES)
        belly = np.minimum(60 * h.width * np.asarray(steep, np.float32), half)
        heart = half_heart * (1.25 if side is Side.LEFT else 0.6) * ball
        middle = 24 * h.mediastinum * chord(z / (0.9 * deep), 4.0)
        lungs[side] = np.clip(half - belly - np.maximum(heart, middle), 0, None)
    return lungs


def _fluid(z: Array, y: Array, lesions: Lesions, habitus: Habitus) -> Array:
    effusion = lesions.effusion
    assert effusion is not None
    wall = np.maximum(habitus.half_depth(y) - np.abs(z), 0)
    level = habitus.dome_of(effusion.side) - effusion.height
    return sigmoid((y - level + effusion.meniscus * np.exp(-wall / 14)) / 4.0)


def _body(z: Array, y: Array, habitus: Habitus) -> Array:
    """Path through trunk, neck, raised arms and breasts."""
    h = habitus
    level = np.clip(y, -62 * h.height, 60 * h.height)
    back, front = 0.62 * h.fat + 8, h.fat * (1 + 0.5 * sigmoid((y - 60) / 20))
    deep = np.maximum(h.half_depth(level), 80 * h.depth) + (back + front) / 2
    wide = 2 * (h.half_width(level) + h.fat)
    trunk = wide * chord((z - (front - back) / 2) / deep, 2.4) * sigmoid((y + 118) / 12)
    neck = 112 * chord((z + 34) / 60, 2.0) * sigmoid((-100 - y) / 10)
    arms = 230 * h.width * chord((z + 22) / 72, 2.0) * sigmoid((-104 - y) / 9)
    path = np.maximum(np.maximum(trunk, neck), arms)
    if h.breasts:
        u = (z - h.half_depth(level) + 4) / (30 + 24 * h.breasts)
        v = (y - 40 * h.height) / (40 + 18 * h.breasts)
        path = path + (30 + 60 * h.breasts) * np.clip(1 - u * u - v * v, 0, 1)
    return blur(path.astype(np.float32), 3 * z.shape[0] / FIELD)


def spine(grid: Grid, habitus: Habitus, rng: np.random.Generator) -> Array:
    """Vertebral bodies with their end plates, discs between them, and the arches behind."""
    h = habitus
    z, y = -grid.x / np.float32(SOFT), grid.y / np.float32(SOFT)
    # the thoracic curve, and the neck's forwards
    z = z - SPINE * h.depth - 9 * np.cos(y / 105) - 0.4 * np.clip(-105 - y, 0, None)
    pitch = 22 * h.height
    phase = ((y + rng.uniform(150, 172)) / pitch) % 1
    half = 12 + 4 * np.clip((y + 170) / 340, 0, 1)
    off = np.abs(phase - 0.5)
    body = sigmoid((half - np.abs(z)) * 0.9) * sigmoid((0.41 - off) * 24)
    rim = 0.7 * np.exp(-(((np.abs(z) - half + 1) / 1.5) ** 2))
    plates = 0.9 * np.exp(-(((off - 0.39) * 14) ** 2))
    arches = np.exp(-(((z + half + 14) / 8) ** 2) - (((phase - 0.7) * 22 / 7.0) ** 2))
    return np.asarray(
        h.bone_density * (7.0 * body * (0.8 + rim + plates) + 2.0 * arches), np.float32
    )
