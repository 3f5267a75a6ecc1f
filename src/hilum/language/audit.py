"""Where a translation changed the medicine.

Three comparisons of a source and its translation: concepts (every word that matters has a
rendering that keeps its meaning, ``lexicon/concepts.tsv``), findings (both are labelled, and
names, status and occurrences are compared), and counts that a translation keeps (sides, rib
numbers, sizes).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import NamedTuple

from hilum.codes import Code
from hilum.findings import FINDINGS, FindingName, Status
from hilum.language import lexicon
from hilum.language.claims import Assessed, Mention, mentions
from hilum.language.label import Reading, read
from hilum.language.places import parts
from hilum.language.words import fold, language_of, sentences, tokens
from hilum.report import Language

Span = tuple[int, int]
N = FindingName


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
    ends: list[Span] = field(default_factory=list)


# Findings whose words are compared; the others are read off organs and their states.
_NAMED = frozenset(N) - {
    N.NO_FINDING,
    N.ENLARGED_CARDIOMEDIASTINUM,
    N.LUNG_OPACITY,
    N.LUNG_LESION,
    N.CARDIOMEGALY,
    N.PLEURAL_OTHER,
    N.SUPPORT_DEVICES,
    N.GRANULOMA,
    N.INFILTRATION,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*-?\s*(?:cm|mm|厘米|毫米|公分|%|％)|\b[tl](\d{1,2})\b")


def audit(
    source: str,
    target: str,
    source_language: Language | None = None,
    target_language: Language | None = None,
) -> Audit:
    """Compares a text with its translation.

    ``faithful`` is False where an error changes the medicine. Languages are told from the
    texts where they are None. A text that cannot be read gives no errors, ``faithful`` False
    and the reason: nothing was compared.
    """
    a = _side(source, source_language)
    b = _side(target, target_language)
    reason = a.reading.reason or b.reading.reason
    if reason is not None:
        return Audit(False, [], reason)
    errors = [*_concepts(a, b), *_findings(a, b), *_sides(a, b), *_numbers(a, b), *_severity(a, b)]
    errors = _distinct(errors)
    residue, shared = _residue(a, b)
    faithful = not errors and (shared or not residue)
    return Audit(faithful, [*errors, *residue])


def _side(text: str, language: Language | None) -> Side:
    spoken = language or language_of(text)
    side = Side(text, spoken, read(text, spoken))
    if side.reading.reason is None:
        for mention in mentions(tokens(text), f"concepts_{spoken}"):
            for name in (mention.kind, *mention.value.split()):
                found = side.suspects if name.startswith("!") else side.concepts
                found.setdefault(name.removeprefix("!"), []).append(mention)
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


def _concepts(a: Side, b: Side) -> list[Error]:
    errors = []
    for name, concept in concepts().items():
        here, there = a.concepts.get(name, []), b.concepts.get(name, [])
        if name == "remark":  # "unremarkable" is no 不明显
            if here and there:
                errors.append(_error(concept.kind, a, b, here[0], there[0], name, concept))
            continue
        suspects = b.suspects.get(name, []) + a.suspects.get(name, [])
        if here and len(there) < len(here) and b.suspects.get(name):
            errors.append(_error(concept.kind, a, b, here[0], suspects[0], name, concept))
        elif here and not there and concept.check != "target":
            errors.append(_error(concept.kind, a, b, here[0], None, name, concept))
        elif there and not here and concept.check != "source" and not a.suspects.get(name):
            kind = Kind.ADDITION if concept.kind is Kind.FINDING else concept.kind
            errors.append(_error(kind, a, b, None, there[0], name, concept))
    return errors


def _error(
    kind: Kind,
    a: Side,
    b: Side,
    source: Mention | None,
    target: Mention | None,
    name: str,
    concept: Concept,
) -> Error:
    left = (source.start, source.end) if source else None
    right = (target.start, target.end) if target else None
    return Error(
        kind,
        left or _same_sentence(b, a, right),
        right or _same_sentence(a, b, left),
        name,
        concept.suggestion,
    )


def _same_sentence(a: Side, b: Side, span: Span | None) -> Span | None:
    """The sentence of ``b`` that stands where ``span``'s sentence stands in ``a``."""
    if span is None or len(a.ends) != len(b.ends):
        return None
    at = next((k for k, (start, end) in enumerate(a.ends) if start <= span[0] < end), None)
    return None if at is None else b.ends[at]


