"""Datasets to judge on: three forms, films one at a time, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hilum.codes import Code, HilumError
from hilum.data import Settings, Work, open_source, prepare
from hilum.data.rows import open_dataset
from hilum.data.schema import SCHEMA
from hilum.data.sources import Given
from hilum.findings import FindingName
from hilum.study import Study
from tests.data.conftest import film


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "data"
    source = open_source(phantoms[0].parent, None, Given())
    prepare(source, out, Settings(work=Work(size=128), fractions=(0.0, 0.5, 0.5), chunk_size=2))
    return out


def studies(path: Path, start: int = 0, **more: Any) -> list[Study]:
    found = list(open_dataset(path, **more).studies(start))
    assert all(isinstance(s, Study) for s in found)
    return [s for s in found if isinstance(s, Study)]


def test_a_prepared_dataset_and_its_source_are_the_same_studies(
    prepared: Path, phantoms: list[Path]
) -> None:
    ours = {r.study_id: r for r in open_dataset(prepared, "all").references()}
    theirs = open_dataset(phantoms[0].parent).references()
    assert len(ours) == len(theirs) == 6
    for their in theirs:
        our = ours[their.study_id]
        assert (our.findings, our.text, our.source) == (their.findings, their.text, "truth")
        assert (our.patient_id, our.positions) == (their.patient_id, their.positions)
        assert our.sizes == ((256, 256),)


def test_films_come_in_the_order_of_the_references_from_any_start(prepared: Path) -> None:
    opened = open_dataset(prepared, "all")
    ids = [r.study_id for r in opened.references()]
    for start in range(7):
        assert [s.id for s in opened.studies(start)] == ids[start:]


def test_a_film_is_shown_as_it_was_stored(prepared: Path) -> None:
    view = studies(prepared, split="all")[0].views[0]
    assert (view.rows, view.columns) == (128, 128)
    assert view.simulated
    assert view.position == "PA"
    assert np.array_equal(view.display(), view.pixels)
    # a film half as wide has pixels twice as large
    row = next(iter(pq.read_table(f) for f in sorted((prepared / "data").glob("*")))).to_pylist()
    original = row[0]["views"][0]["mm_per_pixel"]
    assert studies(prepared, split="all")
    assert view.mm_per_pixel == pytest.approx(2 * original)


def test_a_split_is_its_own_studies_with_a_hash_of_its_own(prepared: Path) -> None:
    halves = [open_dataset(prepared, s) for s in ("validation", "test")]
    ids = [{r.study_id for r in half.references()} for half in halves]
    assert not ids[0] & ids[1]
    assert len(ids[0] | ids[1]) == 6
    assert len({half.sha256 for half in halves} | {open_dataset(prepared, "all").sha256}) == 3
    assert open_dataset(prepared, "test").sha256 == halves[1].sha256


def test_the_hash_changes_with_a_single_byte(tmp_path: Path, phantoms: list[Path]) -> None:
    folder = shutil.copytree(phantoms[0].parent, tmp_path / "films")
    before = open_dataset(folder).sha256
    assert before == open_dataset(phantoms[0].parent).sha256
    path = folder / phantoms[3].name
    path.write_bytes(path.read_bytes() + b"\0")
    assert open_dataset(folder).sha256 != before


def test_a_film_that_is_gone_is_an_answer_and_no_end(tmp_path: Path, phantoms: list[Path]) -> None:
    folder = shutil.copytree(phantoms[0].parent, tmp_path / "films")
    (folder / phantoms[1].name).unlink()
    (folder / phantoms[2].name).write_bytes(b"no film")
    found = list(open_dataset(folder).studies())
    codes = [f.code if isinstance(f, HilumError) else None for f in found]
    assert codes == [None, Code.FILE_NOT_FOUND, Code.FORMAT_UNKNOWN, None, None, None]


@pytest.mark.parametrize(
    ("images", "code"),
    [
        ([], Code.NO_IMAGES),
        ([{"bytes": b"", "path": "x"}], Code.FILE_DAMAGED),
        ([{"bytes": b"\xff\xd8\xff\xe0 no png", "path": "x"}], Code.FILE_DAMAGED),
    ],
)
def test_a_row_with_a_bad_picture_is_an_answer(
    tmp_path: Path, prepared: Path, images: Any, code: Code
) -> None:
    folder = shutil.copytree(prepared, tmp_path / "data")
    path = sorted((folder / "data").glob("test-*"))[0]
    rows = pq.read_table(path).to_pylist()
    rows[0]["images"] = images
    rows[0]["views"] = rows[0]["views"][: len(images)]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    first, *rest = open_dataset(folder, "test").studies()
    assert isinstance(first, HilumError)
    assert first.code is code
    assert all(isinstance(s, Study) for s in rest)


def test_a_report_that_the_labeler_does_not_read_is_no_text(tmp_path: Path, prepared: Path) -> None:
    folder = shutil.copytree(prepared, tmp_path / "data")
    path = sorted((folder / "data").glob("test-*"))[0]
    rows = pq.read_table(path).to_pylist()
    rows[0]["report"]["language"] = "es"
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    first, *rest = open_dataset(folder, "test").references()
    assert first.text == ""
    assert first.findings
    assert all(r.text for r in rest)


# -- ReXrank --------------------------------------------------------------------------------------


@pytest.fixture
def rexrank(tmp_path: Path) -> Path:
    film(tmp_path / "p10" / "front.png", 1)
    film(tmp_path / "p10" / "side.png", 2)
    content = {
        "s1": {
            "image_path": ["p10/front.png", "p10/side.png"],
            "key_image_path": "p10/front.png",
            "frontal_lateral": ["PA", "LATERAL"],
            "context": "Age:50-60.Gender:M.Indication: fall.",
            "section_findings": "Left rib fracture.",
            "section_impression": "Fracture.",
            "subject_id": 7,
        },
        "s2": {
            "image_path": ["/p10/side.png"],
            "context": {"age": "63", "gender": "F"},
            "findings": "No fracture.",
        },
        "s3": {"findings": "未见骨折。"},
        "s4": {"image_path": ["../secret.png"], "findings": ""},
    }
    path = tmp_path / "test.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_rexranks_references_are_read_by_the_labeler(rexrank: Path) -> None:
    one, two, three, four = open_dataset(rexrank).references()
    assert one.text == "Left rib fracture.\nFracture."
    assert one.source == "labeler"
    assert [f.name for f in one.findings] == [FindingName.FRACTURE]
    assert (one.patient_id, one.context.age, one.context.sex) == ("7", 50, "M")
    assert one.positions == ("PA", "LATERAL")
    assert (two.context.age, two.context.sex, two.patient_id) == (63, "F", "s2")
    assert (three.language, two.language) == ("zh", "en")
    assert (four.text, four.findings) == ("", [])


def test_rexranks_key_image_is_shown_and_nothing_outside_its_folder(rexrank: Path) -> None:
    film(rexrank.parent.parent / "secret.png")
    found = list(open_dataset(rexrank).studies())
    assert [s.code if isinstance(s, HilumError) else len(s.views) for s in found] == [
        1,
        1,
        Code.NO_IMAGES,
        Code.FILE_NOT_FOUND,
    ]


def test_images_may_lie_elsewhere(rexrank: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    shutil.move(tmp_path / "p10", other / "p10")
    first = next(open_dataset(rexrank).studies())
    assert isinstance(first, HilumError)
    assert isinstance(next(open_dataset(rexrank, images=other).studies()), Study)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", "[]"),
        ("x.json", "{}"),
        ("x.json", '{"s1": "text"}'),
        ("x.json", "{"),
        ("x.csv", "a,b"),
        ("truth.jsonl", ""),
        ("d/truth.jsonl", "{}"),
        ("d/truth.jsonl", '{"path": "a.png"}'),
        ("d/truth.jsonl", "no json"),
        ("d/card.json", "{}"),
        ("d/card.json", "no json"),
        ("d/card.json", '{"facts": {"licence": "x"}}'),
    ],
)
def test_what_is_no_dataset_is_refused(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(HilumError, match="dataset_invalid"):
        open_dataset(path.parent if name.startswith("d/") else path)


def test_a_study_that_stands_twice_is_refused(tmp_path: Path, phantoms: list[Path]) -> None:
    line = (phantoms[0].parent / "truth.jsonl").read_text(encoding="utf-8").splitlines()[0]
    (tmp_path / "truth.jsonl").write_text(f"{line}\n{line}\n", encoding="utf-8")
    with pytest.raises(HilumError, match="stands twice"):
        open_dataset(tmp_path)


def test_a_split_without_studies_and_one_that_is_none(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(HilumError, match="try --split all"):
        open_dataset(prepared, "train")
    with pytest.raises(HilumError, match="option_invalid"):
        open_dataset(prepared, "dev")
    with pytest.raises(HilumError, match="file_not_found"):
        open_dataset(tmp_path / "none")
