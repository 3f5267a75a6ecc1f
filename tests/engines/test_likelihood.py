"""Token likelihoods to answers' probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.engines.base import By, Question
from hilum.engines.likelihood import answer_probabilities, table

LOGS = st.lists(st.floats(-500, 0), min_size=1, max_size=4)
WORDINGS = st.lists(LOGS, min_size=1, max_size=3)


@given(st.lists(WORDINGS, min_size=1, max_size=5), st.sampled_from(["sequence", "mean", "first"]))
def test_probabilities_sum_to_one_however_unlikely(scores: list[list[list[float]]], by: By) -> None:
    question = Question("q", tuple(f"a{i}" for i in range(len(scores))), by)
    first = [[10 * i + j for j in range(len(a))] for i, a in enumerate(scores)]
    found = answer_probabilities(question, scores, first)
    assert sum(found) == pytest.approx(1)
    assert all(0 <= p <= 1 for p in found)


def test_each_rule() -> None:
    scores = [[[math.log(0.5), math.log(0.5)]], [[math.log(0.3)]]]
    expected = {"sequence": 0.25 / 0.55, "mean": 0.5 / 0.8, "first": 0.5 / 0.8}
    for by, p in expected.items():
        question = Question("q", ("a", "b"), by)  # type: ignore[arg-type]
        assert answer_probabilities(question, scores, [[1], [2]])[0] == pytest.approx(p)


def test_answers_that_begin_alike_are_compared_whole() -> None:
    scores = [[[math.log(0.5), math.log(0.2)]], [[math.log(0.5), math.log(0.8)]]]
    question = Question("q", ("no", "none"), "first")
    assert answer_probabilities(question, scores, [[7], [7]]) == pytest.approx([0.2, 0.8])
    # two wordings of one answer may begin alike
    both = [[[math.log(0.2), 0.0], [math.log(0.2), 0.0]], [[math.log(0.6)]]]
    assert answer_probabilities(question, both, [[7, 7], [8]]) == pytest.approx([0.4, 0.6])


@pytest.mark.parametrize("answers", [(), ("",), ((),), (("a", ""),)])
def test_an_empty_answer_or_wording_is_no_question(answers: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="without words"):
        Question("q", answers)  # type: ignore[arg-type]


def test_rows_of_different_lengths() -> None:
    found = table([[1.0], [0.25, 0.75]])
    np.testing.assert_array_equal(np.isnan(found), [[False, True], [False, False]])
    assert table([]).shape == (0, 0)
