"""Conversation about a study that was read.

A reader whose card says ``chat: findings`` (the embedded one) answers by rule from its report:
what is seen, whether something is there, where, which side, how sure, in plain words, what to
watch; it says so where it cannot. ``chat: model`` lets the engine write. Nothing that stands in
a film, a header or a question is ever taken for an instruction by the rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from hilum.engines import Request, Sampling
from hilum.findings import FINDINGS, Finding, FindingName, Record, Side, Status
from hilum.language import label, template
from hilum.language.words import language_of
from hilum.reading.phrases import CUES, LAY, NAMED, PHRASES, WATCH, Intent
from hilum.report import NOTICE, Language, Report
from hilum.study import Study

if TYPE_CHECKING:
    from hilum.reading.reader import Reader


class Turn(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


_ASKING = re.compile(r"有没有|有无|是否有|是否|是不是|会不会|存不存在|能否看到|吗|呢|么")


def answer(report: Report, turns: Sequence[Turn], language: Language | None = None) -> str:
    """The answer to the last turn of the user, from the report alone.

    ``language``: of the answer; by default that of the question. A question that names no finding
    is about the one named before.
    """
    asked = [turn.text for turn in turns if turn.role == "user"]
    question = asked[-1] if asked else ""
    chosen = language or (language_of(question) if question.strip() else report.language)
    words = PHRASES[chosen]
    if report.abstained:
        reasons = [code.sentence(chosen) for code in report.gate.reasons]
        return words["not_read"].format(reasons=("; " if chosen == "en" else "；").join(reasons))
    intent = _intent(question)
    named = _named(question)
    if intent is None and not named and question.strip():
        return words["cannot"]
    if not named and intent in (Intent.SURE, Intent.WHERE):
        named = next((found for text in reversed(asked[:-1]) if (found := _named(text))), [])
    return _Answer(report, chosen, named).to(intent)


def converse(
    reader: Reader,
    study: Study,
    report: Report,
    turns: Sequence[Turn],
    max_new_tokens: int,
    language: Language | None = None,
) -> Iterator[str]:
    """The pieces of the next turn: of the rules, or of the reader's engine."""
    if reader.card.chat == "findings" or report.abstained:
        yield from pieces(answer(report, turns, language))
        return
    images = tuple(view.display() for view in study.views)
    yield from reader.engine.stream(Request(images, transcript(turns)), Sampling(max_new_tokens))


def transcript(turns: Sequence[Turn]) -> str:
    """The turns as one prompt; a single question as it is."""
    if len(turns) == 1:
        return turns[0].text
    names = {"system": "System", "user": "User", "assistant": "Assistant"}
    return "\n".join([*(f"{names[t.role]}: {t.text}" for t in turns), "Assistant:"])


def pieces(text: str) -> list[str]:
    """A text in pieces that joined are the text: words with the space before, or a character."""
    return re.findall(r"\s*[\u2e80-\uffff]|\s*[^\s\u2e80-\uffff]+|\s+$", text)


