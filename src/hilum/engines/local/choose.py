"""Likelihoods of answers: images and the words before the questions are run once.

The questions of a study share all tokens up to where they begin to differ. That prefix is run
once; its keys and values are then repeated for as many questions as fit, or for one at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from hilum.engines.base import Question
from hilum.engines.likelihood import answer_probabilities

# Bytes of repeated keys and values at once.
REPEATED_BYTES = 512 << 20

Run = tuple[int, ...]


def likelihoods(
    model: Any,
    asked: Sequence[list[int]],
    answers: Sequence[list[list[list[int]]]],
    questions: Sequence[Question],
    images: dict[str, Any],
) -> list[list[float]]:
    """Probabilities of each question's answers.

    ``asked``: the whole prompt of each question in ids; ``answers``: of each question, of each
    answer, the ids of each wording; ``images``: what the model is given beside the prefix's ids.
    """
    runs = {
        (*ids, *wording[:-1]): None
        for ids, some in zip(asked, answers, strict=True)
        for wordings in some
        for wording in wordings
    }
    wanted: dict[Run, set[int]] = {run: set() for run in runs}  # positions that are read
    for ids, some in zip(asked, answers, strict=True):
        for wording in (w for wordings in some for w in wordings):
            run = (*ids, *wording[:-1])
            wanted[run] |= set(range(len(ids) - 1, len(ids) - 1 + len(wording)))
    logs = _run(model, wanted, images)

    def tokens(ids: list[int], wording: list[int]) -> list[float]:
        row = logs[(*ids, *wording[:-1])]
        return [float(row[len(ids) - 1 + j][token]) for j, token in enumerate(wording)]

    return [
        answer_probabilities(
            question,
            [[tokens(ids, w) for w in wordings] for wordings in some],
            [[w[0] for w in wordings] for wordings in some],
        )
        for question, ids, some in zip(questions, asked, answers, strict=True)
    ]


def shared(runs: Sequence[Run], least: int = 1) -> int:
    """How many first tokens all runs have in common, leaving each ``least`` at its end."""
    most = min(map(len, runs)) - least
    first = runs[0]
    return next((i for i in range(most) if any(r[i] != first[i] for r in runs)), most)


def _run(
    model: Any, wanted: dict[Run, set[int]], images: dict[str, Any]
) -> dict[Run, dict[int, Any]]:
    """Log likelihoods of every next token at the wanted positions of each run."""
    import torch

    runs = list(wanted)
    # what is read must be in the tail: the prefix gives no likelihoods
    length = min(shared(runs), *(min(w) for w in wanted.values()))
    with torch.inference_mode():
        prefix = _prefix(model, runs[0][:length], images)
        size = sum(
            layer.keys.numel() * layer.keys.element_size() * 2
            for layer in prefix.past_key_values.layers
        )
        at_once = max(1, REPEATED_BYTES // max(size, 1))
        logs: dict[Run, dict[int, Any]] = {}
        for start in range(0, len(runs), at_once):
            some = runs[start : start + at_once]
            logs |= _tails(model, prefix, some, length, wanted)
    return logs


def _prefix(model: Any, ids: Run, images: dict[str, Any]) -> Any:
    import torch

    if hasattr(model.base_model, "rope_deltas"):
        model.base_model.rope_deltas = None  # of whatever was run before
    given = torch.tensor([ids], device=model.device)
    return model(
        input_ids=given,
        attention_mask=torch.ones_like(given),
        **{name: value(given) if callable(value) else value for name, value in images.items()},
        use_cache=True,
        logits_to_keep=1,
    )


def _tails(
    model: Any, prefix: Any, runs: list[Run], length: int, wanted: dict[Run, set[int]]
) -> dict[Run, dict[int, Any]]:
    """Run what differs, padded on the right, where no token before a pad can see it."""
    import torch

    cache = copy.deepcopy(prefix.past_key_values)  # the next questions want it as it was
    cache.batch_repeat_interleave(len(runs))
    tails = [run[length:] for run in runs]
    longest = max(map(len, tails))
    ids = torch.tensor([[*t, *[0] * (longest - len(t))] for t in tails], device=model.device)
    positions = torch.arange(length, length + longest, device=model.device).expand(len(runs), -1)
    deltas = getattr(model.base_model, "rope_deltas", None)
    if deltas is not None:  # Qwen-VL and GLM-V count an image's rows and columns, not its tokens
        positions = (positions + deltas.to(positions)).expand(3, -1, -1)
    kept = sorted({p - length for run in runs for p in wanted[run]})
    logits = model(
        input_ids=ids,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=torch.tensor(kept, device=model.device),
    ).logits
    logs = logits.double().log_softmax(-1).cpu()
    return {
        run: {p: logs[i, kept.index(p - length)] for p in wanted[run]} for i, run in enumerate(runs)
    }
