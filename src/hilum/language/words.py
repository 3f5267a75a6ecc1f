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
_FOLD.update(dict.fromkeys((8208, 8209, 8210, 8211, 8212, 8722), 45))
_FOLD.update({code: code + 32 for code in range(0x41, 0x5B)})
_FOLD.update({code: code - 0xFEE0 + 32 for code in range(0xFF21, 0xFF3B)})

# xxxx: a redaction stands for a word nobody knows, and is stepped over
_TOKEN = re.compile(
    r"x{3,}|[tlc]\d{1,2}(?![a-z0-9])|\d+(?:\.\d+)?(?:st|nd|rd|th)?(?![a-z])|[a-z]+|\d+"
    r"|[\u3400-\u9fff]|[.。;!?,、:/()~\n]"
)
_CJK = re.compile(r"[\u3400-\u9fff]")
_LATIN = re.compile(r"[a-z]+")
_ABBREVIATIONS = frozenset("dr vs mr mrs ms prof approx e.g i.e eg ie st cf fig".split())
_ENDS = frozenset(".。;!?\n")
_HEADER = re.compile(
    r"(?:(?<![a-z])(?P<en>(?:clinical |brief )?(?:indications?|history|information)|reason for "
    r"(?:the )?(?:exam(?:ination)?|study|visit)|comparisons?|techniques?|procedures?"
    r"|exam(?:ination)?|views?|recommendations?|chief complaint|findings?|impressions?"
    r"|conclusions?|opinion|results?|report)"
    r"|(?P<zh>临床(?:诊断|资料|病史|表现|信息|印象)|拟诊|病史|简要病史|既往史|主诉|申请单[^:\n]{0,6}?"
    r"|检查(?:目的|方法|部位|技术|项目)|建议"
    r"|(?:影像|检查|放射|x线|胸片)?(?:学)?(?:所见|表现|描述)"
    r"|(?:影像|放射|x线|检查)?(?:学)?(?:诊断|印象|结论|提示)"
    r"(?:意见)?|诊断意见|意见|影像|胸片|平片)) ?:$"
)
_HEADER_LENGTH = 32
_LONGEST = 300
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
        if not (word := match.group()).startswith("xxx")
    ]


def words(term: str) -> list[str]:
    """The tokens of a term that is in lower case and half width already."""
    return _TOKEN.findall(term)


def language_of(text: str) -> Language:
    """Answers "zh" where Chinese characters weigh at least as much as Latin words, else "en"."""
    chinese = len(_CJK.findall(text))
    return "zh" if chinese and chinese * 2 >= len(_LATIN.findall(fold(text))) * 3 else "en"


def sentences(text: str, folded: str) -> Iterator[Sentence]:
    """Sentences of the sections that hold findings; a sentence of an indication is left out.

    A line break ends a sentence only after a stop, a blank line, or before a capital letter,
    a number, or Chinese: reports are wrapped at any word.
    """
    for start, end in _spoken(folded):
        yield from _split(text, folded, start, end)


def _spoken(folded: str) -> Iterator[tuple[int, int]]:
    """Spans of the sections that say something of the film."""
    begin, speaks = 0, True
    colon = folded.find(":")
    while colon >= 0:
        header = _HEADER.search(folded, max(begin, colon - _HEADER_LENGTH), colon + 1)
        if header:
            if speaks and header.start() > begin:
                yield begin, header.start()
            begin, speaks = colon + 1, not _SILENT.search(header.group())
        colon = folded.find(":", colon + 1)
    if speaks:
        yield begin, len(folded)
    elif (after := _first_end(folded, begin)) < len(folded):
        yield after, len(folded)


def _first_end(folded: str, begin: int) -> int:
    """Where a last silent section ends: at its line's end, in one line at its first stop."""
    line = folded.find("\n", begin)
    if line >= 0:
        return line
    stop = re.compile(r"[。;!?]|\.(?!\d)").search(folded, begin)
    return stop.end() if stop else len(folded)


def _split(text: str, folded: str, start: int, end: int) -> Iterator[Sentence]:
    current: list[Token] = []
    for match in _TOKEN.finditer(folded, start, end):
        word, place = match.group(), match.start()
        if word in _ENDS:
            if not current or not _ends(word, text, place, current[-1][0]):
                continue
            yield Sentence(current, current[0][1], match.end(), word)
            current = []
        elif not word.startswith("xxx"):
            current.append((word, place, match.end()))
            if len(current) == _LONGEST:  # no sentence: cut, so that time stays linear
                yield Sentence(current, current[0][1], match.end(), "")
                current = []
    if current:
        yield Sentence(current, current[0][1], current[-1][2], "")


def _ends(mark: str, text: str, place: int, before: str) -> bool:
    following = text[place + 1 : place + 2]
    if mark == "\n":
        return not following.islower() or _CJK.match(following) is not None
    if mark == ".":
        return not (before in _ABBREVIATIONS or (following.isdigit() and before[-1:].isdigit()))
    return True
