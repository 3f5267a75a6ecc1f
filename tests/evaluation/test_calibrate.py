"""Platt scaling finds a known slope and intercept, and stays finite where data alone would not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from hilum.evaluation.calibrate import fit_platt
from hilum.evaluation.metrics import calibration_error, logit


@pytest.mark.parametrize("slope", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("intercept", [-2.0, 0.0, 1.5])
def test_a_known_slope_and_intercept_are_found(slope: float, intercept: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, 40_000)
    truth = rng.random(len(x)) < expit(slope * x + intercept)
    found = fit_platt(truth, expit(x))
    assert found == pytest.approx((slope, intercept), abs=0.08)


def test_a_score_that_is_turned_over_gets_a_negative_slope() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(0, 2, 5000)
    assert fit_platt(rng.random(5000) < expit(-x), expit(x))[0] == pytest.approx(-1, abs=0.1)


def test_calibrated_scores_are_calibrated() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(-1, 3, 20_000)
    truth = rng.random(len(x)) < expit(0.4 * x - 1)
    slope, intercept = fit_platt(truth, expit(x))
    assert calibration_error(truth, expit(x)) > 0.1
    assert calibration_error(truth, expit(slope * x + intercept)) < 0.02


@pytest.mark.parametrize("truth", [[], [1], [0], [1, 1, 1], [0, 0]])
def test_nothing_is_fitted_without_both_classes(truth: list[int]) -> None:
    with pytest.raises(ValueError, match="with and without"):
        fit_platt(truth, [0.5] * len(truth))


def test_lists_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"broadcast|shape"):
        fit_platt([0, 1, 1], [0.1, 0.9])


@pytest.mark.parametrize("likelihood", [[0.0, 1.0], [1e-300, 1 - 1e-16], [0.2, 0.8]])
def test_perfectly_separated_cases_stay_finite_and_short_of_certain(
    likelihood: list[float],
) -> None:
    """Platt's smoothed targets: two cases are no proof."""
    slope, intercept = fit_platt([0, 1], likelihood)
    p = expit(slope * logit(likelihood) + intercept)
    assert p == pytest.approx([1 / 3, 2 / 3], abs=0.02)


def test_a_score_that_says_nothing_gives_the_share_of_cases() -> None:
    truth = [1] * 30 + [0] * 70
    slope, intercept = fit_platt(truth, [0.5] * 100)
    assert np.isfinite(slope)
    assert expit(intercept) == pytest.approx(0.3, abs=0.01)


def test_the_input_is_left_alone_and_the_fit_repeats() -> None:
    likelihood = np.array([0.0, 0.3, 0.6, 1.0])
    before = likelihood.copy()
    assert fit_platt([0, 1, 0, 1], likelihood) == fit_platt([0, 1, 0, 1], likelihood)
    np.testing.assert_array_equal(likelihood, before)
