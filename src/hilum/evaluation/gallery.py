"""The worst errors of a system: which studies, what disagrees, and where in the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from hilum.data.rows import Reference
from hilum.evaluation.case import Prediction, System, Uncertain, statuses
from hilum.findings import FINDINGS, Finding, FindingName, Instance, Status
from hilum.language import read
from hilum.language.label import Said
from hilum.report import Language

Mark = Literal["wrong", "place"]
_ATTRIBUTES = ("bone", "side", "region", "displacement", "stage")


@dataclass(frozen=True)
class Mistake:
    """A finding whose status or words differ from the reference; ``spoken``: by the text."""

    name: FindingName
    truth: Status
    answer: Status
    probability: float | None
    by_words: bool
    spoken: Status


@dataclass(frozen=True)
class Worst:
    """One study of the gallery: its number among the references, and its mistakes."""

    number: int
    mistakes: list[Mistake]


def worst(
    references: Sequence[Reference], system: System, uncertain: Uncertain, most: int = 8
) -> list[Worst]:
    """The studies with the most certain mistakes first, then with the most mistakes."""
    said = system.said()
    found = []
    for k, (reference, prediction) in enumerate(zip(references, system.predictions, strict=True)):
        if prediction.read:
            mistakes = _mistakes(reference, prediction, said[k], uncertain)
            if mistakes:
                found.append(Worst(k, mistakes))
    found.sort(key=lambda w: (-max(_certain(m) for m in w.mistakes), -len(w.mistakes), w.number))
    return found[:most]


def _certain(mistake: Mistake) -> float:
    """How sure the wrong answer was; words alone are worth less than any probability."""
    if mistake.by_words or mistake.probability is None:
        return 0.5
    return abs(mistake.probability - (mistake.truth is Status.PRESENT))


def _mistakes(
    reference: Reference, prediction: Prediction, said: list[Finding], uncertain: Uncertain
) -> list[Mistake]:
    truth, answer, words = (statuses(f) for f in (reference.findings, prediction.findings, said))
    probabilities = {f.name: f.probability for f in prediction.findings}
    found: dict[FindingName, Mistake] = {}
    for name in FindingName:
        true = truth.get(name, Status.ABSENT)
        if name is FindingName.NO_FINDING or (true is Status.UNCERTAIN and uncertain == "out"):
            continue
        wanted = _counts(true, uncertain)
        hard = answer.get(name, Status.ABSENT)
        spoken = words.get(name, Status.ABSENT) if prediction.text else hard
        if _counts(hard, uncertain) != wanted:
            found[name] = Mistake(name, true, hard, probabilities.get(name), False, spoken)
        elif _counts(spoken, uncertain) != wanted:
            found[name] = Mistake(name, true, spoken, probabilities.get(name), True, spoken)
    parents = {FINDINGS[name].parent for name in found}
    return [m for name, m in found.items() if name not in parents]


def _counts(status: Status, uncertain: Uncertain) -> bool:
    return status is Status.PRESENT or (status is Status.UNCERTAIN and uncertain != "absent")


def marked(text: str, language: Language, other: Sequence[Finding], uncertain: Uncertain) -> str:
    """A text as HTML, with what disagrees with the other side's findings marked.

    ``wrong``: another status; ``place``: the same finding, somewhere else or of another kind.
    """
    reading = read(text, language)
    against = statuses(other)
    instances = {f.name: f.instances for f in other}
    spans: list[tuple[int, int, Mark, FindingName]] = []
    for said in reading.said:
        if said.name is FindingName.NO_FINDING:
            continue
        mark = _mark(said, against.get(said.name, Status.ABSENT), instances, uncertain)
        taken = any(said.span[0] < e and s < said.span[1] for s, e, _, _ in spans)
        if mark is not None and not taken:
            spans.append((*said.span, mark, said.name))
    out, at = [], 0
    for start, end, mark, name in sorted(spans):
        out.append(escape(text[at:start]))
        out.append(f'<mark class="{mark}" title="{name.value}">{escape(text[start:end])}</mark>')
        at = end
    return "".join(out) + escape(text[at:])


def _mark(
    said: Said,
    against: Status,
    instances: dict[FindingName, list[Instance]],
    uncertain: Uncertain,
) -> Mark | None:
    if _counts(said.status, uncertain) != _counts(against, uncertain):
        return "wrong"
    others = instances.get(said.name, [])
    if said.status is Status.ABSENT or not others:
        return None
    apart = any(all(_differ(mine, other) for other in others) for mine in said.instances)
    return "place" if apart else None


def _differ(a: Instance, b: Instance) -> bool:
    """Whether two occurrences contradict each other in something that both state."""
    pairs = [(getattr(a, name), getattr(b, name)) for name in _ATTRIBUTES]
    pairs.append((set(a.ribs), set(b.ribs)))
    return any(x and y and x != y for x, y in pairs)
