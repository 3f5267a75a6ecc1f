"""A Ray cluster of two nodes on this machine, with one processor each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """A cluster, and its second node."""
    ray = pytest.importorskip("ray", reason="pip install 'hilum[ray]' to test the cluster")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(initialize_head=True, head_node_args=NODE)
    yield made, made.add_node(**NODE)
    ray.shutdown()
    made.shutdown()
