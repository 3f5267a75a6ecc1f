"""Platt scaling finds a known slope and intercept, and stays finite where data alone would not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from hilum.evaluation.calibrate import (
    METHODS,
    Fitted,
    Points,
    fit,
    fit_isotonic,
    fit_platt,
    fit_temperature,
    operating,
    split,
)
from hilum.evaluation.metrics import calibration_error, logit
from hilum.reading.calibration import Platt


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


# -- other curves ---------------------------------------------------------------------------------


def drawn(seed: int, n: int, slope: float = 1.0, intercept: float = 0.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 2, n)
    return rng.random(n) < expit(slope * x + intercept), expit(x)


@pytest.mark.parametrize("slope", [0.2, 1.0, 3.0])
def test_the_temperature_is_found(slope: float) -> None:
    truth, likelihood = drawn(0, 40_000, slope)
    assert fit_temperature(truth, likelihood) == pytest.approx(slope, rel=0.05)


@given(st.integers(0, 10**6), st.integers(4, 200), st.sampled_from([3, 20, 10**6]))
def test_an_isotonic_curve_is_scikit_learns_within_its_ends(seed: int, n: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    likelihood = np.round(rng.random(n) * 0.98 + 0.01, 2 if levels < 100 else 12)
    truth = rng.random(n) < likelihood
    truth[:2] = [True, False]
    curve = fit_isotonic(truth, likelihood)
    low, high = 1 / (int((~truth).sum()) + 2), (truth.sum() + 1) / (truth.sum() + 2)
    x = np.round(logit(likelihood), 6)
    theirs = IsotonicRegression().fit(x, truth.astype(float)).predict(x).clip(low, high)
    ours = [curve.apply(float(v)) for v in x]
    assert ours == pytest.approx(theirs, abs=6e-5)
    assert 0 < min(curve.probability) <= max(curve.probability) < 1


@pytest.mark.parametrize("fitter", [fit_temperature, fit_isotonic])
def test_no_curve_without_both_classes(fitter: Any) -> None:
    with pytest.raises(ValueError, match="with and without"):
        fitter([True, True], [0.2, 0.7])


# -- folds ----------------------------------------------------------------------------------------


def test_no_patient_is_in_two_folds_and_the_order_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    patients = [f"p{k}" for k in rng.integers(0, 60, 300)]
    truth = rng.random(300) < 0.2
    folds = split(truth, patients)
    assert {len({f for f, p in zip(folds, patients, strict=True) if p == q}) for q in patients} == {
        1
    }
    turned = split(truth[::-1], patients[::-1])
    assert np.array_equal(turned[::-1], folds)


def test_the_ill_are_spread_evenly() -> None:
    truth = np.array([True] * 10 + [False] * 50)
    folds = split(truth, [str(k) for k in range(60)])
    assert sorted(np.bincount(folds[truth], minlength=5)) == [2] * 5


# -- the choice -----------------------------------------------------------------------------------


def fitted(truth: Any, likelihood: Any, *more: Any, **also: Any) -> Fitted:
    return fit(truth, likelihood, [str(k) for k in range(len(truth))], *more, **also)


def test_the_method_is_chosen_by_what_other_cases_say() -> None:
    assert fitted(*drawn(0, 4000)).told["method"] == "none"
    assert fitted(*drawn(0, 4000, 0.3)).told["method"] == "temperature"
    assert fitted(*drawn(1, 4000, 1, -3)).told["method"] == "platt"
    rng = np.random.default_rng(2)
    likelihood = rng.random(6000)
    stairs = rng.random(6000) < np.where(likelihood < 0.5, 0.1, 0.9)
    assert fitted(stairs, likelihood).told["method"] == "isotonic"


def test_a_curve_that_is_right_already_is_kept() -> None:
    truth, likelihood = drawn(3, 3000, 0.5, -1)
    found = fitted(truth, likelihood, before=Platt(slope=0.5, intercept=-1))
    assert found.told["method"] == "kept"
    assert found.curve == Platt(slope=0.5, intercept=-1)


def test_a_method_that_was_named_is_used() -> None:
    for method in METHODS:
        assert fitted(*drawn(0, 200), method).told["method"] == method


def test_before_and_after_are_told_and_after_is_better() -> None:
    truth, likelihood = drawn(4, 4000, 0.4, -1)
    told = fitted(truth, likelihood).told
    assert told["after"]["ece"] < told["raw"]["ece"] / 3
    assert told["after"]["brier"] < told["raw"]["brier"]
    assert told["before"]["ece"] == pytest.approx(told["raw"]["ece"], abs=1e-3)
    assert sum(b[-1] for b in told["after"]["reliability"]) == 4000
    assert set(told["log_loss"]) == set(METHODS)


@pytest.mark.parametrize("positives", [0, 1, 9, 21])
def test_too_few_cases_are_refused_with_their_numbers(positives: int) -> None:
    truth = np.array([True] * positives + [False] * (30 - positives))
    with pytest.raises(ValueError, match=f"{positives} cases with"):
        fitted(truth, np.full(30, 0.5))


# -- operating points -----------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.floats(0.01, 1), st.sampled_from([2, 10, 10_000]))
def test_a_wanted_sensitivity_or_specificity_is_reached(
    seed: int, wanted: float, levels: int
) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random(80) < 0.5
    truth[:2] = [True, False]
    p = np.round(np.floor(rng.random(80) * levels) / levels, 4)
    sensitive, doubt = operating(truth, p, Points(sensitivity=wanted))
    assert doubt is None
    assert (p[truth] >= sensitive).mean() >= wanted - 1e-9
    specific, doubt = operating(truth, p, Points(specificity=wanted))
    assert doubt is None
    assert (p[~truth] < specific).mean() >= wanted - 1e-9
    certain, doubt = operating(truth, p, Points(wanted, wanted))
    assert certain == specific
    assert doubt is None or doubt == sensitive < certain


def test_of_thresholds_that_reach_the_wish_the_nearest_to_one_half_is_taken() -> None:
    truth = np.array([False] * 5 + [True] * 5)
    p = np.array([0.01] * 5 + [0.99] * 5)
    for wish in (Points(0.8), Points(None, 0.8), Points(0.8, 0.8)):
        assert operating(truth, p, wish) == (0.5, None)


def test_two_points_where_the_classes_overlap() -> None:
    truth = np.array([False] * 10 + [True] * 10)
    p = np.r_[np.linspace(0.1, 0.7, 10), np.linspace(0.3, 0.9, 10)].round(4)
    certain, doubt = operating(truth, p, Points(0.9, 0.9))
    assert certain is not None
    assert doubt is not None
    assert doubt < 0.4 < 0.6 < certain


def test_no_wish_no_point() -> None:
    assert operating(np.array([True, False]), np.array([0.9, 0.1]), Points()) == (None, None)


def test_what_is_expected_of_a_point_comes_from_other_cases() -> None:
    truth, likelihood = drawn(5, 4000)
    told = fitted(truth, likelihood, points=Points(0.9, 0.9)).told
    low, high = told["doubt"]["sensitivity"][1:]
    assert low < 0.9 < high
    low, high = told["threshold"]["specificity"][1:]
    assert low < 0.9 < high
