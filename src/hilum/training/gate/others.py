"""All that is not a chest film: limbs, pelvis, skull, belly, neck, a CT slice, pictures, noise."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from hilum.phantom.physics import Array, blur
from hilum.training.gate.shapes import Canvas, Point

Rng = np.random.Generator


def _along(start: Point, angle: float, length: float) -> Point:
    return start[0] + length * float(np.sin(angle)), start[1] - length * float(np.cos(angle))


def long_bones(rng: Rng, size: int) -> Canvas:
    """One or two bones in flesh, with or without a joint, straight or bent."""
    canvas = Canvas.empty(size)
    heading = rng.uniform(-0.5, 0.5)
    joint = (float(rng.uniform(-60, 60)), float(rng.uniform(-120, 160)))
    thick = rng.uniform(22, 85)
    parts = [(heading + np.pi, 1)] if rng.random() < 0.3 else [(heading + np.pi, 1), (heading, 2)]
    bend = rng.uniform(0, 1.9) if rng.random() < 0.5 else 0.0
    for turn, bones in parts:
        angle = turn + (bend if bones == 2 else 0.0)
        length = rng.uniform(180, 420)
        end = _along(joint, angle, length)
        canvas.add_flesh(joint, end, thick * rng.uniform(0.8, 1.1), thick * rng.uniform(0.5, 1.2))
        gap = thick * 0.35 if bones == 2 and rng.random() < 0.8 else 0.0
        for side in (-1, 1) if gap else (0,):
            shift = (side * gap * np.cos(angle), side * gap * np.sin(angle))
            a = (joint[0] + shift[0], joint[1] + shift[1])
            wide = thick * rng.uniform(0.22, 0.4) * (0.7 if gap else 1)
            canvas.add_bone(
                _along(a, angle, rng.uniform(4, 9)), (end[0] + shift[0], end[1] + shift[1]),
                wide * 1.3, wide * 0.7, rng.uniform(0.5, 1.5),
            )  # fmt: skip
    if rng.random() < 0.35:
        _metal(canvas, rng)
    return canvas


def hand(rng: Rng, size: int) -> Canvas:
    """One or two hands or feet: a fan of jointed rays on a wrist or heel."""
    canvas = Canvas.empty(size)
    for side in (-1, 1) if rng.random() < 0.3 else (0,):
        _hand(canvas, (side * 95.0 + rng.uniform(-20, 20), rng.uniform(0, 70)), rng)
    return canvas


def _hand(canvas: Canvas, wrist: Point, rng: Rng) -> None:
    scale, density = rng.uniform(0.7, 1.6), rng.uniform(0.5, 1.4)
    fan, lean = rng.uniform(0.05, 0.2), rng.uniform(-0.2, 0.2)
    end = _along(wrist, np.pi + lean, 260)
    canvas.add_flesh(wrist, end, 32 * scale, 38 * scale)
    for off in (-11, 11):
        canvas.add_bone((wrist[0] + off * scale, wrist[1] + 12 * scale),
                        (end[0] + off * scale, end[1]), 11 * scale, 7 * scale, density)  # fmt: skip
    for _ in range(7):
        spot = (wrist[0] + rng.uniform(-22, 22) * scale, wrist[1] - rng.uniform(0, 25) * scale)
        canvas.add_ellipse(spot, (8 * scale, 8 * scale), 0, bone=5 * density)
    for k in range(5):
        angle = lean + (k - 2) * fan + (0.5 if k == 4 and rng.random() < 0.7 else 0)
        at = _along((wrist[0] + (k - 2) * 11 * scale, wrist[1] - 28 * scale), angle, 0)
        for length in (58, 38, 24, 17):
            to = _along(at, angle, length * scale * (0.75 if k == 4 else 1))
            canvas.add_flesh(at, to, 13 * scale, 11 * scale)
            canvas.add_bone(at, _along(to, angle, -4 * scale), 7 * scale, 4 * scale, density)
            at = to


def shoulder(rng: Rng, size: int) -> Canvas:
    """A shoulder: the upper arm in its socket, collar bone, blade, and the edge of a chest."""
    canvas = Canvas.empty(size)
    head = (float(rng.uniform(-20, 40)), float(rng.uniform(-70, 0)))
    angle = rng.uniform(0.5, 3.0)
    density = rng.uniform(0.6, 1.5)
    canvas.add_flesh((-120, 140), head, 170, rng.uniform(60, 80))
    canvas.add_flesh(head, _along(head, angle, 330), rng.uniform(55, 75), rng.uniform(40, 65))
    canvas.add_ellipse((-150, 130), (110, 150), 0.2, flesh=-rng.uniform(40, 120))
    for k in range(6):
        a = (-190.0, float(60 + k * 32 + rng.uniform(-4, 4)))
        canvas.add_bone(a, (-60 + k * 4, a[1] - 30), 7, 6, density)
    canvas.add_bone(head, _along(head, angle, 330), 24, 13, density)
    canvas.add_bone((-180, -70), (head[0] - 10, head[1] - 35), 8, 7, density)
    canvas.add_ellipse((head[0] - 60, head[1] + 55), (32, 75), -0.3, bone=6 * density)
    if rng.random() < 0.4:
        _metal(canvas, rng)
    return canvas


def pelvis(rng: Rng, size: int) -> Canvas:
    """Hips: two wings, a ring, thigh bones, lower spine."""
    canvas = Canvas.empty(size)
    density, w = rng.uniform(0.6, 1.5), rng.uniform(0.85, 1.15)
    canvas.add_flesh((0, -300), (0, 60), 190 * w, 190 * w)
    for s in (-1, 1):
        canvas.add_flesh((s * 95 * w, 60), (s * 85 * w, 330), 95, 80)
        canvas.add_ellipse((s * 85 * w, -60), (55 * w, 75), s * 0.5, bone=11 * density)
        canvas.add_shell((s * 38 * w, 75), (32 * w, 40), 0, 0.3, 25 * density)
        canvas.add_bone((s * 112 * w, 35), (s * 150 * w, 65), 23, 17, density)
        canvas.add_bone((s * 150 * w, 65), (s * 125 * w, 330), 22, 16, density)
    canvas.add_ellipse((0, -20), (40 * w, 60), 0, bone=12 * density)
    _spine_column(canvas, 0, rng, bottom=-60)
    _gas(canvas, rng, (-120, 120), (-200, 20))
    return canvas


def belly(rng: Rng, size: int) -> Canvas:
    """A belly film: spine, gas, lower ribs, the tops of the hip bones."""
    canvas = Canvas.empty(size)
    w, density = rng.uniform(0.85, 1.15), rng.uniform(0.5, 1.3)
    canvas.add_flesh((0, -400), (0, 400), 170 * w, 180 * w)
    _spine_column(canvas, rng.uniform(-10, 10), rng)
    for s in (-1, 1):
        canvas.add_ellipse((s * 105 * w, 190), (60, 75), s * 0.5, bone=9 * density)
        for k in range(3):
            y = -190 + 28 * k + rng.uniform(-5, 5)
            canvas.add_bone((s * 25, y), (s * 140 * w, y + 60), 6, 6, density * 0.8)
        if rng.random() < 0.4:  # lung bases
            canvas.add_ellipse((s * 75 * w, -215), (60, 60), 0, flesh=-rng.uniform(60, 160))
    _gas(canvas, rng, (-140, 140), (-130, 180))
    return canvas


def skull(rng: Rng, size: int) -> Canvas:
    """A head from the front or the side, with jaw and neck."""
    canvas = Canvas.empty(size)
    density, side = rng.uniform(0.7, 1.5), rng.random() < 0.5
    wide, high = (rng.uniform(95, 115), rng.uniform(75, 95)) if side else (
        rng.uniform(70, 88), rng.uniform(95, 115))  # fmt: skip
    canvas.add_flesh((0, 0), (10, 330), 70, 65)
    canvas.add_ellipse((0, -50), (wide + 8, high + 8), 0, flesh=140)
    canvas.add_shell((0, -50), (wide, high), 0, rng.uniform(0.05, 0.12), 90 * density)
    _spine_column(canvas, -20 if side else 0, rng, top=60, width=rng.uniform(12, 18))
    if side:
        canvas.add_bone((-20, 20), (75, 90), 14, 12, density)
        canvas.add_ellipse((70, 10), (25, 20), 0, flesh=-60)
    else:
        for s in (-1, 1):
            canvas.add_shell((s * 32, -20), (24, 20), 0, 0.3, 20 * density)
            canvas.add_bone((s * 60, 30), (s * 20, 95), 12, 12, density)
    for k in range(8):
        canvas.add_ellipse((-28 + 8 * k + 30 * side, 62), (4, 12), 0, bone=12 * density)
    return canvas


def spine_film(rng: Rng, size: int) -> Canvas:
    """A neck or back from the front or the side: one column in flesh."""
    canvas = Canvas.empty(size)
    wide = rng.uniform(50, 190)
    canvas.add_flesh((rng.uniform(-20, 20), -400), (0, 400), wide, wide)
    bow = rng.uniform(-0.5, 0.5)
    _spine_column(canvas, rng.uniform(-25, 25), rng, width=rng.uniform(16, 42), bow=bow)
    if rng.random() < 0.5:
        canvas.add_ellipse((0, -260), (80, 90), 0, flesh=60, bone=10)
    return canvas


def ct_slice(rng: Rng, size: int) -> Canvas:
    """A cross-section of a trunk, which has two dark lungs too."""
    canvas = Canvas.empty(size)
    w, h = rng.uniform(130, 185), rng.uniform(90, 130)
    edge = np.float32(150)
    body = np.asarray(edge * (_inside(canvas, (0, 0), (w, h))), np.float32)
    canvas.water = body
    if rng.random() < 0.7:
        for s in (-1, 1):
            hole = _inside(canvas, (s * w * 0.45, rng.uniform(-10, 10)), (w * 0.36, h * 0.68))
            canvas.water -= np.float32(130) * hole
    ring = np.clip(_inside(canvas, (0, 0), (w * 0.9, h * 0.86)) - _inside(
        canvas, (0, 0), (w * 0.85, h * 0.8)), 0, 1)  # fmt: skip
    angle = np.arctan2(*reversed(canvas.axes()))
    canvas.bone += (8 * ring * (np.sin(angle * rng.integers(6, 12)) > 0)).astype(np.float32)
    canvas.add_ellipse((0, h * 0.62), (17, 17), 0, bone=9)
    canvas.add_ellipse((0, h * 0.85), (5, 14), 0, bone=9)
    canvas.water = np.clip(canvas.water, 0, None)
    return canvas


def _inside(canvas: Canvas, centre: Point, axes: Point) -> Array:
    from hilum.training.gate.shapes import radius

    return (radius(canvas, centre, axes, 0.0) < 1).astype(np.float32)


def _spine_column(
    canvas: Canvas, x: float, rng: Rng, top: float = -260, bottom: float = 260,
    width: float = 20.0, bow: float = 0.0,
) -> None:  # fmt: skip
    pitch, bone = rng.uniform(24, 36), rng.uniform(6, 14)
    for y in np.arange(top, bottom, pitch):
        at = x + bow * 60 * np.sin(y / 120)
        q = np.clip(1 - np.abs((canvas.axes()[0] - at) / width) ** 6, 0, 1) * np.clip(
            1 - np.abs((canvas.axes()[1] - y) / (pitch * 0.42)) ** 6, 0, 1)  # fmt: skip
        canvas.bone += (bone * q).astype(np.float32)


def _gas(canvas: Canvas, rng: Rng, across: Point, down: Point) -> None:
    for _ in range(rng.integers(0, 14)):
        spot = (float(rng.uniform(*across)), float(rng.uniform(*down)))
        axes = (float(rng.uniform(8, 45)), float(rng.uniform(8, 28)))
        canvas.add_ellipse(spot, axes, rng.uniform(0, 3), flesh=-rng.uniform(20, 90))


def _metal(canvas: Canvas, rng: Rng) -> None:
    """A plate with its screws."""
    at = (float(rng.uniform(-60, 60)), float(rng.uniform(-80, 80)))
    angle = rng.uniform(0, np.pi)
    for k in range(rng.integers(3, 9)):
        spot = _along(at, angle, 12.0 * k)
        canvas.add_bone(spot, _along(spot, angle + 1.5, 28), 3, 3, 12)
    canvas.add_bone(at, _along(at, angle, 12.0 * k), 5, 5, 12)


def picture(rng: Rng, size: int) -> Array:
    """No film at all, 0..1: noise, clouds, ramps, shapes, stripes, lines of text."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    made: list[Callable[[], Array]] = [
        lambda: rng.random((size, size), dtype=np.float32),
        lambda: _cloud(rng, size),
        lambda: _cloud(rng, size) + rng.random((size, size), dtype=np.float32) * 0.3,
        lambda: np.asarray(x * rng.normal() + y * rng.normal(), np.float32),
        lambda: np.asarray(np.sin((x * rng.normal() + y * rng.normal()) * 30), np.float32),
        lambda: _shapes(rng, size),
        lambda: _shapes(rng, size) + _cloud(rng, size),
        lambda: _text(rng, size),
    ]
    drawn = made[rng.integers(len(made))]()
    low, high = float(drawn.min()), float(drawn.max())
    return np.asarray((drawn - low) / max(high - low, 1e-6), np.float32)


