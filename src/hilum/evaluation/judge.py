"""Systems against references: every figure with its interval, as one plain dictionary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hilum.data.rows import Reference
from hilum.evaluation.bootstrap import ROUNDS, draws
from hilum.evaluation.case import (
    CHEXPERT5,
    CHEXPERT14,
    SOURCES,
    Column,
    Floats,
    System,
    Uncertain,
    columns_of,
    side_column,
    truths,
)
from hilum.evaluation.curves import curves
from hilum.evaluation.paired import compare
from hilum.evaluation.protocol import chexfract
from hilum.evaluation.subgroups import subgroups
from hilum.evaluation.texts import flipped_figures, text_figures
from hilum.evaluation.weighted import (
    Figures,
    calibration,
    counts,
    interval,
    mean_over,
    ranking,
    rates,
)
from hilum.findings import FindingName, Side

GROUPS = {"14": CHEXPERT14, "5": CHEXPERT5}
Columns = dict[FindingName, Column]
Told = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Everything that decides the figures, besides references and answers.

    ``uncertain``: what "possible" counts as, in references and answers alike; F1CheXbert counts
    it as present. ``prevalence``: of the finding where PPV and NPV are wanted.
    """

    rounds: int = ROUNDS
    seed: int = 0
    uncertain: Uncertain = "present"
    prevalence: float = 0.02


def judge(
    references: Sequence[Reference],
    systems: Sequence[System],
    settings: Settings | None = None,
    progress: Callable[[str], object] = lambda what: None,
) -> Told:
    """All figures of all systems, comparisons of pairs, and what the metrics are blind to.

    An interval is [value, low, high]; a metric that is not defined is None. The same input
    gives the same output.
    """
    settings = settings or Settings()
    weights = draws([r.patient_id for r in references], settings.rounds, settings.seed)
    names = named(references, settings.uncertain)
    focus = focus_of(references, settings.uncertain)
    told: Told = {
        "settings": asdict(settings),
        "references": _references(references, names, settings.uncertain),
        "findings": [name.value for name in names],
        "focus": focus.value,
        "systems": [],
        "flipped": {},
    }
    judged: list[tuple[System, Columns]] = []
    for system in systems:
        progress(system.name)
        by: dict[str, Columns] = {
            source: columns_of(references, system, names, source, settings.uncertain)
            for source in SOURCES
            if source == "likelihood" or system.has_words()
        }
        told["systems"].append(_system(references, system, by, focus, weights, settings))
        judged.append((system, by["likelihood"]))
    progress("pairs")
    own = [pair for pair in judged if pair[0].kind != "baseline"]
    told["paired"] = compare(references, own, focus, weights, settings.seed)
    for language in told["references"]["languages"]:
        some = [r for r in references if r.text and r.language == language]
        told["flipped"][language] = flipped_figures(some, language, settings.uncertain)
    return told


def named(references: Sequence[Reference], uncertain: Uncertain) -> list[FindingName]:
    """CheXpert's 14, and every other finding that a reference has."""
    found = truths(references, list(FindingName), uncertain)
    return [name for name, (truth, _) in found.items() if name in CHEXPERT14 or truth.any()]


def focus_of(references: Sequence[Reference], uncertain: Uncertain) -> FindingName:
    """The finding that is drawn and compared: fracture, or else what is nearest to half."""
    found = truths(references, list(FindingName), uncertain)
    apart = {
        name: abs(float((truth & known).sum()) / max(int(known.sum()), 1) - 0.5)
        for name, (truth, known) in found.items()
        if name is not FindingName.NO_FINDING
    }
    if apart[FindingName.FRACTURE] < 0.5:
        return FindingName.FRACTURE
    return min(apart, key=apart.__getitem__)


def _references(
    references: Sequence[Reference], names: Sequence[FindingName], uncertain: Uncertain
) -> Told:
    found = truths(references, names, uncertain)
    return {
        "studies": len(references),
        "patients": len({r.patient_id for r in references}),
        "sources": dict(Counter(r.source for r in references)),
        "languages": dict(sorted(Counter(r.language for r in references if r.text).items())),
        "positives": {name.value: int(truth.sum()) for name, (truth, _) in found.items()},
    }


