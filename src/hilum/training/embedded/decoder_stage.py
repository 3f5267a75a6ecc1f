"""Second stage: the decoder learns to write and to answer from what the encoder has found.

Encoding is nearly all of the work, so every film is encoded before the stage begins, and the
decoder sees each encoding several times with other words and questions.
What turns a place into a token, and what is told of it, goes on learning here; what finds the
places does not.
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
from hilum.models.embedded.attributes import ATTRIBUTES
from hilum.models.embedded.processing import normalise
from hilum.report import LANGUAGES
from hilum.training.embedded import checkpoint
from hilum.training.embedded.batches import augment, moved, whole
from hilum.training.embedded.encoder_stage import PRINT_EVERY, SAVE_EVERY, rate
from hilum.training.embedded.glimpse_stage import Places
from hilum.training.embedded.losses import told_loss
from hilum.training.embedded.shards import Shards
from hilum.training.embedded.words import (
    FIRST_ATTRIBUTE,
    FRACTURE,
    NEAR,
    QUESTIONS,
    SLOTS,
    Writer,
    match,
    new_model,
)

FILMS = 64  # a step
RATE = 1e-3
# The same encodings come again: dropout and noise (tokens have a spread of about one) vary them.
DROPOUT, NOISE = 0.1, 0.25
CHECK_EVERY = 250
ATTRIBUTES_WEIGHT = 0.05
# How much each question's answer counts: the harder, the more.
WEIGHTS = {
    "cardiomegaly": 0.05,
    "pleural_effusion": 0.05,
    "pneumothorax": 0.05,
    "nodule": 0.14,
    "lung_opacity": 0.09,
    "atelectasis": 0.10,
    "support_devices": 0.02,
    "fracture": 0.36,
    "fracture_left": 0.07,
    "fracture_right": 0.07,
}


@dataclass
class Encodings:
    """Films as the encoder sees them: features of the proposals, and which box is whose.

    Of the places that may be fractures: pieces of the film, the heatmap's logits, whether a true
    fracture lies there, and, once :meth:`look_again` was called, what the second look gives.
    """

    seen: Tensor  # (n, proposals, features), half precision
    film: list[int]
    slots: list[list[int]]
    pieces: Tensor  # (n, places, 1, PIECE, PIECE), uint8
    heat: Tensor  # (n, places)
    broken: Tensor  # (n, places), bool
    glimpses: Tensor | None = None
    logits: Tensor | None = None

    def places(self) -> Places:
        """Every place on its own."""
        return Places(
            self.pieces.flatten(0, 2).numpy(),
            self.heat.flatten().numpy(),
            self.broken.flatten().numpy(),
        )

    @torch.no_grad()
    def look_again(self, encoder: FilmEncoder) -> None:
        """Look at every place with the trained second look."""
        seen, logits = [], []
        for k in range(0, len(self.pieces), 64):
            with torch.autocast("cpu", torch.bfloat16):
                one, other = encoder.look_again(
                    normalise(self.pieces[k : k + 64]), self.heat[k : k + 64]
                )
            seen.append(one.half())
            logits.append(other.float())
        self.glimpses, self.logits = torch.cat(seen), torch.cat(logits)

    def tokens(self, encoder: FilmEncoder, rows: list[int]) -> Tensor:
        """The proposals' tokens (len(rows), proposals, hidden), as the encoder would give them."""
        assert self.glimpses is not None
        assert self.logits is not None
        hidden = encoder.proposals(self.seen[rows].float())
        return encoder.with_glimpses(hidden, self.glimpses[rows].float(), self.logits[rows])


@torch.no_grad()
def encode(
    encoder: FilmEncoder, shards: Shards, rounds: int, seed: int, progress: Callable[[], None]
) -> Encodings:
    """Every film ``rounds`` times: once as it is, then augmented."""
    encoder.eval()
    count = len(shards) * rounds
    parts, slots = [], []
    places: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, count, 16):
        rows = [
            _variant(shards, k, seed, encoder.config.image_size)
            for k in range(start, min(start + 16, count))
        ]
        grey = torch.from_numpy(np.stack([r[0] for r in rows]))[:, None]
        batch = normalise(grey).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            out = encoder(batch, second_look=False)
        parts.append(out.seen.half())
        found = out.boxes.float().numpy()
        broken = [_near(row, b[encoder.fractures]) for row, b in zip(rows, found, strict=True)]
        places.append(
            (
                encoder.pieces(grey, out),
                out.scores[:, encoder.fractures].float(),
                torch.from_numpy(np.stack(broken)),
            )
        )
        for (_, boxes, kinds), b in zip(rows, found, strict=True):
            slots.append(match(boxes, kinds, b, encoder.config.image_size))
            progress()
    film = [k % len(shards) for k in range(count)]
    return Encodings(torch.cat(parts), film, slots, *(torch.cat(p) for p in zip(*places)))  # noqa: B905


