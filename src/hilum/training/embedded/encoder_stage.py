"""First stage: the encoder learns to find, from films with many lesions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hilum.evaluation.metrics import auc
from hilum.models.embedded import FilmEncoder, FilmEncoderConfig
from hilum.models.embedded.attributes import KINDS
from hilum.models.embedded.configuration import CLASSES
from hilum.models.embedded.processing import normalise
from hilum.training.embedded import checkpoint
from hilum.training.embedded.batches import moved, stream, whole
from hilum.training.embedded.losses import encoder_losses
from hilum.training.embedded.optimizer import Optimizer
from hilum.training.embedded.shards import Shards
from hilum.training.embedded.team import Team, together
from hilum.training.embedded.words import NEAR

CROWDED, SINGLE = 6, 2  # films a batch
BATCHES = 4  # a step
RATE = 1.5e-3
SAVE_EVERY, CHECK_EVERY, PRINT_EVERY = 100, 500, 50
CHECKED = 400  # films


def rate(step: int, steps: int, top: float) -> float:
    """Learning rate: 300 steps of warm-up, then a cosine down to 1 % of ``top``."""
    warm = min(1.0, (step + 1) / min(300, steps))
    return top * warm * (0.505 + 0.495 * math.cos(math.pi * step / steps))


def train_encoder(
    folder: Path,
    films: Path,
    steps: int,
    seed: int,
    image_size: int,
    processes: int,
    say: Callable[[str], None],
    progress: Callable[[int], None],
) -> FilmEncoder:
    """Train, or go on training, the encoder to ``steps`` steps, ``processes`` side by side.

    However many there are, a step learns from the same films.
    """
    given = (folder, films, steps, seed, image_size)
    with together(min(processes, BATCHES), _train, *given) as team:
        model = _train(team, *given, say, progress)
    settle_norms(model, Shards(films, "single"))
    return model.eval()


def _train(
    team: Team,
    folder: Path,
    films: Path,
    steps: int,
    seed: int,
    image_size: int,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int], None] = lambda step: None,
) -> FilmEncoder:
    """One member's part; only the first writes and checks."""
    torch.manual_seed(seed)
    model = FilmEncoder(FilmEncoderConfig(image_size=image_size))
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-arg]
    optimizer = Optimizer(model)
    path = folder / "encoder.safetensors"
    step = checkpoint.resume(path, model, optimizer)
    log = checkpoint.Log(folder / "encoder.jsonl", step, say) if team.rank == 0 else None
    single, held_out = Shards(films, "single"), Shards(films, "held_out")
    crowded = Shards(films, "crowded")
    numbers = team.numbers(step, BATCHES)
    batches = stream(crowded, single, CROWDED, SINGLE, image_size, seed, numbers)
    begun = time.monotonic()
    means: dict[str, float] = {}
    model.train()
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps, RATE)
        optimizer.zero_grad()
        for _ in team.part(BATCHES):
            batch = next(batches)
            with torch.autocast("cpu", torch.bfloat16):
                losses = encoder_losses(model, model(batch.films, second_look=False), batch)
            (torch.stack(list(losses.values())).sum() / BATCHES).backward()
            for name, value in losses.items():
                means[name] = 0.95 * means.get(name, value.item()) + 0.05 * value.item()
        team.share(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        if log is None:
            continue
        progress(step)
        if step % PRINT_EVERY == 0:
            row: dict[str, Any] = {"step": step, "seconds": time.monotonic() - begun, **means}
            if step % CHECK_EVERY == 0:
                with team.alone():
                    row |= check(model, held_out, CHECKED)
                    # films it learns from, as uncrowded as those: does it know them by heart?
                    row["learnt_auc_fracture"] = check(model, single, CHECKED)["auc_fracture"]
            log.write(row)
        if step % SAVE_EVERY == 0 or step == steps:
            checkpoint.save(path, model, optimizer, step)
    return model


@torch.no_grad()
def settle_norms(model: FilmEncoder, single: Shards, films: int = 320) -> None:
    """Batch-norm statistics of films that are not crowded: what the reader will see."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    model.train()
    size = model.config.image_size
    some = np.linspace(0, len(single) - 1, min(films, len(single))).astype(int)  # of every shard
    for start in range(0, len(some), 16):
        batch = np.stack([whole(single[int(k)][0], size)[0] for k in some[start : start + 16]])
        with torch.autocast("cpu", torch.bfloat16):
            model(normalise(torch.from_numpy(batch)[:, None]), second_look=False)
    for norm in norms:
        norm.momentum = 0.1


@torch.no_grad()
def check(model: FilmEncoder, shards: Shards, films: int) -> dict[str, float]:
    """AUC of each class's best peak, and how often a fracture's is near: within 15 mm."""
    model.eval()
    size = model.config.image_size
    scores, near = [], []
    first = np.cumsum([0, *CLASSES.values()])
    fracture = list(CLASSES).index("fracture")
    some = np.linspace(0, len(shards) - 1, min(films, len(shards))).astype(int)
    for start in range(0, len(some), 20):
        entries = [shards.entries[k] for k in some[start : start + 20]]
        squares, turns = zip(
            *(whole(shards[int(k)][0], size) for k in some[start : start + 20]), strict=True
        )
        with torch.autocast("cpu", torch.bfloat16):
            out = model(normalise(torch.from_numpy(np.stack(squares))[:, None]), second_look=False)
        scores.append(torch.stack([out.scores[:, k] for k in first[:-1]], 1).float())
        found = out.boxes[:, first[fracture]].numpy()
        for entry, turn, box in zip(entries, turns, found, strict=True):
            true = [moved(np.array(r[1:5]), turn) for r in entry["instances"] if r[0] == fracture]
            middle = (box[:2] + box[2:]) / 2
            if true:
                miss = min(np.hypot(*((b[:2] + b[2:]) / 2 - middle)) for b in true)
                near.append(miss < NEAR * size)
    model.train()
    score = torch.cat(scores).numpy()
    truth = np.array([shards.entries[k]["present"] for k in some])
    result = {f"auc_{name}": auc(truth[:, k], score[:, k]) for k, name in enumerate(CLASSES)}
    kind = np.array([_kind(shards.entries[k], fracture) for k in some])
    for k, (displacement, stage) in enumerate(KINDS):
        rows = (kind == k) | (kind == -1)
        if (kind == k).any() and (kind == -1).any():
            result[f"auc_{displacement or stage}"] = auc(kind[rows] == k, score[rows, fracture])
    return result | {"near_15mm": float(np.mean(near)) if near else math.nan}


def _kind(entry: dict[str, Any], fracture: int) -> int:
    """The kind of a film's first fracture, -1 where it has none."""
    return int(next((row[7] for row in entry["instances"] if row[0] == fracture), -1))
