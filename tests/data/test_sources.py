"""Layouts read from small copies made here, and from real files where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hilum.codes import Code, HilumError
from hilum.data import Given, Pair, Settings, Work, open_source, prepare
from hilum.data.sources.table import pseudonym
from hilum.findings import FindingName
from tests.data.conftest import film, write_csv

TEXT_ONLY = Given(text_only=True)


def pairs(path: Path, layout: str | None = None, given: Given | None = None) -> list[Pair]:
    return list(open_source(path, layout, given or Given()).pairs())


def test_an_unknown_layout_and_a_missing_path_are_named(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as caught:
        open_source(tmp_path, "cxr", Given())
    assert caught.value.code is Code.OPTION_INVALID
    with pytest.raises(HilumError) as caught:
        open_source(tmp_path / "none", None, Given())
    assert caught.value.code is Code.FILE_NOT_FOUND
    with pytest.raises(HilumError) as caught:
        open_source(tmp_path, None, Given())
    assert caught.value.code is Code.LAYOUT_UNKNOWN


# -- OpenI ----------------------------------------------------------------------------------------

XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR{uid}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText>
<AbstractText Label="INDICATION">Chest pain</AbstractText>
<AbstractText Label="FINDINGS">{findings}</AbstractText>
<AbstractText Label="IMPRESSION">No acute disease.</AbstractText>
</Abstract></Article></MedlineCitation>
<parentImage id="CXR{uid}_1_IM-0001-3001"><caption>PA</caption></parentImage>
<parentImage id="CXR{uid}_1_IM-0001-4001"><caption>lateral</caption></parentImage>
</eCitation>"""


def openi_xml(folder: Path, *uids: int) -> Path:
    for uid in uids:
        file = folder / "ecgen-radiology" / f"{uid}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(XML.format(uid=uid, findings="Heart size is normal."), encoding="utf-8")
        for n in (4001, 3001):
            film(folder / "NLMCXR_png" / f"CXR{uid}_1_IM-0001-{n}.png", uid + n)
    return folder


def test_openi_xml_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    found = pairs(openi_xml(tmp_path, 10, 2))
    assert [p.study_id for p in found] == ["CXR2", "CXR10"]
    first = found[0]
    assert first.findings == "Heart size is normal."
    assert first.impression == "No acute disease."
    assert first.context.indication == "Chest pain"
    assert [f.path.name for f in first.films if f.path] == [
        "CXR2_1_IM-0001-3001.png",
        "CXR2_1_IM-0001-4001.png",
    ]
    assert first.licence == "CC-BY-NC-ND-4.0"
    assert first.source == "openi"


def test_openi_xml_names_an_image_that_is_not_there(tmp_path: Path) -> None:
    folder = openi_xml(tmp_path, 2)
    (folder / "NLMCXR_png" / "CXR2_1_IM-0001-4001.png").unlink()
    names = [f.path.name for f in pairs(folder)[0].films if f.path]
    assert names[-1] == "CXR2_1_IM-0001-4001.png"


@pytest.mark.parametrize(
    "content",
    [
        "<eCitation><broken",
        '<!DOCTYPE x [<!ENTITY a "aaaa">]><eCitation>&a;</eCitation>',
        "<eCitation>" + " " * (1 << 20) + "</eCitation>",
    ],
)
def test_openi_xml_that_is_broken_or_armed_is_refused(tmp_path: Path, content: str) -> None:
    folder = openi_xml(tmp_path, 2)
    (folder / "ecgen-radiology" / "3.xml").write_text(content, encoding="utf-8")
    error = pairs(folder)[1].error
    assert error is not None
    assert error.code is Code.ROW_INVALID


def openi_csv(folder: Path) -> Path:
    reports = [
        {"uid": 1, "indication": "Pain", "findings": "Normal heart.", "impression": "Normal."},
        {"uid": 2, "indication": "", "findings": "", "impression": "Rib fracture."},
    ]
    write_csv(folder / "indiana_reports.csv", reports)
    write_csv(
        folder / "indiana_projections.csv",
        [
            {"uid": 1, "filename": "1_IM-0001-4001.dcm.png", "projection": "Frontal"},
            {"uid": 1, "filename": "1_IM-0001-3001.dcm.png", "projection": "Lateral"},
            {"uid": 2, "filename": "2_IM-0652-1001.dcm.png", "projection": "Frontal"},
        ],
    )
    for name in ("1_IM-0001-4001.dcm.png", "1_IM-0001-3001.dcm.png"):
        film(folder / "images" / "images_normalized" / name, len(name))
    return folder


def test_openi_csv_takes_positions_from_the_projections(tmp_path: Path) -> None:
    first, second = pairs(openi_csv(tmp_path))
    assert [f.position for f in first.films] == ["LATERAL", "PA"]
    assert first.where == "indiana_reports.csv row 2"
    assert [f.path.name for f in second.films if f.path] == ["2_IM-0652-1001.dcm.png"]


