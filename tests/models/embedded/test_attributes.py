"""What the attribute head's answers stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.findings import Bone, Displacement, Instance, Region, Side, Stage
from hilum.models.embedded.attributes import ATTRIBUTES, occurrence
from hilum.models.embedded.configuration import CLASSES

ANSWERS = st.tuples(*(st.integers(0, many - 1) for many in ATTRIBUTES.values()))


@pytest.mark.parametrize(
    ("finding", "answers", "said"),
    [
        ("cardiomegaly", (3, 1, 1, 1, 1, 1), Instance()),
        ("support_devices", (3, 1, 1, 1, 1, 1), Instance()),
        ("pneumothorax", (3, 1, 1, 1, 2, 1), Instance(side=Side.RIGHT)),
        ("nodule", (3, 1, 1, 0, 2, 1), Instance(side=Side.LEFT, region=Region.LOWER)),
        (
            "fracture",
            (6, 1, 0, 1, 2, 0),
            Instance(
                bone=Bone.RIB,
                side=Side.RIGHT,
                ribs=[7],
                region=Region.LATERAL,
                displacement=Displacement.DISPLACED,
                stage=Stage.ACUTE,
            ),
        ),
        (
            "fracture",
            (6, 1, 3, 0, 2, 1),
            Instance(bone=Bone.CLAVICLE, side=Side.LEFT, stage=Stage.OLD),
        ),
    ],
)
def test_only_what_a_finding_has_is_said(
    finding: str, answers: tuple[int, ...], said: Instance
) -> None:
    assert occurrence(finding, answers) == said


@given(answers=ANSWERS, finding=st.sampled_from(list(CLASSES)))
def test_every_answer_is_a_valid_instance(answers: tuple[int, ...], finding: str) -> None:
    said = occurrence(finding, answers)
    assert Instance.model_validate(said.model_dump()) == said
