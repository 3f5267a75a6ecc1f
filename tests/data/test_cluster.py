"""The same work on a Ray cluster of two nodes, on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hilum.codes import Code, HilumError
from hilum.data import Given, cluster, open_source, prepare
from tests.data.test_prepare import SMALL, tree

pytestmark = pytest.mark.slow
ray: Any = pytest.importorskip("ray", reason="pip install 'hilum[ray]' to test the cluster")


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    yield made
    ray.shutdown()
    made.shutdown()


def test_two_nodes_make_the_same_bytes(table: Path, tmp_path: Path, two_nodes: Any) -> None:
    source = open_source(table, None, Given())
    prepare(source, tmp_path / "here", SMALL)
    prepare(source, tmp_path / "there", SMALL, cluster(two_nodes.address))
    assert tree(tmp_path / "here") == tree(tmp_path / "there")
    assert len(ray.nodes()) == 2


def test_a_cluster_that_is_not_there_is_one_line(table: Path, tmp_path: Path) -> None:
    source = open_source(table, None, Given())
    with pytest.raises(HilumError) as caught:
        prepare(source, tmp_path / "out", SMALL, cluster("auto"))
    assert caught.value.code is Code.WORKER_LOST
