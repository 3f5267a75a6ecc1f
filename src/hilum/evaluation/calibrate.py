"""Fitting a calibration: likelihoods to probabilities that mean what they say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression, minimize, minimize_scalar
from scipy.special import expit

from hilum.evaluation.case import Bools, Floats
from hilum.evaluation.metrics import calibration_error, logit, wilson
from hilum.reading.calibration import Curve, Isotonic, Platt

FOLDS = 5
FEWEST = 10
"""Cases with and cases without a finding that a curve needs; two for each fold."""
HALF = 0.5
STEP = 1e-4  # of a probability, which has four decimals


def fit_platt(truth: ArrayLike, likelihood: ArrayLike) -> tuple[float, float]:
    """Slope and intercept of Platt scaling on log odds (Platt 1999, with his smoothed targets).

    Fewer than one case of each class raises ValueError: there is nothing to fit.
    """
    y, x = np.asarray(truth, bool), logit(likelihood)
    target = _targets(y)

    def loss(ab: np.ndarray) -> float:
        z = ab[0] * x + ab[1]
        return float(np.mean(np.logaddexp(0, z) - target * z))

    def slope(ab: np.ndarray) -> np.ndarray:
        error = expit(ab[0] * x + ab[1]) - target
        return np.array([np.mean(error * x), np.mean(error)])

    best = minimize(loss, np.array([1.0, 0.0]), jac=slope, method="BFGS")
    return float(best.x[0]), float(best.x[1])


def fit_temperature(truth: ArrayLike, likelihood: ArrayLike) -> float:
    """The one slope, 1 / T, of temperature scaling (Guo et al., arXiv 1706.04599).

    Fewer than one case of each class raises ValueError.
    """
    y, x = np.asarray(truth, bool), logit(likelihood)
    target = _targets(y)

    def loss(a: float) -> float:
        return float(np.mean(np.logaddexp(0, a * x) - target * a * x))

    return float(minimize_scalar(loss, bounds=(1e-3, 1e3), method="bounded").x)


def fit_isotonic(truth: ArrayLike, likelihood: ArrayLike) -> Isotonic:
    """The monotone curve of least squares (Zadrozny and Elkan 2002), never quite 0 or 1.

    Its ends are Platt's smoothed targets: so many cases prove no certainty. Fewer than one
    case of each class raises ValueError.
    """
    y, x = np.asarray(truth, bool), np.round(logit(likelihood), 6)
    low, high = sorted(set(_targets(y).tolist()))
    points, at = np.unique(x, return_inverse=True)
    weight = np.bincount(at).astype(float)
    fitted = isotonic_regression(np.bincount(at, y) / weight, weights=weight).x
    fitted = np.clip(fitted, low, high)
    # of a level stretch only the two ends matter
    change = np.r_[True, np.diff(fitted) != 0]
    kept = change | np.r_[change[1:], True]
    return Isotonic(log_odds=points[kept].tolist(), probability=fitted[kept].tolist())


def _targets(y: Bools) -> Floats:
    positives, negatives = int(y.sum()), int((~y).sum())
    if not positives or not negatives:
        raise ValueError("calibration needs cases with and without the finding")
    return np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def _platt(truth: ArrayLike, likelihood: ArrayLike) -> Curve:
    slope, intercept = fit_platt(truth, likelihood)
    return Platt(slope=slope, intercept=intercept)


Fitter = Callable[[ArrayLike, ArrayLike], Curve]
# From the fewest free parameters to the most: of equal ones the first is taken.
METHODS: dict[str, Fitter] = {
    "none": lambda truth, likelihood: Platt(),
    "temperature": lambda truth, likelihood: Platt(slope=fit_temperature(truth, likelihood)),
    "platt": _platt,
    "isotonic": fit_isotonic,
}
AUTO, KEPT = "auto", "kept"


@dataclass(frozen=True)
class Points:
    """What the operating points are to reach; both: doubt by the one, certain by the other."""

    sensitivity: float | None = None
    specificity: float | None = None


@dataclass(frozen=True)
class Fitted:
    """One finding's curve, its points, and what is to be expected of them on other patients.

    ``told`` holds, of probabilities that the case itself had no part in: the loss of every
    method, Brier score, calibration error and reliability, and the points' sensitivity and
    specificity with Wilson intervals.
    """

    curve: Curve
    threshold: float | None
    doubt: float | None
    told: dict[str, Any]


def fit(
    truth: Bools,
    likelihood: Floats,
    patients: Sequence[str],
    method: str = AUTO,
    points: Points | None = None,
    before: Curve | None = None,
) -> Fitted:
    """Fit a curve and its operating points; ``before``: the curve that the reader has now.

    ``auto`` takes the method of the least out-of-fold log loss, or the first that is hardly
    worse; keeping the curve that is there comes first of all. Raises ValueError where there
    are fewer than FEWEST cases of a class.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if min(positives, negatives) < FEWEST:
        raise ValueError(f"{positives} cases with and {negatives} without; {FEWEST} are needed")
    now = before or Platt()
    methods = ({KEPT: _keep(now)} if before else {}) | METHODS
    folds = split(truth, patients)
    apart = {
        name: _out_of_fold(truth, likelihood, folds, fitter) for name, fitter in methods.items()
    }
    losses = {name: _log_losses(truth, p) for name, p in apart.items()}
    chosen = _simplest(losses) if method == AUTO else method
    fitter = methods[chosen]
    curve = fitter(truth, likelihood)
    threshold, doubt = operating(truth, _apply(curve, likelihood), points or Points())
    return Fitted(
        curve,
        threshold,
        doubt,
        {
            "method": chosen,
            "cases": len(truth),
            "positives": positives,
            "log_loss": {name: round(float(x.mean()), 6) for name, x in losses.items()},
            "raw": _quality(truth, likelihood),
            "before": _quality(truth, _apply(now, likelihood)),
            "after": _quality(truth, apart[chosen]),
            "threshold": _expected(truth, likelihood, folds, fitter, points or Points(), 0),
            "doubt": _expected(truth, likelihood, folds, fitter, points or Points(), 1),
        },
    )


