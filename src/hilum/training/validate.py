"""What a model in training says of validation studies, and what that is worth clinically."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hilum.evaluation.metrics import auc, bootstrap
from hilum.findings import Finding, FindingName, Status
from hilum.language import label
from hilum.report import Language


@dataclass(frozen=True)
class Prediction:
    """One study: what was written (None where nothing was asked for) and its probabilities."""

    study: str
    language: Language
    text: str | None = None
    probabilities: dict[FindingName, float] = field(default_factory=dict)


Metrics = Callable[[Sequence[Prediction], Sequence[list[Finding]]], dict[str, float]]
"""Predictions and, in their order, the true findings; to numbers by name."""


def clinical(predictions: Sequence[Prediction], truth: Sequence[list[Finding]]) -> dict[str, float]:
    """Fracture AUC with its 95 % interval, F1 of what was written, and the all-normal baseline.

    ``finding_f1``: over every finding that the truth speaks of, all studies pooled. The baseline
    says "no finding" of every study: it is right wherever the truth is normal, and its F1 is 0;
    ``agreement`` is the share of statuses that are right, the number that it is good at.
    """
    found: dict[str, float] = {}
    for name in dict.fromkeys(n for p in predictions for n in p.probabilities):
        found |= _ranked(name, predictions, truth)
    written = [
        (label(p.text, p.language), t)
        for p, t in zip(predictions, truth, strict=True)
        if p.text is not None
    ]
    if written:
        found |= _worded([s for s, _ in written], [t for _, t in written])
    return found


def _ranked(
    name: FindingName, predictions: Sequence[Prediction], truth: Sequence[list[Finding]]
) -> dict[str, float]:
    pairs = [
        (status is Status.PRESENT, p.probabilities[name])
        for p, t in zip(predictions, truth, strict=True)
        if name in p.probabilities
        and (status := _status(t, name)) in (Status.PRESENT, Status.ABSENT)
    ]
    y, score = [a for a, _ in pairs], [b for _, b in pairs]
    value = auc(y, score)
    if math.isnan(value):
        return {}
    low, high = bootstrap(auc, y, score)
    return {f"{name}_auc": value, f"{name}_auc_low": low, f"{name}_auc_high": high}


def _worded(said: list[list[Finding]], truth: list[list[Finding]]) -> dict[str, float]:
    silent: list[list[Finding]] = [[] for _ in truth]
    return {
        "finding_f1": _f1(said, truth, None),
        "fracture_f1": _f1(said, truth, FindingName.FRACTURE),
        "agreement": _agreement(said, truth),
        "all_normal_finding_f1": _f1(silent, truth, None),
        "all_normal_agreement": _agreement(silent, truth),
    }


def _status(findings: list[Finding], name: FindingName) -> Status | None:
    return next((f.status for f in findings if f.name == name), None)


def _cells(
    said: list[list[Finding]], truth: list[list[Finding]], only: FindingName | None
) -> list[tuple[bool, bool]]:
    """(said present, truly present) of each finding the truth calls present or absent."""
    return [
        (_status(s, f.name) is Status.PRESENT, f.status is Status.PRESENT)
        for s, t in zip(said, truth, strict=True)
        for f in t
        if f.name is not FindingName.NO_FINDING
        and f.status is not Status.UNCERTAIN
        and only in (None, f.name)
    ]


def _f1(said: list[list[Finding]], truth: list[list[Finding]], only: FindingName | None) -> float:
    cells = _cells(said, truth, only)
    right = sum(s and t for s, t in cells)
    wrong = sum(s != t for s, t in cells)
    return 2 * right / (2 * right + wrong) if right + wrong else 0.0


def _agreement(said: list[list[Finding]], truth: list[list[Finding]]) -> float:
    cells = _cells(said, truth, None)
    return sum(s == t for s, t in cells) / len(cells) if cells else 0.0


def probability(present: float, absent: float) -> float:
    """Of presence, from the log likelihoods of the two answers."""
    return 1 / (1 + math.exp(min(max(absent - present, -700.0), 700.0)))


def higher_is_better(metric: str) -> bool:
    """Loss is better when it is low, everything else when it is high."""
    return metric != "loss"


def chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Some items at a time."""
    return [items[i : i + size] for i in range(0, len(items), size)]
