"""Between the stages: the second look learns to tell broken bone from whole, piece by piece.

From pieces cut around every true fracture of the crowded films, around whole bone of the same
films, and where the encoder is wrong: whole bone of the single films that it takes for broken.
None is of a film that the decoder learns from, which would otherwise come to trust a second look
that knows its films by heart. At the end a few numbers are fitted on such films: how much the
second look counts beside the heatmap.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import count
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
from hilum.training.embedded.batches import ahead, whole
from hilum.training.embedded.encoder_stage import PRINT_EVERY, rate
from hilum.training.embedded.shards import Shards
from hilum.training.embedded.words import FRACTURE

CROWDED, BROKEN, WHOLE = 32, 6, 3  # a step's films, and pieces of each
SINGLE, MISTAKEN = 24, 4
RATE = 2e-3
CLEAR = 14 / 400  # share of the film's width: whole bone lies at least this far from a break
# how far (pixels of the encoder's input) a piece may lie from its place: the encoder knows a true
# one to a cell or so, and a mistaken one is where it is
ANYWHERE, HERE = 6.0, 3.0
FUSED_DECAY = 1e-4  # keeps the weights finite where few places tell all apart


class Places(NamedTuple):
    """Places where the encoder sees a fracture: what it learns to tell apart here."""

    pieces: NDArray[np.uint8]  # (n, PIECE, PIECE)
    scores: NDArray[np.float32]  # (n,), the heatmap's logits
    broken: NDArray[np.bool_]  # (n,), whether a true fracture lies there


def train_glimpse(
    folder: Path,
    encoder: FilmEncoder,
    crowded: Shards,
    single: Shards,
    mistaken: list[NDArray[np.float32]],
    found: Places,
    unseen: Places,
    steps: int,
    seed: int,
    say: Callable[[str], None],
    progress: Callable[[int], None],
) -> None:
    """Train, or go on training, the encoder's second look to ``steps`` steps.

    ``mistaken``: of each single film what :func:`mistakes` found. ``found``, ``unseen``: places on
    films to weigh it by, and on films to check with.
    """
    torch.manual_seed(seed)
    glimpse: Any = encoder.glimpse
    glimpse.to(memory_format=torch.channels_last)
    optimizer = checkpoint.optimizer_of(glimpse)
    path = folder / "glimpse.safetensors"
    step = checkpoint.resume(path, glimpse, optimizer)
    log = checkpoint.Log(folder / "glimpse.jsonl", step, say)
    size = encoder.config.image_size
    cut = ahead(
        lambda k: cut_pieces(crowded, single, mistaken, size, np.random.default_rng([seed, k, 7])),
        count(step),
    )
    begun, mean = time.monotonic(), math.nan
    glimpse.train()
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps, RATE)
        pieces, broken = next(cut)
        with torch.autocast("cpu", torch.bfloat16):
            logits = glimpse(_tensor(pieces), torch.zeros(len(pieces)))[1]
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
            if step % (10 * PRINT_EVERY) == 0:
                row |= _check(glimpse, unseen)
            log.write(row)
        if step % (10 * PRINT_EVERY) == 0 or step == steps:
            checkpoint.save(path, glimpse, optimizer, step)
    glimpse.eval()
    fuse(glimpse, found)


@torch.no_grad()
def mistakes(
    encoder: FilmEncoder, films: Shards, progress: Callable[[], None]
) -> list[NDArray[np.float32]]:
    """Where the encoder takes whole bone for broken: of each film, places (n, 2) in its pixels."""
    encoder.eval()
    size, result = encoder.config.image_size, []
    for start in range(0, len(films), 16):
        numbers = range(start, min(start + 16, len(films)))
        squares, turns = zip(*(whole(films[k][0], size) for k in numbers), strict=True)
        grey = torch.from_numpy(np.stack(squares))[:, None]
        with torch.autocast("cpu", torch.bfloat16):
            out = encoder(
                normalise(grey).contiguous(memory_format=torch.channels_last), second_look=False
            )
        for k, turn, places in zip(numbers, turns, encoder.places(out).numpy(), strict=True):
            found = (places - turn[:, 2]) / (turn[0, 0], turn[1, 1])
            film, _, entry = films[k]
            result.append(found[_apart(found, entry) > CLEAR * len(film)].astype(np.float32))
            progress()
    return result


def _centres(entry: dict[str, Any]) -> NDArray[np.float32]:
    """Middles (n, 2) of a film's true fractures."""
    boxes = [r[1:5] for r in entry["instances"] if r[0] == FRACTURE and r[1] >= 0]
    true = np.array(boxes, np.float32).reshape(-1, 2, 2)
    return np.asarray(true.mean(1))


