from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hilum import imaging
from hilum.codes import Code, HilumError
from hilum.data import Film, Pair, Refusal, Row, Work
from hilum.data.work import work
from hilum.findings import Finding, FindingName, Status
from hilum.reading.gate import judge
from tests.data.conftest import film

TEXT = Work(text_only=True)


def pair(findings: str = "Rib fracture.", **fields: Any) -> Pair:
    return Pair("s", "p", findings=findings, **fields)


def row(result: Row | Refusal) -> dict[str, Any]:
    assert isinstance(result, Row), result
    return result.values


def refusal(result: Row | Refusal) -> Refusal:
    assert isinstance(result, Refusal)
    return result


def statuses(values: dict[str, Any]) -> dict[str, str]:
    return {f["name"]: f["status"] for f in values["findings"]}


def test_a_film_is_stored_as_it_is_looked_at(tmp_path: Path, make_file: Any) -> None:
    levels = np.arange(240 * 300, dtype=np.uint16).reshape(240, 300) % 4096
    path = make_file(levels, PhotometricInterpretation="MONOCHROME1", BitsStored=12)
    values = row(work(pair(films=(Film(path),)), Work()))
    stored = Image.open(io.BytesIO(values["images"][0]["bytes"]))
    assert stored.mode == "L"
    assert np.array_equal(np.asarray(stored), imaging.load_study([path]).views[0].display())
    assert values["views"][0]["position"] == "PA"
    assert (values["context"]["age"], values["context"]["sex"]) == (54, "F")


def test_a_film_is_made_smaller_but_never_larger(tmp_path: Path) -> None:
    path = film(tmp_path / "a.png", side=300)
    for size, expected in ((100, 100), (300, 300), (4000, 300)):
        values = row(work(pair(films=(Film(path),)), Work(size=size)))
        assert Image.open(io.BytesIO(values["images"][0]["bytes"])).width == expected
        assert values["views"][0]["rows"] == 300


def test_a_phantom_stays_known_as_one(phantoms: list[Path], tmp_path: Path) -> None:
    values = row(work(pair(films=(Film(phantoms[0]),)), Work(size=128)))
    again = tmp_path / "again.png"
    again.write_bytes(values["images"][0]["bytes"])
    before, after = (imaging.load_study([p]).views[0] for p in (phantoms[0], again))
    assert after.simulated
    assert after.mm_per_pixel == pytest.approx((before.mm_per_pixel or 0) * 2)


def test_bytes_are_opened_like_files(tmp_path: Path) -> None:
    path = film(tmp_path / "a.png")
    by_path = work(pair(films=(Film(path),)), Work())
    by_bytes = work(pair(films=(Film(data=path.read_bytes()),)), Work())
    assert by_path == by_bytes


def test_the_same_film_twice_in_a_study_is_kept_once(tmp_path: Path) -> None:
    path, copy = film(tmp_path / "a.png"), film(tmp_path / "b.tif")
    values = row(work(pair(films=(Film(path), Film(copy), Film(path))), Work()))
    assert len(values["images"]) == len(values["views"]) == 1
    assert values["flags"] == [Code.DUPLICATE_IMAGE]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", Code.FILE_EMPTY),
        (b"not an image at all", Code.FORMAT_UNKNOWN),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, Code.FILE_DAMAGED),
        (None, Code.FILE_NOT_FOUND),
    ],
)
def test_one_bad_film_refuses_the_study(tmp_path: Path, content: bytes | None, code: Code) -> None:
    bad = tmp_path / "bad.png"
    if content is not None:
        bad.write_bytes(content)
    result = refusal(work(pair(films=(Film(film(tmp_path / "a.png")), Film(bad))), Work()))
    assert result.code is code
    assert result.where == "bad.png"
    assert str(tmp_path) not in str(result.line())


def test_the_gate_refuses_what_is_no_chest_film(tmp_path: Path, phantoms: list[Path]) -> None:
    blank = tmp_path / "blank.png"
    Image.new("L", (300, 300), 7).save(blank)
    assert refusal(work(pair(films=(Film(blank),)), Work(gate=judge))).code is Code.BLANK_FILM
    lateral = Film(phantoms[0], position="LATERAL")
    result = refusal(work(pair(films=(lateral,)), Work(gate=judge)))
    assert result.code is Code.NOT_A_FRONTAL_VIEW
    frontal = Film(phantoms[1], position="PA")
    assert len(row(work(pair(films=(lateral, frontal)), Work(gate=judge)))["images"]) == 2


