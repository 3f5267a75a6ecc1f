"""Processes side by side: how many there may be, and that they end with the one that began them."""

from __future__ import annotations

import os
import threading


def processors() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """End this worker when the process that started it is gone, however it went.

    Called in the worker. A pool's own do not: they wait for work for ever after a signal 9.
    """
    from multiprocessing import parent_process
    from multiprocessing.connection import wait

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
