"""Probability against words: which of them decides, what is flagged, where the boxes go."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hilum.codes import Code
from hilum.engines import Draft, Located
from hilum.findings import Bone, Box, Finding, FindingName, Instance, Side, Stage, Status
from hilum.language import label
from hilum.reading.score import Calibration, Platt, judge_findings

N, P, A, U = FindingName, Status.PRESENT, Status.ABSENT, Status.UNCERTAIN
BOX = (10.0, 20.0, 30.0, 40.0)
OTHER_BOX = (50.0, 60.0, 70.0, 80.0)


def judge(
    text: str,
    likelihoods: dict[FindingName, float],
    *places: Located,
    calibration: Calibration | None = None,
    complete: bool = True,
    view: int = 0,
) -> tuple[dict[FindingName, Finding], list[Code]]:
    draft = Draft(text, complete, places)
    findings, flags = judge_findings(
        draft, label(text, "en"), likelihoods, calibration or Calibration(), view
    )
    byname = {f.name: f for f in findings}
    assert len(byname) == len(findings)
    return byname, flags


# -- who decides --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "likelihood", "status", "flags"),
    [
        ("Left pneumothorax.", 0.9, P, []),
        ("No pneumothorax.", 0.1, A, []),
        ("Left pneumothorax.", 0.1, A, [Code.TEXT_DISAGREES]),
        ("No pneumothorax.", 0.9, P, [Code.TEXT_DISAGREES]),
        # "possible" is neither
        ("Possible pneumothorax.", 0.9, P, [Code.TEXT_DISAGREES]),
        ("Possible pneumothorax.", 0.1, A, [Code.TEXT_DISAGREES]),
        # silence is an absence: leaving out what is likely disagrees
        ("", 0.9, P, [Code.TEXT_DISAGREES]),
        ("", 0.1, A, []),
        ("The patient is rotated.", 0.9, P, [Code.TEXT_DISAGREES]),
        # a contradiction within the text: the labeler's stronger claim counts
        ("No pneumothorax. Left pneumothorax.", 0.9, P, []),
        ("No pneumothorax. Left pneumothorax.", 0.1, A, [Code.TEXT_DISAGREES]),
    ],
)
def test_the_probability_decides_and_a_sentence_that_disagrees_is_flagged(
    text: str, likelihood: float, status: Status, flags: list[Code]
) -> None:
    found, said = judge(text, {N.PNEUMOTHORAX: likelihood})
    assert list(found) == [N.PNEUMOTHORAX]
    assert found[N.PNEUMOTHORAX].status is status
    assert found[N.PNEUMOTHORAX].probability == pytest.approx(likelihood, abs=1e-4)
    assert said == flags


def test_what_is_absent_has_no_instances_whatever_the_text_says() -> None:
    place = Located("pneumothorax", BOX, 2.0, 18)
    found, _ = judge("Left pneumothorax.", {N.PNEUMOTHORAX: 0.1}, place)
    assert found[N.PNEUMOTHORAX].instances == []


def test_several_disagreements_are_one_flag_and_flags_are_in_order() -> None:
    found, flags = judge(
        "Left pneumothorax. No fracture. Heart size is normal. No pleu",
        {N.PNEUMOTHORAX: 0.1, N.FRACTURE: 0.9, N.CARDIOMEGALY: 0.2},
        complete=False,
    )
    assert flags == [Code.TEXT_CUT, Code.TEXT_DISAGREES]
    assert [f.status for f in found.values()] == [A, P, A]


def test_a_cut_text_is_flagged_and_its_last_sentence_says_nothing() -> None:
    found, flags = judge("No pneumothorax. No fract", {N.FRACTURE: 0.9}, complete=False)
    assert flags == [Code.TEXT_CUT, Code.TEXT_DISAGREES]
    assert found[N.FRACTURE].status is P
    assert found[N.PNEUMOTHORAX].status is A


# -- no likelihoods -----------------------------------------------------------------------------


def test_without_likelihoods_the_text_alone_counts_and_no_probability_is_made_up() -> None:
    found, flags = judge(
        "The heart is enlarged. Possible nodule. No fracture. Right pneumothorax.", {}
    )
    assert {n: f.status for n, f in found.items()} == {
        N.CARDIOMEGALY: P,
        N.NODULE: U,
        N.FRACTURE: A,
        N.PNEUMOTHORAX: P,
    }
    assert all(f.probability is None for f in found.values())
    assert flags == []


def test_without_likelihoods_and_without_words_nothing_is_found() -> None:
    assert judge("", {}, Located("fracture", BOX, 9.0)) == ({}, [])


def test_without_likelihoods_a_sentence_keeps_its_box() -> None:
    found, _ = judge("Left pneumothorax.", {}, Located("pneumothorax", BOX, 0.0, 18))
    (instance,) = found[N.PNEUMOTHORAX].instances
    assert (instance.box, instance.probability) == (Box(xyxy=BOX), 0.5)
    assert instance.side is Side.LEFT


def test_a_finding_that_was_not_asked_for_keeps_the_texts_word() -> None:
    found, flags = judge("Pneumonia. No fracture.", {N.FRACTURE: 0.1})
    assert (found[N.PNEUMONIA].status, found[N.PNEUMONIA].probability) == (P, None)
    assert found[N.FRACTURE].probability == pytest.approx(0.1)
    assert flags == []


# -- parents ------------------------------------------------------------------------------------


def test_a_parent_follows_its_childs_probability_not_the_text() -> None:
    found, flags = judge("Nodule in the left upper lung zone.", {N.NODULE: 0.9})
    assert (found[N.LUNG_LESION].status, found[N.LUNG_LESION].probability) == (P, None)
    assert found[N.LUNG_LESION].instances == []
    assert flags == []
    found, flags = judge("Nodule in the left upper lung zone.", {N.NODULE: 0.1})
    assert N.LUNG_LESION not in found
    assert flags == [Code.TEXT_DISAGREES]
    found, _ = judge("No pulmonary nodule.", {N.NODULE: 0.9})
    assert found[N.LUNG_LESION].status is P


def test_a_parent_stays_present_through_another_child() -> None:
    found, _ = judge("Left mass. No pulmonary nodule.", {N.NODULE: 0.1})
    assert {n: f.status for n, f in found.items()} == {N.NODULE: A, N.MASS: P, N.LUNG_LESION: P}


def test_a_parent_that_was_asked_for_itself_has_its_own_probability() -> None:
    found, flags = judge("Left nodule.", {N.NODULE: 0.9, N.LUNG_LESION: 0.8})
    assert found[N.LUNG_LESION].probability == pytest.approx(0.8)
    assert flags == []


# -- boxes --------------------------------------------------------------------------------------


def test_a_box_belongs_to_the_sentence_that_ends_where_it_stands() -> None:
    text = "Left nodule. Right nodule. Nodule."
    found, _ = judge(
        text,
        {N.NODULE: 0.9},
        Located("nodule", BOX, 1.0, text.index("Right") + len("Right nodule.")),
        Located("nodule", OTHER_BOX, -1.0, len("Left nodule.")),
    )
    left, right, third = found[N.NODULE].instances
    assert (left.side, left.box) == (Side.LEFT, Box(xyxy=OTHER_BOX))
    assert (right.side, right.box) == (Side.RIGHT, Box(xyxy=BOX))
    assert (third.box, third.probability) == (None, None)
    assert left.probability == pytest.approx(1 / (1 + math.e), abs=1e-4)


@pytest.mark.parametrize("end", [None, 0, 11, 13, 17, 19, 999])
def test_a_box_that_stands_elsewhere_is_nobodys(end: int | None) -> None:
    found, _ = judge("Left pneumothorax.", {}, Located("pneumothorax", BOX, 1.0, end))
    assert found[N.PNEUMOTHORAX].instances[0].box is None


def test_a_box_of_another_finding_is_nobodys_even_at_the_right_place() -> None:
    found, _ = judge("Left pneumothorax.", {N.PNEUMOTHORAX: 0.9}, Located("nodule", BOX, 1.0, 18))
    assert found[N.PNEUMOTHORAX].instances[0].box is None


def test_a_sentence_without_an_instance_takes_no_box() -> None:
    found, _ = judge("No fracture.", {N.FRACTURE: 0.1}, Located("fracture", BOX, 1.0, 12))
    assert found[N.FRACTURE].instances == []


def test_where_the_text_is_silent_the_likeliest_place_stands_alone() -> None:
    places = [
        Located("fracture", BOX, -1.0, None),
        Located("fracture", OTHER_BOX, 2.0, 77),
        Located("nodule", BOX, 9.0, None),
    ]
    for text in ("", "No fracture."):
        found, _ = judge(text, {N.FRACTURE: 0.9}, *places)
        (instance,) = found[N.FRACTURE].instances
        assert instance == Instance(box=Box(xyxy=OTHER_BOX), probability=Platt().apply(2.0))


def test_a_possible_sentence_keeps_its_place_where_the_probability_says_present() -> None:
    text = "Possible left pneumothorax."
    found, _ = judge(text, {N.PNEUMOTHORAX: 0.9}, Located("pneumothorax", BOX, 1.0, len(text)))
    (instance,) = found[N.PNEUMOTHORAX].instances
    assert (instance.side, instance.box) == (Side.LEFT, Box(xyxy=BOX))


def test_without_any_place_presence_needs_none() -> None:
    found, _ = judge("", {N.FRACTURE: 0.9})
    assert found[N.FRACTURE].instances == []


def test_boxes_name_their_view() -> None:
    place = Located("fracture", BOX, 0.0)
    found, _ = judge("", {N.FRACTURE: 0.9}, place, view=3)
    assert found[N.FRACTURE].instances[0].box == Box(view=3, xyxy=BOX)


TWO = "Healing fracture of the right clavicle. Acute fracture of the right 4th rib."
CLAVICLE = Instance(bone=Bone.CLAVICLE, side=Side.RIGHT, stage=Stage.HEALING)
RIB = Instance(bone=Bone.RIB, side=Side.RIGHT, ribs=[4], stage=Stage.ACUTE)


@pytest.mark.parametrize(
    ("first", "second", "clavicle"),
    [
        (CLAVICLE, RIB, BOX),
        (RIB, CLAVICLE, OTHER_BOX),  # the boxes were written in the wrong order
        (None, None, BOX),  # nothing is known: as written
        (RIB, RIB, BOX),  # nothing speaks for another order
        (RIB, None, OTHER_BOX),
    ],
)
def test_boxes_go_to_the_sentences_that_say_what_is_known_of_them(
    first: Instance | None, second: Instance | None, clavicle: tuple[float, ...]
) -> None:
    ends = (TWO.index("."), len(TWO) - 1)
    places = [
        Located("fracture", BOX, 2.0, ends[0] + 1, first),
        Located("fracture", OTHER_BOX, 1.0, ends[1] + 1, second),
    ]
    found, _ = judge(TWO, {N.FRACTURE: 0.9}, *places)
    boxes = {i.bone: i.box.xyxy for i in found[N.FRACTURE].instances if i.box}
    assert boxes[Bone.CLAVICLE] == clavicle
    assert sorted(boxes.values()) == sorted([BOX, OTHER_BOX])


def test_what_is_in_doubt_shows_its_likeliest_place_too() -> None:
    place = Located("fracture", BOX, 0.3, None)
    unsure = Calibration(doubts={N.FRACTURE: 0.2})
    found, flags = judge("No fracture.", {N.FRACTURE: 0.3}, place, calibration=unsure)
    assert found[N.FRACTURE].status is U
    assert [i.box.xyxy for i in found[N.FRACTURE].instances if i.box] == [BOX]
    assert flags == [Code.TEXT_DISAGREES]
    found, _ = judge("No fracture.", {N.FRACTURE: 0.1}, place, calibration=unsure)
    assert found[N.FRACTURE].status is A
    assert not found[N.FRACTURE].instances


def test_places_have_a_calibration_of_their_own() -> None:
    calibration = Calibration(
        findings={N.FRACTURE: Platt(slope=2, intercept=0)},
        places={N.FRACTURE: Platt(slope=1, intercept=-1)},
    )
    found, _ = judge("", {N.FRACTURE: 0.8}, Located("fracture", BOX, 1.0), calibration=calibration)
    assert found[N.FRACTURE].probability == pytest.approx(16 / 17, abs=1e-4)
    assert found[N.FRACTURE].instances[0].probability == 0.5


# -- probabilities and thresholds ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("likelihood", "threshold", "status"),
    [
        (0.5, 0.5, P),  # at the threshold is present
        (0.4999, 0.5, A),
        (0.49999, 0.5, P),  # the printed probability, 0.5, is what is compared
        (0.3, 0.3, P),
        (0.3, 0.3001, A),
        (0.0, 0.0, P),
        (1.0, 1.0, P),
        (0.99, 1.0, A),
    ],
)
def test_from_the_threshold_on_a_finding_is_present(
    likelihood: float, threshold: float, status: Status
) -> None:
    calibration = Calibration(thresholds={N.NODULE: threshold})
    found, _ = judge("", {N.NODULE: likelihood}, calibration=calibration)
    assert found[N.NODULE].status is status
    p = found[N.NODULE].probability
    assert p is not None
    assert (p >= threshold) == (status is P)


def test_each_finding_has_its_own_threshold_and_the_rest_the_default() -> None:
    calibration = Calibration(thresholds={N.FRACTURE: 0.2}, default_threshold=0.6)
    found, _ = judge("", {N.FRACTURE: 0.3, N.NODULE: 0.5}, calibration=calibration)
    assert (found[N.FRACTURE].status, found[N.NODULE].status) == (P, A)


@pytest.mark.parametrize("likelihood", [0.0, 1e-320, 1e-12, 0.5, 1 - 1e-16, 1.0])
@pytest.mark.parametrize("slope", [-5.0, 0.0, 1.0, 1e6])
def test_a_calibrated_probability_is_one_whatever_goes_in(likelihood: float, slope: float) -> None:
    calibration = Calibration(findings={N.NODULE: Platt(slope=slope, intercept=3)})
    assert 0 <= calibration.probability(N.NODULE, likelihood) <= 1


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.floats(0.001, 50), st.floats(-50, 50))
def test_calibration_keeps_the_order(a: float, b: float, slope: float, intercept: float) -> None:
    platt = Platt(slope=slope, intercept=intercept)
    low, high = sorted((a, b))
    assert 0 <= platt.apply(low) <= platt.apply(high) <= 1


@given(st.floats(0.001, 0.999))
def test_no_calibration_changes_nothing(likelihood: float) -> None:
    assert Calibration().probability(N.NODULE, likelihood) == pytest.approx(likelihood, abs=6e-5)


def test_a_likelihood_that_is_no_number_is_an_error_and_never_a_finding() -> None:
    with pytest.raises(ValidationError):
        judge("", {N.NODULE: math.nan})


@pytest.mark.parametrize(
    "wrong",
    [
        {"default_threshold": 0},
        {"default_threshold": 1},
        {"thresholds": {"nodule": 1.1}},
        {"thresholds": {"knee": 0.5}},
        {"findings": {"nodule": {"slope": math.nan}}},
        {"places": {"nodule": {"slope": math.inf}}},
        {"temperature": 1},
    ],
)
def test_a_calibration_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Calibration(**wrong)


def test_a_calibration_comes_back_from_its_file() -> None:
    one = Calibration(
        findings={N.NODULE: Platt(slope=1.5, intercept=-0.25)},
        places={N.FRACTURE: Platt()},
        thresholds={N.NODULE: 0.4},
    )
    assert Calibration.model_validate_json(one.model_dump_json()) == one
