"""Answers from a report by rule: each intent has its method, all read the same phrases.

What a film, a header or a question says is never taken for an instruction: a question only
chooses among the answers, and these come from the findings alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hilum.findings import FINDINGS, Finding, FindingName, Side, Status
from hilum.language import template
from hilum.language.words import language_of
from hilum.reading.kind import LAY, WATCH
from hilum.reading.phrases import PHRASES
from hilum.reading.questions import (
    FOLLOW,
    PLACELESS,
    WIDE,
    Intent,
    Place,
    Question,
    parse,
    wished,
)
from hilum.report import NOTICE, Language, Report


def respond(report: Report, asked: Sequence[str], language: Language | None = None) -> str:
    """The answer to the last of a user's questions; those before say what "it" is.

    ``language``: of the answer; by default that of the question, or the one that it wishes for.
    """
    text = asked[-1] if asked else ""
    own = language_of(text) if text.strip() else report.language
    chosen = language or wished(text) or own
    words = PHRASES[chosen]
    if report.abstained:
        reasons = [code.sentence(chosen) for code in report.gate.reasons]
        return words["not_read"].format(reasons=("; " if chosen == "en" else "；").join(reasons))
    if not text.strip():
        return _Answer(report, chosen, Question((Intent.SEEN,), (), Place())).text()
    parts = parse(text)
    if not parts and wished(text):
        parts = next((q for t in reversed(asked[:-1]) if (q := parse(t))), [])
    if not parts:
        return words["cannot"]
    about = _before(asked[:-1])
    said = []
    for part in _sorted_out(parts):
        whole = _follow(part, about)
        said.append(_Answer(report, chosen, whole).text(alone=len(parts) == 1))
        about = _next(part, about)
    return (" " if chosen == "en" else "").join(dict.fromkeys(said))


def _sorted_out(parts: list[Question]) -> list[Question]:
    """Without the courtesies where something is asked as well."""
    real = [q for q in parts if q.intents not in ((Intent.GREET,), (Intent.THANKS,))]
    return real or parts


def _before(asked: Sequence[str]) -> tuple[FindingName, ...]:
    """What was spoken of last."""
    about: tuple[FindingName, ...] = ()
    for text in asked:
        for part in parse(text):
            about = _next(part, about)
    return about


def _next(part: Question, about: tuple[FindingName, ...]) -> tuple[FindingName, ...]:
    if part.named:
        return part.named
    return () if WIDE & set(part.intents) else about


def _follow(part: Question, about: tuple[FindingName, ...]) -> Question:
    """A question without a name of its own is about what was named before."""
    bare = not part.named and (not part.intents or FOLLOW & set(part.intents))
    if not bare or not about:
        return part
    return Question(part.intents, about, part.place, False, part.denied, part.neutral)


class _Answer:
    """One answer to one question."""

    def __init__(self, report: Report, language: Language, question: Question) -> None:
        self.report, self.language, self.question = report, language, question
        self.words = PHRASES[language]
        self.space = " " if language == "en" else ""
        judged = [name for name in question.named if report.finding(name)]
        self.named = judged if question.group else list(question.named)
        self.unjudged = question.group and not judged

    def text(self, alone: bool = True) -> str:
        """The answer; ``alone``: to all that was said."""
        if self.unjudged:
            return self.words["unjudged"]
        methods: dict[Intent, Callable[[], str]] = {
            Intent.STEER: lambda: self._steer(alone),
            Intent.PRIOR: lambda: self._after("prior"),
            Intent.SURE: self._sure,
            Intent.TREAT: lambda: self.words["treat"],
            Intent.WATCH: self._watch,
            Intent.SEVERE: self._severe,
            Intent.PLAIN: self._plain,
            Intent.CAUSE: lambda: self._after("cause"),
            Intent.SIZE: lambda: self._after("size"),
            Intent.DETAIL: self._detail,
            Intent.OTHERS: self._others,
            Intent.SIDES: self._sides,
            Intent.WHERE: self._where,
            Intent.WHO: lambda: self.words["who"],
            Intent.HELP: lambda: self.words["help"],
            Intent.GREET: lambda: self.words["greet"],
            Intent.THANKS: lambda: self.words["thanks"],
            Intent.NORMAL: self._normal,
            Intent.SEEN: self._seen,
        }
        said = [methods[intent]() for intent in self.question.intents] or [self._is_there()]
        return self._join(list(dict.fromkeys(said)))

    def _seen(self) -> str:
        if self.named or self.question.place.side:
            return self._is_there()
        text = self.report.text or ""
        if self.language != self.report.language:
            text = template.write(self.report.findings, self.language)
        return self._join([text, *self._doubts(), self._notice()])

    def _normal(self) -> str:
        if self.named or self.question.place.side:
            return self._is_there()
        shown = self._present()
        if not shown:
            return self._join([self.words["none_called"], *self._doubts()])
        lines = [self.words["not_normal"], *self._said(shown)]
        return self._join([*lines, *self._doubts()])

    def _steer(self, alone: bool) -> str:
        if self.named:
            return self._join([self.words["steered"], self._is_there()])
        return self._join([self.words["steered"], self._seen() if alone else ""])

    def _is_there(self) -> str:
        if not self.named:
            return self._one_side()
        lines = [self._verdict(name) for name in self.named]
        if self.question.place.side and any(self._in(n) for n in self.named):
            lines.append(self.words["sides_are"])
        return self._join([*dict.fromkeys(lines), *self._doubts()])

    def _in(self, name: FindingName) -> bool:
        finding = self.report.finding(name)
        return finding is not None and finding.status is not Status.ABSENT

    def _verdict(self, name: FindingName) -> str:
        finding = self.report.finding(name)
        if finding is None:
            return self.words["unknown"].format(term=self._term(name))
        place = self.question.place
        if finding.status is Status.ABSENT or place == Place() or name in PLACELESS:
            return self._stated(finding, self._opening(finding))
        fits = {i: place.holds(name, one) for i, one in enumerate(finding.instances)}
        here = [one for i, one in enumerate(finding.instances) if fits[i]]
        if here:
            part = finding.model_copy(update={"instances": here})
            return self._stated(part, self._opening(finding))
        unsure = not fits or None in fits.values()
        return self._stated(finding, "place_unsure" if unsure else "elsewhere")

    def _opening(self, finding: Finding) -> str:
        """How a verdict begins; a yes only where it cannot be misread."""
        if finding.status is not Status.PRESENT:
            return finding.status.value
        if self.question.denied:
            return "contrary"
        asked = self.question
        plain = not (asked.intents or asked.neutral or asked.group) and len(self.named) == 1
        return "present" if plain else "stated"

    def _stated(self, finding: Finding, phrase: str) -> str:
        said = self._join(template.sentence(finding, self.language))
        term, chance = self._term(finding.name), self._chance(finding)
        status = self.words[f"is_{finding.status}"]
        return self.words[phrase].format(term=term, said=said, chance=chance, status=status)

    def _sure(self) -> str:
        asked = [f for name in self.named if (f := self.report.finding(name))]
        if self.named and not asked:
            return self._join([self._verdict(name) for name in self.named])
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
        return self._join([*lines, self.words["calibrated"], *self._doubts()])

    def _where(self) -> str:
        shown = self._present()
        if not shown:
            return self._nothing_there()
        lines = []
        for finding in shown:
            if any(i.side or i.ribs or i.region or i.bone or i.box for i in finding.instances):
                lines += self._said([finding])
            else:
                lines.append(self.words["no_place"].format(term=self._term(finding.name)))
        return self._join([*lines, self.words["sides_are"]])

    def _sides(self) -> str:
        shown = self._present()
        if not shown:
            return self._nothing_there()
        lines = [self._on(side, shown) for side in (Side.LEFT, Side.RIGHT)]
        return self._join([*lines, self._sideless(shown), self.words["sides_are"]])

    def _one_side(self) -> str:
        """What is on the side that was asked for; without one, everything."""
        side, shown = self.question.place.side, self._present()
        if side is None or not shown:
            return self._nothing_there() if not shown else self._join(self._said(shown))
        return self._join([self._on(side, shown), self._sideless(shown), self.words["sides_are"]])

    def _on(self, side: Side, shown: list[Finding]) -> str:
        sides = (side, Side.BILATERAL)
        found = [f for f in shown if any(i.side in sides for i in f.instances)]
        terms = (
            self._list(found)
            if found
            else self.words["none_of_it" if self.named else "nothing_here"]
        )
        return self.words[side.value].format(terms=terms)

    def _sideless(self, shown: list[Finding]) -> str:
        rest = [f for f in shown if not any(i.side for i in f.instances)]
        return self.words["no_side"].format(terms=self._list(rest)) if rest else ""

    def _detail(self) -> str:
        shown = self._present()
        if not shown:
            return self._nothing_there()
        told = [f for f in shown if any(i.stage or i.displacement for i in f.instances)]
        return self._join([*self._said(told), "" if told else self.words["no_detail"]])

    def _others(self) -> str:
        rest = [f for f in self._present(all_of_them=True) if f.name not in self.named]
        return self._join(
            [*(self._said(rest) or [self.words["no_more"]]), *self._doubts(), self._notice()]
        )

    def _plain(self) -> str:
        lines = [self._kindly(f, LAY[self.language]) for f in self._present()]
        absent = [self._verdict(n) for n in self.named] if self.named else []
        return self._join(
            [*(lines or absent or [self.words["plain_nothing"]]), self.words["plain_end"]]
        )

    def _watch(self) -> str:
        lines = [WATCH[self.language][f.name] for f in self._present(all_of_them=True)]
        return self._join([*(lines or [self.words["watch_nothing"]]), self.words["watch_end"]])

    def _severe(self) -> str:
        lines = [self._kindly(f, LAY[self.language]) for f in self._present()]
        end = self.words["plain_end"]
        return self._join([self.words["severe"], *(lines or [self.words["none_called"]]), end])

    def _after(self, phrase: str) -> str:
        """Says what cannot be said, then what is known of the findings that were named."""
        return self._join([self.words[phrase], self._is_there() if self.named else ""])

    def _kindly(self, finding: Finding, book: dict[FindingName, str]) -> str:
        said = book[finding.name]
        return said if finding.present else self.words["maybe"].format(said=said)

    def _present(self, all_of_them: bool = False) -> list[Finding]:
        """What is there, or may be, of what was named, or of everything; parents left out."""
        said = template.to_say(self.report.findings)
        there = [
            f
            for f in said
            if f.status is not Status.ABSENT and f.name is not FindingName.NO_FINDING
        ]
        return (
            there if all_of_them or not self.named else [f for f in there if f.name in self.named]
        )

    def _nothing_there(self) -> str:
        if self.named:
            return self._join([*dict.fromkeys(self._verdict(n) for n in self.named)])
        return self.words["nothing_present"]

    def _said(self, findings: list[Finding]) -> list[str]:
        return [s for f in findings for s in template.sentence(f, self.language)]

    def _doubts(self) -> list[str]:
        return [flag.sentence(self.language) + self.words["stop"] for flag in self.report.flags]

    def _notice(self) -> str:
        own = NOTICE[self.language]
        return self.report.notice if self.language == self.report.language else own

    def _term(self, name: FindingName) -> str:
        return FINDINGS[name].zh if self.language == "zh" else FINDINGS[name].en

    def _list(self, findings: list[Finding]) -> str:
        """Names; one that is not certain says so."""
        terms = [
            self._term(f.name)
            if f.present
            else self.words["perhaps"].format(term=self._term(f.name))
            for f in findings
        ]
        return self.words["and"].join(terms)

    def _chance(self, finding: Finding) -> str:
        if finding.probability is None:
            return ""
        term = self._term(finding.name)
        return self.words["chance"].format(term=term, percent=percent(finding.probability))

    def _join(self, parts: Sequence[str]) -> str:
        return self.space.join(part for part in parts if part)


def percent(probability: float) -> str:
    """For a person: whole numbers, and never a certain 0 or 100 %."""
    if probability < 0.01:
        return "<1 %"
    if probability > 0.99:
        return ">99 %"
    return f"{probability * 100:.0f} %"
