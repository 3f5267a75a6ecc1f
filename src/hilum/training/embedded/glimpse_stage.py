"""Between the stages: the second looks learn to tell a finding from what resembles it.

From pieces cut around every true one of the crowded films, around whole bone of the same films, and
where the encoder is wrong: what it takes for a finding, and is none. None is of a film that the
decoder learns from, which would otherwise come to trust a second look that knows its films by
heart. At the end a few numbers are fitted on such films: how much the second look counts beside the
heatmap.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
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
from hilum.models.embedded.configuration import CLASSES
from hilum.models.embedded.processing import normalise
from hilum.training.embedded import checkpoint
from hilum.training.embedded.batches import ahead
from hilum.training.embedded.encoder_stage import PRINT_EVERY, rate
from hilum.training.embedded.encodings import Places
from hilum.training.embedded.looking import by_parts, look_at
from hilum.training.embedded.optimizer import Optimizer
from hilum.training.embedded.shards import Shards


class Cut(NamedTuple):
    """A step's pieces: of ``crowded`` films ``true`` and ``whole`` bone, of others ``mistaken``."""

    crowded: int
    true: int
    whole: int
    others: int
    mistaken: int


CUTS = {"nodule": Cut(48, 2, 0, 56, 2), "fracture": Cut(32, 6, 3, 24, 4)}
RATE = 2e-3
CLEAR = 14 / 400  # share of the film's width: a mistake lies at least this far from a true one
# how far (pixels of the encoder's input) a piece may lie from its place: the encoder knows a true
# one to a cell or so, and a mistaken one is where it is
ANYWHERE, HERE = 6.0, 3.0
FUSED_DECAY = 1e-4  # keeps the weights finite where few places tell all apart


class Mistakes(NamedTuple):
    """One film, and the places (n, 2) in its pixels where a finding is seen that is not there."""

    film: NDArray[np.uint8]
    points: NDArray[np.float32]


def train_glimpse(
    folder: Path,
    encoder: FilmEncoder,
    name: str,
    crowded: Shards,
    mistaken: list[Mistakes],
    found: Places,
    unseen: Places,
    known: Places,
    steps: int,
    seed: int,
    say: Callable[[str], None],
    progress: Callable[[int], None],
) -> None:
    """Train, or go on training, the encoder's second look at one class to ``steps`` steps.

    ``found``: places on films to weigh it by. ``unseen``, ``known``: on films to check with, and,
    for how well it knows them by heart, on films whose mistakes it learns from.
    """
    torch.manual_seed(seed)
    glimpse = encoder.glimpse(name)
    glimpse.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = Optimizer(glimpse)
    path = folder / f"glimpse-{name}.safetensors"
    step = checkpoint.resume(path, glimpse, optimizer)
    log = checkpoint.Log(path.with_suffix(".jsonl"), step, say)
    scale = Scale(encoder.config.image_size, encoder.config.looks[name])
    kind = list(CLASSES).index(name)
    cut = ahead(
        lambda k: cut_pieces(
            CUTS[name], kind, crowded, mistaken, scale, np.random.default_rng([seed, k, 7])
        ),
        count(step),
    )
    begun, mean = time.monotonic(), math.nan
    glimpse.train()
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps, RATE)
        pieces, there = next(cut)
        with torch.autocast("cpu", torch.bfloat16):
            logits = glimpse(_tensor(pieces), torch.zeros(len(pieces)))[1]
        loss = F.binary_cross_entropy_with_logits(logits.float(), torch.from_numpy(there).float())
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
                row["learnt_auc_piece"] = _check(glimpse, known)["auc_piece"]
            log.write(row)
        if step % (10 * PRINT_EVERY) == 0 or step == steps:
            checkpoint.save(path, glimpse, optimizer, step)
    glimpse.eval()
    fuse(glimpse, found)


def mistakes(
    encoder: FilmEncoder, films: Shards, kept: Path, progress: Callable[[], None]
) -> dict[str, list[Mistakes]]:
    """Where the encoder sees what is not there, by class; films without such a place are left out.

    A look at every class goes through the films once; parts of it are kept as files ``kept``-NNN.
    """
    parts = by_parts(encoder, films, len(films), kept, _mistaken, progress)
    result: dict[str, list[Mistakes]] = {name: [] for name in encoder.config.looks}
    for name, rows in result.items():
        numbers = torch.cat([part[f"film.{name}"] for part in parts])
        points = torch.cat([part[f"points.{name}"] for part in parts])
        of_film, counts = numbers.unique_consecutive(return_counts=True)
        for k, some in zip(of_film.tolist(), points.split(counts.tolist()), strict=True):
            rows.append(Mistakes(films[k][0], some.numpy()))
    return result