def test_openi_csv_without_its_columns_is_no_source(tmp_path: Path) -> None:
    write_csv(tmp_path / "indiana_reports.csv", [{"uid": 1, "text": "x"}])
    with pytest.raises(HilumError) as caught:
        pairs(tmp_path)
    assert caught.value.code is Code.SOURCE_INVALID
    assert "findings" in caught.value.detail


def test_real_openi_reports_are_all_told_of(dev_data: Path) -> None:
    found = pairs(dev_data / "openi", "openi", TEXT_ONLY)
    assert len(found) == 1937
    assert len({p.study_id for p in found}) == 1937
    assert not any(p.error for p in found)


# -- XrayGLM --------------------------------------------------------------------------------------


def annotations(path: Path, rows: list[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"annotations": rows}), encoding="utf-8")
    return path


def test_xrayglm_joins_the_images_of_a_uid(tmp_path: Path) -> None:
    zh = [("10_1", "心影增大。"), ("9_1", "两肺清晰。"), ("9_2", "两肺清晰。")]
    en = [("9_1", "Lungs are clear."), ("10_1", "The heart is enlarged.")]
    annotations(tmp_path / "zh.json", [{"image_id": i, "caption": c} for i, c in zh])
    annotations(tmp_path / "en.json", [{"image_id": i, "caption": c} for i, c in en])
    film(tmp_path / "images" / "9_1.png")
    first, second = pairs(tmp_path)
    assert (first.study_id, second.study_id) == ("CXR9", "CXR10")
    assert [f.path.name for f in first.films if f.path] == ["9_1.png", "9_2.png"]
    assert first.language == "zh"
    assert first.original == "Lungs are clear."
    assert first.flags == ()
    assert pairs(tmp_path, None, Given(language="en"))[0].findings == "Lungs are clear."
    assert pairs(tmp_path, None, Given(language="en"))[0].original is None


def test_xrayglm_flags_captions_that_differ_and_keeps_bad_rows_in_sight(tmp_path: Path) -> None:
    rows: list[object] = [
        {"image_id": "9_1", "caption": "两肺清晰。"},
        {"image_id": "9_2", "caption": "肺部清晰。"},
        {"image_id": "../../9_3", "caption": "两肺清晰。"},
        {"image_id": 7, "caption": "两肺清晰。"},
        {"caption": "两肺清晰。"},
        "9_4",
    ]
    found = pairs(annotations(tmp_path / "zh.json", rows))
    assert [p.where for p in found if p.error] == [f"annotation {n}" for n in (2, 3, 4, 5)]
    assert found[-1].flags == (Code.CAPTIONS_DIFFER,)
    assert found[-1].findings == "两肺清晰。"


def test_real_xrayglm_images_are_named_by_the_uid_of_their_report(dev_data: Path) -> None:
    found = {p.study_id: p for p in pairs(dev_data / "openi", "xrayglm")}
    assert len(found) == 3313
    assert sum(len(p.films) for p in found.values()) == 6423
    assert sum(Code.CAPTIONS_DIFFER in p.flags for p in found.values()) == 332
    second = found["CXR2"]  # its report tells of a sternotomy, and both films show the wires
    assert all(f.path is not None and f.path.is_file() for f in second.films)
    assert "胸骨" in second.findings


# -- phantoms -------------------------------------------------------------------------------------


def test_phantoms_bring_their_truth_and_either_report(phantoms: list[Path]) -> None:
    folder = phantoms[0].parent
    english, chinese = pairs(folder), pairs(folder, None, Given(language="zh"))
    assert len(english) == len(chinese) == 6
    assert english[0].truth is not None
    assert english[0].findings.isascii()
    assert not chinese[0].findings.isascii()


def test_a_broken_line_of_truth_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "truth.jsonl").write_text('{"path": "../x.png"}\nnot json\n[]\n', encoding="utf-8")
    found = pairs(tmp_path)
    assert [p.error.code for p in found if p.error] == [Code.ROW_INVALID] * 3


# -- tables ---------------------------------------------------------------------------------------

CHINESE = [
    {
        "检查号": "A1",
        "病历号": "0001",
        "影像路径": "a.png;b.png",
        "检查所见": "两肺清晰。",
        "年龄": "54岁",
    },
    {
        "检查号": "A2",
        "病历号": "0001",
        "影像路径": "c.png",
        "检查所见": "心影增大。",
        "年龄": "8月",
    },
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "utf-16"])
def test_a_chinese_table_is_read_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    table = write_csv(tmp_path / "t.csv", CHINESE, encoding)
    given = Given()
    first, second = pairs(table, None, given)
    assert first.findings == "两肺清晰。"
    assert [f.path.name for f in first.films if f.path] == ["a.png", "b.png"]
    assert (first.context.age, second.context.age) == (54, 0)
    assert first.patient_id == second.patient_id == pseudonym("0001")
    assert first.study_id == pseudonym("A1")
    assert "findings=检查所见" in given.notes[0]


def test_ids_stay_only_where_asked(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "t.csv", CHINESE)
    assert pairs(table, None, Given(keep_ids=True))[0].study_id == "A1"
    assert "0001" not in repr(pairs(table))


