"""The command line's frame: help, version, one line a failure, exit codes, a quick start."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

import hilum
from hilum.cli import main
from hilum.codes import Code, HilumError

SOURCE = Path(hilum.__file__).parents[1]
HEAVY = "numpy scipy torch transformers pydicom PIL pyarrow cv2 numba httpx".split()

Verb = Callable[..., object]


@pytest.fixture
def add() -> Iterator[Callable[[Verb], None]]:
    """Adds a verb called ``try`` for one test."""
    before = list(main.verbs.registered_commands)

    def register(verb: Verb) -> None:
        main.verbs.command("try")(verb)

    yield register
    main.verbs.registered_commands[:] = before


def start(*arguments: str, code: str = "", **more: object) -> subprocess.Popen[str]:
    """Starts hilum in its own process, after ``code``."""
    # a background job of a shell ignores Ctrl-C, and so would its children
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{heed}\n{code}\nfrom hilum.cli.main import app\napp()"
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(  # type: ignore[call-overload]
        [sys.executable, "-c", script, *arguments],
        env=environment,
        text=True,
        encoding="utf-8",
        stderr=subprocess.PIPE,
        **({"stdout": subprocess.PIPE} | more),
    )


def test_help_lists_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--help", "-h"):
        assert main.run([option]) == 0
        captured = capsys.readouterr()
        assert "schema" in captured.out
        assert "never a diagnosis" in captured.out
        assert captured.err == ""


def test_hilum_alone_prints_its_help_and_is_a_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([]) == 2
    captured = capsys.readouterr()
    assert "Usage" in captured.out + captured.err
    assert "option_invalid" not in captured.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"hilum {hilum.__version__}\n"
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", hilum.__version__)


def test_version_comes_before_a_verb_that_does_not_exist() -> None:
    assert main.run(["--version", "nonsense"]) == 0


@pytest.mark.parametrize(
    ("arguments", "command", "named"),
    [
        (["schemata"], "hilum", "schemata"),
        (["--nonsense"], "hilum", "--nonsense"),
        (["schema", "--nonsense"], "hilum schema", "--nonsense"),
        (["schema", "one too many"], "hilum schema", "one too many"),
        (["schema", "[bold]\n\x1b[31m"], "hilum schema", "[bold]\\x"),
        ([""], "hilum", ""),
    ],
)
def test_a_misuse_is_one_line_and_2(
    arguments: list[str], command: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"{command}: ")
    assert captured.err.endswith(f"see {command} --help) [option_invalid]\n")
    assert named in captured.err


def test_a_value_that_does_not_fit_is_one_line_and_2(
    add: Callable[[Verb], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def verb(n: int, language: str = "en") -> None:
        raise AssertionError("never called")

    add(verb)
    assert main.run(["try", "six"]) == 2
    assert main.run(["try"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "'n'" in lines[0]
    assert "Missing argument" in lines[1]


@pytest.mark.parametrize("code", Code)
def test_a_failure_is_one_english_line_and_4_or_2_for_an_option(
    code: Code, add: Callable[[Verb], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def verb() -> None:
        raise HilumError(code, "片 1.dcm", "x")

    add(verb)
    assert main.run(["try"]) == (2 if code is Code.OPTION_INVALID else 4)
    captured = capsys.readouterr()
    assert captured.err == f"片 1.dcm: {code.en} (x) [{code}]\n"
    assert captured.out == ""


def test_a_file_name_cannot_break_the_line_or_colour_the_terminal(
    add: Callable[[Verb], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def verb() -> None:
        raise HilumError(Code.FILE_EMPTY, "a\nb\r\x1b[31m\u2028\u202e\udcff.dcm")

    add(verb)
    main.run(["try"])
    line = r"a\nb\r\x1b[31m\u2028\u202e\udcff.dcm: the file is empty [file_empty]"
    assert capsys.readouterr().err == f"{line}\n"


@pytest.mark.parametrize("error", [KeyError, EOFError, RecursionError, MemoryError, RuntimeError])
def test_a_defect_is_one_line_that_says_where_and_keeps_the_message_back(
    error: type[Exception],
    add: Callable[[Verb], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def verb() -> None:
        raise error("PLANTED NAME\nof a patient")

    add(verb)
    monkeypatch.setenv("HILUM_DEBUG", "0")
    assert main.run(["try"]) == 4
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(Code.INTERNAL_ERROR.en)
    assert line.endswith("[internal_error]")
    assert re.search(rf"{error.__name__} at \w+\.py:\d+, version", line)
    assert "PLANTED" not in line


def test_a_defect_inside_hilum_is_placed_in_hilum_not_in_a_library(
    add: Callable[[Verb], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def verb() -> None:
        Code.sentence(None, "en")  # type: ignore[arg-type]

    add(verb)
    main.run(["try"])
    assert "AttributeError at codes.py:" in capsys.readouterr().err


def test_debugging_shows_the_traceback_and_still_ends_with_the_line(
    add: Callable[[Verb], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def verb() -> None:
        raise ValueError("the message")

    add(verb)
    monkeypatch.setenv("HILUM_DEBUG", "1")
    assert main.run(["try"]) == 4
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert "ValueError: the message" in lines
    assert lines[-1].endswith("[internal_error]")


@pytest.mark.parametrize("error", [KeyboardInterrupt, typer.Abort])
def test_an_interrupted_verb_says_so_and_is_130(
    error: type[BaseException],
    add: Callable[[Verb], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def verb() -> None:
        raise error

    add(verb)
    assert main.run(["try"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_a_verbs_own_exit_code_is_kept(
    code: int, add: Callable[[Verb], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def verb() -> None:
        print("done")
        raise typer.Exit(code)

    add(verb)
    assert main.run(["try"]) == code
    assert capsys.readouterr() == ("done\n", "")


def test_ctrl_c_in_a_real_process() -> None:
    code = (
        "import time\nfrom hilum.cli import main\n"
        "@main.verbs.command()\n"
        "def wait():\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    with start("wait", code=code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert error == "interrupted\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["schema"], ["--version"]])
def test_a_full_disk_is_named(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full, start(*arguments, stdout=full) as process:
        _, error = process.communicate(timeout=20)
    assert process.returncode == 4
    assert error == ("the output cannot be written (no space left on device) [output_unwritable]\n")


@pytest.mark.parametrize("arguments", [["schema"], ["--version"], ["--help"]])
def test_a_reader_that_went_away_is_not_worth_a_word(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    with start(*arguments, stdout=write) as process:
        os.close(write)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 1
    assert error == ""


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('loaded', *[m for m in "
        f"{HEAVY} if m in sys.modules], file=sys.stderr))"
    )
    with start("--help", code=code) as process:
        output, error = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "schema" in output
    assert error == "loaded\n"
