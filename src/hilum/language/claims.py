"""Terms found in a sentence, and what is claimed of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import NamedTuple

from hilum.findings import FindingName, Status
from hilum.language import lexicon
from hilum.language.spelling import SHORTEST, corrected
from hilum.language.words import Token

# The last character of a place that may be the first of a finding.
_SHARED = ("骨", "肺")


class Mention(NamedTuple):
    """A term of the lexicon found in the text."""

    kind: str
    value: str
    start: int
    end: int


@dataclass(slots=True)
class Claim:
    """One thing said: names (none: a term that is no finding of ours), status, place, cue.

    ``at`` is the index of its mention in the sentence. A weak claim counts only where nothing
    else is said of the same name.
    """

    names: tuple[FindingName, ...]
    status: Status | None
    start: int
    end: int
    at: int
    cue: tuple[int, int] | None = None
    weak: bool = False
    normal: bool = False
    segment: int = 0


@dataclass(slots=True)
class Assessed:
    """A sentence's mentions and claims; ``denied`` holds the mentions a negation reaches."""

    mentions: list[Mention]
    claims: list[Claim]
    denied: set[int] = field(default_factory=set)


def mentions(tokens: Sequence[Token], language: str) -> list[Mention]:
    """The longest terms from left to right; commas are mentions too."""
    root = lexicon.trie(language)
    if language == "en":
        tokens = [t if len(t[0]) < SHORTEST else (corrected(t[0]), *t[1:]) for t in tokens]
    found: list[Mention] = []
    i, n = 0, len(tokens)
    while i < n:
        word, start, end = tokens[i]
        node = root.get(word)
        if node is None:
            if word == "," or (word == ":" and language == "zh"):
                found.append(Mention("comma", word, start, end))
            elif len(word) <= 3 and word[0] in "tlc" and word[1:].isdigit():
                found.append(Mention("bone", "vertebra", start, end))
            i += 1
            continue
        tag, after = _longest(tokens, i, root)
        if tag is not None:
            found.append(Mention(tag[0], tag[1], start, tokens[after - 1][2]))
        i = _shared(tokens, i, after, root)
    return found


def _longest(tokens: Sequence[Token], i: int, root: lexicon.Trie) -> tuple[lexicon.Tag | None, int]:
    """The longest term at token ``i`` and the token after it; without one, the next token."""
    tag, after, j, n = None, i + 1, i + 1, len(tokens)
    node = root.get(tokens[i][0])
    while node is not None:
        if "" in node:
            tag, after = node[""], j
        if j == n:
            break
        node = node.get(tokens[j][0])
        j += 1
    return tag, after


def _shared(tokens: Sequence[Token], i: int, after: int, root: lexicon.Trie) -> int:
    """Where to read on: 肋骨折 is 肋 and 骨折, 下肺炎 is 下肺 and 肺炎; 肋骨骨折 shares nothing."""
    last = after - 1
    if i < last and after < len(tokens) and tokens[last][0] in _SHARED:
        tag, end = _longest(tokens, last, root)
        whole, _ = _longest(tokens, after, root)
        begins = tag is not None and tag[0] in ("finding", "organ", "other") and end > after
        if begins and (whole is None or whole[0] != "finding"):
            return last
    return after


@cache
def names(value: str) -> tuple[FindingName, ...]:
    """The findings a tag's value names."""
    return tuple(FindingName(v) for v in value.split())


@cache
def rules() -> dict[tuple[str, str], tuple[FindingName, Status]]:
    """What a state of an organ means."""
    text = resources.files(lexicon).joinpath("rules.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line and line[0] != "#"]
    return {(organ, state): (FindingName(n), Status(s)) for organ, state, n, s in rows}
