"""The gate's eye: how much a picture looks like an upright frontal chest, in each of eight poses.

A small convolutional network, trained on simulated pictures alone (``python -m
hilum.training.gate``) and run with numpy. It sees a 64 x 64 picture twice: as ranks of grey
level, which no window or exposure changes, and as local contrast. Both only change sign when a
film is inverted, so one look serves all poses. A picture and its mirror image score alike.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter

SIDE = 64
"""Rows and columns of the picture that the network sees."""

REACH = 15
"""Side in pixels of the neighbourhood that local contrast is measured in."""

FLOOR = 0.1
"""Added to a neighbourhood's spread of ranks (0..1), so that flat ground stays flat."""

WEIGHTS = Path(__file__).with_name("pose.npz")
Array = NDArray[np.float32]


class Pose(NamedTuple):
    """What was done to an upright film: quarter turns anticlockwise, and inversion."""

    turns: int
    inverted: bool


UPRIGHT = Pose(0, False)
POSES = tuple(Pose(turns, inverted) for inverted in (False, True) for turns in range(4))


def scores(shown: NDArray[np.uint8], poses: tuple[Pose, ...] = POSES) -> dict[Pose, float]:
    """For each of ``poses`` the log-odds that the picture is a frontal chest in that pose.

    ``shown`` is (rows, columns), black to white, of any size; its shape is stretched away.
    """
    seen = look(shown)
    stack = np.stack([_undo(seen, pose) for pose in poses])
    return dict(zip(poses, (float(s) for s in _network().score(stack)), strict=True))


def look(shown: NDArray[np.uint8]) -> Array:
    """What the network sees: (2, SIDE, SIDE), ranks in -0.5..0.5 and local contrast."""
    small = Image.fromarray(shown).resize((SIDE, SIDE), Image.Resampling.BOX)
    return contrast(np.asarray(small))


def contrast(small: NDArray[np.uint8]) -> Array:
    """Ranks and local contrast of a small picture (rows, columns)."""
    count = np.bincount(small.ravel(), minlength=256)
    rank = ((np.cumsum(count) - 0.5 * count) / small.size - 0.5).astype(np.float32)[small]
    mean = uniform_filter(rank, REACH, mode="nearest")
    square = uniform_filter(rank * rank, REACH, mode="nearest")
    spread = np.sqrt(np.clip(square - mean * mean, 0, None)) + np.float32(FLOOR)
    return np.stack([rank, (rank - mean) / spread]).astype(np.float32)


def _undo(seen: Array, pose: Pose) -> Array:
    """The picture as it would be had ``pose`` not been done to it."""
    upright = np.rot90(seen, -pose.turns, axes=(1, 2))
    return -upright if pose.inverted else upright


Layers = list[tuple[Array, Array]]


class Network(NamedTuple):
    """Weights and biases: convolutions (out, in, 3, 3) of stride 2, then dense layers (out, in)."""

    conv: Layers
    dense: Layers

    def score(self, seen: Array) -> Array:
        """Log-odds (n,) of pictures (n, 2, SIDE, SIDE), the mean of each and its mirror image."""
        both = self.score_once(np.concatenate([seen, seen[..., ::-1]]))
        return np.asarray((both[: len(seen)] + both[len(seen) :]) / 2, np.float32)

    def score_once(self, seen: Array) -> Array:
        """Log-odds (n,) of pictures as they are."""
        x = seen
        for weight, bias in self.conv:
            x = np.maximum(_convolve(x, weight, bias), 0)
        flat = x.reshape(len(x), -1)
        for k, (weight, bias) in enumerate(self.dense):
            flat = (np.maximum(flat, 0) if k else flat) @ weight.T + bias
        return np.asarray(flat[:, 0], np.float32)


# Rows of one matrix product. A larger one would wake BLAS's threads, which go on spinning for a
# while and take the cores from the reader: its encoder then needs five times as long.
AT_ONCE = 64


def _convolve(x: Array, weight: Array, bias: Array) -> Array:
    """A 3 x 3 convolution of stride 2 with one pixel of zeros around."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    n, _, rows, columns = view.shape[:4]
    patches = view.transpose(0, 2, 3, 1, 4, 5).reshape(n * rows * columns, -1)
    flat = weight.reshape(len(weight), -1).T
    made = np.concatenate(
        [patches[i : i + AT_ONCE] @ flat for i in range(0, len(patches), AT_ONCE)]
    )
    made += bias
    return np.asarray(made.reshape(n, rows, columns, -1).transpose(0, 3, 1, 2), np.float32)


@cache
def _network() -> Network:
    return read(WEIGHTS)


def read(path: Path) -> Network:
    """A network as ``hilum.training.gate`` writes it: arrays alone, never a pickle."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name].astype(np.float32) for name in file.files}
    layers: dict[str, Layers] = {}
    for kind in Network._fields:
        count = sum(name.startswith(kind) for name in arrays) // 2
        names = [f"{kind}{k}" for k in range(count)]
        layers[kind] = [(arrays[f"{name}.weight"], arrays[f"{name}.bias"]) for name in names]
    return Network(**layers)
