"""Licences of a model's parts: the strictest counts. A guard, not legal advice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

from pydantic import Field

from hilum.codes import Code, HilumError
from hilum.findings import Record
from hilum.models.presets import CARDS, Part, read_yaml


class Licence(Record):
    """One licence; ``commercial``: yes, terms (allowed on its own conditions) or no.

    ``aliases``: what model cards on the hub call it.
    """

    id: str
    name: str
    commercial: Literal["yes", "terms", "no"]
    url: str
    aliases: list[str] = Field(default_factory=list)


@cache
def licences() -> dict[str, Licence]:
    """Every licence by its id, strictest last."""
    entries = [Licence.model_validate(entry) for entry in read_yaml(CARDS / "licences.yaml")]
    return {entry.id: entry for entry in entries}


def named(word: str) -> str:
    """A licence's id by its id or what a model card calls it; the word itself where unknown."""
    plain = word.strip().strip("'\"").lower()
    found = [entry.id for entry in licences().values() if plain in (entry.id, *entry.aliases)]
    return found[0] if found else plain or "unknown"


def strictest(parts: Sequence[Part]) -> Licence:
    """The licence that binds the whole: the strictest of the parts.

    A licence that is not in the table counts as the strictest: it has not been read.
    """
    known = licences()
    unknown = [part.licence for part in parts if part.licence not in known]
    if unknown or not parts:
        name = unknown[0] if unknown else "unknown"
        return Licence(id=name, name=f"{name} (not in Hilum's table)", commercial="no", url="")
    order = list(known)
    return known[max((part.licence for part in parts), key=order.index)]


def require_commercial(subject: str, parts: Sequence[Part]) -> None:
    """Raise ``licence_forbids`` where a part's licence does not allow commercial use."""
    known = licences()
    forbidden = [p for p in parts if p.licence not in known or known[p.licence].commercial == "no"]
    if forbidden or not parts:
        named = ", ".join(f"{p.source}: {p.licence}" for p in forbidden) or "no licence is known"
        raise HilumError(Code.LICENCE_FORBIDS, subject, f"non-commercial: {named}")
