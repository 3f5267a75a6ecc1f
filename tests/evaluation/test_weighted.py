"""Every metric, at every weighting, is scikit-learn's; what was not answered is wrong."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from hilum.evaluation import weighted
from hilum.evaluation.bootstrap import draws
from hilum.evaluation.case import Column
from hilum.evaluation.metrics import calibration_error
from hilum.evaluation.weighted import calibration, counts, interval, mean_over, ranking, rates
from tests.evaluation.conftest import column


def made(seed: int, n: int, levels: int) -> Column:
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    score = np.round(np.clip(rng.normal(0.35 + 0.3 * truth, 0.25), 0, 1) * levels) / levels
    return column(truth, score)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 60), st.sampled_from([1, 3, 10, 1000]))
def test_every_resample_has_scikit_learns_value(seed: int, n: int, levels: int) -> None:
    c = made(seed, n, levels)
    weights = draws([str(i) for i in range(n)], 5, seed)
    ranked, hard = ranking([c], weights), rates(counts([c], weights), 0.1)
    brier = calibration(c, weights)["brier"]
    for k, w in enumerate(weights):
        y, s, p = c.truth, c.score, c.positive
        assert brier[k] == pytest.approx(sk.brier_score_loss(y, s, sample_weight=w))
        assert hard["accuracy"][k, 0] == pytest.approx(sk.accuracy_score(y, p, sample_weight=w))
        if not 0 < w[y].sum() < w.sum():
            assert np.isnan(ranked["auc"][k])
            continue
        assert ranked["auc"][k] == pytest.approx(sk.roc_auc_score(y, s, sample_weight=w))
        found = sk.average_precision_score(y, s, sample_weight=w)
        assert ranked["average_precision"][k] == pytest.approx(found)
        zero = {"sample_weight": w, "zero_division": np.nan}
        for name, score in (
            ("f1", sk.f1_score(y, p, **zero)),
            ("precision", sk.precision_score(y, p, **zero)),
            ("recall", sk.recall_score(y, p, **zero)),
            ("specificity", sk.recall_score(~y, ~p, **zero)),
            ("npv", sk.precision_score(~y, ~p, **zero)),
            ("balanced_accuracy", sk.balanced_accuracy_score(y, p, sample_weight=w)),
        ):
            assert hard[name][k, 0] == pytest.approx(score, nan_ok=True), name


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(3, 40))
def test_micro_and_macro_are_scikit_learns(seed: int, n: int) -> None:
    columns = [made(seed + k, n, 5) for k in range(4)]
    truth, score, called = (
        np.stack([getattr(c, f) for c in columns], 1) for f in ("truth", "score", "positive")
    )
    assume(truth.any(0).all() and not truth.all(0).any())
    once = np.ones((1, n))
    ranked, counted = ranking(columns, once), counts(columns, once)
    micro = rates({m: v.sum(1) for m, v in counted.items()}, 0.1)
    assert ranked["auc"][0] == pytest.approx(sk.roc_auc_score(truth, score, average="micro"))
    found = sk.average_precision_score(truth, score, average="micro")
    assert ranked["average_precision"][0] == pytest.approx(found)
    assert micro["f1"][0] == pytest.approx(sk.f1_score(truth, called, average="micro"))
    macro = mean_over(rates(counted, 0.1)["f1"], np.ones(4, bool))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sk.f1_score(truth, called, average="macro", zero_division=0)
    assert macro[0] == pytest.approx(found)


def test_blocks_of_rounds_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    c = made(1, 50, 7)
    weights = draws([str(i) for i in range(50)], 30)
    whole = ranking([c, c], weights)
    monkeypatch.setattr(weighted, "AT_ONCE", 150)
    for name, values in ranking([c, c], weights).items():
        assert np.array_equal(values, whole[name])


@given(st.floats(0.0001, 0.9999), st.integers(1, 99), st.integers(1, 99))
def test_ppv_and_npv_are_bayes_at_the_prevalence(prevalence: float, tp: int, tn: int) -> None:
    positive = [1] * tp + [0] * (100 - tp) + [0] * tn + [1] * (100 - tn)
    c = column([1] * 100 + [0] * 100, positive=positive)
    found = rates(counts([c], np.ones((1, 200))), prevalence)
    recall, specificity = tp / 100, tn / 100
    up = recall * prevalence
    ppv = up / (up + (1 - specificity) * (1 - prevalence))
    down = specificity * (1 - prevalence)
    npv = down / (down + (1 - recall) * prevalence)
    assert found["ppv_at"][0, 0] == pytest.approx(ppv)
    assert found["npv_at"][0, 0] == pytest.approx(npv)


# -- what was not answered ------------------------------------------------------------------------


@pytest.mark.parametrize("positive", [0, 1])
def test_a_study_without_an_answer_is_wrong_whatever_the_truth(positive: int) -> None:
    c = column([1, 0, 1, 0], positive=[1, 0, positive, positive], answered=[1, 1, 0, 0])
    found = rates(counts([c], np.ones((1, 4))), 0.5)
    told = {m: found[m][0, 0] for m in ("recall", "specificity", "accuracy", "precision", "npv")}
    assert told == {"recall": 0.5, "specificity": 0.5, "accuracy": 0.5, "precision": 1, "npv": 1}
    assert found["f1"][0, 0] == pytest.approx(2 / 3)


def test_a_study_without_a_score_is_ranked_on_the_wrong_side() -> None:
    good = column([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1])
    one = np.ones((1, 4))
    assert ranking([good], one)["auc"][0] == 1
    missed = column([1, 1, 0, 0], [0.9, np.nan, 0.2, 0.1])
    assert ranking([missed], one)["auc"][0] == 0.5
    both = column([1, 1, 0, 0], [0.9, np.nan, np.nan, 0.1])
    assert ranking([both], one)["auc"][0] == 0.25
    unread = column([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], answered=[1, 0, 1, 1])
    assert ranking([unread], one)["auc"][0] == 0.5


def test_what_was_not_answered_is_no_badly_calibrated_answer() -> None:
    c = column([1, 0, 1], [0.9, 0.2, np.nan], answered=[1, 1, 0])
    found = calibration(c, np.ones((1, 3)))
    assert found["brier"][0] == pytest.approx((0.01 + 0.04) / 2)


def test_a_reference_that_is_left_out_counts_nowhere() -> None:
    c = column([1, 0, 1], [0.9, 0.2, 0.1], known=[1, 1, 0])
    one = np.ones((1, 3))
    assert ranking([c], one)["auc"][0] == 1
    assert counts([c], one)["positives"][0, 0] == 1
    assert rates(counts([c], one), 0.5)["accuracy"][0, 0] == 1


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_calibration_error_is_the_scalar_ones(seed: int) -> None:
    c = made(seed, 50, 1000)
    found = calibration(c, np.ones((1, 50)))["ece"][0]
    assert found == pytest.approx(calibration_error(c.truth, c.score))


# -- intervals ------------------------------------------------------------------------------------


def test_an_interval_is_of_the_resamples_and_its_value_of_all() -> None:
    values = np.r_[0.5, np.linspace(0, 1, 1001)]
    assert interval(values) == pytest.approx([0.5, 0.025, 0.975])


def test_a_metric_without_a_value_has_no_interval() -> None:
    assert interval(np.array([np.nan, 0.1, 0.2])) is None
    assert interval(np.array([])) is None


def test_few_defined_resamples_are_no_interval() -> None:
    assert interval(np.array([0.7, 0.1, np.nan, np.nan])) == [0.7, 0.7, 0.7]


def test_ten_hits_of_ten_do_not_prove_that_there_is_never_a_miss() -> None:
    ones = np.ones(101)
    assert interval(ones) == [1, 1, 1]
    value, low, high = interval(ones, 10) or [0, 0, 0]
    assert (value, high) == pytest.approx((1, 1))
    assert low == pytest.approx(0.7225, abs=1e-3)
    _, low, high = interval(np.zeros(101), 10) or [0, 0, 0]
    assert (low, high) == pytest.approx((0, 0.2775), abs=1e-3)