class _Answer:
    """One answer: each intent has its method; all read the report and the same phrases."""

    def __init__(self, report: Report, language: Language, named: list[FindingName]) -> None:
        self.report, self.language, self.named = report, language, named
        self.words = PHRASES[language]
        self.space = " " if language == "en" else ""

    def to(self, intent: Intent | None) -> str:
        """The answer to an intent; without one, to whether the named findings are there."""
        methods: dict[Intent | None, Callable[[], str]] = {
            None: self._is_there,
            Intent.WATCH: self._watch,
            Intent.PLAIN: self._plain,
            Intent.SURE: self._sure,
            Intent.SIDES: self._sides,
            Intent.WHERE: self._where,
            Intent.SEEN: self._is_there if self.named else self._seen,
            Intent.WHO: lambda: self.words["who"],
            Intent.THANKS: lambda: self.words["thanks"],
        }
        answered = methods[intent] if intent or self.named else self._seen
        return answered()

    def _seen(self) -> str:
        text = self.report.text or ""
        if self.language != self.report.language:
            text = template.write(self.report.findings, self.language)
        return self._join([text, *self._doubts(), self._notice()])

    def _is_there(self) -> str:
        return self._join([self._verdict(name) for name in self.named] + self._doubts())

    def _verdict(self, name: FindingName) -> str:
        finding = self.report.finding(name)
        if finding is None:
            return self.words["unknown"].format(term=self._term(name))
        said = self._join(template.sentence(finding, self.language))
        return self.words[finding.status].format(
            term=self._term(name), said=said, chance=self._chance(finding)
        )

    def _sure(self) -> str:
        asked = [f for name in self.named if (f := self.report.finding(name))]
        rated = [f for f in asked or self.report.findings if f.probability is not None]
        if not rated:
            return self.words["no_probability"]
        lines = [
            self.words["rated"].format(
                term=self._term(f.name),
                percent=percent(f.probability or 0),
                threshold=percent(self.report.provenance.thresholds.get(f.name, 0.5)),
                status=self.words[f"is_{f.status}"],
            )
            for f in rated
        ]
        return self._join([*lines, self.words["calibrated"]])

    def _where(self) -> str:
        shown = self._present()
        if not shown:
            return self._nothing_there()
        lines = []
        for finding in shown:
            if any(i.side or i.ribs or i.region or i.bone or i.box for i in finding.instances):
                lines += template.sentence(finding, self.language)
            else:
                lines.append(self.words["no_place"].format(term=self._term(finding.name)))
        return self._join([*lines, self.words["sides_are"]])

    def _sides(self) -> str:
        shown = self._present()
        if not shown:
            return self._nothing_there()
        lines = []
        for key, sides in (
            ("left", (Side.LEFT, Side.BILATERAL)),
            ("right", (Side.RIGHT, Side.BILATERAL)),
        ):
            found = [f.name for f in shown if any(i.side in sides for i in f.instances)]
            terms = self._list(found) if found else self.words["nothing_here"]
            lines.append(self.words[key].format(terms=terms))
        rest = [f.name for f in shown if not any(i.side for i in f.instances)]
        if rest:
            lines.append(self.words["no_side"].format(terms=self._list(rest)))
        return self._join([*lines, self.words["sides_are"]])

    def _plain(self) -> str:
        shown = self._present()
        lines = [LAY[self.language][f.name] for f in shown if f.name in LAY[self.language]]
        return self._join([*(lines or [self.words["plain_nothing"]]), self.words["plain_end"]])

    def _watch(self) -> str:
        shown = self._present()
        lines = [WATCH[self.language][f.name] for f in shown if f.name in WATCH[self.language]]
        return self._join([*(lines or [self.words["watch_nothing"]]), self.words["watch_end"]])

    def _present(self) -> list[Finding]:
        """What is there, or may be, of what was named, or of everything; parents left out."""
        said = template.to_say(self.report.findings)
        there = [f for f in said if f.status is not Status.ABSENT]
        named = [f for f in there if f.name in self.named]
        return named if self.named else there

    def _nothing_there(self) -> str:
        if self.named:
            return self._is_there()
        return self.words["nothing_present"]

    def _doubts(self) -> list[str]:
        return [flag.sentence(self.language) + self.words["stop"] for flag in self.report.flags]

    def _notice(self) -> str:
        own = NOTICE[self.language]
        return self.report.notice if self.language == self.report.language else own

    def _term(self, name: FindingName) -> str:
        return FINDINGS[name].zh if self.language == "zh" else FINDINGS[name].en

    def _list(self, names: list[FindingName]) -> str:
        return self.words["and"].join(self._term(name) for name in names)

    def _chance(self, finding: Finding) -> str:
        if finding.probability is None:
            return ""
        return self.words["chance"].format(percent=percent(finding.probability))

    def _join(self, parts: Sequence[str]) -> str:
        return self.space.join(part for part in parts if part)


def percent(probability: float) -> str:
    """For a person: whole numbers, and never a certain 0 or 100 %."""
    if probability < 0.01:
        return "<1 %"
    if probability > 0.99:
        return ">99 %"
    return f"{probability * 100:.0f} %"


def _intent(question: str) -> Intent | None:
    low = question.lower()
    return next((intent for intent, *cues in CUES if any(re.search(c, low) for c in cues)), None)


def _named(question: str) -> list[FindingName]:
    """The findings that a question speaks of; a parent only where it is named itself."""
    low = question.lower()
    found = {name for name, cue in NAMED.items() if re.search(cue, low)}
    for language in ("en", "zh"):
        plain = _ASKING.sub("", question) if language == "zh" else question
        found |= {f.name for f in label(plain, language)}
    parents = {FINDINGS[name].parent for name in found}
    return [name for name in FINDINGS if name in found - parents - {FindingName.NO_FINDING}]
