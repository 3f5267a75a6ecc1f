"""Sections of a report kept as one text, in English or Chinese."""

from __future__ import annotations

import re
from typing import NamedTuple


class Sections(NamedTuple):
    """What a dataset keeps of a report; a section that is not there is empty."""

    findings: str
    impression: str
    indication: str


_KINDS = {
    "findings": r"findings?|(?:影像学?|检查|放射学?|x线|胸片)?(?:所见|表现|描述)",
    "impression": r"impressions?|conclusions?|opinion"
    r"|(?:影像学?|检查|放射学?)?(?:诊断|印象|结论|提示|诊断意见)",
    "indication": r"indications?|(?:clinical |brief )?(?:history|information|indication)"
    r"|reason for (?:the )?(?:exam(?:ination)?|study|visit)|临床(?:诊断|资料|病史|表现)|病史|主诉",
    "other": r"exam(?:ination)?|study|technique|comparison|procedure|views?|recommendations?"
    r"|notification|wet read|final report|addendum"
    r"|检查(?:方法|部位|技术|项目)|建议|备注|报告(?:医师|医生|日期)"
    r"|(?:审核|诊断)(?:医师|医生)",
}
_HEADING = re.compile(
    r"(?im)^[ \t]*(?:" + "|".join(f"(?P<{kind}>{words})" for kind, words in _KINDS.items()) + r")"
    r"(?:[ \t]*[:：][ \t]*|[ \t]*$)"
)
# MIMIC-CXR has headings of every sort, all in capitals before a colon.
_CAPITALS = re.compile(r"(?m)^[ \t]*[A-Z][A-Z ,()/&-]{2,60}:")


def split_sections(text: str) -> Sections:
    """Findings, impression and indication of a report.

    A heading stands at the start of a line. A report without either of the first two gives its
    last paragraph as findings, as MIMIC-CXR's own section files do.
    """
    marks = [(m.start(), m.end(), m.lastgroup or "other") for m in _HEADING.finditer(text)]
    known = {start for start, *_ in marks}
    capitals = ((m.start(), m.end(), "other") for m in _CAPITALS.finditer(text))
    marks = sorted([*marks, *(mark for mark in capitals if mark[0] not in known)])
    found: dict[str, list[str]] = {}
    for n, (_, end, kind) in enumerate(marks):
        until = marks[n + 1][0] if n + 1 < len(marks) else len(text)
        if words := text[end:until].strip():
            found.setdefault(kind, []).append(words)
    findings, impression, indication = ("\n".join(found.get(kind, ())) for kind in Sections._fields)
    if not findings and not impression:
        body = text[marks[-1][1] :] if marks else text
        findings = re.split(r"\n[ \t]*\n", body.strip())[-1].strip()
    return Sections(findings, impression, indication)
