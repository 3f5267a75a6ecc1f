"""Which sentence of a text speaks of which finding, and where words and probabilities disagree."""

from __future__ import annotations

from pydantic import Field

from hilum.findings import FindingName, Probability, Record, Status
from hilum.language import read
from hilum.language.words import fold, sentences
from hilum.report import Language, Report


class Spoken(Record):
    """What one sentence says of one finding. ``agrees`` is None where nothing can be compared."""

    name: FindingName
    status: Status
    agrees: bool | None = None


class Linked(Record):
    """A sentence: characters ``start`` to ``end`` of the text, and what it speaks of.

    ``instances``: pairs of a finding's name and the number of its instance in the report.
    """

    start: int
    end: int
    findings: list[Spoken] = Field(default_factory=list)
    instances: list[tuple[FindingName, int]] = Field(default_factory=list)


class Disagreement(Record):
    """A finding whose words are not what its probability says; ``said`` None: silence."""

    name: FindingName
    said: Status | None
    status: Status
    probability: Probability


def disagreements(text: str, language: Language | None, report: Report) -> list[Disagreement]:
    """Findings with a probability of which a text says something else, surest first.

    By the rule of :func:`hilum.reading.score.judge_findings`: silence is an absence. ``language``
    None: each sentence is read in its own.
    """
    said = {f.name: f.status for f in read(text, language).findings}
    found = [
        Disagreement(name=f.name, said=said.get(f.name), status=f.status, probability=f.probability)
        for f in report.findings
        if f.probability is not None and said.get(f.name, Status.ABSENT) is not f.status
    ]
    return sorted(found, key=lambda d: -abs(d.probability - 0.5))


def link(text: str, language: Language | None, report: Report) -> list[Linked]:
    """The sentences of a text, the draft or an edited one, linked to a report's findings.

    An instance belongs to the sentence it was read from where the text is the draft; of any
    other text a finding's instances belong to every sentence that speaks of it. Text between
    sentences (a heading, an indication) is in none of them. ``language`` None: each sentence is
    read in its own.
    """
    said = read(text, language).said
    wrong = {d.name for d in disagreements(text, language, report)}
    rated = {f.name for f in report.findings if f.probability is not None}
    linked = []
    for sentence in sentences(text, fold(text)):
        spoken: dict[FindingName, Spoken] = {}
        for one in said:
            if sentence.start <= one.span[0] < sentence.end and one.name not in spoken:
                agrees = one.name not in wrong if one.name in rated else None
                spoken[one.name] = Spoken(name=one.name, status=one.status, agrees=agrees)
        here = (sentence.start, sentence.end)
        linked.append(
            Linked(
                start=here[0],
                end=here[1],
                findings=list(spoken.values()),
                instances=_instances(here, spoken, report, text == report.text),
            )
        )
    return linked


def _instances(
    sentence: tuple[int, int],
    spoken: dict[FindingName, Spoken],
    report: Report,
    own: bool,
) -> list[tuple[FindingName, int]]:
    found = []
    for finding in report.findings:
        for number, instance in enumerate(finding.instances):
            if own and instance.span is not None:
                if sentence[0] <= instance.span[0] < sentence[1]:
                    found.append((finding.name, number))
            elif finding.name in spoken:
                found.append((finding.name, number))
    return found