def test_a_study_without_films_or_words_is_refused() -> None:
    assert refusal(work(pair(), Work())).code is Code.NO_IMAGES
    for text in ("", "  \n ", "\x00\x01"):
        assert refusal(work(pair(text), TEXT)).code is Code.TEXT_EMPTY
    told = pair(error=HilumError(Code.ROW_INVALID), where="row 3")
    assert refusal(work(told, TEXT)).line() == {
        "study_id": "s",
        "where": "row 3",
        "code": "row_invalid",
        "detail": "",
    }


def test_a_defect_stops_no_other_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HILUM_DEBUG", raising=False)

    def broken(values: dict[str, Any], pair: Pair) -> dict[str, Any]:
        raise RuntimeError("Jane Doe")

    result = refusal(work(pair(), replace(TEXT, task=broken)))
    assert result.code is Code.INTERNAL_ERROR
    assert result.detail == "RuntimeError"


def test_findings_are_labelled_in_both_languages() -> None:
    english = row(work(pair("Old fracture of the left 5th rib. No effusion."), TEXT))
    chinese = row(work(pair("左侧第5肋骨陈旧性骨折。未见胸腔积液。"), TEXT))
    for values, language in ((english, "en"), (chinese, "zh")):
        assert values["report"]["language"] == language
        assert statuses(values)["fracture"] == "present"
        assert statuses(values)["pleural_effusion"] == "absent"
        assert values["findings_source"] == "labeler"
        fracture = next(f for f in values["findings"] if f["name"] == "fracture")
        assert fracture["instances"][0]["ribs"] == [5]


def test_a_sentence_that_goes_never_takes_its_finding_along() -> None:
    told = pair("Stable left rib fracture. The lungs are clear.")
    values = row(work(told, replace(TEXT, no_priors=True)))
    assert values["report"]["findings"] == "The lungs are clear."
    assert statuses(values)["fracture"] == "present"
    assert Code.FINDING_REMOVED in values["flags"]
    spans = [i["span"] for f in values["findings"] for i in f["instances"]]
    assert spans == [None] * len(spans)


def test_a_report_of_comparisons_alone_is_refused() -> None:
    result = work(pair("No change since the prior film."), replace(TEXT, no_priors=True))
    assert refusal(result).code is Code.NOTHING_LEFT


def test_a_report_that_names_nothing_is_kept_and_flagged() -> None:
    values = row(work(pair("Two films were taken."), TEXT))
    assert values["findings"] == []
    assert values["flags"] == [Code.NOTHING_SAID]


def test_truth_needs_no_labeler_and_published_labels_are_compared() -> None:
    truth = [Finding(name=FindingName.MASS, status=Status.PRESENT)]
    values = row(work(pair(truth=truth, truth_source="expert"), TEXT))
    assert statuses(values) == {"mass": "present"}
    assert values["findings_source"] == "expert"
    for status, flagged in ((Status.ABSENT, True), (Status.PRESENT, False)):
        told = pair(published={FindingName.FRACTURE: status})
        assert (Code.LABELS_DIFFER in row(work(told, TEXT))["flags"]) is flagged


def test_any_picture_has_a_caption_and_no_findings() -> None:
    told = pair("冠状动脉造影显示右冠状动脉降支夹层。")
    values = row(work(told, replace(TEXT, domain="any")))
    assert values["findings"] == []
    assert values["findings_source"] is None
    assert values["flags"] == []
    spanish = replace(told, language="es")
    assert refusal(work(spanish, TEXT)).code is Code.LANGUAGE_UNSUPPORTED
    assert row(work(spanish, replace(TEXT, domain="any")))["report"]["language"] == "es"


def test_a_translation_that_changes_the_medicine_is_refused_or_flagged() -> None:
    told = pair("右侧胸腔积液。", original="Left pleural effusion.")
    result = refusal(work(told, TEXT))
    assert result.code is Code.TRANSLATION_UNFAITHFUL
    assert result.detail == "side"
    values = row(work(told, replace(TEXT, audit=False)))
    assert Code.TRANSLATION_UNFAITHFUL in values["flags"]
    faithful = pair("左侧胸腔积液。", original="Left pleural effusion.")
    assert row(work(faithful, TEXT))["flags"] == []
    chat = pair("左侧胸腔积液。您还有其他问题吗？", original="Left pleural effusion.")
    assert row(work(chat, TEXT))["flags"] == [Code.CHAT_RESIDUE]


def test_the_bad_film_among_several_is_named(tmp_path: Path) -> None:
    films = (Film(film(tmp_path / "a.png")), Film(tmp_path / "gone.png"))
    result = refusal(work(pair(films=films, where="row 7"), Work()))
    assert result.where == "row 7: gone.png"
