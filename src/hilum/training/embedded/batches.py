"""Films and targets of one training step: augmented, and drawn on the encoder's grid."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.models.embedded.attributes import ATTRIBUTES
from hilum.models.embedded.configuration import CLASSES
from hilum.models.embedded.processing import fit, normalise
from hilum.training.embedded.shards import Shards

T = TypeVar("T")
STRIDE = 8
# Spread of a heatmap's peak, in cells: small lesions are points, large ones are places.
SPREAD = {
    "cardiomegaly": 2.5,
    "pleural_effusion": 2.5,
    "pneumothorax": 2.5,
    "nodule": 1.0,
    "lung_opacity": 2.0,
    "atelectasis": 1.5,
    "support_devices": 2.5,
    "fracture": 1.0,
}
_REACH = [SPREAD[name] for name in CLASSES]


@dataclass
class Batch:
    """Tensors of one step of the encoder.

    ``places`` (N, 11): film, cell, class, log half-width, log half-height (in cells), attributes
    (-1 where it has none). ``rib_cells`` (K, 4): film, channel, row, column that a rib's axis
    crosses.
    """

    films: Tensor
    heat: Tensor
    places: Tensor
    rib_cells: Tensor


def augment(
    film: NDArray[np.uint8], size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A film turned, scaled and shifted a little onto ``size`` pixels, regraded, sometimes coarser.

    Also gives the (2, 3) map from the film's pixels to the new ones.
    """
    turn = _turn(film.shape[0], size, rng)
    # a film of the wanted size must stay as sharp as it will be when it is read
    flags = cv2.INTER_CUBIC if film.shape[0] >= size else cv2.INTER_LINEAR
    out = cv2.warpAffine(film, turn, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT)
    if rng.random() < 0.15:
        small = round(size * rng.uniform(0.75, 0.95))
        out = cv2.resize(
            cv2.resize(out, (small, small), interpolation=cv2.INTER_AREA), (size, size)
        )
    grey = np.linspace(0, 1, 256) ** math.exp(rng.uniform(-0.25, 0.25))
    low, high = rng.uniform(0, 0.06), rng.uniform(0.94, 1.0)
    table = np.clip(np.rint((low + (high - low) * grey) * 255), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(out, table), np.uint8), turn


