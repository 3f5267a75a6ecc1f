"""Conversation about a study that was read.

A reader whose card says ``chat: findings`` (the embedded one) answers by rule from its report,
see :mod:`hilum.reading.answers`. ``chat: model`` lets the engine write; what it writes is held
against the report, see :func:`disagreements`. Nothing of a file's header ever comes into a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from hilum.engines import Request, Sampling
from hilum.findings import FindingName, Record, Status
from hilum.language import label
from hilum.reading.answers import percent, respond
from hilum.report import Language, Report
from hilum.study import Study

if TYPE_CHECKING:
    from hilum.reading.reader import Reader

__all__ = [
    "Turn",
    "answer",
    "by_model",
    "converse",
    "disagreements",
    "percent",
    "pieces",
    "transcript",
]


class Turn(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


_PERCENT = r" ?[<>约]?\d+(?:\.\d+)? ?%"
# What people write for what the labeler knows by its term. A number is no assertion: "the
# probability of a fracture is 2 %", "fracture: 2 %".
_LAY: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), term)
    for pattern, term in (
        (rf"(?:probability|chances?|likelihood|odds) (?:of|for) [\w ]{{1,40}}?[:=]?{_PERCENT}", ""),
        (rf"[\u4e00-\u9fff]{{2,8}}的?(?:估计)?(?:概率|可能性|几率)约?[为是]?[:：]?{_PERCENT}", ""),
        (rf"(?:[a-z][a-z -]{{2,30}}|[\u4e00-\u9fff]{{2,8}})[:：]{_PERCENT}", ""),
        (r"\b(?:is|are) (?:\w+ )?broken\b", "shows a fracture"),
        (r"\bbroken (?=\w+)", "fractured "),
        (r"\bcollapsed lung\b", "pneumothorax"),
        (r"\b(?:fluid|water) (?:in|on|around|beside) the (?:lungs?|chest)\b", "pleural effusion"),
        (r"(?:没有?|未)断裂?(?!定)", "未见骨折"),
        (r"断裂|断了", "骨折"),
        (r"积水", "积液"),
        (
            r"(?<!不等于|不代表|能说明)(?:胸片|片子|X光片?|一切|完全)[是都]?正常(?!吗|与)",
            "未见异常",
        ),
    )
)


def answer(report: Report, turns: Sequence[Turn], language: Language | None = None) -> str:
    """The answer to the last turn of the user, from the report alone.

    ``language``: of the answer; by default that of the question. A question that names no finding
    is about the one named before. An abstained study has one answer: that it was not read.
    """
    return respond(report, [turn.text for turn in turns if turn.role == "user"], language)


def by_model(reader: Reader, report: Report) -> bool:
    """True where the reader's engine writes the answers."""
    return reader.card.chat == "model" and not report.abstained


def converse(
    reader: Reader,
    study: Study,
    report: Report,
    turns: Sequence[Turn],
    sampling: Sampling,
    language: Language | None = None,
) -> Iterator[str]:
    """The pieces of the next turn: of the rules, or of the reader's engine.

    ``sampling``: how a model's words are drawn; rules draw nothing. Raises what the engine raises.
    """
    if not by_model(reader, report):
        yield from pieces(answer(report, turns, language))
        return
    images = tuple(view.display() for view in study.views)
    yield from reader.engine.stream(Request(images, transcript(turns)), sampling)


def disagreements(report: Report, text: str, language: Language | None = None) -> list[FindingName]:
    """Findings that a text asserts and the thresholds deny, or the other way round.

    Only findings with a probability count; an uncertain status on either side disagrees with
    nothing. ``no_finding``: the text calls a film normal on which something is present.
    """
    for pattern, term in _LAY:
        text = pattern.sub(term, text)
    said = {f.name: f.status for f in label(text, language)}
    found = [
        f.name
        for f in report.findings
        if f.probability is not None
        and {f.status, said.get(f.name)} == {Status.PRESENT, Status.ABSENT}
    ]
    normal = said.get(FindingName.NO_FINDING) is Status.PRESENT
    if normal and any(f.present and f.probability is not None for f in report.findings):
        found.append(FindingName.NO_FINDING)
    return found


def transcript(turns: Sequence[Turn]) -> str:
    """The turns as one prompt; a single question as it is."""
    if len(turns) == 1:
        return turns[0].text
    names = {"system": "System", "user": "User", "assistant": "Assistant"}
    return "\n".join([*(f"{names[t.role]}: {t.text}" for t in turns), "Assistant:"])


def pieces(text: str) -> list[str]:
    """A text in pieces that joined are the text: words with the space before, or a character."""
    return re.findall(r"\s*[\u2e80-\uffff]|\s*[^\s\u2e80-\uffff]+|\s+$", text)