def _system(
    references: Sequence[Reference],
    system: System,
    by: Mapping[str, Columns],
    focus: FindingName,
    weights: Floats,
    settings: Settings,
) -> Told:
    predictions = system.predictions
    sides = {
        f"fracture_{side}": side_column(references, system, side)
        for side in (Side.LEFT, Side.RIGHT)
    }
    return {
        "name": system.name,
        "kind": system.kind,
        "about": system.about,
        "outcomes": dict(Counter(p.outcome.value for p in predictions)),
        "codes": dict(Counter(p.code.value for p in predictions if p.code)),
        "not_read": [
            {"study_id": p.study_id, "outcome": p.outcome, "code": p.code}
            for p in predictions
            if not p.read
        ],
        **{source: _source(columns, weights, settings) for source, columns in by.items()},
        "sides": {
            name: told(figures_of([c], weights, settings.prevalence), c)
            for name, c in sides.items()
        },
        "subgroups": subgroups(references, by["likelihood"], focus, weights, settings.prevalence),
        "reports": _reports(references, system, weights, settings) if system.has_words() else {},
        "chexfract": chexfract(by, weights),
        "curves": curves(by["likelihood"][focus]),
    }


def _source(columns: Columns, weights: Floats, settings: Settings) -> Told:
    """Every finding, and micro and macro over the groups."""
    prevalence = settings.prevalence
    counted = counts(list(columns.values()), weights)
    hard = rates(counted, prevalence)
    ranked = {name: _soft(c, weights) for name, c in columns.items() if c.scored}
    out: Told = {"findings": {}, "groups": {}}
    for k, (name, c) in enumerate(columns.items()):
        single = {metric: values[:, k] for metric, values in hard.items()}
        out["findings"][name.value] = told(single | ranked.get(name, {}), c)
    for group, names in GROUPS.items():
        rows = [k for k, name in enumerate(columns) if name in names]
        occur = np.array([name in names and c.both for name, c in columns.items()])
        micro = rates({m: v[:, rows].sum(1) for m, v in counted.items()}, prevalence)
        macro = {m: mean_over(v, occur) for m, v in hard.items()}
        soft = [n for n in columns if n in names and n in ranked]
        if soft:
            micro |= ranking([columns[n] for n in soft], weights)
            defined = [ranked[n] for n in soft if columns[n].both]
            for metric in ("auc", "average_precision", "brier", "ece") if defined else ():
                table = np.stack([r[metric] for r in defined], 1)
                macro[metric] = mean_over(table, np.ones(len(defined), bool))
        out["groups"][group] = {
            "micro": _intervals(micro),
            "macro": _intervals(macro),
            "macro_over": [n.value for n, there in zip(columns, occur, strict=True) if there],
            "ranked_over": [n.value for n in soft],
        }
    return out


def figures_of(columns: Sequence[Column], weights: Floats, prevalence: float) -> Figures:
    """Every metric over all studies of some columns together, each (R,)."""
    summed = {m: v.sum(1) for m, v in counts(columns, weights).items()}
    out = rates(summed, prevalence)
    if all(c.scored for c in columns):
        out |= ranking(columns, weights)
    return out


def _soft(c: Column, weights: Floats) -> Figures:
    return ranking([c], weights) | calibration(c, weights)


def told(figures: Figures, c: Column) -> Told:
    """Intervals with the numbers of studies that they rest on."""
    return {
        "n": int(c.known.sum()),
        "positives": int((c.truth & c.known).sum()),
        "answered": int((c.answered & c.known).sum()),
        "scored": int((np.isfinite(c.score) & c.known).sum()),
        **_intervals(figures, _bases(c)),
    }


def _bases(c: Column) -> dict[str, int]:
    """Of how many studies each share is."""
    here = c.known
    called = int((c.positive & c.answered & here).sum())
    return {
        "recall": int((c.truth & here).sum()),
        "specificity": int((~c.truth & here).sum()),
        "accuracy": int(here.sum()),
        "precision": called,
        "npv": int((c.answered & here).sum()) - called,
    }


def _intervals(figures: Figures, bases: Mapping[str, int] | None = None) -> Told:
    known = bases or {}
    return {metric: interval(values, known.get(metric)) for metric, values in figures.items()}


def _reports(
    references: Sequence[Reference], system: System, weights: Floats, settings: Settings
) -> Told:
    """Metrics of the texts, for each language of the references that have one."""
    out: Told = {}
    for language in sorted({r.language for r in references if r.text}):
        rows = np.array([k for k, r in enumerate(references) if r.text and r.language == language])
        some = System(system.name, system.kind, [system.predictions[k] for k in rows])
        figures = text_figures(
            [references[k] for k in rows], some, settings.uncertain, weights[:, rows]
        )
        out[language] = {"n": len(rows), **_intervals(figures)}
    return out
