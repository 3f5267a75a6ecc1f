"""torch and transformers: one message where they are missing, imported in the shortest time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hilum.codes import Code, HilumError


def need_torch() -> Any:
    """torch, with transformers' models at hand.

    Raises ``extra_missing`` where one of both is not installed.
    """
    try:
        with _uncollected():
            import torch
            from transformers import PreTrainedModel  # noqa: F401 - pulls in all that models share
    except ImportError as error:
        raise HilumError(
            Code.EXTRA_MISSING, "torch", "install it with: pip install 'hilum[local]'"
        ) from error
    return torch


@contextmanager
def _uncollected() -> Iterator[None]:
    """Python's collector rests while modules are imported.

    It would go through their objects 800 times to free next to nothing. What came is then counted
    as old at once, or it would be gone through three times more.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # nobody has frozen anything that would be thawed here
            gc.freeze()
            gc.unfreeze()
        gc.enable()
