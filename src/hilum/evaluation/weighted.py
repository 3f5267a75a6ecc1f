"""Metrics of many weightings at once: every function takes weights (R, n) and gives R values.

Row 0 of the weights is all ones, so the first value is the metric itself and the others are its
bootstrap. Where a metric is not defined its value is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilum.evaluation.case import Bools, Column, Floats
from hilum.evaluation.metrics import wilson

AT_ONCE = 500_000
"""Most numbers of one array of a block of rounds: 4 MB, which a cache holds."""

BINS = 10
COUNTS = ("tp", "fp", "fn", "tn", "positives", "negatives")
Figures = dict[str, Floats]


def counts(columns: Sequence[Column], weights: Floats) -> Figures:
    """Weighted counts, each (R, columns). ``fn`` and ``tn`` are of answered studies alone.

    A study without an answer is counted among ``positives`` or ``negatives`` and nowhere else,
    so that it lowers recall, specificity and accuracy, and never counts as a correct "absent".
    """
    masks = [
        [
            c.truth & c.positive,
            ~c.truth & c.positive,
            c.truth & ~c.positive,
            ~(c.truth | c.positive),
        ]
        for c in columns
    ]
    flat = [m & c.answered & c.known for c, some in zip(columns, masks, strict=True) for m in some]
    flat += [m & c.known for c in columns for m in (c.truth, ~c.truth)]
    sums = weights @ np.stack(flat, 1).astype(weights.dtype)
    k = len(columns)
    first, last = sums[:, : 4 * k].reshape(-1, k, 4), sums[:, 4 * k :].reshape(-1, k, 2)
    parts = [*np.moveaxis(first, 2, 0), *np.moveaxis(last, 2, 0)]
    return {name: np.asarray(part, np.float64) for name, part in zip(COUNTS, parts, strict=True)}


def rates(c: Figures, prevalence: float) -> Figures:
    """Every metric of hard answers from their counts, of any shape.

    ``ppv_at`` and ``npv_at`` are Bayes' at the given prevalence.
    """
    recall, specificity = over(c["tp"], c["positives"]), over(c["tn"], c["negatives"])
    up, down = recall * prevalence, specificity * (1 - prevalence)
    return {
        "f1": over(2 * c["tp"], c["positives"] + c["tp"] + c["fp"]),
        "accuracy": over(c["tp"] + c["tn"], c["positives"] + c["negatives"]),
        "precision": over(c["tp"], c["tp"] + c["fp"]),
        "recall": recall,
        "specificity": specificity,
        "npv": over(c["tn"], c["tn"] + c["fn"]),
        "balanced_accuracy": (recall + specificity) / 2,
        "ppv_at": over(up, up + (1 - specificity) * (1 - prevalence)),
        "npv_at": over(down, down + (1 - recall) * prevalence),
    }


def ranking(columns: Sequence[Column], weights: Floats) -> Figures:
    """AUC (ties half) and average precision over all studies of all columns together.

    A study without a score is ranked on the wrong side: a positive last, a negative first.
    Columns in which nothing is scored must not be given.
    """
    studies = np.concatenate([np.flatnonzero(c.known) for c in columns])
    truth = np.concatenate([c.truth[c.known] for c in columns])
    score = np.concatenate([filled(c)[c.known] for c in columns])
    order = np.argsort(-score, kind="stable")
    kernel = _Ranked(studies[order], truth[order], score[order])
    block = max(1, AT_ONCE // max(len(studies), 1))
    parts = [kernel(weights[i : i + block]) for i in range(0, len(weights), block)]
    return {
        "auc": np.concatenate([auc for auc, _ in parts]),
        "average_precision": np.concatenate([ap for _, ap in parts]),
    }


class _Ranked:
    """AUC and average precision of weights on studies in falling order of their score.

    Both are sums over the groups of equal scores that hold a positive; nothing else is worked out.
    """

    def __init__(self, studies: NDArray[np.intp], truth: Bools, score: Floats) -> None:
        self.up, self.down = studies[truth], studies[~truth]
        first = (
            np.flatnonzero(np.r_[True, score[1:] != score[:-1]]) if len(score) else np.zeros(0, int)
        )
        last = np.r_[first[1:], len(score)][: len(first)]
        above = np.r_[0, np.cumsum(truth)]
        some = above[last] > above[first]
        first, last = first[some], last[some]
        self.above = above[last]  # positives down to the end of each group
        self.before, self.below = first - above[first], last - above[last]  # and negatives

    def __call__(self, weights: Floats) -> tuple[Floats, Floats]:
        up, down = (_running(weights, side) for side in (self.up, self.down))
        positives, negatives = up[-1], down[-1]
        upto = up[self.above]
        here = np.diff(upto, axis=0, prepend=np.zeros((1, len(weights))))
        after = down[self.below]
        ties = (self.before < self.below).any()
        middle = (down[self.before] + after) / 2 if ties else after
        auc = over(positives * negatives - (here * middle).sum(0), positives * negatives)
        after += upto
        np.divide(upto, after, out=upto, where=after > 0)
        return auc, over((here * upto).sum(0), positives)


def _running(weights: Floats, studies: NDArray[np.intp]) -> Floats:
    """Weight of the first 0, 1, 2 ... of these studies: (studies + 1, R)."""
    total = np.zeros((len(studies) + 1, len(weights)))
    np.cumsum(weights.T[studies], axis=0, out=total[1:])
    return total


def calibration(column: Column, weights: Floats) -> Figures:
    """Brier score and expected calibration error over ten bins of equal width.

    Of the studies that have a probability: what was not answered is no badly calibrated answer.
    """
    rows = np.flatnonzero(np.isfinite(column.score) & column.known & column.answered)
    y, p = column.truth[rows].astype(float), column.score[rows]
    place = np.minimum((p * BINS).astype(int), BINS - 1)
    parts = np.zeros((len(rows), BINS + 2))
    parts[:, 0] = 1
    parts[:, 1] = (p - y) ** 2
    parts[np.arange(len(rows)), 2 + place] = y - p
    sums = np.asarray(weights[:, rows], np.float64) @ parts
    return {
        "brier": over(sums[:, 1], sums[:, 0]),
        "ece": over(np.abs(sums[:, 2:]).sum(1), sums[:, 0]),
    }


def mean_over(values: Floats, defined: Bools) -> Floats:
    """The macro average of values (R, k) over the columns named by ``defined``.

    A resample in which one of them has no value is left out of that one's share.
    """
    some = values[:, defined]
    there = np.isfinite(some)
    return over(np.where(there, some, 0).sum(1), there.sum(1).astype(float))


def interval(values: Floats, of: int | None = None) -> list[float] | None:
    """[value, low, high]: the first value, and the 95 % percentile interval of the others.

    None where the metric is not defined; low and high are the value itself where fewer than half
    of the resamples have one. A share ``of`` so many studies that is 0 or 1 in every resample has
    Wilson's interval: ten hits of ten do not prove that there is never a miss.
    """
    if not len(values) or not np.isfinite(values[0]):
        return None
    drawn = values[1:][np.isfinite(values[1:])]
    if 2 * len(drawn) < len(values) - 1 or not len(drawn):
        return [float(values[0])] * 3
    low, high = np.percentile(drawn, [2.5, 97.5])
    if of and low == high and values[0] in (0, 1):
        low, high = wilson(round(of * float(values[0])), of)
    return [float(values[0]), float(low), float(high)]


def filled(column: Column) -> Floats:
    """Scores, with -inf for a positive and +inf for a negative that has none."""
    missing = ~np.isfinite(column.score) | ~column.answered
    return np.where(missing, np.where(column.truth, -np.inf, np.inf), column.score)


def over(a: Floats, b: Floats) -> Floats:
    """a / b, NaN where b is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(b > 0, a / b, np.nan), np.float64)
