"""Likelihoods and words to findings: the probability decides, the words are checked against it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hilum.codes import Code
from hilum.engines import By, Draft, Engine, Image, Located, Question
from hilum.findings import (
    FINDINGS,
    Box,
    Finding,
    FindingName,
    Instance,
    Side,
    Status,
    with_parents,
)
from hilum.reading.calibration import Calibration, Platt

__all__ = ["Asked", "Calibration", "Platt", "Scores", "judge_findings", "score"]

_TOLD = ("bone", "side", "ribs", "region", "displacement", "stage")
_MOVED = 0.5  # a box stays with its sentence unless what is known speaks for another


@dataclass(frozen=True)
class Scores:
    """Likelihoods of "present" for one study, as the engine gives them, before calibration."""

    findings: dict[FindingName, float] = field(default_factory=dict)
    sides: dict[Side, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """The questions after findings, and after a fracture on one side, with their two answers."""

    context: str
    findings: Mapping[FindingName, str]
    sides: Mapping[Side, str]
    answers: tuple[str | tuple[str, ...], str | tuple[str, ...]]
    by: By = "sequence"

    @property
    def sha256(self) -> str:
        """What a calibration is bound to: other words have other likelihoods."""
        asked = [self.context, dict(self.findings), dict(self.sides), list(self.answers), self.by]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def score(engine: Engine, images: Sequence[tuple[Image, ...]], asked: Asked) -> list[Scores]:
    """The likelihood of the first answer against the second, for every question of every study.

    All questions go to the engine in one call, so that it encodes images and context once. No
    questions, no likelihoods; an engine without any raises ``no_probability``.
    """
    questions = [
        Question(q, asked.answers, asked.by)
        for q in (*asked.findings.values(), *asked.sides.values())
    ]
    if not questions or not images:
        return [Scores()] * len(images)
    many = len(asked.findings)
    return [
        Scores(
            dict(zip(asked.findings, present[:many], strict=True)),
            dict(zip(asked.sides, present[many:], strict=True)),
        )
        for chosen in engine.choose(images, asked.context, questions)
        for present in [[float(p) for p in chosen[:, 0]]]
    ]


def judge_findings(
    draft: Draft,
    said: list[Finding],
    likelihoods: Mapping[FindingName, float],
    calibration: Calibration,
    view: int = 0,
    sides: Mapping[Side, float] | None = None,
) -> tuple[list[Finding], list[Code]]:
    """Findings of one study, and flags.

    ``said``: what the labeler reads in the draft. ``likelihoods``: of "present" for each finding
    that was asked for; a finding only in the text keeps its status and has no probability.
    ``sides``: of a fracture on a side; an occurrence without a place of its own has its side's.
    """
    located = _with_boxes(said, draft, calibration, view)
    spoken = {f.name: f for f in located}
    asked_parents = {FINDINGS[n].parent for n in likelihoods}
    findings, flags = [], []
    for name, likelihood in likelihoods.items():
        p = calibration.probability(name, likelihood)
        status = calibration.status(name, p)
        words = spoken.pop(name, None)
        # silence is an absence: a text that leaves out what is likely disagrees too
        if (words.status if words else Status.ABSENT) is not status:
            flags.append(Code.TEXT_DISAGREES)
        instances = words.instances if status is not Status.ABSENT and words else []
        if status is not Status.ABSENT and not instances:
            instances = _best_place(name, draft, calibration, view)
        if name is FindingName.FRACTURE:
            _say_sides(instances, sides or {}, calibration)
        findings.append(Finding(name=name, status=status, probability=p, instances=instances))
    # a parent said only through its child stands or falls with the child's probability
    findings += [f for f in spoken.values() if f.name not in asked_parents]
    if not draft.complete:
        flags.append(Code.TEXT_CUT)
    return with_parents(findings), sorted(set(flags))


def _with_boxes(
    said: list[Finding], draft: Draft, calibration: Calibration, view: int
) -> list[Finding]:
    """The labeler's instances with the boxes that stand right after their sentences.

    Where several sentences of a finding have one, each takes that of whose place the engine knows
    what it says: a text may name two broken bones rightly and their boxes in the wrong order.
    """
    byend = {(p.finding, p.end): p for p in draft.places}
    for finding in said:
        cited = [
            (instance, place)
            for instance in finding.instances
            if instance.span and (place := byend.get((finding.name, instance.span[1])))
        ]
        for instance, place in _seated(cited):
            instance.box = Box(view=view, xyxy=place.box)
            instance.probability = _place_probability(place, calibration)
    return said


def _seated(cited: list[tuple[Instance, Located]]) -> list[tuple[Instance, Located]]:
    """Instances and places paired anew, so that words and what is known differ least."""
    if len(cited) < 2:
        return cited
    from scipy.optimize import linear_sum_assignment

    differences = [
        [_differ(instance, place.known) + _MOVED * (i != j) for j, (_, place) in enumerate(cited)]
        for i, (instance, _) in enumerate(cited)
    ]
    pairs = zip(*linear_sum_assignment(differences), strict=True)
    return [(cited[i][0], cited[j][1]) for i, j in pairs]


def _differ(said: Instance, known: Instance | None) -> int:
    """How much of what both say of an occurrence is not the same."""
    if known is None:
        return 0
    pairs = [(getattr(said, name), getattr(known, name)) for name in _TOLD]
    return sum(bool(a) and bool(b) and a != b for a, b in pairs)


def _place_probability(place: Located, calibration: Calibration) -> float:
    return calibration.places.get(FindingName(place.finding), Platt()).apply(place.score)


def _best_place(
    name: FindingName, draft: Draft, calibration: Calibration, view: int
) -> list[Instance]:
    """Where the text is silent: the engine's best place, with what the engine knows of it."""
    places = [p for p in draft.places if p.finding == name]
    if not places:
        return []
    best = max(places, key=lambda p: p.score)
    known = best.known or Instance()
    box, probability = Box(view=view, xyxy=best.box), _place_probability(best, calibration)
    return [known.model_copy(update={"box": box, "probability": probability})]


def _say_sides(
    instances: list[Instance], sides: Mapping[Side, float], calibration: Calibration
) -> None:
    for instance in instances:
        side = instance.side
        if instance.probability is None and side is not None and side in sides:
            instance.probability = calibration.side(side, sides[side])