def _apart(points: NDArray[np.float32], entry: dict[str, Any]) -> NDArray[np.float32]:
    """How far (pixels) each point lies from the next true fracture."""
    centres = _centres(entry)
    if not len(centres):
        return np.full(len(points), np.inf, np.float32)
    return np.asarray(np.hypot(*(points[:, None] - centres[None]).transpose(2, 0, 1)).min(1))


def cut_pieces(
    crowded: Shards,
    single: Shards,
    mistaken: list[NDArray[np.float32]],
    size: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pieces around true fractures, around whole bone, and around what was taken for broken."""
    pieces: list[NDArray[np.uint8]] = []
    broken: list[bool] = []

    def cut(film: NDArray[np.uint8], points: Any, many: int, is_broken: bool, near: float) -> None:
        for x, y in points[rng.integers(len(points), size=many)] if len(points) else ():
            pieces.append(_piece(film, x, y, size, near, rng))
            broken.append(is_broken)

    for index in rng.integers(len(crowded), size=CROWDED):
        film, tracks, entry = crowded[int(index)]
        axis = tracks.reshape(-1, 4)[:, :2]
        apart = _apart(axis, entry)
        cut(film, _centres(entry), BROKEN, True, ANYWHERE)
        cut(film, axis[apart > CLEAR * len(film)], WHOLE, False, ANYWHERE)
    for index in rng.integers(len(single), size=SINGLE):
        cut(single[int(index)][0], mistaken[int(index)], MISTAKEN, False, HERE)
    return np.stack(pieces), np.array(broken)


def _piece(
    film: NDArray[np.uint8], x: float, y: float, size: int, near: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """One piece as the encoder would cut it, within ``near`` pixels of its input.

    Half of them as sharp as a piece will be, the others turned and scaled a little.
    """
    scale, angle, flip = len(film) / size, 0.0, rng.choice([-1, 1])
    off = rng.uniform(-near, near, 2)
    if rng.random() < 0.5:
        x, y, off = round(x), round(y), np.rint(off)
    else:
        scale, angle = scale * rng.uniform(0.93, 1.07), rng.uniform(-0.1, 0.1)
    c, s = math.cos(angle) * scale, math.sin(angle) * scale
    turn = np.array([[flip * c, -s], [flip * s, c]])
    shift = turn @ (off - PIECE / 2) + (x, y)
    piece = cv2.warpAffine(
        film,
        np.column_stack([turn, shift]),
        (PIECE, PIECE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    grey = np.linspace(0, 1, 256) ** math.exp(rng.uniform(-0.25, 0.25))
    return np.asarray(cv2.LUT(piece, np.rint(grey * 255).astype(np.uint8)), np.uint8)


def fuse(glimpse: Any, found: Places) -> None:
    """Weigh what the second look saw against the heatmap's logit: a logistic regression.

    On films that neither has learnt from. Nothing is changed where all places are of one kind.
    """
    if found.broken.all() or not found.broken.any():
        return
    heat, truth = torch.from_numpy(found.scores), torch.from_numpy(found.broken).float()
    seen, _ = _looked(glimpse, found)
    given = torch.cat([seen, heat[:, None]], 1)
    last: torch.nn.Linear = glimpse.broken
    optimizer = torch.optim.LBFGS(last.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Any:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(last(given)[:, 0], truth)
        value = value + FUSED_DECAY * (last.weight**2).sum()
        value.backward()
        return value

    optimizer.step(loss)


def _tensor(pieces: NDArray[np.uint8]) -> Tensor:
    films = normalise(torch.from_numpy(pieces)[:, None])
    return films.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _looked(glimpse: Any, places: Places) -> tuple[Tensor, Tensor]:
    """Features (n, F) and logits (n,) of places, some hundreds at a time."""
    seen, logits = [], []
    for k in range(0, len(places.pieces), 512):
        pieces, scores = places.pieces[k : k + 512], places.scores[k : k + 512]
        with torch.autocast("cpu", torch.bfloat16):
            one, other = glimpse(_tensor(pieces), torch.from_numpy(scores))
        seen.append(one)
        logits.append(other.float())
    return torch.cat(seen), torch.cat(logits)


def _check(glimpse: Any, unseen: Places) -> dict[str, float]:
    """AUC over places on films that are not trained on: of heatmap, of pieces, of their sum."""
    glimpse.eval()
    blind = unseen._replace(scores=np.zeros_like(unseen.scores))
    logits = _looked(glimpse, blind)[1].numpy()
    glimpse.train()
    both = unseen.scores + logits
    scores = {"heat": unseen.scores, "piece": logits, "both": both}
    return {f"auc_{name}": auc(unseen.broken, score) for name, score in scores.items()}
