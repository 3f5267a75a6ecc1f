"""What a model in training says of validation studies, judged as ``hilum evaluate`` judges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hilum.data.rows import Reference
from hilum.evaluation.baseline import baselines
from hilum.evaluation.bootstrap import draws
from hilum.evaluation.case import CHEXPERT14, Floats, Prediction, System, columns_of
from hilum.evaluation.texts import chexpert_f1
from hilum.evaluation.weighted import Figures, counts, interval, ranking, rates
from hilum.findings import Finding, FindingName, Status
from hilum.report import Language

Metrics = Callable[[Sequence[Prediction], Sequence[Reference]], dict[str, float]]
"""Predictions and, in their order, the references; to numbers by name.

A prediction's ``text`` is None where no report was asked for; ``findings`` are those whose
likelihood was asked for.
"""
LOW, HIGH, NORMAL = "_low", "_high", "all_normal_"


def prediction(
    study: str,
    language: Language,
    text: str | None = None,
    chances: Mapping[FindingName, float] | None = None,
) -> Prediction:
    """What was said of one study: its report, and the likelihood of each finding asked for."""
    found = [
        Finding(name=n, status=Status.PRESENT if p >= 0.5 else Status.ABSENT, probability=p)
        for n, p in (chances or {}).items()
    ]
    return Prediction(study_id=study, language=language, text=text, findings=found)


def clinical(
    predictions: Sequence[Prediction], references: Sequence[Reference]
) -> dict[str, float]:
    """AUC of each question and F1 of what was written, with 95 % intervals, beside all-normal.

    ``chexpert_f1``: micro F1 over CheXpert's 14, "no finding" among them, of the labeler's reading
    of the draft against the true findings; a report that says nothing is wrong gets something
    here. ``finding_f1``: over the findings that the references speak of, where it gets 0;
    ``agreement``: the share of statuses that are right, the number that it is good at. Intervals
    are bootstraps over patients (:func:`hilum.evaluation.bootstrap.draws`). A number that is not
    defined is not there.
    """
    found: dict[str, float] = {}
    for name in dict.fromkeys(f.name for p in predictions for f in p.findings):
        found |= _ranked(name, predictions, references)
    pairs = [(p, r) for p, r in zip(predictions, references, strict=True) if p.text is not None]
    if pairs:
        system = System("run", "reader", [p for p, _ in pairs])
        found |= _worded(system, [r for _, r in pairs])
    return found


def _ranked(
    name: FindingName, predictions: Sequence[Prediction], references: Sequence[Reference]
) -> dict[str, float]:
    """Over the studies that were asked about it."""
    asked = [
        (p, r)
        for p, r in zip(predictions, references, strict=True)
        if any(f.name is name for f in p.findings)
    ]
    known = [r for _, r in asked]
    system = System("run", "reader", [p for p, _ in asked])
    column = columns_of(known, system, [name], "likelihood", "out")[name]
    weights = draws([r.patient_id for r in known])
    return _told(f"{name}_auc", ranking([column], weights)["auc"]) if column.both else {}


def _worded(system: System, references: Sequence[Reference]) -> dict[str, float]:
    weights = draws([r.patient_id for r in references])
    mine = _figures(system, references, weights)
    normal = _figures(baselines(references)[0], references, weights)
    found: dict[str, float] = {}
    for name, values in mine.items():
        found |= _told(name, values)
        if name in normal and math.isfinite(normal[name][0]):
            found[NORMAL + name] = float(normal[name][0])
    return found


def _figures(system: System, references: Sequence[Reference], weights: Floats) -> Figures:
    said = {f.name for r in references for f in r.findings} - {FindingName.NO_FINDING}
    names = [n for n in FindingName if n in said]
    columns = columns_of(references, system, names, "words", "out")
    summed = {k: v.sum(1) for k, v in counts(list(columns.values()), weights).items()}
    every = rates(summed, 0.5)
    fourteen = columns_of(references, system, CHEXPERT14, "words", "out")
    found = {
        "chexpert_f1": chexpert_f1(fourteen, weights)["chexpert_f1_micro14"],
        "finding_f1": every["f1"],
        "agreement": every["accuracy"],
    }
    if FindingName.FRACTURE in columns:
        one = counts([columns[FindingName.FRACTURE]], weights)
        found["fracture_f1"] = rates({k: v.sum(1) for k, v in one.items()}, 0.5)["f1"]
    return found


def _told(name: str, values: Floats) -> dict[str, float]:
    known = interval(values)
    return dict(zip((name, name + LOW, name + HIGH), known, strict=True)) if known else {}


def in_words(numbers: Mapping[str, float]) -> str:
    """Numbers by name, each with its interval and what a report that all is normal gets."""
    told = []
    for name, value in numbers.items():
        bare = name.removeprefix("eval_")
        if bare.endswith((LOW, HIGH)) or bare.startswith(NORMAL):
            continue
        words = f"{bare} {value:.4g}"
        if name + LOW in numbers:
            words += f" [{numbers[name + LOW]:.3g}, {numbers[name + HIGH]:.3g}]"
        normal = name.removesuffix(bare) + NORMAL + bare
        if normal in numbers:
            words += f" (all normal {numbers[normal]:.3g})"
        told.append(words)
    return ", ".join(told)


def probability(present: float, absent: float) -> float:
    """Of presence, from the log likelihoods of the two answers."""
    return 1 / (1 + math.exp(min(max(absent - present, -700.0), 700.0)))


def higher_is_better(metric: str) -> bool:
    """Loss is better when it is low, everything else when it is high."""
    return metric != "loss"


def chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Some items at a time."""
    return [items[i : i + size] for i in range(0, len(items), size)]