def _near(
    row: tuple[NDArray[np.uint8], list[NDArray[np.float32]], list[int]],
    found: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Which of the boxes found (P, 4) have a true fracture's centre within 15 mm."""
    film, boxes, kinds = row
    true = [(b[:2] + b[2:]) / 2 for b, k in zip(boxes, kinds, strict=True) if k == FRACTURE]
    near = np.zeros(len(found), bool)
    for centre in true:
        near |= np.hypot(*((found[:, :2] + found[:, 2:]) / 2 - centre).T) < NEAR * len(film)
    return near


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
    part = nn.ModuleDict(
        {"decoder": decoder, "proposals": encoder.proposals, "token": encoder.glimpse.token}
    )
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
            hidden = encodings.tokens(encoder, rows)
            told = encoder.proposals.attributes(hidden)
            hidden = hidden + NOISE * torch.randn_like(hidden)
            losses = _losses(decoder, hidden, films, encodings, rows, writer, rng)
            losses["attributes"] = ATTRIBUTES_WEIGHT * told_loss(
                told, _attributes(films, encodings, rows)
            )
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(part.parameters(), 1.0)
        optimizer.step()
        step += 1
        progress(step)
        for name, value in losses.items():
            means[name] = 0.97 * means.get(name, value.item()) + 0.03 * value.item()
        if step % PRINT_EVERY == 0:
            row = {"step": step, "seconds": time.monotonic() - begun, **means}
            if step % CHECK_EVERY == 0:
                row |= check(decoder, encoder, unseen, held_out, writer)
                # films it learns from: how well it knows them by heart
                learnt = check(decoder, encoder, encodings, films, writer, len(unseen.film))
                row["learnt_auc_fracture"] = learnt["auc_fracture"]
            log.write(row)
        if step % SAVE_EVERY == 0 or step == steps:
            checkpoint.save(path, part, optimizer, step)
    decoder.config.dropout = 0.0
    return model.eval()


@torch.no_grad()
def check(
    decoder: Any,
    encoder: FilmEncoder,
    encodings: Encodings,
    films: Shards,
    writer: Writer,
    most: int | None = None,
) -> dict[str, float]:
    """AUC of each answer on these films, ``most`` of them."""
    decoder.eval()
    numbers = encodings.film[:most]
    hidden = encodings.tokens(encoder, list(range(len(numbers))))
    yes, no = writer.answers
    result = {}
    for name, question in QUESTIONS.items():
        truth = np.array([question.true(films.entries[k]) for k in numbers])
        logits = _asked(decoder, hidden, [writer.question(question)] * len(hidden))
        result[f"auc_{name}"] = auc(truth, (logits[:, yes] - logits[:, no]).numpy())
    decoder.train()
    return result


def _attributes(films: Shards, encodings: Encodings, rows: list[int]) -> Tensor:
    """What is true of each proposal (len(rows), proposals, attributes), -1 where it has none."""
    truth = torch.full((len(rows), SLOTS, len(ATTRIBUTES)), -1)
    for b, row in enumerate(rows):
        instances = films.entries[encodings.film[row]]["instances"]
        for slot, instance in zip(encodings.slots[row], instances, strict=True):
            if slot >= 0:
                truth[b, slot] = torch.tensor(instance[FIRST_ATTRIBUTE:], dtype=torch.long)
    return truth


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
    yes, no = writer.answers
    prompts = [writer.question(q) for q in QUESTIONS.values()]
    logits = _asked(decoder, hidden.repeat_interleave(len(prompts), 0), prompts * len(entries))
    answers = torch.tensor([yes if q.true(e) else no for e in entries for q in QUESTIONS.values()])
    losses = F.cross_entropy(logits.float(), answers, reduction="none")
    weights = torch.tensor([WEIGHTS[name] for name in QUESTIONS])
    return {
        "text": text,
        "answers": (losses.unflatten(0, (-1, len(weights))) * weights).sum(1).mean(),
    }


def _asked(decoder: Any, hidden: Tensor, prompts: list[list[int]]) -> Tensor:
    """The logits (len(prompts), vocabulary) that follow each prompt."""
    longest = max(map(len, prompts))
    ids = torch.tensor([p + p[-1:] * (longest - len(p)) for p in prompts])
    logits = decoder(input_ids=ids, encoder_hidden_states=hidden, use_cache=False).logits
    last = torch.tensor([len(p) - 1 for p in prompts])
    return torch.as_tensor(logits[torch.arange(len(prompts)), last])
