"""The same work on a Ray cluster of two nodes, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from hilum.cli.main import run
from hilum.codes import Code, HilumError
from hilum.data import Given, cluster, open_source, prepare
from tests.cluster import two_nodes
from tests.data.test_prepare import SMALL, tree

__all__ = ["two_nodes"]
pytestmark = pytest.mark.slow
ray: Any = pytest.importorskip("ray", reason="pip install 'hilum[ray]' to test the cluster")


def meeting(folder: Path) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """A task that changes nothing, but fails unless two nodes have come to it in time."""

    def task(values: dict[str, Any], pair: Any) -> dict[str, Any]:
        import ray as here

        folder.mkdir(exist_ok=True)
        (folder / here.get_runtime_context().get_node_id()).touch()
        limit = time.monotonic() + 300
        while len(list(folder.iterdir())) < 2:
            if time.monotonic() > limit:
                raise RuntimeError("one node does all the work")
            time.sleep(0.02)
        return values

    return task


def test_two_nodes_share_the_work_and_make_the_same_bytes(
    table: Path, tmp_path: Path, two_nodes: tuple[Any, Any]
) -> None:
    source = open_source(table, None, Given())
    prepare(source, tmp_path / "here", SMALL)
    settings = replace(SMALL, work=replace(SMALL.work, task=meeting(tmp_path / "met")))
    address = two_nodes[0].address
    prepare(source, tmp_path / "there", settings, cluster(address))
    assert tree(tmp_path / "here") == tree(tmp_path / "there")
    words = ["prepare", str(table), str(tmp_path / "said"), "--domain", "any"]
    assert run([*words, "--ray", address]) == 0


def test_a_lost_nodes_work_is_done_elsewhere(
    table: Path, tmp_path: Path, two_nodes: tuple[Any, Any]
) -> None:
    made, second = two_nodes
    source = open_source(table, None, Given())
    prepare(source, tmp_path / "here", SMALL)
    begun, ill = tmp_path / "begun", second.node_id

    def task(values: dict[str, Any], pair: Any) -> dict[str, Any]:
        import ray as here

        if here.get_runtime_context().get_node_id() == ill:
            begun.touch()
            time.sleep(600)  # it ends with its node
        return values

    def lose() -> None:
        while not begun.exists():
            time.sleep(0.02)
        made.remove_node(second, allow_graceful=False)

    loss = Thread(target=lose, daemon=True)
    loss.start()
    settings = replace(SMALL, work=replace(SMALL.work, task=task))
    prepare(source, tmp_path / "there", settings, cluster(made.address))
    loss.join(300)
    assert begun.exists()
    assert tree(tmp_path / "here") == tree(tmp_path / "there")


def test_a_cluster_that_is_not_there_is_one_line(table: Path, tmp_path: Path) -> None:
    source = open_source(table, None, Given())
    with pytest.raises(HilumError) as caught:
        prepare(source, tmp_path / "out", SMALL, cluster("auto"))
    assert caught.value.code is Code.REMOTE_UNREACHABLE
