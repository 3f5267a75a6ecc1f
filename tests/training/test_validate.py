"""What a model's words and probabilities are worth, beside a report that says all is normal."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.data.rows import Reference
from hilum.findings import Finding, FindingName
from hilum.language import write
from hilum.training.validate import clinical, in_words, prediction, probability

FRACTURE = FindingName.FRACTURE


def reference(number: int, fracture: str) -> Reference:
    findings = [
        Finding.model_validate({"name": "fracture", "status": fracture}),
        Finding.model_validate({"name": "pneumothorax", "status": "absent"}),
    ]
    return Reference(f"s{number}", f"p{number}", findings, "truth", "", "en")


KNOWN = [reference(n, "present" if n % 2 else "absent") for n in range(8)]


def test_perfect_words_and_order() -> None:
    said = [
        prediction(r.study_id, "en", write(r.findings, "en"), {FRACTURE: 0.9 if n % 2 else 0.1})
        for n, r in enumerate(KNOWN)
    ]
    numbers = clinical(said, KNOWN)
    assert numbers["fracture_auc"] == numbers["fracture_f1"] == numbers["finding_f1"] == 1
    assert numbers["agreement"] == numbers["chexpert_f1"] == 1
    assert numbers["all_normal_finding_f1"] == 0
    assert numbers["all_normal_agreement"] == 0.75
    # of 8 studies 4 have nothing: 4 right, 4 wrongly normal, 4 fractures missed
    assert numbers["all_normal_chexpert_f1"] == pytest.approx(2 * 4 / (2 * 4 + 4 + 4))


def test_saying_nothing_is_worth_the_baseline_and_no_more() -> None:
    numbers = clinical([prediction(r.study_id, "en", "") for r in KNOWN], KNOWN)
    for name in ("finding_f1", "agreement", "chexpert_f1"):
        assert numbers[name] == numbers[f"all_normal_{name}"]


def test_a_flipped_negation_is_punished() -> None:
    flipped = clinical([prediction("a", "en", "Fracture. Pneumothorax.")], [reference(0, "absent")])
    assert flipped["agreement"] == 0
    assert flipped["chexpert_f1"] == 0


def test_one_class_has_no_auc_and_no_text_no_f1() -> None:
    some = [prediction("a", "en", None, {FRACTURE: 0.5})]
    assert clinical(some, [reference(1, "present")]) == {}


def test_studies_that_were_not_asked_have_no_part_in_the_ranking() -> None:
    """Whose truth is unmentioned is not asked; it is no negative that was ranked wrongly."""
    said = [prediction(r.study_id, "en", None, {FRACTURE: n % 2}) for n, r in enumerate(KNOWN)]
    unasked = Reference("s9", "p9", [], "truth", "", "en")
    assert clinical([*said, prediction("s9", "en")], [*KNOWN, unasked])["fracture_auc"] == 1


def test_an_uncertain_truth_is_left_out() -> None:
    some = [*KNOWN, reference(9, "uncertain")]
    said = [prediction(r.study_id, "en", write(r.findings, "en")) for r in KNOWN]
    for words in ("Fracture.", "No fracture."):
        numbers = clinical([*said, prediction("s9", "en", words + " No pneumothorax.")], some)
        assert numbers["finding_f1"] == 1


def test_a_patient_in_two_languages_is_drawn_as_one() -> None:
    """Twice the same rows tell no more than once: the interval does not narrow."""
    chances = [0.2, 0.6, 0.4, 0.5, 0.7, 0.8, 0.1, 0.3]
    said = [
        prediction(r.study_id, "en", None, {FRACTURE: c})
        for r, c in zip(KNOWN, chances, strict=True)
    ]
    assert clinical(said * 2, KNOWN * 2) == clinical(said, KNOWN)


def test_numbers_are_told_with_interval_and_baseline() -> None:
    numbers = {
        "eval_loss": 1.23456,
        "eval_agreement": 0.8,
        "eval_agreement_low": 0.7,
        "eval_agreement_high": 0.9,
        "eval_all_normal_agreement": 0.75,
    }
    assert in_words(numbers) == "loss 1.235, agreement 0.8 [0.7, 0.9] (all normal 0.75)"


@given(st.floats(-1e6, 0), st.floats(-1e6, 0))
def test_a_probability_is_one(present: float, absent: float) -> None:
    p = probability(present, absent)
    assert 0 <= p <= 1
    assert math.isclose(p + probability(absent, present), 1, abs_tol=1e-9)
    if present > absent:
        assert p >= 0.5


def test_equal_answers_are_even() -> None:
    assert probability(-3.0, -3.0) == pytest.approx(0.5)
