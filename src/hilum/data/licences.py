"""Licences of the known sources, and which of several binds most."""

from __future__ import annotations

UNKNOWN = "unknown"

# From free to strict; a licence that is not listed binds most of all.
_ORDER = (
    "CC0-1.0",
    "Apache-2.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-SA-4.0",
    "CC-BY-NC-ND-4.0",
    "Stanford-RUA",
    "PhysioNet-1.5.0",
)


def strictest(licences: list[str]) -> str:
    """The licence that binds most; an unknown or unlisted one wins, none at all is unknown."""
    if not licences:
        return UNKNOWN
    return max(sorted(licences), key=lambda name: _ORDER.index(name) if name in _ORDER else 99)
