"""Spans and cues of a reading, marked in the text: for a terminal, and as one HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import NamedTuple

from hilum.findings import FINDINGS, Finding, FindingName, Instance, Status
from hilum.language import template
from hilum.language.label import Reading, Said
from hilum.language.words import language_of
from hilum.report import Language

STYLE = """body{font:16px/1.7 system-ui,"Noto Sans CJK SC","PingFang SC","Microsoft YaHei",
sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2530;background:#fff}
h1{font-size:1.3rem;margin:0 0 .3rem}h2{font-size:1rem;margin:2rem 0 .4rem}
p.text{white-space:pre-wrap;border-left:3px solid #d6dce3;padding-left:.8rem;margin:.3rem 0}
mark{border-radius:3px;padding:.05em .15em;color:inherit}mark.present{background:#ffd9a8}
mark.absent,mark.normal{background:#d5ebd8}
mark.uncertain{background:#dfe3ff}mark.cue{background:none;border-bottom:2px dotted #7a5ea8}
dl{display:grid;grid-template-columns:5rem 1fr;gap:.2rem .8rem;font-size:.9rem;
margin:.5rem 0 0 .95rem}dt,dd{margin:0}
table{border-collapse:collapse;font-size:.85rem}td,th{text-align:left;padding:.1rem .9rem .1rem 0}
.note{color:#5c6672;font-size:.85rem;margin:.2rem 0}"""
_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "present": "present",
        "uncertain": "uncertain",
        "absent": "absent",
        "cue": "cue",
        "normal": "normal",
    },
    "zh": {
        "present": "有",
        "uncertain": "不确定",
        "absent": "无",
        "cue": "依据",
        "normal": "正常",
    },
}
_SILENT = {
    "en": "Nothing is said of a known finding.",
    "zh": "未提及任何已知所见。",
}
# "no abnormality" is present where the chest is normal; it must not look like a finding.
NORMAL = "normal"
_ORDER = (Status.PRESENT, Status.UNCERTAIN, Status.ABSENT)


class Mark(NamedTuple):
    """A stretch of text with its kind (a status, "normal" or "cue") and what to show beside it."""

    start: int
    end: int
    kind: str
    title: str


def marks(reading: Reading) -> list[Mark]:
    """The marks of a reading, in order, none overlapping; a span comes before a cue."""
    wanted = [Mark(*s.span, _kind(s), f"{s.name} {s.status}") for s in reading.said]
    wanted += [Mark(*s.cue, "cue", f"{s.name} {s.status}") for s in reading.said if s.cue]
    kept: list[Mark] = []
    for mark in wanted:
        if all(mark.end <= k.start or mark.start >= k.end for k in kept):
            kept.append(mark)
    return sorted(kept)


def _kind(said: Said | Finding) -> str:
    normal = said.name is FindingName.NO_FINDING and said.status is Status.PRESENT
    return NORMAL if normal else said.status.value


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
    """One HTML page of (id, text, reading), piece by piece; nothing is loaded from a network.

    What was read is said in the language of each text.
    """
    legend = " &ensp; ".join(
        f'<mark class="{kind}">{_WORDS["en"][kind]} {_WORDS["zh"][kind]}</mark>'
        for kind in (*_ORDER, "cue")
    )
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="note">{legend}</p>'
    )
    for name, text, reading in rows:
        language = language_of(text)
        yield (
            f'<section lang="{language}"><h2>{escape(name)}</h2>'
            f'<p class="text">{marked(text, reading)}</p>{_summary(reading, language)}</section>'
        )
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


def _summary(reading: Reading, language: Language) -> str:
    """What was read, a line a status: sentences of what is there, names of what is not."""
    if reading.reason is not None:
        said = reading.reason.sentence(language)
        return f'<p class="note">{escape(said)} [{reading.reason}]</p>'
    if not reading.findings:
        return f'<p class="note">{_SILENT[language]}</p>'
    groups: dict[str, list[Finding]] = {k: [] for k in (NORMAL, *_ORDER)}
    for finding in reading.findings:
        groups[_kind(finding)].append(finding)
    lines = []
    for kind, group in groups.items():
        said = _names(group, language) if kind == Status.ABSENT else _sentences(group, language)
        if said:
            word = f'<mark class="{kind}">{_WORDS[language][kind]}</mark>'
            lines.append(f"<dt>{word}</dt><dd>{escape(said)}</dd>")
    return f"<dl>{''.join(lines)}</dl>"


def _names(group: list[Finding], language: Language) -> str:
    rows = [FINDINGS[f.name] for f in group]
    return "、".join(r.zh for r in rows) if language == "zh" else ", ".join(r.en for r in rows)


def _sentences(group: list[Finding], language: Language) -> str:
    told = dict.fromkeys(s for f in group for s in template.sentence(f, language))
    return ("" if language == "zh" else " ").join(told)
