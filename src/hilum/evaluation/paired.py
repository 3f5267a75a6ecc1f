"""Two systems on the same studies: differences with intervals, and a randomisation test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import rankdata

from hilum.data.rows import Reference
from hilum.evaluation.bootstrap import p_value, swaps
from hilum.evaluation.case import CHEXPERT14, Column, Floats, System
from hilum.evaluation.weighted import Figures, counts, interval, mean_over, ranking, rates
from hilum.findings import FindingName

Columns = Mapping[FindingName, Column]


def compare(
    references: Sequence[Reference],
    judged: Sequence[tuple[System, Columns]],
    focus: FindingName,
    weights: Floats,
    seed: int,
) -> list[dict[str, Any]]:
    """Every pair: first minus second, its 95 % interval and the two-sided p of each metric.

    The interval comes from the same resamples of both; p from exchanging their answers patient
    by patient. Scores are turned into ranks for that: two systems' scales need not be alike.
    """
    out = []
    patients = [r.patient_id for r in references]
    for (a, first), (b, second) in combinations(judged, 2):
        one, two = compared(first, focus, weights), compared(second, focus, weights)
        both = [m for m in one if m in two]
        joined = {name: _joined(first[name], second[name]) for name in first}
        own, other = swaps(patients, len(weights) - 1, seed)
        here, there = compared(joined, focus, own), compared(joined, focus, other)
        out.append(
            {
                "first": a.name,
                "second": b.name,
                "metrics": {
                    m: {
                        "difference": interval(one[m] - two[m]),
                        "p": p_value(here[m] - there[m]) if m in here else None,
                    }
                    for m in both
                },
            }
        )
    return out


def compared(columns: Columns, focus: FindingName, weights: Floats) -> Figures:
    """The metrics that pairs are compared by, each (R,)."""
    counted = counts([columns[focus]], weights)
    single = {m: v[:, 0] for m, v in rates(counted, 0.5).items()}
    out = {f"{m}|{focus}": single[m] for m in ("accuracy", "f1", "recall", "specificity")}
    if columns[focus].scored:
        out[f"auc|{focus}"] = ranking([columns[focus]], weights)["auc"]
    some = [columns[n] for n in columns if n in CHEXPERT14]
    counted = counts(some, weights)
    both = np.array([c.both for c in some])
    out["f1|macro14"] = mean_over(rates(counted, 0.5)["f1"], both)
    out["f1|micro14"] = rates({m: v.sum(1) for m, v in counted.items()}, 0.5)["f1"]
    return out


def _joined(a: Column, b: Column) -> Column:
    """The answers of both, end to end; scores as shares of their own ranks."""
    return Column(
        np.concatenate([a.truth, b.truth]),
        np.concatenate([a.known, b.known]),
        np.concatenate([a.positive, b.positive]),
        np.concatenate([a.answered, b.answered]),
        np.concatenate([_ranks(a), _ranks(b)]),
    )


def _ranks(c: Column) -> Floats:
    out = np.full(len(c.score), np.nan)
    there = np.isfinite(c.score)
    out[there] = rankdata(c.score[there]) / max(int(there.sum()), 1)
    return out
