"""Findings: the table is the house plan's, values are checked, parents follow children."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from hilum.findings import (
    FINDINGS,
    Box,
    Finding,
    FindingName,
    Instance,
    Status,
    with_parents,
)

CHEXPERT = (
    "no_finding enlarged_cardiomediastinum cardiomegaly lung_lesion lung_opacity edema "
    "consolidation pneumonia atelectasis pneumothorax pleural_effusion pleural_other fracture "
    "support_devices"
).split()
MORE = "nodule mass granuloma infiltration emphysema fibrosis pleural_thickening hernia".split()
PARENTS = {
    "nodule": "lung_lesion",
    "mass": "lung_lesion",
    "granuloma": "lung_lesion",
    "infiltration": "lung_opacity",
    "pleural_thickening": "pleural_other",
}
N = FindingName


def finding(name: FindingName, status: str = "present", **more: Any) -> Finding:
    return Finding(name=name, status=Status(status), **more)


def test_the_names_are_chexperts_14_and_eight_more_in_this_order() -> None:
    assert [name.value for name in FindingName] == CHEXPERT + MORE


def test_every_name_has_one_row_with_unique_terms_and_codes() -> None:
    assert list(FINDINGS) == list(FindingName)
    for column in ("en", "zh"):
        terms = [getattr(row, column) for row in FINDINGS.values()]
        assert all(terms)
        assert len(set(terms)) == len(terms)
    codes = [row.snomed for row in FINDINGS.values() if row.snomed]
    assert len(set(codes)) == len(codes)
    assert all(_verhoeff(code) for code in codes), "a SNOMED CT code ends in a check digit"


def test_parents_are_the_house_plans_and_one_level_deep() -> None:
    parents = {name.value: row.parent.value for name, row in FINDINGS.items() if row.parent}
    assert parents == PARENTS
    assert not set(PARENTS.values()) & set(PARENTS)


@pytest.mark.parametrize(("child", "parent"), PARENTS.items())
def test_a_present_child_adds_its_parent_after_everything_else(child: str, parent: str) -> None:
    given = [finding(N(child), probability=0.9), finding(N.FRACTURE, "absent")]
    result = with_parents(given)
    assert [f.name for f in result] == [N(child), N.FRACTURE, N(parent)]
    assert result[-1] == finding(N(parent))
    assert result[0] is given[0]


@pytest.mark.parametrize("status", ["absent", "uncertain"])
def test_a_child_that_is_not_present_changes_nothing(status: str) -> None:
    given = [finding(N.NODULE, status), finding(N.LUNG_LESION, "absent", probability=0.1)]
    assert with_parents(given) == given


@pytest.mark.parametrize("status", ["absent", "uncertain"])
def test_a_parent_that_was_not_present_is_raised_in_its_place(status: str) -> None:
    given = [finding(N.LUNG_LESION, status, probability=0.1), finding(N.NODULE)]
    assert with_parents(given) == [finding(N.LUNG_LESION), finding(N.NODULE)]
    assert given[0].status == status, "the caller's own findings stay as they were"


def test_a_parent_already_present_keeps_its_own_probability_and_instances() -> None:
    parent = finding(N.LUNG_LESION, probability=0.4, instances=[Instance()])
    assert with_parents([finding(N.MASS), finding(N.NODULE), parent])[-1] is parent


def test_three_children_have_one_parent_and_a_second_pass_adds_none() -> None:
    once = with_parents([finding(N.MASS), finding(N.NODULE), finding(N.GRANULOMA)])
    assert [f.name for f in once].count(N.LUNG_LESION) == 1
    assert with_parents(once) == once


def test_nothing_has_no_parents() -> None:
    assert with_parents([]) == []


@pytest.mark.parametrize(
    "xyxy",
    [
        (0, 0, 0, 1),  # no width
        (0, 0, 1, 0),  # no height
        (5, 0, 1, 9),  # turned over
        (0, 9, 5, 1),
        (math.nan, 0, 1, 1),
        (0, 0, math.inf, 1),
        (-math.inf, 0, 1, 1),
        (0, 0, 1),
        (0, 0, 1, 1, 1),
        "0011",
    ],
)
def test_a_box_that_is_no_rectangle_is_refused(xyxy: Any) -> None:
    with pytest.raises(ValidationError):
        Box(xyxy=xyxy)


def test_a_box_may_reach_past_the_film_and_may_be_thinner_than_a_pixel() -> None:
    assert Box(xyxy=(-3, -2, -2.9, 4000.5)).centre == pytest.approx((-2.95, 1999.25))


def test_a_refused_assignment_leaves_the_box_as_it_was() -> None:
    box = Box(xyxy=(0, 0, 2, 2))
    with pytest.raises(ValidationError):
        box.xyxy = (3, 3, 1, 1)
    assert box.xyxy == (0, 0, 2, 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ribs", [0]),
        ("ribs", [13]),
        ("ribs", [7.5]),
        ("ribs", 7),
        ("probability", 1.0000001),
        ("probability", -1e-9),
        ("probability", math.nan),
        ("probability", "likely"),
        ("side", "Left"),
        ("side", "l"),
        ("bone", "femur"),
        ("stage", "chronic"),
        ("region", "apex"),
        ("displacement", "unspecified"),
        ("span", (1,)),
        ("box", (0, 0, 1, 1)),
        ("laterality", "left"),
    ],
)
def test_an_instance_refuses_what_is_not_in_the_house_plan(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Instance(**{field: value})


def test_an_unknown_instance_is_all_null() -> None:
    assert Instance().model_dump() == {
        "bone": None,
        "side": None,
        "ribs": [],
        "region": None,
        "displacement": None,
        "stage": None,
        "box": None,
        "probability": None,
        "span": None,
    }


def test_instances_of_two_findings_are_not_shared() -> None:
    one, two = finding(N.FRACTURE), finding(N.FRACTURE)
    one.instances.append(Instance())
    assert two.instances == []


def test_a_status_is_checked_on_assignment_too() -> None:
    one = finding(N.FRACTURE, "uncertain")
    assert not one.present
    with pytest.raises(ValidationError):
        one.status = "unmentioned"  # type: ignore[assignment]
    one.status = "present"  # type: ignore[assignment]
    assert one.model_dump()["status"] is Status.PRESENT


def _verhoeff(code: str) -> bool:
    """Check digit of a SNOMED CT identifier."""
    rotate = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]

    def times(a: int, b: int) -> int:  # the dihedral group of the pentagon
        if a < 5:
            return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
        return 5 + (a - b) % 5 if b < 5 else (a - b) % 5

    check = 0
    for place, digit in enumerate(reversed(code)):
        value = int(digit)
        for _ in range(place % 8):
            value = rotate[value]
        check = times(check, value)
    return check == 0
