"""A cluster that is not there, and what its errors hide."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from hilum.cluster import join, lost, own_error
from hilum.codes import Code, HilumError


def answering(error: Exception | None = None) -> Any:
    """Ray as it is imported, that no process is started for."""

    def init(*_: Any, **__: Any) -> None:
        if error:
            raise error

    return SimpleNamespace(is_initialized=lambda: False, init=init)


@pytest.mark.parametrize("error", [ConnectionError(), ValueError("no address"), RuntimeError()])
def test_no_cluster_is_named_with_the_way_to_start_one(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", answering(error))
    with pytest.raises(HilumError, match="ray start --head") as failed:
        join("auto")
    assert failed.value.code is Code.REMOTE_UNREACHABLE
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:9", "ray://127.0.0.1:9", "[::1]:9", "here:port", "127.0.0.1:99999"]
)
def test_an_address_where_nobody_listens_is_not_waited_for(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", answering(AssertionError("Ray would wait")))
    with pytest.raises(HilumError) as failed:
        join(address)
    assert failed.value.code is Code.REMOTE_UNREACHABLE


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(HilumError, match=r"hilum\[ray\].*extra_missing"):
        join("auto")


def test_ray_does_not_report_to_its_makers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    monkeypatch.setitem(sys.modules, "ray", answering())
    assert join("local") is sys.modules["ray"]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_our_own_error_is_found_inside_rays() -> None:
    own = HilumError(Code.RECIPE_INVALID, "r", "why")
    outer = RuntimeError("many lines")
    outer.worker_failures = {0: ValueError("x"), 1: own}  # type: ignore[attr-defined]
    assert own_error(outer) is own
    strange = RuntimeError("a traceback\nof many lines")
    strange.__cause__ = OSError("/home/somebody")
    assert own_error(strange) is None
    told = lost("auto", "", strange)
    assert told.code is Code.WORKER_LOST
    assert "RuntimeError, OSError" in told.line()
    assert "somebody" not in told.line()
