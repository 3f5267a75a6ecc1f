"""References and answers as arrays: parents, "no finding", "possible", sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hilum.evaluation.case import (
    CHEXPERT5,
    CHEXPERT14,
    Prediction,
    columns_of,
    side_column,
    statuses,
    truths,
)
from hilum.findings import Finding, Instance, Side
from tests.evaluation.conftest import A, N, P, U, failed, fracture, reference, said, system


def test_the_names_are_chexperts() -> None:
    assert (len(CHEXPERT14), len(CHEXPERT5)) == (14, 5)
    assert N.NODULE not in CHEXPERT14
    assert set(CHEXPERT5) < set(CHEXPERT14)


@pytest.mark.parametrize(
    ("findings", "normal"),
    [
        ([], P),
        ([fracture(A)], P),
        ([fracture(P)], A),
        ([fracture(U)], A),
        ([Finding(name=N.SUPPORT_DEVICES, status=P)], P),
        # what is said of normality itself does not count, only what else is there
        ([Finding(name=N.NO_FINDING, status=P), fracture(P)], A),
        ([Finding(name=N.NO_FINDING, status=A)], P),
    ],
)
def test_no_finding_follows_from_the_others(findings: list[Finding], normal: Any) -> None:
    assert statuses(findings)[N.NO_FINDING] is normal


def test_a_child_makes_its_parent_present() -> None:
    assert statuses([Finding(name=N.NODULE, status=P)])[N.LUNG_LESION] is P


@pytest.mark.parametrize(
    ("uncertain", "truth", "known", "positive"),
    [
        ("present", [1, 0, 1], [1, 1, 1], [1, 0, 1]),
        ("absent", [1, 0, 0], [1, 1, 1], [1, 0, 0]),
        ("out", [1, 0, 0], [1, 1, 0], [1, 0, 1]),
    ],
)
def test_possible_counts_alike_on_both_sides(
    uncertain: Any, truth: list[int], known: list[int], positive: list[int]
) -> None:
    rows = [reference(k, fracture(s)) for k, s in enumerate((P, A, U))]
    answers = system([said(r, *r.findings) for r in rows])
    for source in ("likelihood", "words"):
        c = columns_of(rows, answers, [N.FRACTURE], source, uncertain)[N.FRACTURE]
        assert c.truth.tolist() == truth
        assert c.known.tolist() == known
        assert c.positive.tolist() == positive
    assert truths(rows, [N.FRACTURE], uncertain)[N.FRACTURE][1].tolist() == known


def test_a_probability_belongs_to_the_likelihood_and_never_to_the_words() -> None:
    rows = [reference(0, fracture())]
    answer = said(rows[0], fracture(A))
    answer.findings = [fracture(P, probability=0.7)]
    soft = columns_of(rows, system([answer]), [N.FRACTURE], "likelihood", "present")[N.FRACTURE]
    hard = columns_of(rows, system([answer]), [N.FRACTURE], "words", "present")[N.FRACTURE]
    assert (soft.positive.tolist(), soft.score.tolist()) == ([True], [0.7])
    assert hard.positive.tolist() == [False]
    assert np.isnan(hard.score).all()
    assert soft.scored
    assert not hard.scored


def test_silence_is_an_absence_and_a_failure_is_not() -> None:
    rows = [reference(0, fracture(A)), reference(1, fracture(A))]
    answers = system([Prediction(study_id="s0", text="Normal heart."), failed(rows[1])])
    c = columns_of(rows, answers, [N.FRACTURE], "words", "present")[N.FRACTURE]
    assert c.positive.tolist() == [False, False]
    assert c.answered.tolist() == [True, False]
    # nothing is said of a study that was not read, least of all that it is normal
    normal = columns_of(rows, answers, [N.NO_FINDING], "likelihood", "present")[N.NO_FINDING]
    assert normal.answered.tolist() == [True, False]


@pytest.mark.parametrize(
    ("sides", "left", "right"),
    [
        ([Side.LEFT], True, False),
        ([Side.RIGHT], False, True),
        ([Side.BILATERAL], True, True),
        ([Side.LEFT, Side.RIGHT], True, True),
        ([Side.MIDLINE], False, False),
        ([None], False, False),
        ([], False, False),
    ],
)
def test_a_fracture_is_on_the_sides_of_its_occurrences(
    sides: list[Side | None], left: bool, right: bool
) -> None:
    found = fracture(instances=[Instance(side=s) for s in sides])
    rows = [reference(0, found)]
    answer = Prediction(study_id="s0", findings=[found], sides={Side.LEFT: 0.3})
    c = side_column(rows, system([answer]), Side.LEFT)
    assert (c.truth.tolist(), c.positive.tolist(), c.score.tolist()) == ([left], [left], [0.3])
    c = side_column(rows, system([answer]), Side.RIGHT)
    assert (c.truth.tolist(), c.positive.tolist(), c.scored) == ([right], [right], False)


def test_an_absent_fracture_is_on_no_side() -> None:
    possible = fracture(U, instances=[Instance(side=Side.LEFT)])
    c = side_column([reference(0, possible)], system([said(reference(0), possible)]), Side.LEFT)
    assert (c.truth.tolist(), c.positive.tolist()) == ([False], [False])
