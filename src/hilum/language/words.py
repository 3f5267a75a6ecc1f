"""Text to tokens, sentences and sections; every offset is a character of the given text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from hilum.report import Language

Token = tuple[str, int, int]

# One character to one character, so that offsets stay: full width to half width, A-Z to a-z.
_FOLD = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_FOLD.update({0x3000: 0x20, 0x2018: 0x27, 0x2019: 0x27})
_FOLD.update({code: 0x2D for code in (0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2212)})
_FOLD.update({code: code + 32 for code in range(0x41, 0x5B)})
_FOLD.update({code: code - 0xFEE0 + 32 for code in range(0xFF21, 0xFF3B)})

# xxxx: a redaction stands for a word nobody knows, and is stepped over
_TOKEN = re.compile(
    r"x{3,}|[tlc]\d{1,2}(?![a-z0-9])|\d+(?:\.\d+)?(?:st|nd|rd|th)?(?![a-z])|[a-z]+|\d+"
    r"|[\u3400-\u9fff]|[.。;!?,、:/()~\n-]"
)
_CJK = re.compile(r"[\u3400-\u9fff]")
_LATIN = re.compile(r"[a-z]+")
_ABBREVIATIONS = frozenset("dr vs mr mrs ms prof approx e.g i.e eg ie st cf fig".split())
_ENDS = frozenset(".。;!?\n")
_HEADER = re.compile(
    r"(?:(?<![a-z])(?P<en>(?:clinical |brief )?(?:indications?|history|information)|reason for "
    r"(?:the )?(?:exam(?:ination)?|study|visit)|comparisons?|techniques?|procedures?|exam(?:ination)?"
    r"|views?|recommendations?|chief complaint|findings?|impressions?|conclusions?|opinion"
    r"|results?|report)"
    r"|(?P<zh>临床(?:诊断|资料|病史|表现|信息|印象)|拟诊|病史|简要病史|既往史|主诉|申请单[^:\n]{0,6}?"
    r"|检查(?:目的|方法|部位|技术|项目)|建议"
    r"|(?:影像|检查|放射|x线|胸片)?(?:学)?(?:所见|表现|描述)|(?:影像|放射|x线|检查)?(?:学)?(?:诊断|印象|结论|提示)"
    r"(?:意见)?|诊断意见|意见|影像|胸片|平片)) ?:"
)
_SILENT = re.compile(
    r"indication|history|information|reason|comparison|technique|procedure|exam|view|complaint"
    r"|recommendation|临床|拟诊|病史|既往|主诉|申请|目的|方法|部位|技术|项目|建议"
)


class Sentence(NamedTuple):
    """A sentence: its tokens without the stop, its span with the stop, and how it ends."""

    tokens: list[Token]
    start: int
    end: int
    stop: str


def fold(text: str) -> str:
    """The text in lower case and half width, each character in its place."""
    return text.translate(_FOLD)


def tokens(text: str) -> list[Token]:
    """Words, numbers, Chinese characters and marks, with their spans; redactions are left out."""
    return [
        (word, match.start(), match.end())
        for match in _TOKEN.finditer(fold(text))
        if not (word := match.group()).startswith("xxx") and word != "-"
    ]


def words(term: str) -> list[str]:
    """The tokens of a term that is in lower case and half width already."""
    return [word for word in _TOKEN.findall(term) if word != "-"]


def language_of(text: str) -> Language:
    """ "zh" where Chinese characters weigh at least as much as Latin words, else "en"."""
    chinese = len(_CJK.findall(text))
    return "zh" if chinese and chinese * 2 >= len(_LATIN.findall(fold(text))) * 3 else "en"


def sentences(text: str) -> Iterator[Sentence]:
    """Sentences of the sections that hold findings; a sentence of an indication is left out.

    A line break ends a sentence only after a stop, a blank line, or before a capital letter,
    a number, or Chinese: reports are wrapped at any word.
    """
    folded = fold(text)
    for start, end in _spoken(folded):
        yield from _split(text, folded, start, end)


def _spoken(folded: str) -> Iterator[tuple[int, int]]:
    """Spans of the sections that say something of the film."""
    begin, speaks = 0, True
    if ":" in folded:
        for header in _HEADER.finditer(folded):
            if speaks and header.start() > begin:
                yield begin, header.start()
            begin, speaks = header.end(), not _SILENT.search(header.group())
    if speaks:
        yield begin, len(folded)


def _split(text: str, folded: str, start: int, end: int) -> Iterator[Sentence]:
    current: list[Token] = []
    for match in _TOKEN.finditer(folded, start, end):
        word, place = match.group(), match.start()
        if word in _ENDS:
            if not current or not _ends(word, text, place, current[-1][0]):
                continue
            yield Sentence(current, current[0][1], match.end(), word)
            current = []
        elif not word.startswith("xxx") and word != "-":
            current.append((word, place, match.end()))
    if current:
        yield Sentence(current, current[0][1], current[-1][2], "")


def _ends(mark: str, text: str, place: int, before: str) -> bool:
    following = text[place + 1 : place + 2]
    if mark == "\n":
        return not following.islower() or _CJK.match(following) is not None
    if mark == ".":
        return not (before in _ABBREVIATIONS or following.isdigit() and before[-1:].isdigit())
    return True
