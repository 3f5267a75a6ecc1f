"""One sentence to a finding: the very inverse of :mod:`~hilum.language.template`.

It knows the template's sentences and nothing else: a draft of a reader trained on them is read
back word by word, whatever the rules for free text would make of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TypeVar

from hilum.findings import FINDINGS, Finding, FindingName, Instance, Status
from hilum.language import template as t
from hilum.report import Language

Exact = tuple[FindingName, Status, Instance | None]
Key = TypeVar("Key")

_STOP: dict[Language, str] = {"en": ".", "zh": "。"}
_COLUMN: dict[Language, int] = {"en": 0, "zh": 1}
_RIBS = range(1, 13)
# Longer than any sentence the template writes with a dozen ribs.
_LONGEST = 200


def read(sentence: str, language: Language) -> Exact | None:
    """The finding a template sentence, full stop included, was written from; None: not one."""
    if not sentence.endswith(_STOP[language]) or len(sentence) > _LONGEST:
        return None
    if known := _whole_sentences(language).get(sentence.lower()):
        name, status = known
        return name, status, None if status is Status.ABSENT else Instance()
    match = next((m for p in _patterns(language) if (m := p.fullmatch(sentence))), None)
    if match is None:
        return None
    words, column = match.groupdict(), _COLUMN[language]
    name = _names(language)[words["term"].lower()] if "term" in words else FindingName.FRACTURE
    return (
        name,
        Status.UNCERTAIN if words["hedge"] else Status.PRESENT,
        Instance(
            bone=_key(t.BONES, column, words.get("bone")),
            side=_key(t.SIDES, column, words.get("side")),
            ribs=[int(n) for n in re.findall(r"\d+", words.get("ribs") or "")],
            region=_key(t.REGIONS, column, words.get("region")),
            displacement=_key(t.DISPLACEMENTS, column, words.get("moved")),
            stage=_key(t.STAGES, column, words.get("stage")),
        ),
    )


def _key(table: Mapping[Key, tuple[str, str]], column: int, word: str | None) -> Key | None:
    """The key whose term in this language is ``word``; None for None."""
    if word is None:
        return None
    return next(key for key, row in table.items() if row[column] == word.lower())


@cache
def _whole_sentences(language: Language) -> dict[str, tuple[FindingName, Status]]:
    """Sentences that need no pattern, in lower case: every negation, and the fixed ones."""
    negations = {name: Finding(name=name, status=Status.ABSENT) for name in FindingName}
    known = {t.sentence(f, language)[0]: (name, f.status) for name, f in negations.items()}
    known.update({text: key for key, text in t.FIXED[language].items()})
    return {text.lower(): key for text, key in known.items()}


@cache
def _names(language: Language) -> dict[str, FindingName]:
    """Findings by their term; fractures have patterns of their own."""
    terms = {row.en if language == "en" else row.zh: name for name, row in FINDINGS.items()}
    return {term: name for term, name in terms.items() if name is not FindingName.FRACTURE}


@cache
def _patterns(language: Language) -> tuple[re.Pattern[str], ...]:
    """Patterns of located findings, each for a whole sentence; no ``term``: a fracture."""
    side, region, bone, stage, moved = (
        _one_of(name, [row[_COLUMN[language]] for row in table.values()])
        for name, table in (
            ("side", t.SIDES),
            ("region", t.REGIONS),
            ("bone", t.BONES),
            ("stage", t.STAGES),
            ("moved", t.DISPLACEMENTS),
        )
    )
    term = _one_of("term", _names(language))
    if language == "en":
        hedge, ribs = "(?P<hedge>possible )?", _several("ribs", map(t.ordinal, _RIBS), ", ")
        fracture = f"(?:{stage} )?(?:{moved} )?fracture"
        sentences = [
            f"{hedge}{fracture} of the (?:{region} )?(?:{side} )?(?:{ribs} )?{bone}",
            f"{hedge}(?:{side} )?{fracture}",
            f"{hedge}{fracture},(?= )(?: {region})?(?: {side})?(?: {ribs})?",
            f"{hedge}(?:{side} )?{term}",
            f"{hedge}{term} in the (?:{side} )?{region} lung zone",
        ]
    else:
        hedge, ribs = "(?P<hedge>可能)?", _several("ribs", map(str, _RIBS), "、")
        sentences = [
            f"(?:{side}侧)?(?:第{ribs})?{bone}?{region}?(?:{stage}|骨折){moved}?{hedge}",
            f"(?:{side}侧)?{term}{hedge}",
            f"{side}?肺{region}野{term}{hedge}",
        ]
    # ASCII: else a long s or a Kelvin sign would pass for a letter of a term
    flags = re.IGNORECASE | re.ASCII
    return tuple(re.compile(s + re.escape(_STOP[language]), flags) for s in sentences)


def _one_of(name: str, words: Iterable[str]) -> str:
    return f"(?P<{name}>{_any(words)})"


def _several(name: str, words: Iterable[str], gap: str) -> str:
    word = f"(?:{_any(words)})"
    return f"(?P<{name}>{word}(?:{gap}{word})*)"


def _any(words: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
