"""Tools in environments of their own: how they are made, run and quoted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hilum.codes import Code, HilumError
from hilum.training.environment import Environment, run

TOOL = Environment(("a==1", "b"), "tool", unwanted=("c",))


def script(folder: Path, words: str) -> list[str]:
    path = folder / "tool.py"
    path.write_text(words)
    return [sys.executable, str(path)]


def test_what_is_missing_comes_with_the_commands(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as caught:
        TOOL.require(tmp_path / "env")
    assert caught.value.code is Code.EXTRA_MISSING
    told = caught.value.line()
    assert "pip install a==1 b && " in told
    assert "pip uninstall -y c" in told


def test_an_install_that_fails_says_so(tmp_path: Path) -> None:
    there = tmp_path / "file"
    there.write_text("in the way")
    with pytest.raises(HilumError) as caught:
        TOOL.install(there)
    assert caught.value.code is Code.EXTRA_MISSING
    assert there.read_text() == "in the way"


@pytest.mark.parametrize(
    ("words", "last"),
    [
        ("", ""),
        ("import sys; print('warning', file=sys.stderr)", ""),
        ("import sys; sys.stderr.write('1\\r2\\nOSError\\n\\n'); sys.exit(3)", "OSError"),
        ("raise SystemExit(1)", "no message"),
        ("import sys; sys.stderr.buffer.write(b'\\xff\\n'); sys.exit(1)", "\ufffd"),
        ("import sys; sys.exit('x' * 500)", "x" * 200),
        ("input()", "EOFError: EOF when reading a line"),
    ],
)  # fmt: skip
def test_the_last_words_of_what_failed(tmp_path: Path, words: str, last: str) -> None:
    assert run(script(tmp_path, words), tmp_path) == last


def test_it_is_offline_and_sees_no_modules_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    ask = "import os, sys; sys.exit('|'.join(os.environ.get(k, '') for k in "
    asked = script(tmp_path, f"{ask}('HF_HUB_OFFLINE', 'PYTHONPATH')))")
    assert run(asked, tmp_path) == "1|"
    assert run(asked, tmp_path, tmp_path / "modules") == f"1|{tmp_path / 'modules'}"


def test_on_a_terminal_the_line_it_is_at_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = script(tmp_path, "import sys; sys.stderr.write('1 of 2\\r2 of 2\\n')")
    run(bar, tmp_path)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run(bar, tmp_path)
    shown = capsys.readouterr().err
    assert shown.index("1 of 2") < shown.index("2 of 2")
    assert shown.endswith(" \r")  # and taken away again
