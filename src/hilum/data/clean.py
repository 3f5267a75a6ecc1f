"""What is taken out of a report, or marked in it, before it is learnt from.

Patterns are few and plain; every one that strikes is counted on the card. A removed sentence
never takes a finding with it unseen: see :func:`hilum.data.work.work`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from hilum.codes import Code
from hilum.language.words import fold, sentences

Redactions = Literal["mark", "drop"]
MARK = "___"
"""What stands for a redacted word, as in MIMIC-CXR; OpenI's XXXX becomes it."""

_REDACTED = re.compile(
    r"\b[Xx]{3,}\b|_{2,}|\[\*\*[^\]\n]{0,60}\*\*\]|<unk>|\[redacted\]|\*{3,}", re.I
)
_WRAPPED = re.compile(r"(?<![.。;；:：!！?？])\n(?!\d{1,2}[.、)]|[\u3400-\u9fff])")
_OPENING = re.compile(r"(?:(?:[Xx]{3,}|_{2,})[\s,]*)+$")
# Words that one film cannot show. "Prior" and "previous" of an operation are no comparison.
_PRIOR = re.compile(
    r"\b(?:un|not (?:significantly )?)changed\b|\binterval(?:ly)?\b"
    r"|\bno (?:(?:significant|definite|appreciable|substantial|relevant|obvious) )*change\b"
    r"|\bcompar(?:ed|ison|ing)\b|\bstable\b|\bagain (?:seen|noted|demonstrated|identified|is|are)\b"
    r"|\bredemonstrat(?:ed|ion)\b"
    r"|\b(?:prior|previous|last|earlier) (?:\w+ ){0,2}(?:exam\w*|stud(?:y|ies)|films?|radiographs?"
    r"|x-?rays?|images?|imaging|ct|chest|reports?)\b"
    r"|\b(?:than|since|as|from) (?:before|prior|previous\w*)\b"
    r"|\bpreviously (?:seen|noted|described|identified|demonstrated)\b|\bpersist(?:s|ent|ing)?\b"
    r"|\bhas (?:been )?(?:improved|worsened|resolved|increased|decreased|progressed|enlarged)\b"
    r"|\b(?:improv|worsen|resolv)(?:ed|ing|ement)\b|\bnew(?:ly)?\b|\bno longer\b|\bremains?\b"
    r"|较(?:之?前|上次|旧|老|昨|\d)|与?(?:前|旧|老|上次)(?:次|一次)?(?:片|检查|胸片|影像)|同前"
    r"|(?:与|和|同)[^。，；]{1,16}(?:比较|对比)|(?:比较|对比)(?:片|影像|检查)|相比"
    r"|(?:变化不|(?:无|未见)(?:明显|显著)?变化)|没有(?:明显|显著)?(?:的)?(?:改变|变化)"
    r"|(?:之前|以前|此前|先前|既往)(?:的)?(?:\w{0,4})(?:检查|片|影像|研究|报告)|再次(?:显示|看到|见)|仍(?:可见|见|存在)"
    r"|新(?:发|出现|增)|吸收好转|稳定",
    re.I,
)
# A language model talking to its user.
_CHAT = re.compile(
    r"\bas an? (?:ai|language model)\b|\bi(?:'m| am) (?:sorry|an ai)\b"
    r"|\b(?:do you have any|any (?:other |further )?)(?:\w+ ){0,2}questions?\b|\blet me know\b"
    r"|\bi hope this\b|\bconsult (?:with )?(?:a|your) \w+"
    r"|\bhere(?: is|'s) (?:the|a|your) (?:rewritten|revised|translat)"
    r"|作为(?:一个|一名)?(?:ai|人工智能|语言模型)"
    r"|(?:你|您)(?:对|有|还|是否|想|需要)[^。]{0,30}(?:问题|疑问|担忧|帮助)"
    r"|希望(?:这|以上|我)[^。]{0,12}(?:帮助|有用)|很抱歉|对不起"
    r"|以下是(?:翻译|改写|您)|请(?:告诉我|咨询)",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A part of a report after cleaning, and the remarks that cleaning makes."""

    text: str
    flags: tuple[Code, ...] = ()
    shortened: bool = False


def tidy(text: str) -> str:
    """NFC, no control characters, single spaces; a line that was only wrapped is joined.

    A line break stays after a stop, and before a list number or Chinese.
    """
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else " " for c in text)
    lines = [" ".join(line.split()) for line in text.split("\n")]
    return _WRAPPED.sub(" ", "\n".join(line for line in lines if line))


def leans_on_prior(text: str) -> bool:
    """Whether a sentence compares with an earlier examination."""
    return _PRIOR.search(text) is not None


def clean(text: str, *, no_priors: bool = False, redactions: Redactions = "mark") -> Cleaned:
    """Tidy one part of a report and mark, or take out, what should not be learnt.

    A sentence in which a language model speaks to its user always goes. With ``no_priors`` go
    those that compare with earlier films, with ``redactions`` "drop" those with a redaction;
    else each redaction becomes :data:`MARK`. Flags say what was found, whether or not it went.
    """
    text = tidy(text)
    gone: list[tuple[int, int]] = []
    flags: set[Code] = set()
    rules = (
        (Code.CHAT_RESIDUE, _CHAT, True),
        (Code.LEANS_ON_PRIOR, _PRIOR, no_priors),
        (Code.REDACTED, _REDACTED, redactions == "drop"),
    )
    matters = [rule for rule in rules if rule[1].search(text)]
    at = 0
    for sentence in sentences(text, fold(text)) if matters else ():
        start = sentence.start - len(_leading_redactions(text[at : sentence.start]))
        at = sentence.end
        struck = [
            (code, drop) for code, pattern, drop in matters if pattern.search(text, start, at)
        ]
        flags.update(code for code, _ in struck)
        if any(drop for _, drop in struck):
            gone.append((start, at))
    kept = _without(text, gone)
    if _REDACTED.search(kept):
        flags.add(Code.REDACTED)
        kept = _REDACTED.sub(MARK, kept)
    return Cleaned(kept, tuple(sorted(flags)), bool(gone))


def _leading_redactions(gap: str) -> str:
    """Redactions that open a sentence: the sentence itself begins at its first word."""
    match = _OPENING.search(gap)
    return match.group() if match else ""


def _without(text: str, gone: list[tuple[int, int]]) -> str:
    """The text without these spans, tidied; a list number left alone goes too."""
    if not gone:
        return text
    kept, at = [], 0
    for start, end in gone:
        kept.append(text[at:start])
        at = end
    kept.append(text[at:])
    joined = tidy("".join(kept))
    return re.sub(r"(?:^|(?<=\s))\d{1,2}[.)、](?=\s*(?:\d{1,2}[.)、]\s|$))", "", joined).strip()
