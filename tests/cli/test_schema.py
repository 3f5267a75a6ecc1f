"""``hilum schema``: the published file is up to date, and every real line obeys it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from hilum.cli.schema import report_schema, schema
from hilum.codes import Code
from hilum.findings import Box, Finding, FindingName, Instance, Status
from hilum.report import Failure, Gate, Provenance, Report, StudyRecord, Verdict
from hilum.study import Study, View, Window

GOLDEN = Path(__file__).parents[1] / "golden" / "report.schema.json"


def report(**more: Any) -> Report:
    view = View(
        pixels=np.zeros((4, 3), np.uint16), path="片 1.dcm", voi=[Window(center=1, width=2)]
    )
    given: dict[str, Any] = {
        "study": StudyRecord.of(Study(id="a", views=[view])),
        "gate": Gate(verdict=Verdict.ACCEPT),
        "text": "",
        "language": "zh",
        "notice": "n",
        "provenance": Provenance(
            reader="embedded",
            weights_sha256="0" * 64,
            prompt="",
            decoding={"temperature": 0.0, "stop": ["。"]},
            thresholds={FindingName.FRACTURE: 0.5},
            licence="Apache-2.0",
            versions={"hilum": "0"},
        ),
    }
    return Report(**(given | more))


ABSTAINED = report(gate=Gate(verdict=Verdict.ABSTAIN, reasons=[Code.BLANK_FILM]), text=None)
READ = report(
    findings=[
        Finding(
            name=FindingName.FRACTURE,
            status=Status.PRESENT,
            probability=1,
            instances=[Instance(), Instance(ribs=[12], box=Box(xyxy=(0, 0, 1, 1)), span=(0, 9))],
        )
    ],
    text="右侧第 12 肋骨折。",
    flags=[Code.TEXT_DISAGREES],
)
FAILED = Failure(path="b", error=Code.FILE_EMPTY, message="b: the file is empty [file_empty]")


def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(report_schema())
    return jsonschema.Draft202012Validator(report_schema())


def test_the_published_schema_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    schema()
    assert capsys.readouterr().out == GOLDEN.read_text("utf-8"), (
        "the JSON of hilum read has changed. If that is meant, say so in CHANGELOG.md and run: "
        "hilum schema > tests/golden/report.schema.json"
    )


def test_the_schema_does_not_depend_on_what_else_is_loaded() -> None:
    assert report_schema() == report_schema()
    assert json.loads(GOLDEN.read_text("utf-8")) == report_schema()


@pytest.mark.parametrize("line", [ABSTAINED, READ, FAILED], ids=["abstained", "read", "failed"])
def test_real_lines_obey_the_schema(line: Report | Failure) -> None:
    validator().validate(json.loads(line.model_dump_json()))


@pytest.mark.parametrize(
    "change",
    [
        {"notice": None},
        {"language": "fr"},
        {"flags": ["made_up_code"]},
        {"findings": None},
        {"warnings": []},
        {"path": "b", "error": "file_empty", "message": "both a report and a failure"},
    ],
)
def test_wrong_lines_do_not(change: dict[str, Any]) -> None:
    line = json.loads(READ.model_dump_json()) | change
    assert not validator().is_valid(line)


@pytest.mark.parametrize("key", ["study", "gate", "findings", "text", "flags", "provenance"])
def test_no_key_of_a_report_may_be_left_out(key: str) -> None:
    line = json.loads(READ.model_dump_json())
    del line[key]
    assert not validator().is_valid(line)


def test_the_schema_names_what_is_printed_and_not_what_is_kept_back() -> None:
    parts = report_schema()["$defs"]
    assert set(parts["ViewRecord"]["properties"]) == {
        "path",
        "position",
        "rows",
        "columns",
        "mm_per_pixel",
        "steps",
    }
    assert set(parts["StudyRecord"]["properties"]) == {"id", "views", "context"}
    assert not {"View", "Study", "Window", "VoiLut"} & set(parts)


def test_every_code_is_in_the_schema() -> None:
    assert report_schema()["$defs"]["Code"]["enum"] == [code.value for code in Code]
