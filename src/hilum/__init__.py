"""Hilum: chest radiographs to draft reports with calibrated probabilities.

Research use only; never a diagnosis on its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Reader", "__version__"]

if TYPE_CHECKING:
    from hilum.reading.reader import Reader


def __getattr__(name: str) -> Any:
    """``hilum.Reader`` on first use, so that ``import hilum`` stays quick."""
    if name == "Reader":
        from hilum.reading.reader import Reader

        return Reader
    raise AttributeError(f"module 'hilum' has no attribute {name!r}")