def _cloud(rng: Rng, size: int) -> Array:
    """Noise of a natural picture's spectrum, 1/f."""
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None]) + 1 / size
    wave = np.fft.fft2(rng.standard_normal((size, size))) / f ** rng.uniform(0.8, 1.6)
    cloud = np.real(np.fft.ifft2(wave))
    return np.asarray(cloud / cloud.std(), np.float32)


def _shapes(rng: Rng, size: int) -> Array:
    drawn = np.full((size, size), rng.uniform(-1, 1), np.float32)
    for _ in range(rng.integers(2, 14)):
        grey, spot = float(rng.normal()), tuple(int(v) for v in rng.integers(0, size, 2))
        if rng.random() < 0.5:
            axes = tuple(int(v) for v in rng.integers(3, size // 2, 2))
            cv2.ellipse(drawn, spot, axes, float(rng.uniform(0, 180)), 0, 360, grey, -1)
        else:
            corner = tuple(int(v) for v in rng.integers(0, size, 2))
            cv2.rectangle(drawn, spot, corner, grey, -1)
    return blur(drawn, rng.uniform(0.3, 2))


def _text(rng: Rng, size: int) -> Array:
    page = np.full((size, size), 255, np.uint8)
    for y in range(8, size, int(rng.integers(5, 14))):
        letters = "".join(chr(c) for c in rng.integers(33, 120, 30))
        cv2.putText(page, letters, (4, y), cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.15, 0.4), 0)
    drawn = (page / 255).astype(np.float32)
    return drawn if rng.random() < 0.5 else 1 - drawn


BODIES = (long_bones, long_bones, hand, shoulder, pelvis, belly, skull, spine_film, ct_slice)
