"""`hilum evaluate` and `hilum calibrate`: whole runs with the twin, and refusals of one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hilum.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `hilum` in this process: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        words = [str(a) for a in arguments]
        monkeypatch.setattr("sys.argv", ["hilum", *words])
        code = main.run(words)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture(scope="session")
def films(phantoms: list[Path]) -> Path:
    return phantoms[0].parent


def peer(path: Path, films: Path, lines: int = 6) -> Path:
    truth = [json.loads(t) for t in (films / "truth.jsonl").read_text("utf-8").splitlines()]
    told = [
        {"study_id": Path(row["path"]).stem, "text": row["report"]["en"]} for row in truth[:lines]
    ]
    path.write_text("\n".join(map(json.dumps, told)), encoding="utf-8")
    return path


def told(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "evaluation.json").read_text(encoding="utf-8")))


def test_a_reader_and_a_peer_on_one_page(run: Run, twin: Path, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "judged"
    more = ("--predictions", peer(tmp_path / "peer.jsonl", films), "--rounds", 100)
    code, printed, _ = run("evaluate", films, "--reader", twin, "--out", out, *more)
    assert code == 0
    assert f"page: {out / 'page.html'}" in printed
    assert [s["kind"] for s in told(out)["systems"]] == [
        "predictions",
        "reader",
        "baseline",
        "baseline",
    ]
    found = told(out)["systems"][0]
    assert found["words"]["findings"]["fracture"]["f1"][0] == 1
    assert "auc" not in found["likelihood"]["findings"]["fracture"]
    reader = told(out)["systems"][1]
    assert reader["about"]["reader"]["provenance"]["en"]["weights_sha256"]
    assert reader["likelihood"]["findings"]["fracture"]["auc"]
    # paths of this machine stay here
    assert str(tmp_path) not in (out / "page.html").read_text(encoding="utf-8")
    first = (out / "evaluation.json").read_bytes()
    assert run("evaluate", films, "--reader", twin, "--out", out, *more)[0] == 0
    assert (out / "evaluation.json").read_bytes() == first


def test_predictions_alone_load_no_reader(run: Run, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "judged"
    path = peer(tmp_path / "peer.jsonl", films)
    args = ("--predictions", path, "--out", out, "--rounds", 100, "--json")
    code, printed, _ = run("evaluate", films, *args)
    assert code == 0
    assert json.loads(printed)["systems"][0]["name"] == "peer"
    assert not (out / "predictions").exists()


@pytest.mark.parametrize(("lines", "code"), [(6, 0), (4, 3)])
def test_studies_that_were_not_read_are_in_the_exit_code(
    run: Run, films: Path, tmp_path: Path, lines: int, code: int
) -> None:
    path = peer(tmp_path / "peer.jsonl", films, lines)
    found = run("evaluate", films, "--predictions", path, "--out", tmp_path / "o", "--rounds", 100)
    assert found[0] == code
    assert told(tmp_path / "o")["references"]["studies"] == 6


def test_a_reader_that_reads_nothing_is_4(
    run: Run, twin: Path, films: Path, tmp_path: Path
) -> None:
    """Films that nothing says were simulated are outside the twin's domain."""
    from PIL import Image

    folder = shutil.copytree(films, tmp_path / "films")
    for path in folder.glob("*.png"):
        Image.open(path).copy().save(path)
    args = ("--reader", twin, "--out", tmp_path / "o", "--rounds", 100)
    assert run("evaluate", folder, *args)[0] == 4
    assert told(tmp_path / "o")["systems"][0]["codes"] == {"outside_reader_domain": 6}


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--split", "dev"], 0, ""),  # phantoms have no splits
        (["--optional", "bertscore"], 2, "option_invalid"),
        (["--predictions", "none.jsonl"], 4, "file_not_found"),
        (["--reader", "none"], 4, "reader_not_found"),
        (["--calibration", "x.json", "--reader", "a", "--reader", "b"], 2, "exactly one"),
        (["--prevalence", "0"], 2, "option_invalid"),
        (["--rounds", "5"], 2, "option_invalid"),
    ],
)
def test_a_mistake_is_one_line(
    run: Run, films: Path, tmp_path: Path, arguments: list[str], code: int, word: str
) -> None:
    path = peer(tmp_path / "peer.jsonl", films)
    given = ["--predictions", path] if "--predictions" not in arguments else []
    args = ("--out", tmp_path / "o", "--rounds", 100)
    found, _, error = run("evaluate", films, *args, *given, *arguments)
    assert found == code
    assert word in error
    assert len(error.strip().splitlines()) <= 1


def test_no_dataset_is_one_line(run: Run, tmp_path: Path) -> None:
    code, _, error = run("evaluate", tmp_path)
    assert code == 4
    assert "dataset_invalid" in error


# -- calibrate ------------------------------------------------------------------------------------


def test_six_films_are_too_few_to_calibrate_on(
    run: Run, twin: Path, films: Path, tmp_path: Path
) -> None:
    out = tmp_path / "site.json"
    code, _, error = run("calibrate", films, "--site", "here", "--reader", twin, "--out", out)
    assert code == 4
    assert "calibration_impossible" in error
    assert not out.exists()


def test_a_site_is_calibrated_and_the_file_is_used(
    run: Run, twin: Path, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hilum.evaluation import calibrate as module

    monkeypatch.setattr(module, "FEWEST", 1)
    monkeypatch.setattr(module, "FOLDS", 2)
    monkeypatch.setattr(module.split, "__defaults__", (2,))
    out = tmp_path / "site.json"
    args = ("--reader", twin, "--out", out, "--method", "none", "--sensitivity", 0.9, "--json")
    code, printed, error = run("calibrate", films, "--site", "here", *args)
    assert (code, error.strip()) == (0, "")
    assert json.loads(printed) == json.loads(out.read_text(encoding="utf-8"))
    assert out.with_suffix(".html").is_file()
    film = sorted(films.glob("*.png"))[0]
    code, printed, _ = run("read", film, "--reader", twin, "--calibration", out, "--json")
    assert code == 0
    assert json.loads(printed)["provenance"]["calibration"]["site"] == "here"
    code, _, error = run("read", film, "--reader", twin, "--calibration", out, "--site", "there")
    assert code == 4
    assert "calibration_mismatch" in error
    judged = ("--reader", twin, "--out", tmp_path / "o", "--rounds", 100)
    assert run("evaluate", films, *judged, "--calibration", out)[0] == 0
    plan = told(tmp_path / "o")["systems"][0]["about"]["reader"]
    assert plan["provenance"]["en"]["calibration"]["site"] == "here"


@pytest.mark.parametrize("site", ["", " ", "x" * 81])
def test_a_site_has_a_name(run: Run, films: Path, site: str) -> None:
    code, _, error = run("calibrate", films, "--site", site)
    assert code == 2
    assert "--site" in error