def _keep(curve: Curve) -> Fitter:
    return lambda truth, likelihood: curve


def operating(truth: Bools, p: Floats, points: Points) -> tuple[float | None, float | None]:
    """Threshold and point of doubt that reach what is wanted on these cases.

    One wish: the threshold alone. Both: certain (present) by the specificity, doubt by the
    sensitivity where that is lower. Of the thresholds that reach as much of the other as can be
    had, the nearest to one half is taken: where a finding is told apart with ease, 0.0002 would
    reach the wish too, and would be a trap on the next film.
    """
    sensitive = specific = None
    if points.sensitivity is not None:
        falling = np.sort(p[truth])[::-1]
        high = float(falling[int(np.ceil(points.sensitivity * len(falling))) - 1])
        below = float(p[~truth & (p < high)].max(initial=0.0))
        sensitive = min(high, max(round(below + STEP, 4), HALF))
    if points.specificity is not None:
        rising = np.sort(p[~truth])
        last = float(rising[int(np.ceil(points.specificity * len(rising))) - 1])
        low = min(1.0, round(last + STEP, 4))
        specific = max(low, min(float(p[truth & (p >= low)].min(initial=1.0)), HALF))
    if specific is None:
        return sensitive, None
    doubtful = sensitive is not None and sensitive < specific
    return specific, sensitive if doubtful else None


def split(truth: Bools, patients: Sequence[str], folds: int = FOLDS) -> np.ndarray:
    """Fold of every case: no patient in two, patients with the finding spread evenly.

    By a hash of the patient, so that the order of the cases does not matter.
    """
    ill = {patient for patient, y in zip(patients, truth, strict=True) if y}
    order = sorted(set(patients), key=lambda p: (p in ill, hashlib.sha256(p.encode()).hexdigest()))
    fold = {patient: k % folds for k, patient in enumerate(order)}
    return np.array([fold[p] for p in patients])


def _apply(curve: Curve, likelihood: Floats) -> Floats:
    return np.array([curve.apply(float(x)) for x in logit(likelihood)])


def _out_of_fold(truth: Bools, likelihood: Floats, folds: np.ndarray, fitter: Fitter) -> Floats:
    """Probabilities by curves that were fitted without the case's fold."""
    p = np.empty(len(truth))
    for k in range(FOLDS):
        out = folds == k
        p[out] = _apply(fitter(truth[~out], likelihood[~out]), likelihood[out])
    return p


def _expected(
    truth: Bools,
    likelihood: Floats,
    folds: np.ndarray,
    fitter: Fitter,
    points: Points,
    which: int,
) -> dict[str, list[float]] | None:
    """Sensitivity and specificity of a point, each fold by the others' curve and point."""
    called = np.zeros(len(truth), bool)
    for k in range(FOLDS):
        out = folds == k
        curve = fitter(truth[~out], likelihood[~out])
        point = operating(truth[~out], _apply(curve, likelihood[~out]), points)[which]
        if point is None:
            return None
        called[out] = _apply(curve, likelihood[out]) >= point
    return {
        "sensitivity": _share(called[truth]),
        "specificity": _share(~called[~truth]),
    }


def _share(hits: Bools) -> list[float]:
    n = len(hits)
    return [float(hits.mean()), *wilson(int(hits.sum()), n)]


def _log_losses(truth: Bools, p: Floats) -> Floats:
    """Of every case; what is printed as 0 or 1 costs as much as its last decimal."""
    p = np.clip(p, STEP, 1 - STEP)
    return -np.where(truth, np.log(p), np.log(1 - p))


def _simplest(losses: dict[str, Floats]) -> str:
    """The first method that is no more than one standard error worse than the best.

    The rule of Breiman et al. (1984), on differences case by case: a curve that is no better
    than the one there is, is noise.
    """
    best = min(losses.values(), key=lambda loss: float(loss.mean()))
    for name, loss in losses.items():
        worse = loss - best
        if worse.mean() <= worse.std() / np.sqrt(len(worse)):
            return name
    raise AssertionError("the best is no worse than itself")


def _quality(truth: Bools, p: Floats) -> dict[str, Any]:
    from hilum.evaluation.curves import reliability

    return {
        "brier": float(np.mean((p - truth) ** 2)),
        "ece": calibration_error(truth, p),
        "log_loss": float(_log_losses(truth, p).mean()),
        "reliability": reliability(truth, p),
    }