def _findings(a: Side, b: Side) -> list[Error]:
    errors = []
    here = {f.name: f for f in a.reading.findings}
    there = {f.name: f for f in b.reading.findings}
    for name in FindingName:
        f, g = here.get(name), there.get(name)
        if f is not None and g is not None and f.status is not g.status:
            errors += _status(a, b, name, f.status, g.status) or _beside(a, b, name)
        elif f is not None and g is not None and name in _NAMED:
            errors += _beside(a, b, name)
        elif name in _NAMED and f is not None and g is None:
            errors.append(
                Error(
                    Kind.OMISSION,
                    _place(a, name),
                    _same_sentence(a, b, _place(a, name)),
                    name,
                    _term(name, b),
                )
            )
        elif name in _NAMED and g is not None and f is None:
            errors.append(Error(Kind.ADDITION, None, _place(b, name), name))
    f, g = here.get(N.FRACTURE), there.get(N.FRACTURE)
    if f is not None and g is not None and f.status is g.status:
        spans = _place(a, N.FRACTURE), _place(b, N.FRACTURE)
        for slot, kind in (
            ("bone", Kind.ANATOMY),
            ("side", Kind.SIDE),
            ("displacement", Kind.SEVERITY),
            ("stage", Kind.STAGE),
        ):
            told = {getattr(i, slot) for i in f.instances} - {None}
            said = {getattr(i, slot) for i in g.instances} - {None}
            if told != said and told and said:
                errors.append(Error(kind, *spans, f"fracture {slot}", ", ".join(sorted(told))))
    return errors


def _status(a: Side, b: Side, name: FindingName, told: Status, said: Status) -> list[Error]:
    if name not in _NAMED and {told, said} != {Status.PRESENT, Status.ABSENT}:
        return []
    if name is N.NO_FINDING:
        return []
    here, there = _said(a, name), _said(b, name)
    both = told in there or said in here  # a text may say both, and mean the stronger
    if both and Status.PRESENT not in (told, said):
        return []
    if both and Status.UNCERTAIN in (told, said):
        return []
    if _softly(a, name) or _softly(b, name):
        return []
    hedged = Status.UNCERTAIN in (told, said)
    kind = Kind.CERTAINTY if hedged else Kind.NEGATION
    return [
        Error(kind, _place(a, name, told), _place(b, name, said), name, f"{_term(name, b)}: {told}")
    ]


def _beside(a: Side, b: Side, name: FindingName) -> list[Error]:
    """The strongest status agrees, but one text also says what the other never does."""
    told, said = _statuses(a, name), _statuses(b, name)
    if name not in _NAMED:
        return []
    if len(told) == len(said) and told != said and not (_softly(a, name) or _softly(b, name)):
        odd = next(y for x, y in zip(told, said, strict=True) if x is not y)
        kind = Kind.CERTAINTY if Status.UNCERTAIN in set(told) ^ set(said) else Kind.NEGATION
        return [Error(kind, _place(a, name), _place(b, name, odd), name, _term(name, b))]
    here, there = set(told), set(said)
    clash = {Status.PRESENT, Status.ABSENT}
    extra = here ^ there
    if len(here) == len(there) or not extra <= clash or not clash <= here | there:
        return []
    status = next(iter(extra))
    source = _place(a, name, status) if status in here else _place(a, name)
    target = _place(b, name, status) if status in there else _place(b, name)
    return [Error(Kind.NEGATION, source, target, name, _term(name, b))]


def _statuses(side: Side, name: FindingName) -> list[Status]:
    return sorted(s.status for s in side.reading.said if s.name is name)


def _said(side: Side, name: FindingName) -> set[Status]:
    return {s.status for s in side.reading.said if s.name is name}


def _softly(side: Side, name: FindingName) -> bool:
    """English "suggests" is a weak hedge, and none in Chinese: 表明."""
    cues = [s.cue for s in side.reading.said if s.name is name and s.cue]
    return any(fold(side.text[slice(*cue)]).startswith(("suggest", "appear")) for cue in cues)


def _term(name: FindingName, side: Side) -> str:
    return FINDINGS[name].zh if side.language == "zh" else FINDINGS[name].en


def _place(side: Side, name: FindingName, status: Status | None = None) -> Span | None:
    said = [s for s in side.reading.said if s.name is name]
    chosen = [s for s in said if s.status is status] or said
    return chosen[0].span if chosen else None


