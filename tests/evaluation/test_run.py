"""A reader on a dataset: batches are committed, a kill costs one, failures are kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import hilum
from hilum.codes import Code, HilumError
from hilum.evaluation.case import Outcome, Prediction, System
from hilum.evaluation.run import BATCH, run, slug
from hilum.findings import FindingName, Side
from tests.evaluation.conftest import Films, fracture, lines, oracle, reference

N = 36
REFERENCES = [reference(k, fracture(), language="zh" if k % 5 == 0 else "en") for k in range(N)]
pytestmark = pytest.mark.usefixtures("open_gate")
FILE = Path("predictions") / "one.jsonl"


def go(out: Path, films: Films | None = None, reader: Any = None, **more: Any) -> System:
    films = films or Films(REFERENCES)
    return run(reader or oracle(), "one", films, films.references(), out, **more)


def test_every_study_has_one_line_in_order_in_its_own_language(tmp_path: Path) -> None:
    found = go(tmp_path, reader=oracle(sides=True))
    assert [p.study_id for p in found.predictions] == [r.study_id for r in REFERENCES]
    assert [p.language for p in found.predictions] == [r.language for r in REFERENCES]
    told = [Prediction.model_validate_json(line) for line in lines(tmp_path / FILE)]
    assert told == found.predictions
    third = told[3]
    assert third.likelihoods == {FindingName.FRACTURE: 0.703}
    assert third.sides == {Side.LEFT: 0.703, Side.RIGHT: 0.297}
    assert third.findings[0].present
    assert "plan" not in (third.text or "")


def test_a_reader_that_lacks_a_language_writes_its_own(tmp_path: Path) -> None:
    reader = oracle()
    reader.card = reader.card.model_copy(update={"prompts": {"zh": "<zh>"}})
    assert {p.language for p in go(tmp_path, reader=reader).predictions} == {"zh"}


def test_a_language_that_was_asked_for_is_everyones(tmp_path: Path) -> None:
    assert {p.language for p in go(tmp_path, language="zh").predictions} == {"zh"}


def test_a_film_that_cannot_be_opened_fails_alone(tmp_path: Path) -> None:
    found = go(tmp_path, Films(REFERENCES, bad=[2, 35])).predictions
    assert {p.study_id: p.code for p in found if not p.read} == {
        "s2": Code.FILE_DAMAGED,
        "s35": Code.FILE_DAMAGED,
    }


def test_a_film_that_breaks_the_engine_fails_alone(tmp_path: Path) -> None:
    found = go(tmp_path, reader=oracle(breaks=[7])).predictions
    assert [(p.study_id, p.code) for p in found if not p.read] == [("s7", Code.INTERNAL_ERROR)]


def test_an_abstention_is_kept_with_its_reason(tmp_path: Path) -> None:
    reader = oracle()
    reader.card = reader.card.model_copy(update={"min_age": 18})
    from hilum.study import Context

    rows = [reference(0, fracture(), context=Context(age=4))]
    (one,) = go(tmp_path, Films(rows), reader=reader).predictions
    assert (one.outcome, one.code) == (Outcome.ABSTAINED, Code.BELOW_AGE_LIMIT)
    assert (one.findings, one.text) == ([], None)


def test_what_every_study_would_meet_stops_the_run(tmp_path: Path) -> None:
    class Silent:
        weights_sha256, versions = "0" * 64, {"oracle": "1"}

        def choose(self, *_: Any) -> Any:
            raise HilumError(Code.NO_PROBABILITY, "silent")

    reader = oracle()
    reader.engine = Silent()  # type: ignore[assignment]
    with pytest.raises(HilumError, match="no_probability"):
        go(tmp_path, reader=reader)
    assert lines(tmp_path / FILE) == []
    assert len(go(tmp_path).predictions) == N  # mended, it goes on


# -- resuming -------------------------------------------------------------------------------------


def test_a_finished_run_opens_no_film_and_gives_the_same_bytes(tmp_path: Path) -> None:
    go(tmp_path)
    before = (tmp_path / FILE).read_bytes()
    films = Films(REFERENCES)
    assert len(go(tmp_path, films).predictions) == N
    assert films.opened == []
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("cut", [0, 1, 500, -1, -40, -3000])
def test_a_run_that_was_cut_anywhere_goes_on_to_the_same_bytes(tmp_path: Path, cut: int) -> None:
    go(tmp_path)
    path = tmp_path / FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    films = Films(REFERENCES)
    go(tmp_path, films)
    assert path.read_bytes() == whole
    assert min(films.opened) % BATCH == 0


@pytest.mark.parametrize("broken", [b"\xff\xfe", b"{}\n", b'{"study_id": "s1"}\n', b"\n\n\n"])
def test_a_file_that_was_spoilt_is_begun_again(tmp_path: Path, broken: bytes) -> None:
    go(tmp_path)
    path = tmp_path / FILE
    whole = path.read_bytes()
    path.write_bytes(broken + whole)
    go(tmp_path)
    assert path.read_bytes() == whole


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """kill -9 in the middle of a batch: the batches before it are kept, nothing is there twice."""
    code = f"""
