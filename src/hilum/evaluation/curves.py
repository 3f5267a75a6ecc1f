"""Points of ROC, precision-recall and reliability curves, few enough to draw."""

from __future__ import annotations

from typing import Any

import numpy as np

from hilum.evaluation.case import Bools, Column, Floats
from hilum.evaluation.metrics import wilson
from hilum.evaluation.weighted import BINS, filled

MOST = 200


def curves(column: Column) -> dict[str, Any] | None:
    """ROC and PR points, reliability bins and the operating point; None without both classes.

    ``point``: [1 - specificity, recall, precision] of the hard answers, which systems without
    probabilities have too. A reliability bin is [mean probability, share, low, high, studies].
    """
    known = column.known
    y, p = column.truth[known], filled(column)[known]
    positives, negatives = int(y.sum()), int((~y).sum())
    if not positives or not negatives:
        return None
    answered = (column.answered & column.positive)[known]
    hits, alarms = int((answered & y).sum()), int((answered & ~y).sum())
    # a negative without an answer is no true negative
    false = alarms + int((~y & ~column.answered[known]).sum())
    precision = hits / (hits + alarms) if hits + alarms else None
    out: dict[str, Any] = {"point": [false / negatives, hits / positives, precision]}
    if not column.scored:
        return out | {"roc": None, "pr": None, "reliability": None}
    order = np.argsort(-p, kind="stable")
    ranked = p[order]
    last = np.r_[np.flatnonzero(ranked[1:] != ranked[:-1]), len(p) - 1]
    up, down = np.cumsum(y[order])[last], np.cumsum(~y[order])[last]
    roc = np.stack([np.r_[0, down / negatives], np.r_[0, up / positives]], 1)
    pr = np.stack([up / positives, up / (up + down)], 1)
    told = np.isfinite(column.score) & known & column.answered
    return out | {
        "roc": _thin(roc),
        "pr": _thin(pr),
        "reliability": reliability(column.truth[told], column.score[told]),
        "prevalence": positives / (positives + negatives),
    }


def reliability(truth: Bools, probability: Floats) -> list[list[float]]:
    """Bins of equal width that hold a study: [mean probability, share, low, high, studies]."""
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    bins = []
    for k in range(BINS):
        inside = place == k
        if n := int(inside.sum()):
            hits = truth[inside]
            low, high = wilson(int(hits.sum()), n)
            bins.append([float(probability[inside].mean()), float(hits.mean()), low, high, n])
    return bins


def _thin(points: Floats) -> list[list[float]]:
    """At most MOST points, the first and the last among them, to four decimals."""
    if len(points) > MOST:
        points = points[np.unique(np.linspace(0, len(points) - 1, MOST).astype(int))]
    return [[round(float(x), 4), round(float(y), 4)] for x, y in points]
