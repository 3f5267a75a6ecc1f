"""Chests for the gate's eye: frontal and lateral ones, with all that a hospital adds to them.

The phantom's own ribs, lungs and heart, and what it leaves out and a film's outline depends on:
neck and shoulders, arms, a large belly, white lungs, lines and pads. Lengths are in mm.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from hilum.phantom import anatomy, film, skeleton, tissue
from hilum.phantom.chance import Prevalence, draw_lesions
from hilum.phantom.findings import Lesions
from hilum.phantom.physics import Array, blur
from hilum.phantom.tube import Tube
from hilum.training.gate.shapes import Canvas, rod

SICK = Prevalence(
    cardiomegaly=0.4, effusion=0.5, pneumothorax=0.2, nodule=0.3, fracture=0.0, clavicle=0.0
)


def habitus(rng: np.random.Generator) -> anatomy.Habitus:
    """A patient of any build; hearts from narrow to very wide."""
    drawn = anatomy.Habitus.draw(rng, cardiomegaly=False)
    return replace(
        drawn,
        cardiothoracic=float(rng.uniform(0.36, 0.66)),
        dome=float(rng.uniform(50, 118)) * drawn.height,
        mediastinum=float(rng.uniform(0.8, 1.7)),
        bone_density=float(rng.uniform(0.6, 1.8)),
    )


def frontal(rng: np.random.Generator, size: int) -> Canvas:
    """A frontal chest from the neck to the upper belly."""
    who = habitus(rng)
    lesions = draw_lesions(rng, SICK, (who.width, who.height))
    cage = skeleton.ribs(who, lesions, rng)
    clavicles = {side: skeleton.clavicle(side, who, lesions, rng) for side in anatomy.SIGN}
    canvas = Canvas(
        water=tissue.soft_tissue(size, who, lesions, rng, rng).water,
        bone=film.bone_path(cage, clavicles, who, size, rng),
    )
    _whiten_lungs(canvas, rng)
    _cut_shoulders(canvas, who, rng)
    for sign in (-1, 1):
        if rng.random() < 0.6:
            _arm(canvas, sign, who, rng)
        if rng.random() < 0.35:
            _breast(canvas, sign, rng)
    if rng.random() < 0.4:
        _bowel_gas(canvas, rng)
    return canvas


def lateral(rng: np.random.Generator, size: int) -> Canvas:
    """A chest from the side: the cage turned by about 90 degrees, one lung field, spine behind."""
    who = habitus(rng)
    front = rng.choice([-1, 1])
    turn = front * (np.pi / 2 + rng.uniform(-0.2, 0.2))
    bone = np.zeros((size, size), np.float32)
    for rib in skeleton.ribs(who, Lesions(), rng):
        _turned(rib.tube, turn).splat(bone, who, rng.random())
    bone = blur(bone, 0.8 * size / 512 + 0.25)
    grid = anatomy.Grid.over(size, who)
    x, y = (a * np.float32(front) if i == 0 else a for i, a in enumerate(grid.at(tissue.SOFT)))
    deep = 105 * who.depth * (1 + 0.25 * rng.random() * anatomy.sigmoid((y - 40) / 40))
    lean = rng.uniform(-0.15, 0.25) * y
    water = 300 * who.width * np.sqrt(np.clip(1 - np.abs((x - lean * 0.3) / deep) ** 2.2, 0, 1))
    dome = who.dome - 15 + rng.uniform(-10, 10) - 25 * np.clip(x / 80, -1, 1)
    q = np.abs((x - 4 + 0.12 * y) / (82 * who.depth)) ** 2.2 + np.abs((y + 5) / 150) ** 2.4
    lung = 210 * np.sqrt(np.clip(1 - q, 0, 1)) * anatomy.sigmoid((dome - y) / 3)
    hx, hy = x - 38 * who.depth, y - (who.dome - 55)
    heart = 110 * np.sqrt(np.clip(1 - (hx / 52) ** 2 - (hy / 60) ** 2, 0, 1))
    water = water - (1 - tissue.LUNG_DENSITY) * np.clip(lung - heart, 0, None)
    arms = 160 * anatomy.sigmoid((-rng.uniform(105, 150) - y + 0.4 * np.abs(x)) / 8)
    spine = _side_spine(x + 72 * who.depth - 0.1 * y, y, who, rng)
    canvas = Canvas(np.clip(water + arms * (water > 0), 0, None).astype(np.float32), bone + spine)
    if rng.random() < 0.5:
        _cut_shoulders(canvas, who, rng)
    return canvas


def _turned(tube: Tube, angle: float) -> Tube:
    """A tube turned about the patient's long axis."""
    c, s = np.cos(angle), np.sin(angle)

    def turn(v: Array) -> Array:
        return np.stack([v[:, 0] * c + v[:, 2] * s, v[:, 1], v[:, 2] * c - v[:, 0] * s], 1).astype(
            np.float32
        )

    return replace(
        tube, centre=turn(tube.centre), across=turn(tube.across), through=turn(tube.through)
    )


