"""Runs that Ray starts: the same as by one process, and refusals before anything is waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hilum.codes import Code, HilumError
from hilum.training.recipe import save
from hilum.training.sft import read_run, train
from tests.training.conftest import MakeRecipe
from tests.training.test_sft import losses

ray: Any = pytest.importorskip("ray", reason="pip install 'hilum[ray]' to test the cluster")


@pytest.mark.slow
def test_two_workers_learn_what_one_process_does(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """From a folder of the user's, with paths that start there."""
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


class Cluster:
    """A cluster of so many CPUs, that no process is started for."""

    def __init__(self, cpus: float, error: Exception | None = None) -> None:
        self.cpus, self.error = cpus, error

    def is_initialized(self) -> bool:
        return False

    def init(self, *_: Any, **__: Any) -> None:
        if self.error:
            raise self.error

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": self.cpus} if self.cpus else {}


@pytest.mark.parametrize("error", [ConnectionError(), ValueError("no address"), RuntimeError()])
def test_no_cluster_is_named_with_the_way_to_start_one(error: Exception) -> None:
    from hilum.training.cluster import _joined

    with pytest.raises(HilumError, match="ray start --head") as failed:
        _joined(Cluster(4, error), "auto", 2)
    assert failed.value.code is Code.REMOTE_UNREACHABLE
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize(("cpus", "workers"), [(1, 2), (0, 1), (4, 5)])
def test_a_cluster_that_is_too_small_is_not_waited_for(cpus: int, workers: int) -> None:
    from hilum.training.cluster import _joined

    with pytest.raises(HilumError, match=r"--processes.*option_invalid"):
        _joined(Cluster(cpus), "local", workers)


def test_a_cluster_that_is_large_enough_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from hilum.training.cluster import _joined

    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    assert _joined(Cluster(4), "local", 4) is False
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_our_own_error_is_found_inside_rays() -> None:
    from hilum.training.cluster import _cause, _hilum_error

    own = HilumError(Code.RECIPE_INVALID, "r", "why")
    outer = RuntimeError("many lines")
    outer.worker_failures = {0: ValueError("x"), 1: own}  # type: ignore[attr-defined]
    assert _hilum_error(outer) is own
    lost = RuntimeError("a traceback\nof many lines")
    lost.__cause__ = OSError("/home/somebody")
    assert _hilum_error(lost) is None
    assert _cause(lost) == "RuntimeError, OSError"
