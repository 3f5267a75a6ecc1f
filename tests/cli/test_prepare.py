from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hilum.cli.main import run
from tests.data.conftest import write_csv


@pytest.fixture
def source(tmp_path: Path, phantoms: list[Path]) -> Path:
    rows = []
    (tmp_path / "in").mkdir()
    for n in range(3):
        shutil.copy(phantoms[n], tmp_path / "in" / f"{n}.png")
        rows.append({"image": f"{n}.png", "report": f"Rib fracture {n}.", "patient": n})
    rows.append({"image": "none.png", "report": "Rib fracture.", "patient": 9})
    write_csv(tmp_path / "in" / "t.csv", rows)
    return tmp_path / "in"


def prepare(*words: object) -> int:
    return run(["prepare", *map(str, words), "--workers", "1"])


def test_a_dataset_is_made_and_its_refusals_are_counted(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(source, tmp_path / "out") == 0
    said = capsys.readouterr()
    assert "quarantined 1" in said.out
    assert "1 file_not_found" in said.out
    assert "columns: image=image, report=report, patient=patient" in said.err
    assert (tmp_path / "out" / "README.md").is_file()


def test_json_is_one_line(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(source, tmp_path / "out", "--json") == 0
    card = json.loads(capsys.readouterr().out)
    assert sum(card["facts"]["rows"].values()) == 3
    assert str(tmp_path) not in json.dumps(card)


def test_a_dry_run_prints_the_card(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(source, tmp_path / "out", "--dry-run") == 0
    assert "| fracture 骨折 | 3 |" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--split", "0.5,0.5"],
        ["--split", "a,b,c"],
        ["--split", "0.5,0.4,0.2"],
        ["--columns", "report"],
        ["--columns", "picture=image"],
        ["--layout", "cxr"],
        ["--size", "0"],
    ],
)
def test_a_mistyped_option_is_one_line(
    source: Path, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(source, tmp_path / "out", *words) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert "[option_invalid]" in said[-1]
    assert not (tmp_path / "out").exists()


def test_nothing_usable_is_a_failure(source: Path, tmp_path: Path) -> None:
    (source / "t.csv").write_text("image,report\nnone.png,Rib fracture.\n")
    assert prepare(source, tmp_path / "out") == 4
    assert "file_not_found" in (tmp_path / "out" / "quarantine.jsonl").read_text()