def _sides(a: Side, b: Side) -> list[Error]:
    """One side gained what the other lost, or they changed places."""
    here = _sequence(a)
    there = _sequence(b)
    more_left = there.count("left") - here.count("left")
    more_right = there.count("right") - here.count("right")
    swapped = more_left * more_right < 0
    turned = more_left == more_right == 0 and here != there and sorted(here) != here
    if not swapped and not (turned and here == there[::-1]):
        return []
    wrong = "left" if more_left > 0 else "right"
    right = "right" if wrong == "left" else "left"
    source = a.concepts.get(right) or a.concepts.get(wrong) or []
    target = b.concepts.get(wrong, [])
    left_span = (source[0].start, source[0].end) if source else None
    right_span = (target[-1].start, target[-1].end) if target else None
    return [Error(Kind.SIDE, left_span, right_span, "side", right)]


def _sequence(side: Side) -> list[str]:
    found = [(m.start, name) for name in ("left", "right") for m in side.concepts.get(name, [])]
    return [name for _, name in sorted(found)]


def _numbers(a: Side, b: Side) -> list[Error]:
    errors = []
    here, there = _ribs(a), _ribs(b)
    if here and there and set(here) != set(there):
        missing = sorted(set(here) - set(there))
        source = next((here[n] for n in missing), None)
        target = next((there[n] for n in sorted(set(there) - set(here))), None)
        errors.append(
            Error(Kind.ANATOMY, source, target, "rib number", ", ".join(map(str, missing)))
        )
    sizes, said = _sizes(a), _sizes(b)
    if set(sizes) != set(said) and sizes and said:
        lost = sorted(set(sizes) - set(said))
        spans = (
            next((sizes[n] for n in lost), None),
            next((said[n] for n in sorted(set(said) - set(sizes))), None),
        )
        errors.append(Error(Kind.SEVERITY, *spans, "size", ", ".join(lost)))
    return errors


def _ribs(side: Side) -> dict[int, Span]:
    folded = fold(side.text)
    found: dict[int, Span] = {}
    for sentence in sentences(side.text, folded):
        if not (
            "rib" in folded[sentence.start : sentence.end]
            or "肋" in folded[sentence.start : sentence.end]
        ):
            continue
        said = Assessed(mentions(sentence.tokens, side.language), [])
        for part in parts(said, folded, (sentence.start, sentence.end), side.language):
            if part.slot == "ribs":
                for number in part.value:
                    found.setdefault(number, (part.start, part.end))
    return found


def _sizes(side: Side) -> dict[str, Span]:
    return {m[1] or m[2]: m.span() for m in _SIZE.finditer(fold(side.text))}


_LEVELS = {"mild": "轻度", "moderate": "中度", "severe": "重度"}


def _severity(a: Side, b: Side) -> list[Error]:
    """One degree gained what another lost."""
    change = {n: len(b.concepts.get(n, [])) - len(a.concepts.get(n, [])) for n in _LEVELS}
    lost = next((n for n in _LEVELS if change[n] < 0), None)
    gained = next((n for n in _LEVELS if change[n] > 0), None)
    # 明显 and 显著 are words of style where the counts do not match
    if lost is None or gained is None or (a.concepts.get(gained) and sum(change.values())):
        return []
    source, target = a.concepts[lost][0], b.concepts[gained][0]
    spans = (source.start, source.end), (target.start, target.end)
    return [Error(Kind.SEVERITY, *spans, "severity", _LEVELS[lost] if b.language == "zh" else lost)]


def _residue(a: Side, b: Side) -> tuple[list[Error], bool]:
    """What a chat left behind, and whether the source has it too."""
    here, there = a.concepts.get("chat", []), b.concepts.get("chat", [])
    errors = [Error(Kind.CHAT_RESIDUE, None, (m.start, m.end), "chat") for m in there]
    if not there:
        errors = [Error(Kind.CHAT_RESIDUE, (m.start, m.end), None, "chat") for m in here]
    return errors, bool(here)


# One word lost shows as a concept and as a finding; the concept points better.
_SAME = {
    "effusion": N.PLEURAL_EFFUSION,
    "infiltrate": N.INFILTRATION,
    "opacity": N.LUNG_OPACITY,
}


def _distinct(errors: list[Error]) -> list[Error]:
    """Without the findings whose loss or gain a concept's error has named already."""
    named = {_SAME.get(e.about, e.about) for e in errors if not isinstance(e.about, FindingName)}
    repeated = (Kind.OMISSION, Kind.ADDITION)
    return [
        e
        for e in errors
        if not (e.kind in repeated and isinstance(e.about, FindingName) and e.about in named)
    ]
