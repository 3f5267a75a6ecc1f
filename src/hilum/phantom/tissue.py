"""Soft tissue: body, lungs with their vessels, heart, and the lesions among them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from hilum.findings import Side
from hilum.phantom.anatomy import SIGN, Grid, Habitus, Mask, Wide, sigmoid
from hilum.phantom.findings import Lesions, Pneumothorax
from hilum.phantom.physics import FIELD, Array, blur
from hilum.phantom.tube import Tube

LUNG_DENSITY = 0.26  # of water, at inspiration
SOFT = 1.09  # mean magnification of soft tissue
EDGE = 2.3  # exponent of the lung's outline: a little squarer than an ellipse
Branch = tuple[Wide, Wide, Wide, float, float]  # start, direction, bend, length, radius


@dataclass(frozen=True)
class SoftTissue:
    """Path length of water (mm), and where each large finding shows (True inside)."""

    water: Array
    heart: Mask
    effusion: Mask | None
    pneumothorax: Mask | None


def soft_tissue(
    grid: Grid, habitus: Habitus, lesions: Lesions, rng: np.random.Generator
) -> SoftTissue:
    """Body, lungs, heart, vessels, and the lesions among them."""
    h, size = habitus, grid.size
    x, y = grid.at(SOFT)
    column = grid.y[:, size // 2] / SOFT
    half_body = (165 * h.width + 45 * sigmoid((-110 - column) / 18)).astype(np.float32)[:, None]
    body = 209 * h.depth * np.sqrt(np.clip(1 - (np.abs(x) / half_body) ** 2.5, 0, 1))
    heart_path, heart = _heart(x, y, habitus)
    texture = _texture(size, rng) * np.float32(h.lung_texture)
    water = body.astype(np.float32)
    masks: dict[str, Mask] = {}
    for side in SIGN:
        lung = _lung_path(x, y, side, habitus)
        inside = lung > 2
        air = np.clip(lung - heart_path, 0, None)
        tree = np.zeros((size, size), np.float32)
        vessels(side, habitus, rng).splat(tree, habitus, 8, rng.random())
        marking = blur(tree, 0.6 * size / 512 + 0.2)
        fraction = (1 - LUNG_DENSITY) * (1 - texture)
        line: Array | float = 0.0
        if lesions.pneumothorax and lesions.pneumothorax.side is side:
            free, line = _pneumothorax(x, y, lesions.pneumothorax, habitus)
            marking = marking * (1 - free)
            fraction = fraction * (1 - free) * 0.92 + free
            masks["pneumothorax"] = (free > 0.5) & (air > 8)
        if lesions.effusion and lesions.effusion.side is side:
            fluid = _effusion_share(x, y, side, habitus, lesions)
            masks["effusion"] = (fluid > 0.5) & (air > 8)
            air = air * (1 - fluid)
        water -= air * fraction
        water += inside * (np.minimum(marking * 0.75, 0.9 * lung) + line)
    for nodule in lesions.nodules:
        ball = nodule.radius**2 - (x - nodule.x) ** 2 - (y - nodule.y) ** 2
        water += 1.6 * np.sqrt(np.clip(ball, 0, None))
    trachea = np.sqrt(np.clip(1 - ((x - 2) / 8) ** 2, 0, 1)) * sigmoid((-35 - y) * 0.15)
    water -= 15 * trachea
    water = np.clip(water, 0, None).astype(np.float32)
    return SoftTissue(water, heart, masks.get("effusion"), masks.get("pneumothorax"))


def _texture(size: int, rng: np.random.Generator) -> Array:
    """Fine and coarse mottle of unit variance: interstitium and small vessels."""
    noise = rng.standard_normal((size // 2, size // 2), dtype=np.float32)
    scale = size / 512
    mottle = blur(noise, 1.6 * scale) * (5.7 * scale) + blur(noise, 6 * scale) * (21 * scale)
    wide = cv2.resize(mottle / 1.4, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(wide, np.float32)


def _lung_centre(side: Side, habitus: Habitus) -> tuple[float, float, float, float]:
    """Centre x, y and half-axes of a lung's outline."""
    return SIGN[side] * 70 * habitus.width, -5.0, 62 * habitus.width, 150 * habitus.height


def _dome(x: Array, side: Side, habitus: Habitus) -> Array:
    """y of the diaphragm; the right side stands higher."""
    cx = _lung_centre(side, habitus)[0]
    top = habitus.dome + (4 if side is Side.LEFT else -10)
    return (top + ((x - cx * 0.95) / (62 * habitus.width)) ** 2 * 26).astype(np.float32)


def _lung_path(x: Array, y: Array, side: Side, habitus: Habitus) -> Array:
    cx, cy, a, b = _lung_centre(side, habitus)
    q = np.abs((x - cx) / a) ** EDGE + np.abs((y - cy) / b) ** EDGE
    path = 160 * habitus.depth * np.sqrt(np.clip(1 - q, 0, 1))
    return (path * sigmoid((_dome(x, side, habitus) - y) / 2.5)).astype(np.float32)


def _heart(x: Array, y: Array, habitus: Habitus) -> tuple[Array, Mask]:
    """Path of heart, mediastinum and aortic knob, and the heart's own outline."""
    h = habitus
    half = h.cardiothoracic * 128 * h.width
    high = half * h.heart_height
    dx, dy = x - half * h.heart_shift, y - (h.dome - high * 0.62)
    c, s = math.cos(0.35), math.sin(0.35)
    q = 1 - ((dx * c + dy * s) / half) ** 2 - ((dy * c - dx * s) / (high * 0.82)) ** 2
    muscle = 110 * h.depth * np.sqrt(np.clip(q, 0, 1))
    middle = 90 * np.sqrt(np.clip(1 - ((x - 6) / (h.mediastinum * h.width)) ** 2, 0, 1))
    middle = middle * sigmoid((y + 135) * 0.1)
    knob = 1 - ((x - 30 * h.width) / 17) ** 2 - ((y + 52 * h.height) / 20) ** 2
    path = np.maximum(np.maximum(muscle, middle), 45 * np.sqrt(np.clip(knob, 0, 1)))
    return path.astype(np.float32), q > 0


