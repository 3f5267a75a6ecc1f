"""An archive by processes side by side: what one says, in order, whatever is killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hilum import imaging
from hilum.cli.main import run
from hilum.codes import Code, HilumError
from hilum.reading import workers
from hilum.reading.archive import Reading
from hilum.reading.reader import Reader
from hilum.reading.workers import MOST, WORTH, read_in_processes, suggested
from tests.offspring import maps, needs_proc, offspring, wait_for

FILMS = 64


@pytest.fixture
def archive(phantoms: list[Path], tmp_path: Path) -> Path:
    """Films enough for two processes; one is damaged, one is no image."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for i in range(FILMS):
        shutil.copy(phantoms[i % len(phantoms)], folder / f"{i:03}.png")
    (folder / "007.png").write_bytes(phantoms[1].read_bytes()[:5000])
    (folder / "011.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"nothing")
    return folder


def command(archive: Path, twin: Path, *more: str) -> list[str]:
    # a shell's background job, as tests may be, is deaf to Ctrl-C
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    words = [sys.executable, "-c", f"{heed}\nfrom hilum.cli.main import app\napp()"]
    words += ["read", str(archive), "--json"]
    return [*words, "--reader", str(twin), "--workers", "2", *more]


def begun(words: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(imaging.__file__).parents[2])}
    return subprocess.Popen(
        words,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def readers(pid: int) -> list[int]:
    """Processes below this one that hold a reader: those that have torch."""
    return [p for p in offspring(pid) if "libtorch" in maps(p)]


def test_processes_say_what_one_says_in_the_same_order(
    archive: Path, twin: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["read", str(archive), "--reader", str(twin), "--json"]
    assert run([*words, "--workers", "1"]) == 4
    here = capfd.readouterr().out
    assert run([*words, "--workers", "3"]) == 4
    there = capfd.readouterr().out
    rows = [json.loads(line) for line in there.splitlines()]
    assert len(rows) == FILMS + 1
    assert sum("error" in row for row in rows) == 2
    assert there == here


@needs_proc
def test_a_killed_run_leaves_no_process_and_goes_on(
    archive: Path, twin: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "reads.jsonl"
    words = command(archive, twin, "--journal", str(journal))
    process = begun(words)
    wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 3, process)
    left = offspring(process.pid)
    assert len(readers(process.pid)) == 2
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(maps, left)))
    begun(words).communicate()
    keys = [json.loads(line)["key"] for line in journal.read_text().splitlines()[1:]]
    assert len(keys) == len(set(keys)) == FILMS + 1


@needs_proc
def test_a_worker_that_is_killed_is_one_line_and_what_was_done_is_kept(
    archive: Path, twin: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "reads.jsonl"
    words = command(archive, twin, "--journal", str(journal))
    process = begun(words)
    wait_for(lambda: len(readers(process.pid)) == 2, process)
    os.kill(readers(process.pid)[1], signal.SIGKILL)
    _, error = process.communicate()
    assert process.returncode == 4
    (line,) = [line for line in error.splitlines() if "worker_lost" in line]
    assert "--workers" in line
    assert "Traceback" not in error
    begun(words).communicate()
    keys = [json.loads(line)["key"] for line in journal.read_text().splitlines()[1:]]
    assert len(keys) == len(set(keys)) == FILMS + 1


@needs_proc
def test_ctrl_c_ends_all_of_them(archive: Path, twin: Path) -> None:
    process = begun(command(archive, twin))
    wait_for(lambda: len(readers(process.pid)) == 2, process)
    left = offspring(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all of them get it
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    wait_for(lambda: not any(map(maps, left)))


def test_a_reader_that_is_not_there_is_said_once(archive: Path, tmp_path: Path) -> None:
    how = Reading(str(tmp_path / "none"))
    with pytest.raises(HilumError) as caught:
        list(read_in_processes(imaging.scan(archive), how, 2))
    assert caught.value.code is Code.READER_NOT_FOUND
    assert list(read_in_processes([], Reading("embedded"), 2)) == []


def test_pictures_need_films_at_hand(
    phantoms: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--overlay", "--explain-pixels"):
        assert run(["read", str(phantoms[0]), "--workers", "2", option]) == 2
        assert "option_invalid" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("studies", "cores", "count"),
    [
        (1, 4, 1),
        (WORTH - 1, 4, 1),
        (WORTH, 4, 4),
        (10**6, 64, MOST),
        (900, 1, 1),
    ],
)
def test_many_films_are_shared_out(
    studies: int, cores: int, count: int, twin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "processors", lambda: cores)
    assert suggested("embedded", studies) == count
    assert suggested(str(twin), studies) == count


def test_a_large_model_is_opened_once(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gemma3"}')
    assert suggested(str(tmp_path), 10**6) == 1
    assert suggested("http://127.0.0.1:1/v1#model", 10**6) == 1
    assert suggested(str(tmp_path / "none"), 10**6) == 1


def test_a_defect_in_a_worker_is_not_called_a_want_of_memory(archive: Path, twin: Path) -> None:
    with pytest.raises(HilumError) as caught:
        list(read_in_processes(imaging.scan(archive), Broken(str(twin)), 2))
    assert caught.value.code is Code.INTERNAL_ERROR
    assert "ZeroDivisionError" in str(caught.value)


class Broken(Reading):
    """A reading whose films cannot be read, by a mistake of ours."""

    def open(self) -> Reader:
        raise ZeroDivisionError("Anna Meier")


def test_an_answer_cut_short_is_a_lost_worker() -> None:
    near, far = multiprocessing.Pipe(duplex=False)
    os.write(far.fileno(), b"\0\0\1\0half")
    far.close()
    with pytest.raises(HilumError) as caught:
        workers._next(near)
    assert caught.value.code is Code.WORKER_LOST


@pytest.mark.parametrize(
    ("studies", "count", "size"),
    [(600, 4, 30), (640, 4, 32), (641, 4, 27), (100, 4, 7), (5, 4, 2), (1, 1, 1)],
)
def test_processes_have_as_many_films_each(studies: int, count: int, size: int) -> None:
    """600 films in batches of 32 would give three of four processes 160, and make all wait."""
    assert workers._batch(studies, count) == size
    shares = [0] * count
    for k, start in enumerate(range(0, studies, size)):
        shares[k % count] += min(size, studies - start)
    assert max(shares) - min(shares) <= size
    assert max(shares) <= -(-studies // count) + workers.BATCH // 8
