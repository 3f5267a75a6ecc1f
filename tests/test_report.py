"""Report: JSON there and back, the shape of the house plan's line, nothing of the header."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hilum.codes import Code
from hilum.findings import (
    Bone,
    Box,
    Displacement,
    Finding,
    FindingName,
    Instance,
    Region,
    Side,
    Stage,
    Status,
)
from hilum.report import (
    LANGUAGES,
    NOTICE,
    Failure,
    Gate,
    Provenance,
    Report,
    StudyRecord,
    Verdict,
    ViewRecord,
)
from hilum.study import Context, Study, View

finite = st.floats(-1e6, 1e6, allow_subnormal=False)
probabilities = st.none() | st.floats(0, 1)


def maybe(kind: Any) -> Any:
    return st.none() | st.sampled_from(kind)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x0, x1 = sorted(draw(st.lists(finite, min_size=2, max_size=2, unique=True)))
    y0, y1 = sorted(draw(st.lists(finite, min_size=2, max_size=2, unique=True)))
    return Box(view=draw(st.integers(0, 9)), xyxy=(x0, y0, x1, y1))


instances = st.builds(
    Instance,
    bone=maybe(Bone),
    side=maybe(Side),
    ribs=st.lists(st.integers(1, 12), max_size=12),
    region=maybe(Region),
    displacement=maybe(Displacement),
    stage=maybe(Stage),
    box=st.none() | boxes(),
    probability=probabilities,
    span=st.none() | st.tuples(st.integers(0, 999), st.integers(0, 999)),
)
findings = st.builds(
    Finding,
    name=st.sampled_from(FindingName),
    status=st.sampled_from(Status),
    probability=probabilities,
    instances=st.lists(instances, max_size=3),
)


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
view_records = st.builds(
    ViewRecord,
    path=words,
    position=st.none() | words,
    rows=st.integers(1, 65535),
    columns=st.integers(1, 65535),
    mm_per_pixel=st.none() | st.floats(1e-3, 10),
)
contexts = st.builds(
    Context,
    age=st.none() | st.integers(0, 130),
    sex=maybe(["F", "M", "O"]),
    indication=st.none() | words,
    priors=st.lists(words, max_size=3),
)
codes = st.lists(st.sampled_from(Code), max_size=4)
ABSTENTION = Gate(verdict=Verdict.ABSTAIN, reasons=[Code.BLANK_FILM])


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """Any report that is allowed, read or abstained."""
    abstained = draw(st.booleans())
    reasons = draw(codes.filter(bool) if abstained else codes)
    return Report(
        study=StudyRecord(
            id=draw(words), views=draw(st.lists(view_records, max_size=2)), context=draw(contexts)
        ),
        gate=Gate(verdict=Verdict.ABSTAIN if abstained else Verdict.ACCEPT, reasons=reasons),
        findings=[] if abstained else draw(st.lists(findings, max_size=3)),
        text=None if abstained else draw(words),
        language=draw(st.sampled_from(LANGUAGES)),
        flags=draw(codes),
        provenance=draw(
            st.builds(
                Provenance,
                reader=words,
                weights_sha256=words,
                prompt=words,
                decoding=st.dictionaries(words, plain, max_size=3),
                thresholds=st.dictionaries(
                    st.sampled_from(FindingName), st.floats(0, 1), max_size=3
                ),
                licence=words,
                versions=st.dictionaries(words, words, max_size=3),
            )
        ),
        notice=draw(words),
    )


def provenance() -> Provenance:
    return Provenance(
        reader="embedded",
        weights_sha256="0" * 64,
        prompt="阅片",
        decoding={"temperature": 0, "seed": None},
        thresholds={FindingName.FRACTURE: 0.5},
        licence="Apache-2.0",
        versions={"hilum": "0"},
    )


def report(**more: Any) -> Report:
    view = View(pixels=np.zeros((4, 3), np.uint16), path="a.dcm", header={"PatientName": "PLANTED"})
    given: dict[str, Any] = {
        "study": StudyRecord.of(Study(id="a", views=[view], context=Context(age=44, sex="F"))),
        "gate": Gate(verdict=Verdict.ACCEPT),
        "text": "",
        "language": "en",
        "provenance": provenance(),
        "notice": NOTICE["en"],
    }
    return Report(**(given | more))


@settings(deadline=None)
@given(findings)
def test_a_finding_comes_back_from_json_bit_for_bit(finding: Finding) -> None:
    text = finding.model_dump_json()
    assert Finding.model_validate_json(text) == finding
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@settings(deadline=None)
@given(instances)
def test_an_instance_comes_back_from_json_and_from_plain_values(instance: Instance) -> None:
    assert Instance.model_validate_json(instance.model_dump_json()) == instance
    assert Instance.model_validate(instance.model_dump(mode="json")) == instance


def test_gate_provenance_and_failure_come_back_from_json() -> None:
    gate = Gate(verdict=Verdict.ABSTAIN, reasons=[Code.BLANK_FILM, Code.TOO_SMALL])
    failure = Failure(path="片/b.dcm", error=Code.FILE_EMPTY, message=Code.FILE_EMPTY.zh)
    for record in (gate, provenance(), failure):
        assert type(record).model_validate_json(record.model_dump_json()) == record


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(reports())
def test_a_report_comes_back_from_its_own_line_as_it_was(one: Report) -> None:
    line = one.model_dump_json()
    assert Report.model_validate_json(line) == one
    assert Report.model_validate_json(line).model_dump_json() == line
    assert Report.model_validate(one.model_dump()) == one
    assert Report.model_validate(one.model_dump(mode="json")) == one
    assert Report.model_validate_json(one.model_dump_json(indent=1)) == one  # as --out writes it


def test_a_report_keeps_of_a_study_all_but_what_only_a_reader_needs() -> None:
    views = [
        View(pixels=np.zeros((4, 3), np.uint16), path="a", position="PA", mm_per_pixel=0.2),
        View(pixels=np.ones((1, 9), np.float32), path="片", simulated=True, inverted=True),
    ]
    context = Context(age=0, sex="O", indication="pain", priors=["2019"])
    kept = StudyRecord.of(Study(id="x", views=views, context=context))
    assert kept.model_dump() == {
        "id": "x",
        "views": [
            {"path": "a", "position": "PA", "rows": 4, "columns": 3, "mm_per_pixel": 0.2}
            | {"steps": []},
            {"path": "片", "position": None, "rows": 1, "columns": 9, "mm_per_pixel": None}
            | {"steps": []},
        ],
        "context": context.model_dump(),
    }


def test_a_studys_record_refuses_pixels_and_anything_else() -> None:
    view = {"path": "a", "position": None, "rows": 1, "columns": 1, "mm_per_pixel": None}
    assert ViewRecord.model_validate(view)
    for key in view:
        with pytest.raises(ValidationError):
            ViewRecord.model_validate({k: v for k, v in view.items() if k != key})
    for more in ({"pixels": [[0]]}, {"header": {}}, {"rows": 1.5}, {"mm_per_pixel": math.nan}):
        with pytest.raises(ValidationError):
            ViewRecord.model_validate(view | more)


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": ""},
        {"text": "The lungs are clear."},
        {"findings": [Finding(name=FindingName.NO_FINDING, status=Status.PRESENT)]},
        {"findings": [Finding(name=FindingName.FRACTURE, status=Status.ABSENT)]},
        {"gate": Gate(verdict=Verdict.ABSTAIN)},
        {"gate": {"verdict": "abstain", "reasons": []}},
    ],
)
def test_an_abstention_with_a_word_or_without_a_reason_is_refused(wrong: dict[str, Any]) -> None:
    allowed = {"gate": ABSTENTION, "text": None, "flags": [Code.WINDOW_INVALID]}
    assert report(**allowed).abstained
    with pytest.raises(ValidationError, match="an abstained study has reasons"):
        report(**(allowed | wrong))


def test_a_report_without_a_text_is_refused_and_an_empty_text_is_not() -> None:
    with pytest.raises(ValidationError, match="has a text"):
        report(text=None)
    assert report(text="").text == ""


def test_an_accepted_study_may_carry_reasons() -> None:
    """A gate may remark on what it lets pass."""
    assert not report(gate=Gate(verdict=Verdict.ACCEPT, reasons=[Code.TOO_SMALL])).abstained


@pytest.mark.parametrize(
    ("name", "value"),
    [("gate", ABSTENTION), ("text", None), ("language", "fr"), ("flags", ["made_up_code"])],
)
def test_setting_a_field_is_checked_with_the_rest(name: str, value: Any) -> None:
    one = report(text="x")
    with pytest.raises(ValidationError):
        setattr(one, name, value)


def test_the_line_has_exactly_the_house_plans_keys() -> None:
    absent = Finding(name=FindingName.FRACTURE, status=Status.ABSENT)
    line = json.loads(report(findings=[absent]).model_dump_json())
    assert list(line) == [
        "study",
        "gate",
        "findings",
        "text",
        "language",
        "flags",
        "provenance",
        "notice",
    ]
    assert list(line["study"]) == ["id", "views", "context"]
    assert set(line["study"]["views"][0]) == {
        "path",
        "position",
        "rows",
        "columns",
        "mm_per_pixel",
        "steps",
    }
    assert list(line["gate"]) == ["verdict", "reasons"]
    assert list(line["findings"][0]) == ["name", "status", "probability", "instances"]


def test_the_line_is_one_line_whatever_the_text() -> None:
    line = report(text="one\ntwo\r\n\u2028三", flags=[Code.TEXT_CUT]).model_dump_json()
    assert len(line.split("\n")) == 1
    assert json.loads(line)["text"] == "one\ntwo\r\n\u2028三"


def test_nothing_of_the_header_gets_into_a_report() -> None:
    one = report()
    assert "PLANTED" not in one.model_dump_json() + repr(one) + str(one.model_dump())


def test_an_abstained_report_says_nothing_of_the_study() -> None:
    one = report(gate=ABSTENTION, text=None)
    assert one.abstained
    assert one.findings == []
    assert one.text is None
    assert one.finding("no_finding") is None
    assert not report().abstained


def test_a_finding_is_found_by_name_and_unmentioned_is_none() -> None:
    absent = Finding(name=FindingName.FRACTURE, status=Status.ABSENT)
    one = report(findings=[absent])
    assert one.finding("fracture") == one.finding(FindingName.FRACTURE) == absent
    assert one.finding("nodule") is None
    assert one.finding("Fracture") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"language": "fr"},
        {"language": "zh-CN"},
        {"flags": ["made_up_code"]},
        {"findings": [{"name": "broken_bone", "status": "present"}]},
        {"findings": [{"name": "fracture", "status": "unmentioned"}]},
        {"gate": {"verdict": "maybe"}},
        {"warnings": []},
        {"provenance": None},
    ],
)
def test_a_report_refuses_what_is_not_in_the_house_plan(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        report(**wrong)


@pytest.mark.parametrize("threshold", [{"fracture": 1.5}, {"bone": 0.5}, {"fracture": None}])
def test_thresholds_are_probabilities_of_known_findings(threshold: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Provenance(**(provenance().model_dump() | {"thresholds": threshold}))


def test_every_language_has_its_notice() -> None:
    assert set(NOTICE) == set(LANGUAGES)
