"""Curves and points: what they make of a likelihood, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hilum.engines import Draft, Located
from hilum.findings import FindingName, Side, Status
from hilum.language import label
from hilum.reading.calibration import Calibration, Isotonic, Platt, log_odds
from hilum.reading.score import Asked, Scores, judge_findings, score

N, P, A, U = FindingName, Status.PRESENT, Status.ABSENT, Status.UNCERTAIN


@pytest.mark.parametrize(
    ("at", "p"), [(-9, 0.1), (-1, 0.1), (0, 0.3), (1, 0.5), (1.5, 0.5), (2, 0.9), (99, 0.9)]
)
def test_an_isotonic_curve_is_straight_between_its_points_and_level_outside(
    at: float, p: float
) -> None:
    curve = Isotonic(log_odds=[-1, 1, 1.5, 2], probability=[0.1, 0.5, 0.5, 0.9])
    assert curve.apply(at) == pytest.approx(p)


@pytest.mark.parametrize(
    ("x", "p"),
    [
        ([], []),
        ([0], []),
        ([0, 1], [0.5]),
        ([1, 0], [0.1, 0.2]),
        ([0, 0], [0.1, 0.2]),
        ([0, 1], [0.2, 0.1]),
        ([0], [1.1]),
        ([math.nan], [0.5]),
        ([math.inf], [0.5]),
    ],
)
def test_what_is_no_rising_curve_is_refused(x: list[float], p: list[float]) -> None:
    with pytest.raises(ValidationError):
        Isotonic(log_odds=x, probability=p)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=9, unique=True), st.floats(-20, 20))
def test_an_isotonic_curve_keeps_the_order(x: list[float], at: float) -> None:
    curve = Isotonic(log_odds=sorted(x), probability=np.linspace(0, 1, len(x)).tolist())
    assert 0 <= curve.apply(at) <= curve.apply(at + 1) <= 1


def test_both_kinds_of_curve_come_back_from_json() -> None:
    one = Calibration(
        findings={
            N.NODULE: Platt(slope=2),
            N.FRACTURE: Isotonic(log_odds=[0], probability=[0.5]),
        },
        sides={Side.LEFT: Platt(intercept=1)},
        doubts={N.FRACTURE: 0.2},
    )
    assert Calibration.model_validate_json(one.model_dump_json()) == one


@pytest.mark.parametrize(
    ("p", "status"), [(0.0, A), (0.1999, A), (0.2, U), (0.5999, U), (0.6, P), (1.0, P)]
)
def test_between_the_two_points_a_finding_is_possible(p: float, status: Status) -> None:
    two = Calibration(thresholds={N.FRACTURE: 0.6}, doubts={N.FRACTURE: 0.2})
    assert two.status(N.FRACTURE, p) is status
    assert two.status(N.NODULE, 0.3) is A


@pytest.mark.parametrize(
    "wrong",
    [
        {"doubts": {"fracture": 0.6}},  # above the default threshold
        {"doubts": {"fracture": 0.4}, "thresholds": {"fracture": 0.3}},
        {"sides": {"up": {}}},
        {"findings": {"fracture": {"log_odds": [0]}}},
        {"findings": {"fracture": {"slope": 1, "log_odds": [0], "probability": [0.5]}}},
    ],
)
def test_points_and_curves_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Calibration(**wrong)


def test_log_odds_are_finite_and_what_is_no_number_stays_none() -> None:
    assert log_odds(0) == pytest.approx(-16.118, abs=1e-3)
    assert log_odds(1) == pytest.approx(16.118, abs=1e-3)
    assert math.isnan(log_odds(math.nan))


# -- asking ---------------------------------------------------------------------------------------


class Scale:
    """Answers the n-th question with n / 10."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, str, list[str]]] = []

    def choose(self, images: Any, context: str, questions: Any) -> Any:
        self.calls.append((len(images), context, [q.prompt for q in questions]))
        p = np.arange(len(questions)) / 10
        return [np.stack([p, 1 - p], 1)] * len(images)


ASKED = Asked(
    "film:",
    {N.NODULE: "nodule?", N.FRACTURE: "fracture?"},
    {Side.LEFT: "left?", Side.RIGHT: "right?"},
    ("yes", "no"),
)
FILM = (np.zeros((4, 4), np.uint8),)


def test_all_questions_are_asked_in_one_call() -> None:
    engine: Any = Scale()
    found = score(engine, [FILM] * 3, ASKED)
    assert engine.calls == [(3, "film:", ["nodule?", "fracture?", "left?", "right?"])]
    assert found[2] == Scores({N.NODULE: 0.0, N.FRACTURE: 0.1}, {Side.LEFT: 0.2, Side.RIGHT: 0.3})


def test_nothing_asked_nothing_answered() -> None:
    engine: Any = Scale()
    assert score(engine, [FILM], Asked("", {}, {}, ("a", "b"))) == [Scores()]
    assert score(engine, [], ASKED) == []
    assert engine.calls == []


def test_other_words_have_another_hash_and_the_same_the_same() -> None:
    def asked(context: str = "", question: str = "?", side: str = "l", yes: str = "yes") -> Asked:
        return Asked(context, {N.FRACTURE: question}, {Side.LEFT: side}, (yes, "no"))

    digests = [asked(), asked("x"), asked("", "??"), asked(side="r"), asked(yes="ja")]
    assert len({a.sha256 for a in digests}) == 5
    assert asked().sha256 == asked().sha256


# -- sides in a report ----------------------------------------------------------------------------


def judged(text: str, *places: Located, **sides: float) -> list[Any]:
    given = {Side(k): v for k, v in sides.items()}
    draft = Draft(text, places=places)
    calibration = Calibration(sides={Side.LEFT: Platt(slope=2)})
    found, _ = judge_findings(draft, label(text, "en"), {N.FRACTURE: 0.9}, calibration, sides=given)
    return found[0].instances


def test_an_occurrence_without_a_place_has_its_sides_probability() -> None:
    left, right = judged("Left 5th rib fracture. Right 6th rib fracture.", left=0.8, right=0.3)
    assert left.probability == pytest.approx(16 / 17, abs=1e-4)
    assert right.probability == pytest.approx(0.3)
    (one,) = judged("Left rib fracture.", right=0.3)
    assert one.probability is None


def test_a_place_has_a_probability_of_its_own() -> None:
    text = "Left rib fracture."
    (one,) = judged(text, Located("fracture", (1, 1, 9, 9), 0.0, len(text) - 1), left=0.8)
    assert one.probability == 0.5


def test_a_possible_fracture_keeps_what_the_text_says_of_it() -> None:
    two = Calibration(thresholds={N.FRACTURE: 0.9}, doubts={N.FRACTURE: 0.3})
    text = "Left rib fracture."
    found, flags = judge_findings(Draft(text), label(text, "en"), {N.FRACTURE: 0.5}, two)
    assert found[0].status is U
    assert [i.side for i in found[0].instances] == [Side.LEFT]
    assert [f.value for f in flags] == ["text_disagrees"]
    found, _ = judge_findings(Draft(""), [], {N.FRACTURE: 0.5}, two)
    assert found[0].instances == []
