"""Fitting a calibration: likelihoods to probabilities that mean what they say."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit

from hilum.evaluation.metrics import logit


def fit_platt(truth: ArrayLike, likelihood: ArrayLike) -> tuple[float, float]:
    """Slope and intercept of Platt scaling on log odds (Platt 1999, with his smoothed targets).

    Fewer than one case of each class raises ValueError: there is nothing to fit.
    """
    y, x = np.asarray(truth, bool), logit(likelihood)
    positives, negatives = int(y.sum()), int((~y).sum())
    if not positives or not negatives:
        raise ValueError("calibration needs cases with and without the finding")
    target = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(ab: np.ndarray) -> float:
        z = ab[0] * x + ab[1]
        return float(np.mean(np.logaddexp(0, z) - target * z))

    def slope(ab: np.ndarray) -> np.ndarray:
        error = expit(ab[0] * x + ab[1]) - target
        return np.array([np.mean(error * x), np.mean(error)])

    best = minimize(loss, np.array([1.0, 0.0]), jac=slope, method="BFGS")
    return float(best.x[0]), float(best.x[1])
