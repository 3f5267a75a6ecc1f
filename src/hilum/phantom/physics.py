"""From matter to grey levels: cone-beam projection, Beer-Lambert, scatter, noise, display.

The patient's frame is in millimetres: x to the patient's left (the picture's right), y down,
z towards the detector. Images are square, float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

SOURCE_DETECTOR = 1800.0  # mm, the usual chest stand
CENTRE_DETECTOR = 150.0  # mm from the middle of the body to the detector
FIELD = 400.0  # mm, side of the detector
# Linear attenuation in 1/mm at 50 and 80 keV (Hubbell and Seltzer, NISTIR 5632, times density):
# water 0.2269 and 0.1837 cm2/g; cortical bone 0.4242 and 0.2229 cm2/g at 1.92 g/cm3.
WATER = (0.02269, 0.01837)
BONE = (0.08145, 0.04280)
SPECTRUM = (0.5, 0.5)
GREY_LEVELS = 4096
_GOLDEN = 0.6180339887
_R2 = (0.7548776662, 0.5698402910)
_BASE = 8  # pixels: what is left of a film under its bands of detail
_STRONG = np.float32(
    0.12
)  # a detail of this much attenuation gains 1.4 times less than a faint one


@dataclass(frozen=True)
class Exposure:
    """How the film was taken and developed."""

    photons: float  # per pixel of a 512 px film
    scatter: float  # scattered to primary ratio
    blur: float  # detector blur, pixels of a 512 px film
    detail: float  # how much stronger faint detail becomes
    latitude: float  # what is left of the range of the widest structures
    percentiles: tuple[float, float]
    gamma: float
    gain: float
    grid: float = 0.0  # contrast of an anti-scatter grid's lines
    pitch: float = 5.0  # of these lines, pixels of a 512 px film
    edges: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # collimated: left ... bottom
    marker: tuple[float, float, float] | None = None  # x, y as shares of the film, size

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Exposure:
        """A plausible exposure at random."""
        u = rng.uniform
        return cls(
            photons=10 ** u(4.5, 5.6),
            scatter=u(0.15, 0.7),
            blur=u(0.3, 0.9),
            detail=u(1.4, 2.8),
            latitude=u(0.3, 0.7),
            percentiles=(u(1, 5), u(93, 98)),
            gamma=u(0.8, 1.25),
            gain=u(0.85, 1.0),
            grid=u(0.002, 0.008) if rng.random() < 0.2 else 0.0,
            pitch=u(3.0, 7.0),
            edges=tuple(max(0.0, u(-0.08, 0.035)) for _ in range(4)),  # type: ignore[arg-type]
            marker=(u(0.03, 0.12), u(0.05, 0.3), u(0.6, 1.1)) if rng.random() < 0.7 else None,
        )


def magnification(z: Array | float) -> Array | float:
    """Cone-beam magnification on the detector of a point at height ``z``."""
    return SOURCE_DETECTOR / (SOURCE_DETECTOR - CENTRE_DETECTOR + z)


def project(points: Array, size: int) -> Array:
    """Points (n, 3) in mm to picture coordinates (n, 2) in pixels (x, y); centres at integers."""
    m = np.asarray(magnification(points[:, 2]))
    return (points[:, :2] * m[:, None] * (size / FIELD) + (size / 2 - 0.5)).astype(np.float32)


@numba.njit(cache=True, fastmath=True)
def splat_tube(
    image: Array,
    centre: Array,
    across: Array,
    through: Array,
    half_height: Array,
    half_width: Array,
    density: Array,
    spacing: float,
    cortex: float,
    fill: float,
    around: int,
    start: float,
) -> None:
    """Add the path length (mm) of a hollow, partly filled tube to ``image``.

    ``centre``, ``across``, ``through``: (n, 3), the axis and the two half-axes' directions;
    ``half_height``, ``half_width``: (n,) mm; ``spacing`` mm between axis points; ``cortex``
    thickness of the wall in mm; ``fill`` share of the inside that is bone. Each point's share
    goes to four pixels; turning every section by the golden angle leaves no rings.
    """
    size = image.shape[0]
    scale = size / FIELD
    middle = size / 2 - 0.5
    dphi = 2 * math.pi / around
    cosines = np.cos(np.arange(around) * dphi)
    sines = np.sin(np.arange(around) * dphi)
    for i in range(centre.shape[0]):
        if density[i] <= 0:
            continue
        h, w = half_height[i], half_width[i]
        turn = ((i * _GOLDEN + start) % 1.0) * dphi
        ct, st = math.cos(turn), math.sin(turn)
        inside = math.pi * h * w * fill / around
        for j in range(around):
            c = cosines[j] * ct - sines[j] * st
            s = sines[j] * ct + cosines[j] * st
            wall = dphi * math.sqrt((h * s) ** 2 + (w * c) ** 2) * cortex
            # the wall, then, at every other place, a point of the inside
            for ring in range(2):
                if ring == 1 and (i + j) % 2:
                    continue
                # low-discrepancy radii (Roberts's R2 sequence) fill the section evenly
                share = 1.0 if ring == 0 else math.sqrt((i * _R2[0] + j * _R2[1]) % 1.0)
                weight = wall if ring == 0 else 2 * inside
                if weight == 0:
                    continue
                a, b = h * c * share, w * s * share
                z = centre[i, 2] + a * across[i, 2] + b * through[i, 2]
                m = SOURCE_DETECTOR / (SOURCE_DETECTOR - CENTRE_DETECTOR + z) * scale
                u = (centre[i, 0] + a * across[i, 0] + b * through[i, 0]) * m + middle
                v = (centre[i, 1] + a * across[i, 1] + b * through[i, 1]) * m + middle
                x, y = math.floor(u), math.floor(v)
                if x < 0 or y < 0 or x >= size - 1 or y >= size - 1:
                    continue
                fu, fv = u - x, v - y
                part = weight * density[i] * spacing * m * m
                image[y, x] += part * (1 - fu) * (1 - fv)
                image[y, x + 1] += part * fu * (1 - fv)
                image[y + 1, x] += part * (1 - fu) * fv
                image[y + 1, x + 1] += part * fu * fv


def blur(image: Array | NDArray[np.uint8], sigma: float) -> Array:
    """Gaussian blur, ``sigma`` in pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.float32)


