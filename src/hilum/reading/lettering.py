"""Words on a picture: Latin and Chinese letters side by side, measured and broken into lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

from PIL import ImageDraw, ImageFont

FONT = Path(__file__).parent / "fonts" / "HilumSansZh.ttf"
"""Chinese letters and punctuation only: it has no Latin letter and no digit."""

HAN = "\u2e80"
"""From here on letters are drawn with the packaged font, before it with Pillow's own."""

_CLOSING = "，。、；：！？）》」』”’"
# What is not torn apart: a Latin word or one Chinese letter, with the punctuation after it. Of a
# word without end only so much is looked at that measuring it stays quick.
_PIECE = re.compile(rf"\s+|(?:[^\s{HAN}-\uffff]{{1,60}}|[{HAN}-\uffff])[{_CLOSING}]{{0,3}}")


@cache
def _face(size: int, han: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.truetype(str(FONT), size) if han else ImageFont.load_default(size)


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    """Stretches of one font each; what cannot be printed is a space."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    for han, letters in groupby(clean, lambda c: c >= HAN):
        yield "".join(letters), han


def width(text: str, size: int) -> float:
    """Length of one line in pixels."""
    return sum(_face(size, han).getlength(run) for run, han in _runs(text))


def write(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    colour: str,
    align: str = "left",
) -> None:
    """One line; ``at`` is the left, right or middle end of its baseline."""
    x, y = at
    if align != "left":
        x -= width(text, size) / (1 if align == "right" else 2)
    for run, han in _runs(text):
        face = _face(size, han)
        pen.text((x, y), run, colour, face, anchor="ls")
        x += face.getlength(run)


def wrap(text: str, size: int, room: float) -> Iterator[str]:
    """Lines that are no wider than ``room``, one after the other as they are asked for.

    English breaks between words, Chinese anywhere but before closing punctuation, and a word
    longer than a line where the line ends.
    """
    for paragraph in text.splitlines():
        line = ""
        for piece in _PIECE.findall(paragraph):
            if width(line + piece, size) <= room:
                line += piece
                continue
            if line.strip():
                yield line.strip()
            line = piece.lstrip()
            while len(line) > 1 and width(line, size) > room:
                fits = max(
                    n for n in range(1, len(line)) if n == 1 or width(line[:n], size) <= room
                )
                yield line[:fits]
                line = line[fits:]
        if line.strip():
            yield line.strip()
