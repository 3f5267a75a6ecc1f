"""Runs that Ray starts: the same as by one process, and refusals before anything is waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hilum.codes import HilumError
from hilum.training.cluster import _gpus
from hilum.training.recipe import save
from hilum.training.sft import read_run, train
from tests.training.conftest import MakeRecipe
from tests.training.test_sft import losses


@pytest.mark.slow
def test_two_workers_learn_what_one_process_does(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """From a folder of the user's, with paths that start there."""
    pytest.importorskip("ray", reason="pip install 'hilum[ray]' to test the cluster")
    given = {
        "evaluation": {"every": 3, "rows": 4, "reports": 2, "max_new_tokens": 4},
        "schedule__micro_batch": 1,
    }
    one = make_recipe(output=str(tmp_path / "one"), **given)
    train(one)
    (tmp_path / "data").symlink_to(one.data.path)
    (tmp_path / "twin").symlink_to(one.model.path)
    relative: dict[str, Any] = {"model": {"path": "twin"}, "data__path": "data"}
    save(make_recipe(output="two", **given, **relative), tmp_path / "two.yaml")
    source = str(Path(__file__).parents[2] / "src")
    env = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "hilum.cli.main", "train", "two.yaml",
               "--ray", "local", "--processes", "2"]  # fmt: skip
    done = subprocess.run(
        command, env=env, cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    mine, theirs = losses(one.folder), losses(tmp_path / "two")
    assert mine.keys() == theirs.keys() == set(range(1, 7))
    assert max(abs(mine[k] - theirs[k]) for k in mine) < 1e-4
    a, b = read_run(one.folder)["numbers"], read_run(tmp_path / "two")["numbers"]
    assert abs(a["eval_loss"] - b["eval_loss"]) < 1e-4


@pytest.mark.parametrize(("cpus", "workers"), [(1, 2), (0, 1), (4, 5)])
def test_a_cluster_that_is_too_small_is_not_waited_for(cpus: int, workers: int) -> None:
    with pytest.raises(HilumError, match=r"--processes.*option_invalid"):
        _gpus(cluster(CPU=cpus), workers)


@pytest.mark.parametrize(("there", "gpus"), [({"CPU": 4}, False), ({"CPU": 4, "GPU": 4}, True)])
def test_a_cluster_that_is_large_enough_is_taken(there: dict[str, float], gpus: bool) -> None:
    assert _gpus(cluster(**there), 4) is gpus


def cluster(**there: float) -> Any:
    """A cluster that no process is started for."""
    return SimpleNamespace(cluster_resources=lambda: {k: v for k, v in there.items() if v})
