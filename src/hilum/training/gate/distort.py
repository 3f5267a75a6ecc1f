"""From a simulated picture to what may come in: framed, turned, lined, marked, developed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.phantom.physics import Array, Exposure, blur, expose
from hilum.reading.pose import SIDE
from hilum.training.gate.shapes import Canvas

Rng = np.random.Generator
WORK = 128  # side of a picture until it is shrunk to what the network sees
CHEST = (0.70, 1.22)  # share of the 400 mm field in the frame of a whole chest


def develop(canvas: Canvas, rng: Rng) -> Array:
    """A film, 0..1, of a canvas."""
    film = expose(canvas.water, canvas.bone, Exposure.draw(rng), rng)
    return np.asarray(film / 4095, np.float32)


def whole(film: Array, rng: Rng) -> Array:
    """A chest film as technicians frame it: not quite straight, not quite centred."""
    zoom = rng.uniform(*CHEST) * np.exp(rng.uniform(-0.13, 0.13) * np.array([1, -1]))
    turn = float(np.clip(rng.normal(0, 5), -15, 15))
    return frame(_bend(film, rng), zoom, rng.uniform(-0.11, 0.11, 2), turn)


def aside(film: Array, rng: Rng) -> Array:
    """A lateral chest: narrower than a frontal one, so framed more tightly."""
    zoom = np.array([rng.uniform(0.45, 0.95), rng.uniform(0.65, 1.1)])
    turn = float(np.clip(rng.normal(0, 6), -20, 20))
    return frame(_bend(film, rng), zoom, rng.uniform(-0.1, 0.1, 2), turn)


def part(film: Array, rng: Rng) -> Array:
    """A piece of a chest: too small a window, or one that misses half of it."""
    if rng.random() < 0.5:
        zoom = rng.uniform(0.2, 0.45, 2)
        return frame(film, zoom, rng.uniform(-0.35, 0.35, 2), rng.uniform(-20, 20))
    away = rng.choice([-1, 1], 2) * rng.uniform(0.33, 0.5, 2)
    away[rng.integers(2)] *= rng.uniform(0, 0.6)
    return frame(film, rng.uniform(0.5, 0.9, 2), away, rng.uniform(-20, 20))


def anyhow(film: Array, rng: Rng) -> Array:
    """Any body part, turned by any angle."""
    turn = rng.uniform(-180, 180) if rng.random() < 0.6 else rng.normal(0, 8)
    zoom = rng.uniform(0.5, 1.3) * np.exp(rng.uniform(-0.3, 0.3) * np.array([1, -1]))
    return frame(film, zoom, rng.uniform(-0.12, 0.12, 2), float(turn))


def _bend(film: Array, rng: Rng) -> Array:
    """No two bodies have the same outline: every point moves smoothly, by some mm."""
    n = film.shape[0]
    pull = rng.normal(0, rng.uniform(0, 0.022) * n, (4, 4, 2)).astype(np.float32)
    moved = cv2.resize(pull, (n, n), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:n, :n].astype(np.float32)
    at = (x + moved[..., 0], y + moved[..., 1])
    bent = cv2.remap(film, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(bent, np.float32)


def frame(film: Array, zoom: NDArray[np.float64], shift: NDArray[np.float64], turn: float) -> Array:
    """The part of a film that a turned window shows; edges go on beyond the film."""
    n = film.shape[0]
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    inner = np.array([[c * zoom[0], -s * zoom[1]], [s * zoom[0], c * zoom[1]]]) * (n / WORK)
    centre = n / 2 + shift * n - inner @ np.array([WORK / 2, WORK / 2])
    matrix = np.hstack([inner, centre[:, None]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    shown = cv2.warpAffine(film, matrix, (WORK, WORK), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(shown, np.float32)


def finish(film: Array, rng: Rng) -> NDArray[np.uint8]:
    """Lines, markers, tone, collimator and noise on an upright picture; SIDE x SIDE, 0..255."""
    film = film.copy()
    if rng.random() < 0.4:
        _lines(film, rng)
    if rng.random() < 0.6:
        _marks(film, rng)
    film = _tone(film, rng)
    if rng.random() < 0.35:
        _collimate(film, rng)
    film = blur(film, rng.uniform(0.2, 1.2))
    film += rng.normal(0, rng.uniform(0, 0.03), film.shape).astype(np.float32)
    small = cv2.resize(film, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(np.rint(small * 255), 0, 255), np.uint8)


def _lines(film: Array, rng: Rng) -> None:
    """Tubes, leads, drains, pads and pacemakers."""
    n = film.shape[0]
    for _ in range(rng.integers(1, 8)):
        t = np.linspace(0, 1, 24)[:, None]
        a, b, c = rng.uniform(-0.1, 1.1, (3, 2)) * n
        track = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
        lit = np.zeros_like(film)
        cv2.polylines(lit, [np.rint(track).astype(np.int32)], False, 1.0, int(rng.integers(1, 3)))
        film += lit * np.float32(rng.uniform(0.1, 0.5))
    for _ in range(rng.integers(0, 3)):
        spot = tuple(int(v) for v in rng.integers(0, n, 2))
        axes = tuple(int(v) for v in rng.integers(2, 10, 2))
        cv2.ellipse(film, spot, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)


def _marks(film: Array, rng: Rng) -> None:
    n = film.shape[0]
    for _ in range(rng.integers(1, 4)):
        spot = tuple(int(v) for v in rng.integers(0, n - 8, 2))
        if rng.random() < 0.3:
            cv2.rectangle(film, spot, (spot[0] + 9, spot[1] + 12), float(rng.uniform(0.3, 0.6)), -1)
        text = str(rng.choice(["L", "R", "AP", "PA", "SUP", "12"]))
        font, scale = cv2.FONT_HERSHEY_SIMPLEX, float(rng.uniform(0.2, 0.6))
        lit = np.zeros(film.shape, np.uint8)
        cv2.putText(lit, text, (spot[0] + 1, spot[1] + 10), font, scale, 255, 1)
        film[:] = np.maximum(film, lit / np.float32(255))


def _tone(film: Array, rng: Rng) -> Array:
    """Gamma, range, a slope of brightness across the film, and sometimes equalised contrast."""
    n = film.shape[0]
    film = np.clip(film, 0, 1.2) ** np.float32(np.exp(rng.uniform(-0.7, 0.7)))
    if rng.random() < 0.3:
        clahe = cv2.createCLAHE(float(rng.uniform(1, 6)), (4, 4))
        film = clahe.apply((np.clip(film, 0, 1) * 255).astype(np.uint8)) / np.float32(255)
    ramp = (np.mgrid[:n, :n] / n - 0.5).astype(np.float32)
    film = film + ramp[0] * rng.normal(0, 0.12) + ramp[1] * rng.normal(0, 0.12)
    low, high = rng.uniform(-0.15, 0.2), rng.uniform(0.75, 1.3)
    return np.asarray(np.clip((film - low) / (high - low), 0, 1), np.float32)


def _collimate(film: Array, rng: Rng) -> None:
    """The unexposed frame around a turned rectangle: black, white or grey."""
    n = film.shape[0]
    turn = rng.normal(0, 4)
    size = rng.uniform(0.82, 1.1, 2) * n
    centre = n / 2 + rng.uniform(-0.05, 0.05, 2) * n
    corners = cv2.boxPoints((tuple(centre), tuple(size), float(turn)))
    mask = np.zeros_like(film)
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1.0)
    ground = rng.choice([0.0, 0.0, 0.05, 1.0, rng.random()])
    film[mask < 0.5] = ground