def test_columns_are_found_by_what_stands_in_them(tmp_path: Path) -> None:
    rows = [{"a": "1.png", "b": "x", "c": "The heart is normal in size."}]
    given = Given()
    (pair,) = pairs(write_csv(tmp_path / "t.csv", rows), None, given)
    assert pair.findings == "The heart is normal in size."
    assert pair.films[0].path == tmp_path / "1.png"
    assert pair.flags == (Code.PATIENT_UNKNOWN,)
    assert pair.patient_id == pair.study_id == "row-2"


def test_named_columns_win_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    rows = [{"image": "1.png", "other": "2.png", "report": "Normal.", "text2": "Rib fracture."}]
    table = write_csv(tmp_path / "t.csv", rows)
    (pair,) = pairs(table, None, Given(columns={"image": "other", "report": "text2"}))
    assert pair.films[0].path == tmp_path / "2.png"
    assert pair.findings == "Rib fracture."
    for columns, code in (
        ({"image": "nowhere"}, Code.SOURCE_INVALID),
        ({"picture": "image"}, Code.OPTION_INVALID),
    ):
        with pytest.raises(HilumError) as caught:
            pairs(table, None, Given(columns=columns))
        assert caught.value.code is code


def test_half_a_surrogate_pair_harms_nobody(tmp_path: Path) -> None:
    row = '{"study_id": "a\\ud800", "patient": "\\udfff", "report": "Rib \\ud83d fracture."}'
    (tmp_path / "t.jsonl").write_text(row)
    source = open_source(tmp_path / "t.jsonl", None, TEXT_ONLY)
    card = prepare(source, tmp_path / "out", Settings(work=Work(text_only=True)))
    assert sum(card["facts"]["rows"].values()) == 1


def test_a_table_without_texts_says_how_to_name_them(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "t.csv", [{"image": "1.png", "n": "1"}])
    with pytest.raises(HilumError) as caught:
        pairs(table)
    assert "--columns report=NAME" in caught.value.detail


def test_jsonl_and_excel_say_the_same_as_csv(tmp_path: Path) -> None:
    rows = [{"image": "a.png", "report": "Rib fracture.", "age": 54, "split": "val", "sex": "女"}]
    lines = [json.dumps(rows[0], ensure_ascii=False), "not json", "[1]"]
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(list(rows[0]))
    book.active.append(list(rows[0].values()))
    book.save(tmp_path / "t.xlsx")
    write_csv(tmp_path / "t.csv", rows)
    one, two, three = (pairs(tmp_path / f"t.{end}") for end in ("jsonl", "xlsx", "csv"))
    assert len(one) == 3  # a line that is none stays in sight as an empty study
    assert one[0].findings == two[0].findings == three[0].findings == "Rib fracture."
    assert {p[0].context.age for p in (one, two, three)} == {54}
    assert {p[0].context.sex for p in (one, two, three)} == {"F"}
    assert {p[0].split for p in (one, two, three)} == {"validation"}


def test_rows_of_one_study_stand_together(tmp_path: Path) -> None:
    rows = [
        {"study_id": "s", "image": "a.png", "view": "PA", "report": "Rib fracture."},
        {"study_id": "s", "image": "b.png", "view": "侧位", "report": "Rib fracture."},
        {"study_id": "t", "image": "c.png", "view": "", "report": "Normal."},
    ]
    first, second = pairs(write_csv(tmp_path / "t.csv", rows))
    assert [f.position for f in first.films] == ["PA", "LATERAL"]
    assert [f.position for f in second.films] == [None]


def test_odd_values_become_unknown_and_an_odd_split_refuses_its_row(tmp_path: Path) -> None:
    rows = [
        {"image": "a.png", "report": "Normal.", "age": "unknown", "sex": "?", "split": "train"},
        {"image": "b.png", "report": "Normal.", "age": "999", "sex": "", "split": "holdout"},
    ]
    first, second = pairs(write_csv(tmp_path / "t.csv", rows))
    assert first.context.age is None
    assert first.context.sex is None
    assert second.error is not None
    assert second.where == "row 3"


@pytest.mark.parametrize("content", [b"\xff\x00\x81\x81\xff\xff" * 40, b""])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(HilumError) as caught:
        pairs(tmp_path / "t.csv")
    assert caught.value.code is Code.SOURCE_INVALID


def test_real_hannover_table_is_guessed(dev_data: Path) -> None:
    given = Given(text_only=True)
    with pytest.raises(HilumError) as caught:  # it holds no reports: nothing is made up
        pairs(dev_data / "xray" / "hannover_ccby3", "table", given)
    assert caught.value.code is Code.SOURCE_INVALID


def test_findings_of_phantoms_name_the_fracture(phantoms: list[Path]) -> None:
    truths = [p.truth or [] for p in pairs(phantoms[0].parent)]
    assert {FindingName.FRACTURE} <= {f.name for truth in truths for f in truth}
