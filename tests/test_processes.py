"""Processes side by side: none is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hilum
from hilum.processes import processors
from tests.offspring import maps, needs_proc, offspring, wait_for


@needs_proc
def test_processors_are_those_it_may_use() -> None:
    assert processors() == len(os.sched_getaffinity(0)) >= 1


@needs_proc
def test_simulators_end_with_the_command_that_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "hilum.cli.main", "phantom", str(tmp_path), "--n", "100000"]
    environment = os.environ | {"PYTHONPATH": str(Path(hilum.__file__).parents[1])}
    process = subprocess.Popen(
        [*words, "--workers", "2"], stderr=subprocess.DEVNULL, env=environment
    )
    wait_for(lambda: len(list(tmp_path.glob("*.dcm"))) > 2, process)
    left = offspring(process.pid)
    assert len(left) >= 2
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(maps, left)))