def _turn(side: int, size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    angle, scale = math.radians(rng.uniform(-3, 3)), rng.uniform(0.93, 1.07) * size / side
    c, s = math.cos(angle) * scale, math.sin(angle) * scale
    old, new = (side - 1) / 2, (size - 1) / 2
    x, y = new + rng.uniform(-0.03, 0.03, 2) * size
    return np.array([[c, -s, x - c * old + s * old], [s, c, y - s * old - c * old]], np.float32)


def whole(film: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A film as the reader will see it, and the (2, 3) map to its pixels."""
    square, placed = fit(film, size)
    (sx, sy), (dx, dy) = placed.scale, placed.offset
    return square, np.array([[sx, 0, dx + (sx - 1) / 2], [0, sy, dy + (sy - 1) / 2]], np.float32)


def moved(box: NDArray[np.float32], turn: NDArray[np.float32]) -> NDArray[np.float32]:
    """The upright box around a box's moved corners."""
    x = box[[0, 2, 0, 2]]
    y = box[[1, 1, 3, 3]]
    u, v = turn @ np.stack([x, y, np.ones(4, np.float32)])
    return np.array([u.min(), v.min(), u.max(), v.max()], np.float32)


def make_batch(
    crowded: Shards,
    single: Shards,
    n_crowded: int,
    n_single: int,
    size: int,
    rng: np.random.Generator,
) -> Batch:
    """Draw films at random: crowded ones first, then those with one fracture at most."""
    sources = [crowded] * n_crowded + [single] * n_single
    films, heats, places, ribs = [], [], [], []
    for b, source in enumerate(sources):
        film, track, entry = source[int(rng.integers(len(source)))]
        film, turn = augment(film, size, rng)
        cells = size // STRIDE
        heat = np.zeros((len(CLASSES), cells, cells), np.float32)
        films.append(film)
        heats.append(heat)
        for row in entry["instances"]:
            if row[1] < 0:  # it lies off the film
                continue
            place = _place(b, row, moved(np.array(row[1:5], np.float32), turn), heat)
            if place is not None:
                places.append(place)
        ribs.append(_rib_cells(b, track, turn, cells))
    return Batch(
        films=normalise(torch.from_numpy(np.stack(films))[:, None]).contiguous(
            memory_format=torch.channels_last
        ),
        heat=torch.from_numpy(np.stack(heats)),
        places=torch.tensor(np.array(places, np.float32).reshape(-1, 5 + len(ATTRIBUTES))),
        rib_cells=torch.from_numpy(np.concatenate(ribs)),
    )


def _place(
    b: int, row: list[float], box: NDArray[np.float32], heat: NDArray[np.float32]
) -> list[float] | None:
    """Draw one instance's peak on its film's heatmap; its row of ``places``."""
    cells = heat.shape[-1]
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    u, v = (x + 0.5) / STRIDE - 0.5, (y + 0.5) / STRIDE - 0.5
    column, line = round(float(u)), round(float(v))
    if not (0 <= column < cells and 0 <= line < cells):
        return None
    kind = int(row[0])
    reach = _REACH[kind]
    xs = np.exp(-((np.arange(cells) - u) ** 2) / (2 * reach**2))
    ys = np.exp(-((np.arange(cells) - v) ** 2) / (2 * reach**2))
    np.maximum(heat[kind], ys[:, None] * xs[None, :], out=heat[kind], casting="unsafe")
    heat[kind, line, column] = 1
    half_width = math.log(max(box[2] - box[0], 2) / 2 / STRIDE * 2)
    half_height = math.log(max(box[3] - box[1], 2) / 2 / STRIDE * 2)
    return [b, line * cells + column, kind, half_width, half_height, *row[5:]]


def _rib_cells(
    b: int, track: NDArray[np.float32], turn: NDArray[np.float32], cells: int
) -> NDArray[np.int64]:
    points = track.reshape(-1, 4)
    u, v = turn @ np.stack([points[:, 0], points[:, 1], np.ones(len(points), np.float32)])
    column = np.rint((u + 0.5) / STRIDE - 0.5).astype(np.int64)
    line = np.rint((v + 0.5) / STRIDE - 0.5).astype(np.int64)
    channel = (points[:, 2] * 3 + points[:, 3]).astype(np.int64)
    inside = (column >= 0) & (column < cells) & (line >= 0) & (line < cells)
    return np.stack([np.full(len(points), b), channel, line, column], 1)[inside]


def stream(
    crowded: Shards,
    single: Shards,
    n_crowded: int,
    n_single: int,
    size: int,
    seed: int,
    numbers: Iterable[int],
) -> Iterator[Batch]:
    """Batches of these numbers, made by a thread; number k of a seed is always the same batch."""
    return ahead(
        lambda k: make_batch(
            crowded, single, n_crowded, n_single, size, np.random.default_rng([seed, k])
        ),
        numbers,
    )


def ahead(make: Callable[[int], T], numbers: Iterable[int]) -> Iterator[T]:
    """``make(k)`` of an endless row of numbers, made by a thread beside."""
    ready: queue.Queue[T | BaseException] = queue.Queue(4)

    def feed() -> None:
        # films are made beside the training; more threads here would keep its own waiting
        cv2.setNumThreads(1)
        torch.set_num_threads(1)  # of this thread alone
        try:
            for k in numbers:
                ready.put(make(k))
        except BaseException as error:  # or the training would wait for ever
            ready.put(error)

    threading.Thread(target=feed, daemon=True).start()
    while True:
        batch = ready.get()
        if isinstance(batch, BaseException):
            raise batch
        yield batch
