"""Metrics against scikit-learn, published intervals and arithmetic done by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from hilum.evaluation.metrics import auc, bootstrap, calibration_error, logit, wilson

# Few distinct scores, so that ties are the rule.
scored = st.lists(
    st.tuples(st.booleans(), st.sampled_from([-1e300, -1.0, 0.0, 1e-300, 0.5, 0.5000001, 1e300])),
    min_size=2,
    max_size=60,
).filter(lambda rows: len({truth for truth, _ in rows}) == 2)


@settings(deadline=None, max_examples=200)
@given(scored)
def test_auc_is_scikit_learns_ties_included(rows: list[tuple[bool, float]]) -> None:
    truth, score = zip(*rows, strict=True)
    assert auc(truth, score) == pytest.approx(roc_auc_score(truth, score), abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(scored)
def test_auc_turns_over_with_the_score_and_with_the_truth(rows: list[tuple[bool, float]]) -> None:
    truth, score = (np.array(column) for column in zip(*rows, strict=True))
    assert auc(truth, -score) == pytest.approx(1 - auc(truth, score))
    assert auc(~truth, score) == pytest.approx(1 - auc(truth, score))


def test_auc_of_a_large_random_sample_with_and_without_ties() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(5000) < 0.03
    score = rng.normal(truth, 1)
    for s in (score, np.round(score, 1), np.round(score)):
        assert auc(truth, s) == pytest.approx(roc_auc_score(truth, s), abs=1e-12)


@pytest.mark.parametrize(
    ("truth", "score", "value"),
    [
        ([0, 1], [0, 1], 1.0),
        ([1, 0], [0, 1], 0.0),
        ([0, 1], [7, 7], 0.5),
        ([0, 1, 1, 0], [1, 1, 2, 2], 0.5),
        ([False, True, True], [0.1, 0.1, 0.2], 0.75),
        ([0, 1], [-math.inf, math.inf], 1.0),
    ],
)
def test_auc_by_hand(truth: Any, score: Any, value: float) -> None:
    assert auc(truth, score) == value


@pytest.mark.parametrize("truth", [[], [1], [0], [1, 1, 1], [0, 0]])
def test_auc_without_both_classes_is_no_number(truth: list[int]) -> None:
    assert math.isnan(auc(truth, [0.5] * len(truth)))


# Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3.
@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson(n - hits, n) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_at_its_edges() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 1)[0] == 0.0
    assert wilson(1, 1)[1] == 1.0
    for n in (1, 2, 7, 10**9):
        for hits in {0, 1, n // 2, n}:
            low, high = wilson(hits, n)
            assert 0 <= low <= hits / n <= high + 1e-15 <= 1 + 1e-15
            assert low < high


def test_calibration_error_by_hand() -> None:
    # one bin of 4 (mean 0.15, half true), one of 1 (0.95, true)
    truth, probability = [0, 0, 1, 1, 1], [0.1, 0.2, 0.1, 0.2, 0.95]
    assert calibration_error(truth, probability, bins=2) == pytest.approx(
        4 / 5 * abs(0.5 - 0.15) + 1 / 5 * abs(1 - 0.95)
    )


@pytest.mark.parametrize(
    ("truth", "probability", "error"),
    [
        ([1, 0], [1.0, 0.0], 0.0),  # 1.0 belongs to the last bin, not to one past it
        ([0, 1], [1.0, 0.0], 1.0),
        ([1, 1, 0, 0], [0.5, 0.5, 0.5, 0.5], 0.0),
        ([1], [0.0], 1.0),
        ([True], [1], 0.0),
    ],
)
def test_calibration_error_at_its_edges(truth: Any, probability: Any, error: float) -> None:
    for bins in (1, 10, 15):
        if bins > 1 or len(set(probability)) == 1:
            assert calibration_error(truth, probability, bins) == pytest.approx(error)


def test_calibration_error_tells_a_calibrated_score_from_a_stretched_one() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(20_000)
    truth = rng.random(20_000) < p
    assert calibration_error(truth, p) < 0.02
    assert calibration_error(truth, p**3) > 0.15


def test_log_odds_stay_finite_at_0_and_1() -> None:
    assert logit([0, 0.5, 1]) == pytest.approx([-16.118, 0, 16.118], abs=1e-3)
    assert logit(0.25) == pytest.approx(-math.log(3))


def test_bootstrap_is_repeatable_and_holds_the_value() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(300) < 0.4
    score = rng.normal(truth, 1)
    low, high = bootstrap(auc, truth, score, rounds=200)
    assert (low, high) == bootstrap(auc, truth, score, rounds=200)
    assert (low, high) != bootstrap(auc, truth, score, rounds=200, seed=1)
    assert low < auc(truth, score) < high
    assert 0.05 < high - low < 0.2


def test_bootstrap_leaves_out_rounds_without_a_value() -> None:
    """Of two rows, half the rounds draw one class alone."""
    assert bootstrap(auc, [0, 1], [0.1, 0.9], rounds=50) == (1.0, 1.0)
    assert all(math.isnan(v) for v in bootstrap(auc, [1, 1], [0.1, 0.9], rounds=5))
