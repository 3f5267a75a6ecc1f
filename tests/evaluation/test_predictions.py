"""Files of other systems: every form that is read, every mistake that is named, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hilum.codes import Code, HilumError
from hilum.evaluation.case import Outcome, Prediction
from hilum.evaluation.predictions import load
from hilum.evaluation.protocol import rexrank
from hilum.findings import Finding, Instance, Side
from hilum.report import NOTICE, Gate, Provenance, Report, StudyRecord, Verdict
from tests.evaluation.conftest import A, N, P, failed, fracture, reference, said, system

ROWS = [reference(k, fracture()) for k in range(3)]


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def make(*lines: Any, name: str = "peer.jsonl") -> Path:
        path = tmp_path / name
        text = [one if isinstance(one, str) else json.dumps(one) for one in lines]
        path.write_text("\n".join(text) + "\n", encoding="utf-8")
        return path

    return make


def line(**more: Any) -> dict[str, Any]:
    return {"study_id": "s0", **more}


# -- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "status", "probability"),
    [
        ({"text": "No fracture."}, A, None),
        ({"report": "Left rib fracture."}, P, None),
        ({"text": "左侧第5肋骨折。"}, P, None),
        ({"text": "左侧第5肋骨折。", "language": "zh"}, P, None),
        ({"probabilities": {"fracture": 0.3}}, A, 0.3),
        ({"probabilities": {"fracture": 0.3}, "threshold": 0.3}, P, 0.3),
        # the probability decides, whatever the text says
        ({"text": "No fracture.", "probabilities": {"fracture": 0.9}}, P, 0.9),
        ({"findings": [{"name": "fracture", "status": "absent", "probability": 0.1}]}, A, 0.1),
        ({"text": "Left rib fracture.", "findings": []}, None, None),
    ],
)
def test_a_line_says_as_much_as_it_can(
    write: Any, more: Any, status: Any, probability: Any
) -> None:
    (one, *_) = load(write(line(**more)), ROWS).predictions
    found = next((f for f in one.findings if f.name is N.FRACTURE), None)
    assert (found and found.status, found and found.probability) == (status, probability)
    assert one.read


def test_a_probability_keeps_the_places_of_the_text_where_it_agrees(write: Any) -> None:
    path = write(line(text="Left rib fracture.", probabilities={"fracture": 0.9}))
    (one, *_) = load(path, ROWS).predictions
    assert [i.side for i in one.findings[0].instances] == [Side.LEFT]
    path = write(line(text="Left rib fracture.", probabilities={"fracture": 0.1}))
    (one, *_) = load(path, ROWS).predictions
    assert one.findings[0].instances == []


def test_a_missing_line_is_a_failed_study(write: Any) -> None:
    found = load(write(line(study_id="s1", text="No fracture.")), ROWS).predictions
    assert [p.study_id for p in found] == ["s0", "s1", "s2"]
    assert [p.outcome for p in found] == [Outcome.FAILED, Outcome.READ, Outcome.FAILED]
    assert found[0].code is Code.PREDICTION_MISSING


def test_lines_of_other_studies_are_counted_and_left_out(write: Any) -> None:
    found = load(write(line(text="x"), line(study_id="zz", text="x")), ROWS)
    assert found.about == {"file": "peer.jsonl", "others": 1}
    assert found.name == "peer"


@pytest.mark.parametrize("error", ["file_damaged", "out of memory"])
def test_an_error_is_a_failed_study(write: Any, error: str) -> None:
    (one, *_) = load(write(line(error=error)), ROWS).predictions
    assert one.outcome is Outcome.FAILED
    expected = Code.FILE_DAMAGED if error == "file_damaged" else Code.INTERNAL_ERROR
    assert one.code is expected


def test_its_own_predictions_come_back_as_they_were(write: Any) -> None:
    answers = [said(ROWS[0], fracture(probability=0.25)), failed(ROWS[1])]
    answers.append(Prediction(study_id="s2", likelihoods={N.FRACTURE: 0.1}, sides={"left": 0.2}))
    path = write(*(p.model_dump_json() for p in answers))
    assert load(path, ROWS).predictions == answers


def test_lines_of_hilum_read_are_known_by_id_or_by_file(write: Any) -> None:
    def report(study_id: str, path: str, *, abstained: bool = False) -> str:
        view = {"path": path, "position": None, "rows": 9, "columns": 9, "mm_per_pixel": None}
        record = {"id": study_id, "views": [view], "context": {}}
        reasons = [Code.BLANK_FILM] if abstained else []
        verdict = Verdict.ABSTAIN if abstained else Verdict.ACCEPT
        one = Report(
            study=StudyRecord.model_validate(record),
            gate=Gate(verdict=verdict, reasons=reasons),
            findings=[] if abstained else [fracture(probability=0.7)],
            text=None if abstained else "Fracture.",
            language="en",
            notice=NOTICE["en"],
            provenance=Provenance(
                reader="r",
                weights_sha256="",
                prompt="",
                decoding={},
                thresholds={},
                licence="",
                versions={},
            ),
        )
        return one.model_dump_json()

    failure = {"path": "films/s2.dcm", "error": "file_damaged", "message": "..."}
    path = write(report("s0", "x.dcm"), report("abc", "films/s1.png", abstained=True), failure)
    found = load(path, ROWS).predictions
    assert [p.study_id for p in found] == ["s0", "s1", "s2"]
    assert [p.code for p in found] == [None, Code.BLANK_FILM, Code.FILE_DAMAGED]
    assert found[0].findings[0].probability == 0.7


def test_rexranks_answers_lose_their_headings(write: Any) -> None:
    content = {
        "s0": {"model_prediction": "Findings: Left rib fracture. Impression: Fracture."},
        "s1": {"model_prediction": "FINDINGS:\nNo fracture.\nIMPRESSION:\nNormal."},
        "s2": {"model_prediction": None},
    }
    found = load(write(json.dumps(content), name="peer.json"), ROWS).predictions
    assert found[0].text == "Left rib fracture.\nFracture."
    assert found[1].text == "No fracture.\nNormal."
    assert found[2].text == ""
    assert found[2].read


def test_rexranks_json_goes_out_and_comes_back(write: Any) -> None:
    told = system([said(ROWS[0], fracture()), failed(ROWS[1]), said(ROWS[2], fracture(A))])
    out = rexrank(ROWS, told)
    assert out["s1"]["model_prediction"] == ""
    assert out["s0"]["section_findings"] == ROWS[0].text
    found = load(write(json.dumps(out), name="out.json"), ROWS).predictions
    assert [p.text for p in found] == [told.predictions[0].text, "", told.predictions[2].text]


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2"),
        ('"s1"', "line 2"),
        ("{}", "line 2: no study_id"),
        ('{"study_id": "s1", "reprot": "x"}', "line 2: unknown key reprot"),
        ('{"study_id": "s1", "probabilities": {"knee": 0.5}}', "line 2"),
        ('{"study_id": "s1", "probabilities": {"fracture": 1.5}}', "line 2"),
        ('{"study_id": "s1", "probabilities": {"fracture": NaN}}', "line 2"),
        ('{"study_id": "s1", "probabilities": {"fracture": "high"}}', "line 2"),
        ('{"study_id": "s1", "findings": [{"name": "fracture"}]}', "line 2"),
        ('{"study_id": "s1", "text": "x", "language": "fr"}', "a language other than en and zh"),
        ('{"study_id": "s1", "text": 5}', "line 2"),
        ('{"study_id": "s0", "text": "x"}', "line 2: a study stands twice"),
        ('{"study_id": "s1", "outcome": "lost"}', "line 2"),
        ('{"study_id": "s1", "sides": {"up": 0.5}}', "line 2"),
        ('{"study_id": "", "text": "x"}', "line 2"),
    ],
)
def test_a_mistake_is_named_with_its_line(write: Any, wrong: str, reason: str) -> None:
    with pytest.raises(HilumError, match="predictions_invalid") as caught:
        load(write(line(text="Mr Smith has a fracture."), wrong), ROWS)
    assert reason in str(caught.value)
    assert "Smith" not in str(caught.value)


def test_a_text_is_never_repeated_in_an_error(write: Any) -> None:
    bad = '{"study_id": "s1", "findings": "Mr Smith, born 1950"}'
    with pytest.raises(HilumError) as caught:
        load(write(line(text="x"), bad), ROWS)
    assert "Smith" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("peer.json", "[]"),
        ("peer.json", "{"),
        ("peer.json", '{"s0": "text"}'),
        ("peer.json", '{"s0": {"prediction": "text"}}'),
        ("peer.jsonl", ""),
        ("peer.jsonl", '{"study_id": "other", "text": "x"}'),
    ],
)
def test_a_file_without_predictions_is_refused(write: Any, name: str, content: str) -> None:
    with pytest.raises(HilumError, match="predictions_invalid"):
        load(write(content, name=name), ROWS)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(HilumError, match="file_not_found"):
        load(tmp_path / "none.jsonl", ROWS)
    (tmp_path / "film.jsonl").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(HilumError, match="predictions_invalid"):
        load(tmp_path / "film.jsonl", ROWS)


def test_instances_may_be_given(write: Any) -> None:
    place = Instance(side=Side.LEFT, ribs=[5])
    given = [Finding(name=N.FRACTURE, status=P, instances=[place]).model_dump(mode="json")]
    (one, *_) = load(write(line(findings=given)), ROWS).predictions
    assert one.findings[0].instances == [place]