def _side_spine(x: Array, y: Array, who: anatomy.Habitus, rng: np.random.Generator) -> Array:
    phase = ((y + rng.uniform(0, 20)) / (22 * who.height)) % 1
    bodies = anatomy.sigmoid((15 - np.abs(x)) * 0.6) * anatomy.sigmoid(
        (0.42 - np.abs(phase - 0.5)) * 20
    )
    return np.asarray(who.bone_density * rng.uniform(5, 9) * bodies, np.float32)


def _whiten_lungs(canvas: Canvas, rng: np.random.Generator) -> None:
    """Patchy or whole-lung opacities, from none to a white lung, by side."""
    size = canvas.size
    kernel = np.ones((1, size // 2), np.uint8)
    full = cv2.morphologyEx(canvas.water, cv2.MORPH_CLOSE, kernel)
    air = np.clip(full - canvas.water, 0, None)
    cloud = blur(rng.standard_normal((size, size), dtype=np.float32), size * rng.uniform(0.02, 0.1))
    cloud = anatomy.sigmoid(cloud / max(float(cloud.std()), 1e-6) * 1.5)
    column = (np.arange(size) / size - 0.5)[None]
    sides = rng.choice([0, 0.4, 0.7, 1.0], 2, p=[0.35, 0.25, 0.25, 0.15]) * rng.uniform(0.6, 1, 2)
    row = np.arange(size)[:, None] / size
    low = anatomy.sigmoid((row - rng.uniform(0.2, 0.7)) * rng.uniform(4, 20))
    if rng.random() >= 0.4:
        low = np.ones_like(low)
    share = np.where(column < 0, sides[0], sides[1]) * (0.4 + 0.6 * cloud) * low
    canvas.water += (air * share).astype(np.float32)


def _cut_shoulders(canvas: Canvas, who: anatomy.Habitus, rng: np.random.Generator) -> None:
    """Air beside the neck, above the shoulders."""
    x, y = canvas.axes()
    x = x - who.shift[0]
    shoulder = rng.uniform(-230, -140) + rng.uniform(0.1, 0.5) * np.clip(np.abs(x) - 50, 0, None)
    neck = np.abs(x) < rng.uniform(45, 70)
    keep = np.maximum(anatomy.sigmoid((y - shoulder) / 4), neck * 1.0)
    thin = np.where(neck & (y < shoulder), 0.55, 1.0) * keep
    canvas.water *= thin.astype(np.float32)
    canvas.bone *= keep.astype(np.float32)


def _arm(canvas: Canvas, sign: int, who: anatomy.Habitus, rng: np.random.Generator) -> None:
    top = (sign * rng.uniform(160, 185) * who.width, rng.uniform(-135, -100))
    end = (top[0] + sign * rng.uniform(5, 90), rng.uniform(60, 260))
    if rng.random() < 0.15:  # raised
        end = (top[0] + sign * rng.uniform(40, 140), rng.uniform(-300, -160))
    canvas.water = np.maximum(canvas.water, rod(canvas, top, end, 45, 38))
    canvas.add_bone(top, end, 15, 11, who.bone_density)


def _breast(canvas: Canvas, sign: int, rng: np.random.Generator) -> None:
    x, y = canvas.axes()
    u = (x - sign * rng.uniform(70, 110)) / rng.uniform(50, 80)
    v = (y - rng.uniform(40, 110)) / rng.uniform(40, 70)
    canvas.water += (rng.uniform(20, 60) * np.sqrt(np.clip(1 - u * u - v * v, 0, 1))).astype(
        np.float32
    )


def _bowel_gas(canvas: Canvas, rng: np.random.Generator) -> None:
    x, y = canvas.axes()
    for _ in range(rng.integers(1, 6)):
        u = (x - rng.uniform(-20, 130)) / rng.uniform(10, 45)
        v = (y - rng.uniform(125, 200)) / rng.uniform(8, 30)
        gas = rng.uniform(30, 90) * np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
        canvas.water = np.clip(canvas.water - gas, 0, None).astype(np.float32)
