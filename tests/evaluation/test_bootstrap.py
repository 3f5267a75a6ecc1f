"""Resamples: by patient, the same every time; and the test of paired answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.evaluation.bootstrap import draws, p_value, swaps


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=30), st.integers(0, 99))
def test_all_studies_of_a_patient_come_together(patients: list[str], seed: int) -> None:
    weights = draws(patients, 20, seed)
    assert (weights[0] == 1).all()
    for patient in set(patients):
        rows = np.array([p == patient for p in patients])
        assert (weights[:, rows] == weights[:, rows][:, :1]).all()
    once = [patients.index(p) for p in set(patients)]
    assert (weights[1:, once].sum(1) == len(set(patients))).all()


def test_the_same_seed_draws_the_same_and_another_another() -> None:
    patients = [str(i) for i in range(40)]
    assert np.array_equal(draws(patients, 10, 3), draws(patients, 10, 3))
    assert not np.array_equal(draws(patients, 10, 3), draws(patients, 10, 4))


def test_the_resamples_spread_as_theory_says() -> None:
    values = np.random.default_rng(0).random(400)
    means = draws([str(i) for i in range(400)], 2000) @ values / 400
    assert means[1:].std() == pytest.approx(values.std() / 20, rel=0.08)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=12))
def test_each_answer_is_in_one_of_the_two_hands(patients: list[str]) -> None:
    n = len(patients)
    own, other = swaps(patients, 8)
    assert (own + other == 1).all()
    assert (own[:, :n] + own[:, n:] == 1).all()
    assert own[0].tolist() == [1] * n + [0] * n


def test_p_counts_the_difference_that_was_seen() -> None:
    assert p_value(np.array([1.0, *np.zeros(99)])) == pytest.approx(0.01)
    assert p_value(np.array([0.0, 1.0, -1.0])) == 1
    assert p_value(np.array([-1.0, 1.0, 0.5, np.nan])) == pytest.approx(2 / 3)
    assert p_value(np.array([np.nan, 1.0])) is None
