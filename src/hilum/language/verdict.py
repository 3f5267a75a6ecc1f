"""What an audit says, and the two texts of a pair made ready to be compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import NamedTuple

from hilum.codes import Code
from hilum.findings import FINDINGS, FindingName, Status
from hilum.language import lexicon
from hilum.language.claims import Mention, mentions
from hilum.language.label import Reading, read
from hilum.language.words import fold, language_of, sentences, tokens
from hilum.report import Language

Span = tuple[int, int]


class Kind(StrEnum):
    """What a translation error changed."""

    FINDING = "finding"
    NEGATION = "negation"
    CERTAINTY = "certainty"
    SIDE = "side"
    ANATOMY = "anatomy"
    STAGE = "stage"
    SEVERITY = "severity"
    DEVICE = "device"
    OMISSION = "omission"
    ADDITION = "addition"
    CHAT_RESIDUE = "chat_residue"


class Concept(NamedTuple):
    """A meaning to keep: what its loss is called, what to write, and which way it is checked."""

    kind: Kind
    suggestion: str
    check: str


@dataclass(slots=True)
class Error:
    """One error: its kind, where it shows in both texts, and what the translation should say.

    A span is None where the text has nothing to point at.
    """

    kind: Kind
    source: Span | None
    target: Span | None
    about: str
    suggestion: str = ""


@dataclass(slots=True)
class Audit:
    """The verdict on one pair; residue of a chat that both texts share is no infidelity."""

    faithful: bool
    errors: list[Error]
    reason: Code | None = None


@dataclass(slots=True)
class Side:
    """One text with all that is compared."""

    text: str
    language: Language
    reading: Reading
    concepts: dict[str, list[Mention]] = field(default_factory=dict)
    suspects: dict[str, list[Mention]] = field(default_factory=dict)
    implied: dict[str, list[Mention]] = field(default_factory=dict)
    ends: list[Span] = field(default_factory=list)


def side_of(text: str, language: Language | None) -> Side:
    """The text read and its concepts found; unreadable text keeps only its reason."""
    spoken = language or language_of(text)
    side = Side(text, spoken, read(text, spoken))
    if side.reading.reason is None:
        for mention in mentions(tokens(text), f"concepts_{spoken}"):
            for name in (mention.kind, *mention.value.split()):
                kept = {"!": side.suspects, "+": side.implied}.get(name[0], side.concepts)
                kept.setdefault(name.lstrip("!+"), []).append(mention)
        side.ends = [(s.start, s.end) for s in sentences(text, fold(text))]
    return side


@cache
def concepts() -> dict[str, Concept]:
    """The table of concepts."""
    text = resources.files(lexicon).joinpath("concepts.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line and line[0] != "#"]
    return {
        name: Concept(Kind(kind), said, check)
        for name, kind, said, check in rows
        if check != "none"
    }


def concept_error(
    kind: Kind,
    a: Side,
    b: Side,
    source: Mention | None,
    target: Mention | None,
    name: str,
    concept: Concept,
) -> Error:
    """The error of a concept; where one text has nothing to point at, its sentence."""
    left = (source.start, source.end) if source else None
    right = (target.start, target.end) if target else None
    return Error(
        kind,
        left or same_sentence(b, a, right),
        right or same_sentence(a, b, left),
        name,
        concept.suggestion,
    )


def same_sentence(a: Side, b: Side, span: Span | None) -> Span | None:
    """The sentence of ``b`` that stands where ``span``'s sentence stands in ``a``."""
    if span is None or len(a.ends) != len(b.ends):
        return None
    at = next((k for k, (start, end) in enumerate(a.ends) if start <= span[0] < end), None)
    return None if at is None else b.ends[at]


def term(name: FindingName, side: Side) -> str:
    """The finding's name in the language of ``side``."""
    return FINDINGS[name].zh if side.language == "zh" else FINDINGS[name].en


def place(side: Side, name: FindingName, status: Status | None = None) -> Span | None:
    """Where the text first names the finding, with this status if it ever does."""
    said = [s for s in side.reading.said if s.name is name]
    chosen = [s for s in said if s.status is status] or said
    return chosen[0].span if chosen else None
