"""An archive on a cluster: what one machine would say, each study once, whatever is killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hilum import imaging
from hilum.cli.main import run
from hilum.codes import Code, HilumError
from hilum.reading.archive import BATCH, Reading, _actors, read_on_cluster
from hilum.reading.journal import Journal
from hilum.report import Report
from tests.cluster import two_nodes

__all__ = ["two_nodes"]


@pytest.fixture
def archive(phantoms: list[Path], tmp_path: Path) -> Path:
    """Two batches and a half of films; one is damaged, one is no image, one is nobody's phantom."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for i in range(2 * BATCH + 10):
        shutil.copy(phantoms[i % len(phantoms)], folder / f"{i:03}.png")
    (folder / "007.png").write_bytes(phantoms[1].read_bytes()[:5000])
    (folder / "011.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"nothing")
    return folder


def said(lines: str) -> dict[str, dict[str, Any]]:
    """Lines of a journal or of --json, by path; each path once."""
    found = [json.loads(line) for line in lines.splitlines()]
    rows = {
        _path(r): {k: v for k, v in r.items() if k != "key"} for r in found if "journal" not in r
    }
    assert len(rows) == sum("journal" not in r for r in found)
    return rows


def _path(row: dict[str, Any]) -> str:
    return str(row.get("path") or row["study"]["views"][0]["path"])


@pytest.mark.slow
def test_two_nodes_say_what_one_machine_says(
    archive: Path,
    twin: Path,
    tmp_path: Path,
    two_nodes: tuple[Any, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # paths are relative, here and there
    words = ["read", "archive", "--reader", str(twin), "--json"]
    assert run(words) == 4
    here = said(capsys.readouterr().out)
    assert run([*words, "--ray", two_nodes[0].address, "--out", "reads"]) == 4
    there = said(capsys.readouterr().out)
    assert here.keys() == there.keys()
    for path, row in here.items():
        if "error" in row:
            assert row == there[path]
        else:
            assert row["text"] == there[path]["text"]
            assert row["gate"] == there[path]["gate"]
    reports = [p for p in (tmp_path / "reads").iterdir() if p.suffix == ".json"]
    assert len(reports) == sum("error" not in row for row in here.values())


@pytest.mark.slow
def test_a_driver_that_is_killed_goes_on_where_it_stopped(
    archive: Path, twin: Path, tmp_path: Path, two_nodes: tuple[Any, Any]
) -> None:
    journal = tmp_path / "reads.jsonl"
    words = [sys.executable, "-m", "hilum.cli.main", "read", str(archive), "--json"]
    words += ["--reader", str(twin), "--journal", str(journal), "--ray", two_nodes[0].address]
    environment = os.environ | {"PYTHONPATH": str(Path(imaging.__file__).parents[2])}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    limit = time.monotonic() + 300
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert time.monotonic() < limit
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    before = journal.read_bytes().count(b"\n") - 1
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    found = said(journal.read_text())
    assert len(found) == len(imaging.scan(archive))
    assert len(said(done.stdout)) == len(found) - before


@pytest.mark.slow
def test_a_reader_that_is_not_there_is_one_line(
    archive: Path, tmp_path: Path, two_nodes: tuple[Any, Any]
) -> None:
    files = imaging.scan(archive)[:3]
    with pytest.raises(HilumError) as caught:
        list(read_on_cluster(two_nodes[0].address, files, Reading(str(tmp_path / "none"))))
    assert caught.value.code is Code.READER_NOT_FOUND
    assert list(read_on_cluster(two_nodes[0].address, [], Reading("embedded"))) == []


def test_pictures_are_not_drawn_of_films_that_are_elsewhere(
    phantoms: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--overlay", "--explain-pixels"):
        assert run(["read", str(phantoms[0]), "--ray", "auto", option]) == 2
        assert "option_invalid" in capsys.readouterr().err


def test_a_journal_knows_its_calibration(tmp_path: Path) -> None:
    plain = Reading("embedded").settings()
    assert "calibration" not in plain  # as journals were before
    with Journal(tmp_path / "j", plain):
        pass
    with pytest.raises(HilumError) as caught:
        Journal(tmp_path / "j", Reading("embedded", calibration=Path("c.json")).settings())
    assert caught.value.code is Code.SOURCE_CHANGED


@pytest.mark.parametrize(
    ("nodes", "studies", "count", "each"),
    [
        ([{"CPU": 16.0}], 1000, 4, {"num_cpus": 4}),
        ([{"CPU": 16.0}, {"CPU": 2.0}], 1000, 9, {"num_cpus": 2}),
        ([{"CPU": 1.0}, {"CPU": 1.0}], 1000, 2, {"num_cpus": 1}),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}], 1000, 3, {"num_gpus": 1}),
        ([{"CPU": 16.0}], 33, 2, {"num_cpus": 4}),
        ([{"CPU": 16.0}, {}], 10, 1, {"num_cpus": 4}),  # a head that does no work
        ([{"CPU": 8.0, "GPU": 8.0}], 40, 2, {"num_gpus": 1}),
    ],
)
def test_an_actor_has_a_gpu_or_processors_of_one_node(
    nodes: list[dict[str, float]], studies: int, count: int, each: dict[str, int]
) -> None:
    alive = [{"Alive": True, "Resources": node} for node in nodes]
    gone = {"Alive": False, "Resources": {"CPU": 1.0, "GPU": 1.0}}
    ray = SimpleNamespace(nodes=lambda: [*alive, gone])
    assert _actors(ray, studies) == (count, each)


def test_reports_cross_as_they_are(twin: Path, phantoms: list[Path]) -> None:
    import pickle

    how = Reading(str(twin), language="zh")
    study = imaging.load(imaging.scan(phantoms[0])[0])
    (report,) = how.read(how.open(), [study])
    assert isinstance(report, Report)
    assert pickle.loads(pickle.dumps(report)) == report
    error = imaging.load_or_error(imaging.StudyFiles("0" * 12, (Path("nowhere.png"),)))
    assert isinstance(error, HilumError)
    again = pickle.loads(pickle.dumps(error))
    assert (again.code, again.line()) == (error.code, error.line())
