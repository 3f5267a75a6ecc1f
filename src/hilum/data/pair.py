"""Pair: one study as a source tells of it, before anything is opened or checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hilum.codes import Code, HilumError
from hilum.findings import Finding, FindingName, Status
from hilum.study import Context

_NOBODY = Context()  # one for all pairs without: making and pickling one costs as much as a label


@dataclass(frozen=True, slots=True)
class Film:
    """One image file, or the bytes of one, and the position its source states."""

    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    position: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A study's films and its report, as the source has them.

    ``where`` names the place in the source (a row, a file) for the quarantine. ``truth`` holds
    findings that need no labeler, ``published`` labels to compare the labeler with. ``original``
    is the text that the report was translated from. ``split`` is the official one, or None.
    ``error``: the source itself cannot make sense of this study.
    """

    study_id: str
    patient_id: str
    films: tuple[Film, ...] = ()
    findings: str = field(default="", repr=False)
    impression: str = field(default="", repr=False)
    language: str | None = None
    context: Context = field(default_factory=lambda: _NOBODY, repr=False)
    truth: list[Finding] | None = field(default=None, repr=False)
    truth_source: str = "truth"
    published: dict[FindingName, Status] = field(default_factory=dict, repr=False)
    original: str | None = field(default=None, repr=False)
    split: str | None = None
    licence: str = ""
    source: str = ""
    where: str = ""
    flags: tuple[Code, ...] = ()
    error: HilumError | None = None


def join(*parts: str) -> str:
    """The parts of a report as one text, the way its spans count: a line each, no empty ones."""
    return "\n".join(part for part in parts if part)