import time
from pathlib import Path
from hilum.reading import gate
from tests.evaluation.conftest import Films, Oracle, let_in
from tests.evaluation.test_run import REFERENCES, go
gate.judge = let_in
slow = Oracle.generate
def generate(self, requests, sampling):
    time.sleep(0.4)
    return slow(self, requests, sampling)
Oracle.generate = generate
go(Path({str(tmp_path)!r}))
"""
    root = Path(__file__).parents[2]
    source = str(Path(hilum.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{root}"}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root, env=environment)
    path = tmp_path / FILE
    try:
        for _ in range(3000):
            if path.is_file() and path.stat().st_size:
                break
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = path.read_bytes()
    assert kept
    assert kept.count(b"\n") < N
    films = Films(REFERENCES)
    found = go(tmp_path, films)
    assert path.read_bytes().startswith(kept)
    assert min(films.opened) == kept.count(b"\n")
    assert found.predictions == go(tmp_path / "other").predictions


@pytest.mark.parametrize(
    ("reader", "more"),
    [
        ({"weights": "1" * 64}, {}),
        ({"sides": True}, {}),
        ({}, {"language": "zh"}),
        ({}, {"first_view": True}),
        ({}, {"allow_outside_domain": True}),
    ],
)
def test_answers_of_two_readers_or_settings_are_never_mixed(
    tmp_path: Path, reader: dict[str, Any], more: dict[str, Any]
) -> None:
    go(tmp_path)
    with pytest.raises(HilumError, match="source_changed"):
        go(tmp_path, reader=oracle(**reader), **more)


def test_answers_without_their_plan_are_nobodys(tmp_path: Path) -> None:
    go(tmp_path)
    (tmp_path / FILE).with_suffix(".plan.json").unlink()
    films = Films(REFERENCES)
    go(tmp_path, films, reader=oracle(weights="1" * 64))
    assert len(films.opened) == N


@pytest.mark.parametrize("spoilt", ["", "[]", "{", "null"])
def test_a_spoilt_plan_agrees_with_nothing(tmp_path: Path, spoilt: str) -> None:
    go(tmp_path)
    (tmp_path / FILE).with_suffix(".plan.json").write_text(spoilt, encoding="utf-8")
    with pytest.raises(HilumError, match="source_changed"):
        go(tmp_path)


def test_another_dataset_is_another_run(tmp_path: Path) -> None:
    go(tmp_path)
    films = Films(REFERENCES)
    films.sha256 = "f" * 64
    with pytest.raises(HilumError, match="another dataset"):
        go(tmp_path, films)


def test_the_plan_says_all_that_decides_the_answers(tmp_path: Path) -> None:
    go(tmp_path)
    plan = json.loads((tmp_path / FILE).with_suffix(".plan.json").read_text(encoding="utf-8"))
    told = plan["reader"]["provenance"]["en"]
    assert told["weights_sha256"] == "0" * 64
    assert told["prompt"] == "<en>"
    assert told["decoding"]["max_new_tokens"] == 224
    assert told["versions"]["hilum"] == hilum.__version__
    assert plan["dataset"]["sha256"] == "0" * 64
    assert plan["reader"]["questions_sha256"] == oracle().card.asked.sha256


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("embedded", "embedded"),
        ("../../etc/passwd", "etc-passwd"),
        ("a b/c", "a-b-c"),
        ("..", "system"),
        ("阅片器", "阅片器"),
        ("", "system"),
    ],
)
def test_a_name_never_leaves_the_folder(name: str, file: str) -> None:
    assert slug(name) == file
