"""Between the stages: the second look learns to tell broken bone from whole, piece by piece.

First on pieces cut around every true fracture of the crowded films and around as many places on
whole bone; then on the places that the trained encoder finds on films it has not seen, where it
must tell the true from the false that look most alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hilum.evaluation.metrics import auc
from hilum.models.embedded import FilmEncoder
from hilum.models.embedded.encoder import PIECE
from hilum.models.embedded.processing import normalise
from hilum.training.embedded import checkpoint
from hilum.training.embedded.batches import ahead
from hilum.training.embedded.encoder_stage import PRINT_EVERY, rate
from hilum.training.embedded.shards import Shards
from hilum.training.embedded.words import FRACTURE

FILMS, PIECES = 48, 384  # a step: films drawn from, pieces cut from them
RATE = 2e-3
CLEAR = 14 / 400  # share of the film's width: whole bone lies at least this far from a break


class Places(NamedTuple):
    """Places where the encoder sees a fracture: what it learns to tell apart here."""

    pieces: NDArray[np.uint8]  # (n, PIECE, PIECE)
    scores: NDArray[np.float32]  # (n,), the heatmap's logits
    broken: NDArray[np.bool_]  # (n,), whether a true fracture lies there


def train_glimpse(
    folder: Path,
    encoder: FilmEncoder,
    crowded: Shards,
    found: Places,
    unseen: Places,
    steps: int,
    seed: int,
    say: Callable[[str], None],
    progress: Callable[[int], None],
) -> None:
    """Train, or go on training, the encoder's second look to ``steps`` steps.

    ``found``, ``unseen``: places on films to learn from and on films to check with. The last third
    of the steps learns from ``found``.
    """
    torch.manual_seed(seed)
    glimpse: Any = encoder.glimpse
    glimpse.to(memory_format=torch.channels_last)
    optimizer = checkpoint.optimizer_of(glimpse)
    path = folder / "glimpse.safetensors"
    step = checkpoint.resume(path, glimpse, optimizer)
    log = checkpoint.Log(folder / "glimpse.jsonl", step, say)
    size, turn = encoder.config.image_size, steps * 2 // 3
    cut = ahead(lambda k: cut_pieces(crowded, size, np.random.default_rng([seed, k, 7])), step)
    begun, mean = time.monotonic(), math.nan
    glimpse.train()
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps, RATE)
        if step < turn:
            pieces, broken = next(cut)
            score = torch.zeros(len(pieces))
        else:
            pieces, score, broken = _draw(found, np.random.default_rng([seed, step, 8]))
        with torch.autocast("cpu", torch.bfloat16):
            logits = glimpse(_tensor(pieces), score)[1]
        loss = F.binary_cross_entropy_with_logits(logits.float(), torch.from_numpy(broken).float())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(glimpse.parameters(), 1.0)
        optimizer.step()
        step += 1
        progress(step)
        mean = loss.item() if math.isnan(mean) else 0.97 * mean + 0.03 * loss.item()
        if step % PRINT_EVERY == 0:
            row: dict[str, Any] = {"step": step, "seconds": time.monotonic() - begun, "loss": mean}
            if step % (4 * PRINT_EVERY) == 0:
                row |= _check(glimpse, unseen)
            log.write(row)
        if step % (10 * PRINT_EVERY) == 0 or step == steps:
            checkpoint.save(path, glimpse, optimizer, step)
    glimpse.eval()


def _tensor(pieces: NDArray[np.uint8]) -> Tensor:
    films = normalise(torch.from_numpy(pieces)[:, None])
    return films.contiguous(memory_format=torch.channels_last)


def _draw(
    found: Places,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], Tensor, NDArray[np.bool_]]:
    """Places that the encoder found, true and false in equal number where there are both."""
    pieces, scores, broken = found
    kinds = [k for k in (np.flatnonzero(broken), np.flatnonzero(~broken)) if len(k)]
    rows = np.concatenate([rng.choice(k, PIECES // len(kinds)) for k in kinds])
    drawn = pieces[rows]
    flipped = rng.random(len(rows)) < 0.5
    drawn[flipped] = drawn[flipped, :, ::-1]
    return drawn, torch.from_numpy(scores[rows]), broken[rows]


def cut_pieces(
    films: Shards, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pieces around true fractures and around whole bone of the same films, turned and regraded."""
    pieces, broken = [], []
    for index in rng.integers(len(films), size=FILMS):
        film, tracks, entry = films[int(index)]
        true = np.array([r[1:5] for r in entry["instances"] if r[0] == FRACTURE and r[1] >= 0])
        if not len(true):
            continue
        centres = (true[:, :2] + true[:, 2:]) / 2
        axis = tracks.reshape(-1, 4)[:, :2]
        apart = np.hypot(*(axis[:, None] - centres[None]).transpose(2, 0, 1)).min(1)
        whole = axis[apart > CLEAR * len(film)]
        take = PIECES // FILMS // 2
        for points, is_broken in ((centres, True), (whole, False)):
            for x, y in points[rng.integers(len(points), size=take)]:
                pieces.append(_piece(film, x, y, size, rng))
                broken.append(is_broken)
    return np.stack(pieces), np.array(broken)


def _piece(
    film: NDArray[np.uint8], x: float, y: float, size: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """One piece as the encoder would cut it: its place is known to a cell of 8 pixels only."""
    scale = len(film) / size * rng.uniform(0.93, 1.07)
    angle, flip = rng.uniform(-0.1, 0.1), rng.choice([-1, 1])
    c, s = math.cos(angle) * scale, math.sin(angle) * scale
    off = rng.uniform(-6, 6, 2) - PIECE / 2
    turn = np.array([[flip * c, -s], [flip * s, c]])
    shift = turn @ off + (x, y)
    piece = cv2.warpAffine(
        film,
        np.column_stack([turn, shift]),
        (PIECE, PIECE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    grey = np.linspace(0, 1, 256) ** math.exp(rng.uniform(-0.25, 0.25))
    return np.asarray(cv2.LUT(piece, np.rint(grey * 255).astype(np.uint8)), np.uint8)


@torch.no_grad()
def _check(glimpse: Any, unseen: Places) -> dict[str, float]:
    """AUC over places on films that are not trained on: of the heatmap, of the second look."""
    pieces, scores, broken = unseen
    glimpse.eval()
    logits = [
        glimpse(_tensor(pieces[k : k + 512]), torch.from_numpy(scores[k : k + 512]))[1]
        for k in range(0, len(pieces), 512)
    ]
    glimpse.train()
    return {
        "auc_heat": auc(broken, scores),
        "auc_place": auc(broken, torch.cat(logits).float().numpy()),
    }
