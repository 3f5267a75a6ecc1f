"""The loss on the answer's positions alone: the head is not asked about the rest.

A prompt with a film has hundreds of positions, an answer some dozens, and a row of logits of
Gemma's vocabulary takes a megabyte: most of a step's memory would be for what is then ignored.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any

from hilum.training.collate import EVEN, IGNORED
from hilum.training.parts import part_of

# Positions whose logits are held at once; 262,144 words of float32 for 64 of them are 67 MB.
TOGETHER = 64


@dataclass
class Answered:
    """Sums over a batch. ``rows``: the log likelihood of each sample's answer."""

    loss: Any
    tokens: Any
    right: Any
    rows: Any


def let_answer(model: Any) -> None:
    """Give a transformers model ``forward(..., labels=..., answer_only=True)`` -> Answered.

    It goes through ``forward`` so that DDP, FSDP and PEFT around the model see the call.
    """
    plain = model.forward

    def forward(self: Any, *args: Any, answer_only: bool = False, **given: Any) -> Any:
        if not answer_only:
            return plain(*args, **given)
        labels = given.pop("labels")
        hidden = self.base_model(*args, **{**given, "use_cache": False}).last_hidden_state
        answered = answer_loss(hidden, labels, self.get_output_embeddings())
        if self.training and "pixel_values" not in given:
            answered.loss = answered.loss + _untouched(self)
        return answered

    forward.__signature__ = _signature(plain)  # type: ignore[attr-defined]
    model.forward = types.MethodType(forward, model)


def answer_loss(hidden: Any, labels: Any, head: Any) -> Answered:
    """Negative log likelihood summed over the answers' tokens, in float32.

    ``hidden`` (rows, length, width); ``labels`` (rows, length), ignored where not learnt; the
    logits of a few positions at a time are kept, and computed again on the way back.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    hidden, labels = hidden[:, :-1], labels[:, 1:]
    mask = labels != IGNORED
    states, wanted = hidden[mask], labels[mask]
    which = mask.nonzero()[:, 0]
    logs, right = [], hidden.new_zeros((), dtype=torch.long)
    for some, words in zip(states.split(TOGETHER), wanted.split(TOGETHER), strict=True):
        log, hits = checkpoint(_scored, some, words, head, use_reentrant=False)
        logs.append(log)
        right = right + hits
    each = torch.cat(logs)  # empty where nothing is learnt, and its backward pass runs all the same
    rows = each.new_zeros(len(hidden)).index_add(0, which, each)
    return Answered(-each.sum(), mask.sum(), right, rows)


def _scored(states: Any, words: Any, head: Any) -> tuple[Any, Any]:
    from torch.nn import functional

    even = functional.pad(states, (0, 0, 0, -len(states) % EVEN))  # a kernel for each length else
    logits = head(even)[: len(states)].float()
    log = logits.gather(1, words[:, None])[:, 0] - logits.logsumexp(1)
    return log, (logits.detach().argmax(1) == words).sum()


def _untouched(model: Any) -> Any:
    """Zero, hanging on what a batch without films leaves out, so that its gradient is zero.

    With no gradient at all DDP would leave that of earlier micro-batches as it is, each device its
    own, and Adam would pass over weights on one device that it moves on two.
    """
    seen = (p for n, p in model.named_parameters() if p.requires_grad and part_of(n) != "language")
    return sum((p.flatten()[:1].sum() * 0 for p in seen), start=0.0)


def _signature(forward: Any) -> Any:
    """The model's own: generation checks its arguments against it."""
    import inspect

    return inspect.signature(forward)