def _mistaken(encoder: FilmEncoder, films: Shards, numbers: range) -> dict[str, Tensor]:
    """The places of :func:`mistakes`: of each class the films and points, one after the other."""
    rows: dict[str, list[Tensor]] = defaultdict(list)
    for seen in look_at(encoder, films, numbers):
        for name in encoder.config.looks:
            kind = list(CLASSES).index(name)
            places = encoder.places(name, seen.out).numpy()
            for k, turn, place in zip(seen.numbers, seen.turns, places, strict=True):
                film, _, entry = films[k]
                points = (place - turn[:, 2]) / (turn[0, 0], turn[1, 1])
                apart = _apart(points, _centres(entry, kind))
                points = points[apart > CLEAR * len(film)].astype(np.float32)
                rows[f"film.{name}"].append(torch.full((len(points),), k))
                rows[f"points.{name}"].append(torch.from_numpy(points))
    return {name: torch.cat(parts) for name, parts in rows.items()}


def _centres(entry: dict[str, Any], kind: int) -> NDArray[np.float32]:
    """Middles (n, 2) of a film's true findings of a class."""
    boxes = [r[1:5] for r in entry["instances"] if r[0] == kind and r[1] >= 0]
    true = np.array(boxes, np.float32).reshape(-1, 2, 2)
    return np.asarray(true.mean(1))


def _apart(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far (pixels) each point lies from the next centre."""
    if not len(centres):
        return np.full(len(points), np.inf, np.float32)
    return np.asarray(np.hypot(*(points[:, None] - centres[None]).transpose(2, 0, 1)).min(1))


class Scale(NamedTuple):
    """Side of the encoder's input, and of the pieces cut from it, in its pixels."""

    film: int
    piece: int


def cut_pieces(
    cut: Cut,
    kind: int,
    crowded: Shards,
    mistaken: list[Mistakes],
    scale: Scale,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pieces around what is there, around whole bone, and around what was taken for there."""
    pieces: list[NDArray[np.uint8]] = []
    there: list[bool] = []

    def take(film: NDArray[np.uint8], points: Any, many: int, true: bool, near: float) -> None:
        for x, y in points[rng.integers(len(points), size=many)] if len(points) else ():
            pieces.append(_piece(film, x, y, scale, near, rng))
            there.append(true)

    for index in rng.integers(len(crowded), size=cut.crowded):
        film, tracks, entry = crowded[int(index)]
        centres, axis = _centres(entry, kind), tracks.reshape(-1, 4)[:, :2]
        take(film, centres, cut.true, True, ANYWHERE)
        if cut.whole:
            apart = _apart(axis, centres)
            take(film, axis[apart > CLEAR * len(film)], cut.whole, False, ANYWHERE)
    for index in rng.integers(len(mistaken), size=cut.others if mistaken else 0):
        take(*mistaken[int(index)], cut.mistaken, False, HERE)
    return np.stack(pieces), np.array(there)


def _piece(
    film: NDArray[np.uint8],
    x: float,
    y: float,
    scale: Scale,
    near: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """One piece as the encoder would cut it, within ``near`` pixels of its input.

    Half of them as sharp as a piece will be, the others turned and scaled a little.
    """
    zoom, angle, flip = len(film) / scale.film, 0.0, rng.choice([-1, 1])
    off = rng.uniform(-near, near, 2)
    if rng.random() < 0.5:
        x, y, off = round(x), round(y), np.rint(off)
    else:
        zoom, angle = zoom * rng.uniform(0.93, 1.07), rng.uniform(-0.1, 0.1)
    c, s = math.cos(angle) * zoom, math.sin(angle) * zoom
    turn = np.array([[flip * c, -s], [flip * s, c]])
    shift = turn @ (off - scale.piece / 2) + (x, y)
    piece = cv2.warpAffine(
        film,
        np.column_stack([turn, shift]),
        (scale.piece, scale.piece),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    grey = np.linspace(0, 1, 256) ** math.exp(rng.uniform(-0.25, 0.25))
    return np.asarray(cv2.LUT(piece, np.rint(grey * 255).astype(np.uint8)), np.uint8)


def fuse(glimpse: Any, found: Places) -> None:
    """Weigh what the second look saw against the heatmap's logit: a logistic regression.

    On films that neither has learnt from. Nothing is changed where all places are of one kind.
    """
    if found.there.all() or not found.there.any():
        return
    heat, truth = torch.from_numpy(found.scores), torch.from_numpy(found.there).float()
    seen, _ = _looked(glimpse, found)
    given = torch.cat([seen, heat[:, None]], 1)
    last: torch.nn.Linear = glimpse.there
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
    return {f"auc_{name}": auc(unseen.there, score) for name, score in scores.items()}
