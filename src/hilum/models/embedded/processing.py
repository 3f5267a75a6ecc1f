"""Films to the encoder's input: whole, padded to a square, never cropped."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

MEAN, SPREAD = 0.5, 0.25


class Fit(NamedTuple):
    """How a film was fitted into the square: ``square = film * scale + offset`` (x, y).

    The two scales differ by what a side was rounded to whole pixels.
    """

    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_film(self, box: NDArray[Any]) -> tuple[float, float, float, float]:
        """A box xyxy of the square in pixels of the original film."""
        (dx, dy), (sx, sy) = self.offset, self.scale
        x0, y0, x1, y1 = (float(v) for v in box)
        # pixel centres lie at whole numbers in both frames
        return (
            (x0 + 0.5 - dx) / sx - 0.5,
            (y0 + 0.5 - dy) / sy - 0.5,
            (x1 + 0.5 - dx) / sx - 0.5,
            (y1 + 0.5 - dy) / sy - 0.5,
        )


def fit(film: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint8], Fit]:
    """A displayed film (rows, columns) in a black square of ``size`` pixels, aspect kept."""
    rows, columns = film.shape
    scale = size / max(rows, columns)
    wide, high = max(1, round(columns * scale)), max(1, round(rows * scale))
    square = np.zeros((size, size), np.uint8)
    left, top = (size - wide) // 2, (size - high) // 2
    small = Image.fromarray(film)
    if (wide, high) != (columns, rows):
        small = small.resize((wide, high), Image.Resampling.BILINEAR)
    square[top : top + high, left : left + wide] = np.asarray(small)
    return square, Fit((wide / columns, high / rows), (float(left), float(top)))


def normalise(films: Tensor) -> Tensor:
    """uint8 films (B, 1, S, S) to the encoder's scale."""
    return (films.to(torch.float32) / 255 - MEAN) / SPREAD
