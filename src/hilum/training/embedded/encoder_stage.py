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
from hilum.models.embedded.configuration import CLASSES
from hilum.models.embedded.processing import normalise
from hilum.training.embedded import checkpoint
from hilum.training.embedded.batches import stream
from hilum.training.embedded.losses import encoder_losses
from hilum.training.embedded.shards import Shards

CROWDED, STANDARD = 14, 2  # films a step
RATE = 1.5e-3
SAVE_EVERY, CHECK_EVERY, PRINT_EVERY = 200, 600, 25


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
    say: Callable[[str], None],
    progress: Callable[[int], None],
) -> FilmEncoder:
    """Train, or go on training, the encoder to ``steps`` steps."""
    torch.manual_seed(seed)
    model = FilmEncoder(FilmEncoderConfig(image_size=image_size))
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-arg]
    optimizer = checkpoint.optimizer_of(model)
    path = folder / "encoder.safetensors"
    step = checkpoint.resume(path, model, optimizer)
    log = checkpoint.Log(folder / "encoder.jsonl", step, say)
    standard, held_out = Shards(films, "standard"), Shards(films, "held_out")
    batches = stream(Shards(films, "crowded"), standard, CROWDED, STANDARD, seed, step)
    begun = time.monotonic()
    means: dict[str, float] = {}
    model.train()
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps, RATE)
        batch = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            losses = encoder_losses(model, model(batch.films), batch)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        progress(step)
        for name, value in losses.items():
            means[name] = 0.95 * means.get(name, value.item()) + 0.05 * value.item()
        if step % PRINT_EVERY == 0:
            row: dict[str, Any] = {"step": step, "seconds": time.monotonic() - begun, **means}
            if step % CHECK_EVERY == 0:
                row |= check(model, held_out, 200)
            log.write(row)
        if step % SAVE_EVERY == 0 or step == steps:
            checkpoint.save(path, model, optimizer, step)
    settle_norms(model, standard)
    return model.eval()


@torch.no_grad()
def settle_norms(model: FilmEncoder, standard: Shards, films: int = 320) -> None:
    """Batch-norm statistics of standard films alone: what the reader will see."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    model.train()
    for i in range(0, min(films, len(standard)), 16):
        batch = np.stack([standard[k][0] for k in range(i, min(i + 16, len(standard)))])
        with torch.autocast("cpu", torch.bfloat16):
            model(normalise(torch.from_numpy(batch)[:, None]))
    for norm in norms:
        norm.momentum = 0.1


@torch.no_grad()
def check(model: FilmEncoder, held_out: Shards, films: int) -> dict[str, float]:
    """AUC of each class's best peak on films not trained on, and how often a fracture's is near."""
    model.eval()
    scores, near = [], []
    first = np.cumsum([0, *CLASSES.values()])
    fracture = list(CLASSES).index("fracture")
    films = min(films, len(held_out))
    for i in range(0, films, 20):
        rows = [held_out[k] for k in range(i, min(i + 20, films))]
        batch = torch.from_numpy(np.stack([r[0] for r in rows]))[:, None]
        with torch.autocast("cpu", torch.bfloat16):
            out = model(normalise(batch))
        scores.append(torch.stack([out.scores[:, k] for k in first[:-1]], 1).float())
        for (_, _, entry), box in zip(rows, out.boxes[:, first[fracture]].numpy(), strict=True):
            true = [np.array(r[1:5]) for r in entry["instances"] if r[0] == fracture]
            middle = (box[:2] + box[2:]) / 2
            if true:
                near.append(min(np.hypot(*((b[:2] + b[2:]) / 2 - middle)) for b in true) < 24)
    model.train()
    score = torch.cat(scores).numpy()
    truth = np.array([e["present"] for e in held_out.entries[:films]])
    result = {f"auc_{name}": auc(truth[:, k], score[:, k]) for k, name in enumerate(CLASSES)}
    return result | {"near_15mm": float(np.mean(near)) if near else math.nan}
