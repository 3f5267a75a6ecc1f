"""Reports to findings: English and Chinese free text, with spans, cues and occurrences.

A sentence of :mod:`~hilum.language.template` claims exactly what it was written from. In any
other sentence the rules of :mod:`~hilum.language.scope` decide; a child passes its status to
its parent (a nodule denied is a lung lesion denied), and of one finding the strongest status
stands: present over uncertain over absent (CheXpert, Irvin et al., AAAI 2019).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from hilum.codes import Code, HilumError
from hilum.findings import FINDINGS, Finding, FindingName, Instance, Status, with_parents
from hilum.language import inverse
from hilum.language.claims import Assessed, Mention, mentions
from hilum.language.instances import locate
from hilum.language.merging import covers, date_with, merge
from hilum.language.places import Before, Part, parts
from hilum.language.scope import assess
from hilum.language.words import Sentence, fold, language_of, sentences
from hilum.report import LANGUAGES, Language

# Longer than any report: about 200 pages.
LONGEST = 400_000
_RATIO = re.compile(
    r"(?:心胸比(?:例|率)?|ctr|cardiothoracic ratio)[^\d。.;,]{0,12}?(0?\.\d{1,3})(?![\d/])"
)
# Controls, lone surrogates and what decoders put for bytes they cannot read.
_ODD = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")
_ORDER = (Status.PRESENT, Status.UNCERTAIN, Status.ABSENT)
_NO = FindingName.NO_FINDING
_PARENTS = {name: row.parent for name, row in FINDINGS.items() if row.parent}


@dataclass(slots=True)
class Said:
    """One place where the text says something of a finding, and the cue that made its status."""

    name: FindingName
    status: Status
    span: tuple[int, int]
    cue: tuple[int, int] | None = None
    instances: list[Instance] = field(default_factory=list)
    literal: bool = False
    weak: bool = False


@dataclass(slots=True)
class Reading:
    """What a text says: findings, the places they were read from, and why there are none."""

    findings: list[Finding]
    said: list[Said]
    reason: Code | None = None


def label(text: str, language: Language | None = None) -> list[Finding]:
    """The findings of a report, each with its located occurrences.

    ``text`` is a whole report or a part of one; ``language`` None: each sentence is read in its
    own. Spans of instances are character offsets in ``text``. Absent findings have no instances.
    Empty, binary, overlong or foreign text gives an empty list; :func:`read` says why. An
    unknown language raises ``language_unsupported``.
    """
    return read(text, language).findings


def read(text: str, language: Language | None = None) -> Reading:
    """What :func:`label` answers, with every place and cue, or the reason for an empty list.

    Reasons: ``text_empty``, ``text_too_long``, ``text_unreadable`` (binary),
    ``language_mismatch`` (nothing found, and the text is not in ``language``).
    """
    if language is not None and language not in LANGUAGES:
        raise HilumError(Code.LANGUAGE_UNSUPPORTED, language, "choose en or zh")
    reason = _unfit(text)
    if reason is not None:
        return Reading([], [], reason)
    said: list[Said] = []
    normal: Said | None = None
    folded = fold(text)
    before: Before = _nothing
    for sentence in sentences(text, folded):
        spoken = language or language_of(text[sentence.start : sentence.end])
        exact = inverse.read(text[sentence.start : sentence.end], spoken)
        if exact is not None:
            said.append(_literal(exact, sentence))
            continue
        assessed = assess(sentence, spoken, mentions(sentence.tokens, spoken))
        said += _free(assessed, sentence, folded, before, spoken)
        said += _ratio(folded, sentence)
        claim = next((c for c in assessed.claims if c.normal), None)
        if claim is not None and normal is None:
            normal = Said(_NO, Status.PRESENT, (claim.start, claim.end), claim.cue)
        bounds = (sentence.start, sentence.end)
        before = partial(parts, assessed, folded, bounds, spoken)
    findings = _combine(said)
    if normal is not None and not any(_speaks_against_normal(f) for f in findings):
        said.append(normal)
        findings.append(
            Finding(name=_NO, status=Status.PRESENT, instances=[Instance(span=normal.span)])
        )
    if not findings and language is not None and language_of(text) != language:
        return Reading([], [], Code.LANGUAGE_MISMATCH)
    return Reading(findings, said)


def assertion(text: str, span: tuple[int, int], language: Language | None = None) -> Status:
    """Whether the words at ``span`` are asserted, hedged or denied where they stand.

    For any term, in the lexicon or not. Words outside every sentence that speaks (an
    indication, a recommendation) count as uncertain: nothing is asserted of them.
    """
    for sentence in sentences(text, fold(text)):
        if not (sentence.start <= span[0] < sentence.end):
            continue
        spoken = language or language_of(text[sentence.start : sentence.end])
        found = [
            m for m in mentions(sentence.tokens, spoken) if m.end <= span[0] or m.start >= span[1]
        ]
        target = Mention("finding", "", *span)
        found = sorted([*found, target], key=lambda m: m.start)
        at = found.index(target)
        for claim in assess(sentence, spoken, found).claims:
            if claim.at == at and claim.status is not None:
                return claim.status
    return Status.UNCERTAIN


def _nothing() -> list[Part]:
    return []


def _unfit(text: str) -> Code | None:
    if not text.strip():
        return Code.TEXT_EMPTY
    if len(text) > LONGEST:
        return Code.TEXT_TOO_LONG
    sample = text[:20_000]
    odd = len(_ODD.findall(sample))
    return Code.TEXT_UNREADABLE if odd * 10 > len(sample) else None


def _literal(exact: inverse.Exact, sentence: Sentence) -> Said:
    name, status, instance = exact
    span = (sentence.start, sentence.end)
    if instance is not None:
        instance.span = span
    return Said(name, status, span, None, [instance] if instance else [], literal=True)


def _free(
    assessed: Assessed,
    sentence: Sentence,
    folded: str,
    before: Before,
    language: Language,
) -> Iterator[Said]:
    bounds = (sentence.start, sentence.end)
    for claim in assessed.claims:
        if claim.normal or claim.status is None:
            continue
        span = (claim.start, claim.end)
        for name in claim.names:
            instances: list[Instance] = []
            if claim.status is not Status.ABSENT:
                instances = locate(claim, assessed, folded, bounds, before, language)
            yield Said(name, claim.status, span, claim.cue, instances, weak=claim.weak)


def _ratio(folded: str, sentence: Sentence) -> Iterator[Said]:
    """The cardiothoracic ratio: to 0.5 normal (Danzer 1919), from 0.58 enlarged, else hedged."""
    for match in _RATIO.finditer(folded, sentence.start, sentence.end):
        ratio = float(match[1])
        status = Status.ABSENT if ratio <= 0.5 else Status.UNCERTAIN
        status = Status.PRESENT if ratio >= 0.58 else status
        span = match.span()
        places = [] if status is Status.ABSENT else [Instance(span=span)]
        yield Said(FindingName.CARDIOMEGALY, status, span, None, places)


def _combine(said: list[Said]) -> list[Finding]:
    """One finding a name: its strongest status, with the occurrences that have it."""
    bynames: dict[FindingName, list[Said]] = {}
    for one in said:
        bynames.setdefault(one.name, []).append(one)
    found: dict[FindingName, Finding] = {}
    for name, group in bynames.items():
        strong = [s for s in group if not s.weak] or group
        status = min((s.status for s in strong), key=_ORDER.index)
        exact = [i for s in strong if s.literal for i in s.instances]
        free = [i for s in strong if not s.literal and s.status is status for i in s.instances]
        more = [i for i in merge(free) if not any(covers(e, i) for e in exact)] if free else []
        if status is Status.PRESENT:
            date_with(
                more, (i for s in strong if s.status is Status.UNCERTAIN for i in s.instances)
            )
        found[name] = Finding(name=name, status=status, instances=exact + more)
    _tell_parents(found, (s.name for s in said if not s.literal))
    return with_parents(list(found.values()))


def _tell_parents(found: dict[FindingName, Finding], free: Iterable[FindingName]) -> None:
    """In free text a child passes every status to its parent; the stronger stands."""
    for name in dict.fromkeys(free):
        parent = _PARENTS.get(name)
        if parent is None:
            continue
        status = found[name].status
        known = found.get(parent)
        if known is None:
            found[parent] = Finding(name=parent, status=status)
        elif _ORDER.index(status) < _ORDER.index(known.status):
            known.status = status
            known.instances = []


def _speaks_against_normal(finding: Finding) -> bool:
    return finding.name is _NO or (
        finding.status is not Status.ABSENT and finding.name is not FindingName.SUPPORT_DEVICES
    )