def _pneumothorax(
    x: Array, y: Array, lesion: Pneumothorax, habitus: Habitus
) -> tuple[Array, Array]:
    """Share of free air in the pleural space, and the thin line of the visceral pleura (mm)."""
    cx, cy, a, b = _lung_centre(lesion.side, habitus)
    s = lesion.size
    inner_x, inner_y = cx - SIGN[lesion.side] * a * s * 0.9, cy + b * s * 0.75
    u, v = (x - inner_x) / (a * (1 - s * 0.8)), (y - inner_y) / (b * (1 - s * 0.6))
    q = np.abs(u) ** EDGE + np.abs(v) ** EDGE
    above = sigmoid((cy + b * 0.55 - y) * 0.15)
    free = sigmoid((q - 1) * 60) * above
    line = 5 * np.exp(-(((q - 1) * (a / 2.53)) ** 2)) * above
    return free.astype(np.float32), line.astype(np.float32)


def _effusion_share(x: Array, y: Array, side: Side, habitus: Habitus, lesions: Lesions) -> Array:
    """Share of the lung's path taken by fluid: level at the middle, rising to the wall."""
    effusion = lesions.effusion
    assert effusion is not None
    cx, _, a, _ = _lung_centre(side, habitus)
    wall = np.abs(x - (cx + SIGN[side] * a))
    inner = np.abs(x - (cx - SIGN[side] * a))
    level = habitus.dome - effusion.height
    surface = level - effusion.meniscus * np.exp(-wall / 14) - 10 * np.exp(-inner / 8)
    return sigmoid((y - surface) / 3.5)


def vessels(side: Side, habitus: Habitus, rng: np.random.Generator) -> Tube:
    """The lung's vessels: a tree that forks outwards from the hilum, as one bundle of branches."""
    sign = SIGN[side]
    branches: list[Branch] = []

    def grow(start: Wide, direction: Wide, radius: float, length: float, generation: int) -> None:
        """Add one branch and, until the last generation, two that fork from its end."""
        bend = rng.normal(0, 0.12, 3) * length
        branches.append((start, direction, bend, length, radius))
        if generation == 0:
            return
        end = start + direction * length + bend
        heading = direction * length + 2 * bend
        for turn in (-1, 1):
            angle = turn * rng.uniform(0.2, 0.6)
            c, s = math.cos(angle), math.sin(angle)
            dx, dy, dz = heading / math.sqrt(float(heading @ heading))
            fork = np.array([dx * c - dy * s, dx * s + dy * c, dz + rng.normal(0, 0.35)])
            fork /= math.sqrt(float(fork @ fork))
            shrink, shorten = rng.uniform(0.62, 0.82), rng.uniform(0.65, 0.95)
            grow(end, fork, radius * shrink, length * shorten, generation - 1)

    for angle in np.linspace(-1.25, 1.35, 7) + rng.normal(0, 0.12, 7):
        x, y, z = rng.uniform(24, 34) * habitus.width, rng.uniform(-26, 4), rng.normal(0, 12)
        start = np.array([sign * x, y, z])
        direction = np.array([sign * math.cos(angle), math.sin(angle) * 1.1, rng.normal(0, 0.4)])
        direction /= np.linalg.norm(direction)
        grow(start, direction, rng.uniform(2.6, 4.2), rng.uniform(22, 34) * habitus.height, 4)
    return _bundle(branches)


def _bundle(branches: list[Branch], nodes: int = 36) -> Tube:
    """Branches as one tube of unit spacing: each point's own spacing sits in its density."""
    start, direction, bend = (np.stack([b[k] for b in branches])[:, None] for k in range(3))
    length, radius = (np.array([b[k] for b in branches], np.float32)[:, None] for k in (3, 4))
    t = np.linspace(0, 1, nodes, dtype=np.float32)[None]
    axis = start + direction * (length * t)[..., None] + bend * (t * t)[..., None]
    along = (direction * length[..., None] + 2 * bend * t[..., None]).reshape(-1, 3)
    along /= np.sqrt((along * along).sum(1, keepdims=True))
    across = np.stack([-along[:, 1], along[:, 0], np.zeros(len(along))], 1) + 1e-6
    across /= np.sqrt((across * across).sum(1, keepdims=True))
    thin = (radius * (1 - 0.22 * t)).ravel().astype(np.float32)
    return Tube(
        centre=axis.reshape(-1, 3).astype(np.float32),
        across=across.astype(np.float32),
        through=np.cross(along, across).astype(np.float32),
        half_height=thin,
        half_width=thin,
        density=np.broadcast_to(length / nodes, (len(branches), nodes)).ravel().astype(np.float32),
        spacing=1.0,
        cortex=0.0,
        fill=1.0,
    )


def nodule_on_film(x: float, y: float, habitus: Habitus, size: int) -> tuple[float, float]:
    """Where a point of the lung's middle plane falls on the film, in pixels."""
    placed = habitus.place(np.array([[x * SOFT, y * SOFT, 0.0]], np.float32))
    # the shift is not magnified on the soft-tissue grid, so undo the cone beam's factor
    scale = size / FIELD
    u, v = (float(p * scale + size / 2 - 0.5) for p in placed[0, :2])
    return u, v