def _coarse_blur(image: Array, sigma: float, factor: int) -> Array:
    """A wide blur done on a picture ``factor`` times smaller."""
    size = image.shape[0]
    small = cv2.resize(image, (size // factor, size // factor), interpolation=cv2.INTER_AREA)
    wide = cv2.GaussianBlur(small, (0, 0), sigma / factor)
    large = cv2.resize(wide, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, dtype=np.float32)


def expose(
    water: Array, bone: Array, exposure: Exposure, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """A developed film, 12 bits, bright bone, from path lengths in mm of water and bone."""
    size = water.shape[0]
    beam = np.zeros_like(water)
    for share, mu_water, mu_bone in zip(SPECTRUM, WATER, BONE, strict=True):
        depth = np.float32(mu_water) * water + np.float32(mu_bone) * bone
        beam += np.float32(share) * np.exp(-depth)
    # scatter is far wider than any structure: a blurred primary (25 mm) stands in for it
    beam += np.float32(exposure.scatter) * _coarse_blur(beam, 25 * size / FIELD, 8)
    if exposure.grid:
        lines = np.sin(np.arange(size) * (2 * math.pi / (exposure.pitch * size / 512)))
        beam *= (1 + exposure.grid * lines).astype(np.float32)[None]
    beam = blur(beam, exposure.blur * size / 512)
    photons = np.float32(exposure.photons * (512 / size) ** 2)
    counts = beam * photons
    # quantum noise, and 3 electrons' worth of the detector's own
    counts += np.sqrt(counts + 9) * rng.standard_normal((size, size), dtype=np.float32)
    return _develop(-np.log(np.maximum(counts / photons, np.float32(1e-6))), exposure)


def _develop(film: Array, exposure: Exposure) -> NDArray[np.uint16]:
    """Contrast by scale, range by percentiles, gamma: what a console does before sending.

    Consoles amplify faint detail and compress the rest, scale by scale, so that ribs show over
    lung and spine alike (Vuylsteke and Schoeters, Multiscale image contrast amplification, SPIE
    2167, 1994).
    """
    size = film.shape[0]
    film = _amplify(film, exposure)
    margin = max(1, size // 32)
    low, high = np.percentile(film[margin:-margin:8, margin:-margin:8], exposure.percentiles)
    film = np.clip((film - np.float32(low)) * np.float32(1 / (high - low)), 0, 1.1)
    film = np.clip(cv2.pow(film, exposure.gamma) * np.float32(exposure.gain), 0, 1)
    left, right, top, bottom = (round(e * size) for e in exposure.edges)
    film[:, :left] = film[:, size - right :] = film[:top] = film[size - bottom :] = 0
    return np.rint(film * (GREY_LEVELS - 1)).astype(np.uint16)


def _amplify(film: Array, exposure: Exposure) -> Array:
    """A Laplacian pyramid with its details made stronger, faint ones most, and its base weaker."""
    bands, base = [], film
    while min(base.shape) > _BASE:
        smaller = cv2.pyrDown(base)
        bands.append(base - cv2.pyrUp(smaller, dstsize=base.shape[::-1]))
        base = np.asarray(smaller, np.float32)
    out = base * np.float32(exposure.latitude)
    for level, band in reversed(list(enumerate(bands))):
        share = min(1.0, (len(bands) - level) / (len(bands) // 2))  # wide bands go with the base
        more = np.float32((exposure.detail - exposure.latitude) * share)
        gain = np.float32(exposure.latitude) + more / np.sqrt(1 + np.abs(band) / _STRONG)
        out = np.asarray(cv2.pyrUp(out, dstsize=band.shape[::-1]) + gain * band, np.float32)
    return out


def burn_in(film: NDArray[np.uint16], letter: str, left: bool, exposure: Exposure) -> None:
    """The technician's side marker, in lead: white, in an upper corner of the picture."""
    if exposure.marker is None:
        return
    size = film.shape[0]
    x, y, tall = exposure.marker
    scale = tall * size / 512
    stamp = np.zeros_like(film, dtype=np.uint8)
    place = (round(x * size) if left else round((1 - x) * size - 18 * scale), round(y * size))
    thick = max(1, round(2 * scale))
    cv2.putText(stamp, letter, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick, cv2.LINE_AA)
    np.maximum(film, stamp.astype(np.uint16) * np.uint16(16), out=film)
