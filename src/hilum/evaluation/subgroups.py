"""One finding by what the patient and the lesion are like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hilum.data.rows import Reference
from hilum.evaluation.case import Bools, Column, Floats, fractures
from hilum.evaluation.weighted import counts, interval, ranking, rates
from hilum.findings import FindingName, Instance

# Attributes of a fracture; a study is in every level that one of its fractures has.
LESION: tuple[str, ...] = ("bone", "region", "stage", "displacement", "side")
AGES = ((0, 17), (18, 39), (40, 64), (65, 79), (80, 130))
UNKNOWN = "unknown"


def subgroups(
    references: Sequence[Reference],
    columns: Mapping[FindingName, Column],
    focus: FindingName,
    weights: Floats,
    prevalence: float,
) -> dict[str, dict[str, Any]]:
    """Figures of the finding in focus, by group and level.

    By the lesion (fractures only): its positives against every study without the finding, so
    recall and AUC are the level's and specificity is everyone's. By the patient or the film:
    the studies of that level alone. Levels without a positive are left out.
    """
    column = columns[focus]
    out: dict[str, dict[str, Any]] = {}
    if focus is FindingName.FRACTURE:
        for name in LESION:
            lesions = _lesions(references, name)
            beside = {level: mask | ~column.truth for level, mask in lesions.items()}
            out[name] = _levels(column, beside, weights, prevalence)
    for name, level_of in PATIENT.items():
        said = np.array([level_of(r) for r in references], dtype=object)
        order = sorted(set(said), key=lambda level: (level == UNKNOWN, level))
        levels = {level: said == level for level in order}
        if list(levels) != [UNKNOWN]:
            out[name] = _levels(column, levels, weights, prevalence)
    return {name: levels for name, levels in out.items() if levels}


def _levels(
    column: Column, levels: Mapping[str, Bools], weights: Floats, prevalence: float
) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for level, mask in levels.items():
        rows = np.flatnonzero(mask & column.known)
        part = column.take(rows)
        if not part.truth.any():
            continue
        some = weights[:, rows]
        figures = {m: v[:, 0] for m, v in rates(counts([part], some), prevalence).items()}
        if part.scored:
            figures |= ranking([part], some)
        bases = {"recall": int(part.truth.sum()), "specificity": int((~part.truth).sum())}
        out[level] = {
            "n": len(rows),
            "positives": int(part.truth.sum()),
            **{
                m: interval(figures[m], bases.get(m))
                for m in ("auc", "recall", "specificity", "f1")
                if m in figures
            },
        }
    return out


def _lesions(references: Sequence[Reference], name: str) -> dict[str, Bools]:
    """Which studies have a fracture of each level; a fracture that says nothing is unknown."""
    said = [_said(r, name) for r in references]
    known = sorted(
        {level for levels in said for level in levels}, key=lambda level: (level == UNKNOWN, level)
    )
    return {level: np.array([level in levels for levels in said], bool) for level in known}


def _said(reference: Reference, name: str) -> set[str]:
    return {
        str(getattr(instance, name) or UNKNOWN)
        for finding in fractures(reference.findings)
        for instance in finding.instances or [Instance()]
    }


def _age(reference: Reference) -> str:
    age = reference.context.age
    if age is None:
        return UNKNOWN
    low, high = next(span for span in AGES if span[0] <= age <= span[1])
    return f"{low:02d}-{high}" if high < AGES[-1][1] else f"{low}+"


def _sex(reference: Reference) -> str:
    return reference.context.sex or UNKNOWN


def _view(reference: Reference) -> str:
    return "+".join(p or UNKNOWN for p in reference.positions) or UNKNOWN


PATIENT: dict[str, Callable[[Reference], str]] = {"age": _age, "sex": _sex, "view": _view}
