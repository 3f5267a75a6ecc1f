"""The files of deploy/: checked with what is at hand; nothing here builds or starts them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_unit_is_valid_and_strict(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    text = (DEPLOY / "hilum.service").read_text()
    unit = tmp_path / "hilum.service"
    unit.write_text(re.sub(r"/opt/hilum/venv/bin/hilum", "/bin/true", text))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    if "Failed to" in done.stderr:
        pytest.skip("systemd-analyze cannot run here")
    assert "hilum.service" not in done.stderr, done.stderr


def test_the_unit_waits_as_long_as_draining_takes() -> None:
    text = (DEPLOY / "hilum.service").read_text()
    drain = int(re.search(r"--drain (\d+)", text)[1])  # type: ignore[index]
    stop = int(re.search(r"TimeoutStopSec=(\d+)", text)[1])  # type: ignore[index]
    assert stop > 2 * drain


def test_compose_shows_nothing_but_to_this_machine() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
    assert compose["networks"]["inside"]["internal"] is True
    hilum = compose["services"]["hilum"]
    assert hilum["read_only"] is True
    assert hilum["cap_drop"] == ["ALL"]
    used = {v.split(":")[0] for s in compose["services"].values() for v in s.get("volumes", ())}
    assert used == set(compose["volumes"])


def test_the_container_runs_as_nobody_special_and_fetches_nothing() -> None:
    lines = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    done = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    verbs = [verb for verb, _ in done]
    assert verbs[0] == "FROM"
    known = "FROM RUN COPY ENV USER VOLUME EXPOSE STOPSIGNAL HEALTHCHECK CMD".split()
    assert set(verbs) <= set(known)
    assert verbs.index("USER") < verbs.index("CMD")
    assert "root" not in dict(done)["USER"]
    for verb, rest in done:
        if "pip install" in rest and verb == "RUN":
            assert "--no-index" in rest
    assert ":latest" not in dict(done)["FROM"]
