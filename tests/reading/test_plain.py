"""A model's folder without a card: read end to end, with plain words or its preset's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hilum import imaging
from hilum.codes import Code, HilumError
from hilum.findings import FindingName
from hilum.models.hub import RECORD, Fetched
from hilum.models.presets import find
from hilum.models.twins import families, make_twin
from hilum.reading.plain import PROMPTS, plain_card, questions
from hilum.reading.reader import Card, Reader
from hilum.report import Report, Verdict


@pytest.mark.parametrize("name", families())
def test_every_family_reads_a_film_end_to_end(
    name: str, tmp_path: Path, phantoms: list[Path]
) -> None:
    reader = Reader.load(make_twin(name, tmp_path / "twin"))
    reader.card = reader.card.model_copy(update={"max_new_tokens": 8})
    studies = [imaging.load_study([p]) for p in phantoms[:2]]
    reports = reader.read_studies(studies, "zh")
    for report in reports:
        assert report.gate.verdict is Verdict.ACCEPT
        asked = {f.name: f.probability for f in report.findings if f.probability is not None}
        assert len(asked) >= 13
        assert all(0 <= p <= 1 for p in asked.values())
        assert report.provenance.prompt == PROMPTS["zh"]
        assert report.provenance.licence.startswith("unknown")
        assert " on " in report.provenance.versions["precision"]
        assert Report.model_validate_json(report.model_dump_json()) == report
    alone = reader.read_studies([studies[1]], "zh")[0]
    assert alone.text  # a twin says nonsense, but it says it


def test_several_views_are_one_study(tmp_path: Path, phantoms: list[Path]) -> None:
    reader = Reader.load(make_twin("gemma3", tmp_path / "twin"), "float32")
    reader.card = reader.card.model_copy(update={"max_new_tokens": 8, "questions": {}})
    one = reader.read(phantoms[0])
    two = reader.read([phantoms[0], phantoms[1]])
    assert Code.SEVERAL_VIEWS_UNSUPPORTED not in two.gate.reasons
    assert two.text != one.text
    four = reader.read(phantoms[:4])
    assert Code.SEVERAL_VIEWS_UNSUPPORTED in four.gate.reasons
    assert not four.text


def test_a_fetched_model_is_asked_in_its_presets_words(tmp_path: Path) -> None:
    preset = find("chexfract-maira2")
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    record = Fetched(
        hub=preset.hub, revision="0", endpoint="", licence="", parts=preset.parts, files={}
    )
    (tmp_path / RECORD).write_text(record.model_dump_json())
    card = plain_card(tmp_path)
    assert card.prompts == {"en": "Describe bones on this chest X-ray"}
    assert card.name == "chexfract-maira2"
    assert card.licence == "Microsoft Research License Agreement"
    assert Card.model_validate_json(card.model_dump_json()) == card


def test_a_folder_of_no_model_is_no_reader(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as caught:
        Reader.load(tmp_path)
    assert caught.value.code is Code.READER_INVALID
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(HilumError) as caught:
        Reader.load(tmp_path)
    assert caught.value.code in (Code.MODEL_INCOMPLETE, Code.MODEL_INVALID)


def test_thirteen_questions_in_either_language() -> None:
    en, zh = questions("en"), questions("zh")
    assert list(en) == list(zh) == list(FindingName)[1:14]
    assert "fracture" in en[FindingName.FRACTURE]
    assert "骨折" in zh[FindingName.FRACTURE]
    assert len(set(en.values())) == len(set(zh.values())) == 13
