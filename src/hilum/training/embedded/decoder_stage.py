"""Second stage: the decoder learns to write and to answer from what the encoder has found.

Every film is encoded before the stage begins, and the decoder sees each encoding several times with
other words and questions.
What turns a place into a token, and what is told of it, goes on learning here; what finds the
places does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedTokenizerFast, VisionEncoderDecoderModel

from hilum.evaluation.metrics import auc
from hilum.models.embedded import FilmEncoder
from hilum.models.embedded.attributes import ATTRIBUTES
from hilum.report import LANGUAGES
from hilum.training.embedded import checkpoint
from hilum.training.embedded.encoder_stage import PRINT_EVERY, SAVE_EVERY, rate
from hilum.training.embedded.encodings import Encodings
from hilum.training.embedded.losses import told_loss
from hilum.training.embedded.optimizer import Optimizer
from hilum.training.embedded.shards import Shards
from hilum.training.embedded.words import (
    FIRST_ATTRIBUTE,
    QUESTIONS,
    SLOTS,
    Writer,
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
    told = nn.ModuleDict({name: encoder.glimpse(name).token for name in encoder.config.looks})
    part = nn.ModuleDict({"decoder": decoder, "proposals": encoder.proposals, "told": told})
    optimizer = Optimizer(part)
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
        rows = [int(r) for r in rng.integers(len(encodings.seen), size=FILMS)]
        # the fused kernel is slow backwards on many short sequences; plain products are not
        with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16):
            hidden = encodings.tokens(encoder, rows)
            answers = encoder.proposals.attributes(hidden)
            hidden = hidden + NOISE * torch.randn_like(hidden)
            losses = _losses(decoder, hidden, films, encodings, rows, writer, rng)
            losses["attributes"] = ATTRIBUTES_WEIGHT * told_loss(
                answers, _attributes(films, encodings, rows)
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
                learnt = check(decoder, encoder, encodings, films, writer, len(unseen.seen))
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
    rows = range(len(encodings.seen))[:most]
    hidden = encodings.tokens(encoder, list(rows))
    yes, no = writer.answers
    result = {}
    for name, question in QUESTIONS.items():
        truth = np.array([question.true(films.entries[k]) for k in rows])
        logits = _asked(decoder, hidden, [writer.question(question)] * len(hidden))
        result[f"auc_{name}"] = auc(truth, (logits[:, yes] - logits[:, no]).numpy())
    decoder.train()
    return result


def _attributes(films: Shards, encodings: Encodings, rows: list[int]) -> Tensor:
    """What is true of each proposal (len(rows), proposals, attributes), -1 where it has none."""
    truth = torch.full((len(rows), SLOTS, len(ATTRIBUTES)), -1)
    for b, row in enumerate(rows):
        instances = films.entries[row]["instances"]
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
    entries = [films.entries[row] for row in rows]
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
