"""Spans and cues of a reading, marked in the text: for a terminal, and as one HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import NamedTuple

from hilum.findings import Instance
from hilum.language.label import Reading

STYLE = """body{font:16px/1.7 system-ui,"Noto Sans CJK SC",sans-serif;max-width:60rem;
margin:2rem auto;padding:0 1rem;color:#1c2530;background:#fff}h1{font-size:1.3rem}
h2{font-size:1rem;margin:1.6rem 0 .3rem}
p.text{white-space:pre-wrap;border-left:3px solid #d6dce3;padding-left:.8rem;margin:.3rem 0}
mark{border-radius:3px;padding:0 .15em}mark.present{background:#ffd9a8}
mark.absent{background:#d5ebd8}
mark.uncertain{background:#dfe3ff}mark.cue{background:none;border-bottom:2px dotted #7a5ea8}
table{border-collapse:collapse;font-size:.85rem}td,th{text-align:left;padding:.1rem .9rem .1rem 0}
.note{color:#6a7480;font-size:.85rem}"""


class Mark(NamedTuple):
    """A stretch of text with its kind (a status, or "cue") and what to show beside it."""

    start: int
    end: int
    kind: str
    title: str


def marks(reading: Reading) -> list[Mark]:
    """The marks of a reading, in order, none overlapping; a span comes before a cue."""
    wanted = [Mark(*s.span, s.status.value, f"{s.name} {s.status}") for s in reading.said]
    wanted += [Mark(*s.cue, "cue", f"{s.name} {s.status}") for s in reading.said if s.cue]
    kept: list[Mark] = []
    for mark in wanted:
        if all(mark.end <= k.start or mark.start >= k.end for k in kept):
            kept.append(mark)
    return sorted(kept)


def pieces(text: str, reading: Reading) -> Iterator[tuple[str, Mark | None]]:
    """The whole text cut at its marks."""
    at = 0
    for mark in marks(reading):
        if mark.start > at:
            yield text[at : mark.start], None
        yield text[mark.start : mark.end], mark
        at = mark.end
    if at < len(text):
        yield text[at:], None


def place(instance: Instance) -> str:
    """An instance's attributes in a few words: "right rib 5 6 lateral old"."""
    said = (instance.side, instance.bone, *instance.ribs, instance.region)
    more = (instance.displacement, instance.stage)
    return " ".join(str(x) for x in (*said, *more) if x is not None)


def page(rows: Iterable[tuple[str, str, Reading]], title: str) -> Iterator[str]:
    """One HTML page of (id, text, reading), piece by piece; nothing is loaded from a network."""
    yield (
        f'<!doctype html><html><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>"
        '<p class="note"><mark class="present">present</mark> <mark class="absent">absent</mark> '
        '<mark class="uncertain">uncertain</mark> <mark class="cue">cue</mark></p>'
    )
    for name, text, reading in rows:
        yield f'<h2>{escape(name)}</h2><p class="text">{marked(text, reading)}</p>'
        yield _table(reading)
    yield "</body></html>\n"


def marked(text: str, reading: Reading) -> str:
    """The text as HTML with its marks."""
    out = []
    for piece, mark in pieces(text, reading):
        words = escape(piece)
        if mark is not None:
            words = f'<mark class="{mark.kind}" title="{escape(mark.title)}">{words}</mark>'
        out.append(words)
    return "".join(out)


def _table(reading: Reading) -> str:
    if reading.reason is not None:
        return f'<p class="note">{escape(reading.reason.en)} [{reading.reason}]</p>'
    if not reading.findings:
        return '<p class="note">nothing is said of a known finding</p>'
    rows = []
    for finding in reading.findings:
        places = "; ".join(filter(None, (place(i) for i in finding.instances)))
        rows.append(f"<tr><td>{finding.name}</td><td>{finding.status}</td><td>{places}</td></tr>")
    return f"<table>{''.join(rows)}</table>"
