"""What a model's words and probabilities are worth, beside a report that says all is normal."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.findings import Finding, FindingName
from hilum.language import write
from hilum.training.validate import Prediction, clinical, probability


def truth(fracture: bool) -> list[Finding]:
    status = "present" if fracture else "absent"
    return [
        Finding.model_validate({"name": "fracture", "status": status}),
        Finding.model_validate({"name": "pneumothorax", "status": "absent"}),
    ]


def test_perfect_words_and_order() -> None:
    truths = [truth(n % 2 == 1) for n in range(8)]
    said = [
        Prediction(str(n), "en", write(t, "en"), {FindingName.FRACTURE: 0.9 if n % 2 else 0.1})
        for n, t in enumerate(truths)
    ]
    numbers = clinical(said, truths)
    assert numbers["fracture_auc"] == numbers["fracture_f1"] == numbers["finding_f1"] == 1
    assert numbers["agreement"] == 1
    assert numbers["all_normal_finding_f1"] == 0
    assert numbers["all_normal_agreement"] == 0.75


def test_saying_nothing_is_worth_the_baseline_and_no_more() -> None:
    truths = [truth(n % 2 == 1) for n in range(8)]
    numbers = clinical([Prediction(str(n), "en", "") for n in range(8)], truths)
    assert numbers["finding_f1"] == numbers["all_normal_finding_f1"] == 0
    assert numbers["agreement"] == numbers["all_normal_agreement"]


def test_a_flipped_negation_is_punished() -> None:
    flipped = clinical([Prediction("a", "en", "Fracture. Pneumothorax.")], [truth(False)])
    assert flipped["agreement"] == 0


def test_one_class_has_no_auc_and_no_text_no_f1() -> None:
    some = [Prediction("a", "en", None, {FindingName.FRACTURE: 0.5})]
    assert clinical(some, [truth(True)]) == {}


@given(st.floats(-1e6, 0), st.floats(-1e6, 0))
def test_a_probability_is_one(present: float, absent: float) -> None:
    p = probability(present, absent)
    assert 0 <= p <= 1
    assert math.isclose(p + probability(absent, present), 1, abs_tol=1e-9)
    if present > absent:
        assert p >= 0.5


def test_equal_answers_are_even() -> None:
    assert probability(-3.0, -3.0) == pytest.approx(0.5)
