"""Second stage: the decoder learns to write and to answer from what the encoder has found.

Encoding is nearly all of the work, so every film is encoded a few times, augmented, before the
stage begins, and the decoder sees each encoding several times with other words and questions.
What turns a place into a token goes on learning here; what finds the places does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast, VisionEncoderDecoderModel

from hilum.evaluation.metrics import auc
from hilum.models.embedded import FilmEncoder
from hilum.models.embedded.configuration import CLASSES
from hilum.models.embedded.encoder import Proposals
from hilum.models.embedded.processing import normalise
from hilum.report import LANGUAGES
from hilum.training.embedded import checkpoint
from hilum.training.embedded.batches import augment, moved, whole
from hilum.training.embedded.encoder_stage import PRINT_EVERY, SAVE_EVERY, rate
from hilum.training.embedded.shards import Shards
from hilum.training.embedded.words import Writer, match, new_model

FILMS = 64  # a step
RATE = 1e-3
# The same encodings come again: dropout and noise (tokens have a spread of about one) vary them.
DROPOUT, NOISE = 0.1, 0.25
CHECK_EVERY = 250
# How much each finding's answer counts: the harder, the more.
WEIGHTS = {
    "cardiomegaly": 0.06,
    "pleural_effusion": 0.06,
    "pneumothorax": 0.06,
    "nodule": 0.15,
    "lung_opacity": 0.12,
    "atelectasis": 0.12,
    "support_devices": 0.03,
    "fracture": 0.4,
}


@dataclass
class Encodings:
    """Films as the encoder sees them: features of the proposals, and which box is whose."""

    seen: Tensor  # (n, proposals, features), half precision
    film: list[int]
    slots: list[list[int]]


@torch.no_grad()
def encode(
    encoder: FilmEncoder, shards: Shards, rounds: int, seed: int, progress: Callable[[], None]
) -> Encodings:
    """Every film ``rounds`` times: once as it is, then augmented."""
    encoder.eval()
    count = len(shards) * rounds
    parts, slots = [], []
    for start in range(0, count, 16):
        rows = [
            _variant(shards, k, seed, encoder.config.image_size)
            for k in range(start, min(start + 16, count))
        ]
        batch = normalise(torch.from_numpy(np.stack([r[0] for r in rows]))[:, None])
        with torch.autocast("cpu", torch.bfloat16):
            out = encoder(batch.contiguous(memory_format=torch.channels_last))
        parts.append(out.seen.half())
        for (_, boxes, kinds), found in zip(rows, out.boxes.float().numpy(), strict=True):
            slots.append(match(boxes, kinds, found, encoder.config.image_size))
            progress()
    return Encodings(torch.cat(parts), [k % len(shards) for k in range(count)], slots)


def _variant(
    shards: Shards, k: int, seed: int, size: int
) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]], list[int]]:
    """Film number ``k``, its true boxes and their classes; past the first round, augmented."""
    film, _, entry = shards[k % len(shards)]
    if k < len(shards):
        film, turn = whole(film, size)
    else:
        film, turn = augment(film, size, np.random.default_rng([seed, k]))
    boxes = [moved(np.array(r[1:5], np.float32), turn) for r in entry["instances"]]
    return film, boxes, [int(r[0]) for r in entry["instances"]]


def train_decoder(
    folder: Path,
    encoder: FilmEncoder,
    films: Shards,
    encodings: Encodings,
    held_out: Shards,
    unseen: Encodings,
    tokenizer: PreTrainedTokenizerFast,
    steps: int,
    seed: int,
    say: Callable[[str], None],
    progress: Callable[[int], None],
) -> VisionEncoderDecoderModel:
    """Train, or go on training, the decoder; returns the whole reader."""
    torch.manual_seed(seed)
    model = new_model(encoder, tokenizer)
    decoder: Any = model.decoder
    decoder.config.dropout = DROPOUT
    for module in decoder.modules():
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = DROPOUT
    part = nn.ModuleDict({"decoder": decoder, "proposals": encoder.proposals})
    optimizer = checkpoint.optimizer_of(part)
    path = folder / "decoder.safetensors"
    step = checkpoint.resume(path, part, optimizer)
    log = checkpoint.Log(folder / "decoder.jsonl", step, say)
    writer, begun = Writer(tokenizer), time.monotonic()
    means: dict[str, float] = {}
    part.train()
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps, RATE)
        rng = np.random.default_rng([seed, step, 2])
        torch.manual_seed(int(rng.integers(2**62)))  # dropout: a resumed run draws the same
        rows = [int(r) for r in rng.integers(len(encodings.film), size=FILMS)]
        with torch.autocast("cpu", torch.bfloat16):
            hidden = encoder.proposals(encodings.seen[rows].float())
            hidden = hidden + NOISE * torch.randn_like(hidden)
            losses = _losses(decoder, hidden, films, encodings, rows, writer, rng)
        optimizer.zero_grad()
        (losses["text"] + losses["answers"]).backward()
        torch.nn.utils.clip_grad_norm_(part.parameters(), 1.0)
        optimizer.step()
        step += 1
        progress(step)
        for name, value in losses.items():
            means[name] = 0.97 * means.get(name, value.item()) + 0.03 * value.item()
        if step % PRINT_EVERY == 0:
            row = {"step": step, "seconds": time.monotonic() - begun, **means}
            if step % CHECK_EVERY == 0:
                row |= check(decoder, encoder.proposals, unseen, held_out, writer)
            log.write(row)
        if step % SAVE_EVERY == 0 or step == steps:
            checkpoint.save(path, part, optimizer, step)
    decoder.config.dropout = 0.0
    return model.eval()


@torch.no_grad()
def check(
    decoder: Any, proposals: Proposals, unseen: Encodings, held_out: Shards, writer: Writer
) -> dict[str, float]:
    """AUC of each answer on films that are not trained on."""
    decoder.eval()
    hidden = proposals(unseen.seen.float())
    truth = np.array([e["present"] for e in held_out.entries])
    result = {}
    for k, name in enumerate(CLASSES):
        prompt, yes = writer.question(name, True)
        no = writer.question(name, False)[1]
        ids = torch.tensor([prompt]).expand(len(hidden), -1)
        logits = decoder(input_ids=ids, encoder_hidden_states=hidden, use_cache=False).logits[:, -1]
        result[f"auc_{name}"] = auc(truth[:, k], (logits[:, yes] - logits[:, no]).numpy())
    decoder.train()
    return result


def _losses(
    decoder: Any,
    hidden: Tensor,
    films: Shards,
    encodings: Encodings,
    rows: list[int],
    writer: Writer,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Of a report in a language drawn at random, and of every question, weighted."""
    names = list(CLASSES)
    entries = [films.entries[encodings.film[row]] for row in rows]
    texts = [
        writer.report(entry, LANGUAGES[rng.integers(2)], encodings.slots[row])
        for entry, row in zip(entries, rows, strict=True)
    ]
    pad = writer.tokenizer.pad_token_id
    longest = max(map(len, texts))
    ids = torch.tensor([t + [pad] * (longest - len(t)) for t in texts])
    logits = decoder(input_ids=ids[:, :-1], encoder_hidden_states=hidden, use_cache=False).logits
    labels = ids[:, 1:].clone()
    labels[labels == pad] = -100
    labels[:, 0] = -100  # the language is the prompt
    text = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
    asked = [
        writer.question(n, bool(p))
        for e in entries
        for n, p in zip(names, e["present"], strict=True)
    ]
    logits = decoder(
        input_ids=torch.tensor([prompt for prompt, _ in asked]),
        encoder_hidden_states=hidden.repeat_interleave(len(names), 0),
        use_cache=False,
    ).logits[:, -1]
    answers = torch.tensor([answer for _, answer in asked])
    losses = F.cross_entropy(logits.float(), answers, reduction="none").unflatten(
        0, (-1, len(names))
    )
    weights = torch.tensor([WEIGHTS[n] for n in names])
    return {"text": text, "answers": (losses * weights).sum(1).mean()}
