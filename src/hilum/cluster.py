"""A Ray cluster: joined in one way, and its errors told as ours."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from hilum.codes import Code, HilumError

KNOCK = 5.0  # seconds


def join(address: str) -> Any:
    """Join the cluster at ``address`` ("auto", "local", host:port or ray://host:port); Ray itself.

    Raises ``extra_missing``, and ``remote_unreachable`` where no cluster answers.
    """
    try:
        import ray
    except ImportError as error:
        hint = "install it with: pip install 'hilum[ray]'"
        raise HilumError(Code.EXTRA_MISSING, "ray", hint) from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports to its makers otherwise
    try:
        if not ray.is_initialized():
            _knock(address)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        hint = f"{type(error).__name__}; start one with: ray start --head, or take --ray local"
        raise HilumError(Code.REMOTE_UNREACHABLE, f"Ray at {address}", hint) from None
    return ray


def _knock(address: str) -> None:
    """Raises ``ConnectionError`` where nobody listens: Ray itself would try for ten minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        return  # auto or local
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK).close()
    except (OSError, OverflowError) as error:  # no such port
        raise ConnectionError from error


def own_error(error: BaseException) -> HilumError | None:
    """Our own error inside one of Ray's, where there is one."""
    seen: list[Any] = [error]
    while seen:
        now = seen.pop()
        if isinstance(now, HilumError):
            return now
        seen += _inner(now)
    return None


def lost(address: str, subject: Any, error: BaseException) -> HilumError:
    """``worker_lost``, with the kinds of error from Ray's own to the innermost."""
    kinds: list[str] = []
    now: BaseException | None = error
    while now is not None:
        kinds.append(type(now).__name__)
        now = next(iter(_inner(now)), None)
    detail = f"Ray at {address}: {', '.join(dict.fromkeys(kinds))}; run the same again"
    return HilumError(Code.WORKER_LOST, subject, detail)


def _inner(error: BaseException) -> list[Any]:
    """What an error of Ray's was made of."""
    failed = getattr(error, "worker_failures", None) or {}
    found = (*failed.values(), error.__cause__, getattr(error, "cause", None))
    return [e for e in found if isinstance(e, BaseException)]
