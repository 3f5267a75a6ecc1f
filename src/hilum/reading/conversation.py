"""A conversation about one study: its turns, and a record of who said what.

The record names the study by its id alone: no path, no context and nothing of a header is in it.
What a person types is kept as it was typed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from hilum.codes import Code, HilumError
from hilum.engines import Sampling
from hilum.findings import FINDINGS, Finding, FindingName, Probability, Record
from hilum.language import label
from hilum.reading.chat import Turn, by_model, converse, disagreements
from hilum.reading.reader import Reader
from hilum.report import Language, Provenance, Report, Verdict
from hilum.study import Study

Who = Literal["user", "rules", "model"]


class Opening(Record):
    """What a conversation is about: the draft, as far as it holds nothing of a patient."""

    kind: Literal["study"] = "study"
    study: str
    verdict: Verdict
    reasons: list[Code]
    language: Language
    text: str | None
    findings: list[Finding]
    flags: list[Code]
    provenance: Provenance
    notice: str

    @classmethod
    def of(cls, report: Report) -> Opening:
        """The opening of a conversation about a report."""
        same = ("language", "text", "findings", "flags", "provenance", "notice")
        return cls(
            study=report.study.id,
            verdict=report.gate.verdict,
            reasons=report.gate.reasons,
            **{name: getattr(report, name) for name in same},
        )


class Said(Record):
    """What one side said.

    ``who``: the user, the rules that answer from findings, or the model. ``sampling``: how a
    model's words were drawn. ``complete`` is False where the answer was stopped, or failed with
    ``error``. ``disagrees``: findings on which a model's words and the thresholds disagree;
    ``probabilities``: of the findings that it spoke of, and of all that were called present.
    """

    kind: Literal["turn"] = "turn"
    study: str
    who: Who
    text: str
    sampling: dict[str, Any] | None = None
    complete: bool = True
    error: Code | None = None
    flags: list[Code] = Field(default_factory=list)
    disagrees: list[FindingName] = Field(default_factory=list)
    probabilities: dict[FindingName, Probability] = Field(default_factory=dict)


class Conversation:
    """Turns about one study. ``language``: of the answers; None: that of each question."""

    def __init__(
        self,
        reader: Reader,
        study: Study,
        report: Report,
        sampling: Sampling,
        language: Language | None = None,
    ) -> None:
        self.reader, self.study, self.report = reader, study, report
        self.sampling, self.language = sampling, language
        self.turns: list[Turn] = []
        self.record: list[Said] = []

    @property
    def model(self) -> bool:
        """True where a model writes the answers."""
        return by_model(self.reader, self.report)

    def new(self) -> None:
        """Forget the turns; the record stays."""
        self.turns = []

    def ask(self, question: str) -> Iterator[str]:
        """The pieces of the answer; what was said is in the record when they end.

        Closed early, the answer so far is kept as stopped. Where the engine fails the question is
        forgotten, so that it can be asked again, and the record says why.
        """
        turns = [*self.turns, Turn(role="user", text=question)]
        self.record.append(Said(study=self.report.study.id, who="user", text=question))
        said: list[str] = []
        error: Code | None = Code.INTERNAL_ERROR
        complete = False
        try:
            for piece in converse(
                self.reader, self.study, self.report, turns, self.sampling, self.language
            ):
                said.append(piece)
                yield piece
            complete, error = True, None
        except HilumError as problem:
            error = problem.code
            raise
        except (GeneratorExit, KeyboardInterrupt):
            error = None
            raise
        finally:
            text = "".join(said).strip()
            if error is None:
                self.turns = [*turns, Turn(role="assistant", text=text)]
            self.record.append(self._said(text, complete, error))

    def _said(self, text: str, complete: bool, error: Code | None) -> Said:
        outside = Code.READ_OUTSIDE_DOMAIN
        flags: list[Code] = [outside] if outside in self.report.flags else []
        if not self.model:
            return Said(
                study=self.report.study.id,
                who="rules",
                text=text,
                complete=complete,
                error=error,
                flags=flags,
            )
        disagrees = disagreements(self.report, text)
        return Said(
            study=self.report.study.id,
            who="model",
            text=text,
            sampling=self.sampling.describe(),
            complete=complete,
            error=error,
            flags=[*flags, *([Code.TEXT_DISAGREES] if disagrees else [])],
            disagrees=disagrees,
            probabilities=self._beside(text),
        )

    def _beside(self, text: str) -> dict[FindingName, float]:
        spoken = {f.name for f in label(text)}
        return {
            f.name: f.probability
            for f in self.report.findings
            if f.probability is not None and (f.present or f.name in spoken)
        }


def plain(entry: Opening | Said) -> str:
    """A record for people to read: lines, the last without its end."""
    if isinstance(entry, Said):
        return _turn(entry)
    source = entry.provenance
    lines = [
        f"study {entry.study}",
        f"reader {source.reader}, weights {source.weights_sha256}, licence {source.licence}",
        ", ".join(f"{name} {version}" for name, version in source.versions.items()),
    ]
    if entry.verdict is Verdict.ABSTAIN:
        lines += [f"not read: {r.sentence(entry.language)} [{r}]" for r in entry.reasons]
    lines += [clean(entry.text)] if entry.text else []
    lines += [f"  {_rated(f)}" for f in entry.findings]
    lines += [f"  ! {flag.sentence(entry.language)} [{flag}]" for flag in entry.flags]
    return "\n".join([*lines, entry.notice, ""])


def clean(text: str) -> str:
    """A text that cannot move a terminal: escapes are spelt out, line breaks kept."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _turn(entry: Said) -> str:
    lines = [f"{entry.who}: {clean(entry.text)}"]
    if not entry.complete:
        lines.append(f"  [{entry.error or 'stopped'}]")
    if entry.sampling:
        drawn = ", ".join(f"{name} {value}" for name, value in entry.sampling.items())
        lines.append(f"  drawn: {drawn}")
    if entry.probabilities:
        odds = ", ".join(f"{FINDINGS[n].en} {p:.3f}" for n, p in entry.probabilities.items())
        lines.append(f"  probabilities: {odds}")
    if entry.flags:
        lines.append(f"  flags: {', '.join(entry.flags)}")
    if entry.disagrees:
        lines.append(f"  disagrees on: {', '.join(FINDINGS[n].en for n in entry.disagrees)}")
    return "\n".join([*lines, *([] if entry.who == "user" else [""])])


def _rated(finding: Finding) -> str:
    p = "" if finding.probability is None else f" {finding.probability:.3f}"
    return f"{FINDINGS[finding.name].en}:{p} {finding.status}"
