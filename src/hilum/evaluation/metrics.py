"""Ranking, calibration error and intervals, on plain arrays."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Z95 = 1.959964


def auc(truth: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve, ties counted half (Mann-Whitney); nan where a class is missing."""
    y, s = np.asarray(truth, bool), np.asarray(score, float)
    positives, negatives = int(y.sum()), int((~y).sum())
    if not positives or not negatives:
        return math.nan
    ranks = rankdata(s)
    return float((ranks[y].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) where n is 0."""
    if n == 0:
        return 0.0, 1.0
    p = hits / n
    middle = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(
    metric: Callable[..., float], *columns: ArrayLike, rounds: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of ``metric`` over rows drawn again.

    Rounds without a value are left out.
    """
    arrays = [np.asarray(c) for c in columns]
    rng = np.random.default_rng(seed)
    n = len(arrays[0])
    values = [metric(*(a[rows] for a in arrays)) for rows in rng.integers(0, n, (rounds, n))]
    known = [v for v in values if not math.isnan(v)]
    if not known:
        return math.nan, math.nan
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def calibration_error(truth: ArrayLike, probability: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error over equal-width bins (Guo et al., arXiv 1706.04599)."""
    y, p = np.asarray(truth, float), np.asarray(probability, float)
    place = np.minimum((p * bins).astype(int), bins - 1)
    total = 0.0
    for k in range(bins):
        inside = place == k
        if inside.any():
            total += inside.sum() / len(p) * abs(y[inside].mean() - p[inside].mean())
    return float(total)


def logit(probability: ArrayLike) -> NDArray[np.float64]:
    """Log odds, with probabilities kept 1e-7 off 0 and 1."""
    p = np.clip(np.asarray(probability, float), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(p / (1 - p)))
