"""``hilum serve`` and ``hilum keys`` as they are typed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

import hilum
from hilum.cli import main

SOURCE = Path(hilum.__file__).parents[1]


def test_a_key_is_made_shown_once_listed_and_revoked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tmp_path / "data")]
    assert main.run(["keys", "add", "pacs", "--scope", "write", "--days", "30", *data]) == 0
    key = capsys.readouterr().out.strip()
    found = re.fullmatch(r"hilum_([0-9a-f]{12})_[A-Za-z0-9_-]{43}", key)
    assert found
    assert main.run(["keys", "list", *data]) == 0
    listed = capsys.readouterr().out
    assert found[1] in listed
    assert "pacs  write" in listed
    assert key not in listed
    assert main.run(["keys", "revoke", found[1], *data]) == 0
    assert main.run(["keys", "list", *data]) == 0
    assert "revoked" in capsys.readouterr().out
    assert main.run(["keys", "revoke", found[1], *data]) == 2
    assert main.run(["keys", "add", "a b", *data]) == 2
    assert main.run(["keys", "add", "x", "--scope", "all", *data]) == 2


def test_another_address_without_keys_is_one_line_and_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tmp_path / "data")]
    assert main.run(["serve", "--host", "0.0.0.0", "--port", "0", *data]) == 4
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.endswith("[keys_needed]")


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["--database", "nonsense"], 4, "database_unreachable"),
        (["--port", "99999"], 2, "option_invalid"),
        (["--host", "300.1.1.1"], 4, "keys_needed"),
        (["--data", "/dev/null/x"], 4, "output_unwritable"),
        (["--reader", "no-such-reader"], 4, "reader_not_found"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    arguments: list[str],
    status: int,
    code: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = [] if "--data" in arguments else ["--data", str(tmp_path / "data")]
    assert main.run(["serve", *data, *arguments]) == status
    *log, line = capsys.readouterr().err.strip().splitlines()
    assert line.endswith(f"[{code}]")
    assert all(one.startswith("{") for one in log)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_server_starts_answers_and_ends(end: signal.Signals, tmp_path: Path) -> None:
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{heed}\nfrom hilum.cli.main import app\napp()"
    command = [sys.executable, "-c", script, "serve", "--port", "0", "--workers", "0"]
    with subprocess.Popen(
        [*command, "--data", str(tmp_path / "data")],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        found = re.search(r'"port": (\d+)', process.stderr.readline())
        assert found
        url = f"http://127.0.0.1:{found[1]}"
        assert httpx.get(f"{url}/readyz", timeout=60).json()["workers"] is True
        time.sleep(0.1)
        process.send_signal(end)
        assert process.wait(60) == 0
        assert "Traceback" not in process.stderr.read()
