"""Likelihoods and words to findings: the probability decides, the words are checked against it."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from hilum.codes import Code
from hilum.engines import Draft, Located
from hilum.findings import (
    FINDINGS,
    Box,
    Finding,
    FindingName,
    Instance,
    Probability,
    Record,
    Status,
    with_parents,
)


class Platt(Record):
    """Calibration of a score: probability = sigmoid(slope * log odds + intercept) (Platt 1999)."""

    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, log_odds: float) -> float:
        """A probability, to four decimals."""
        z = float(np.clip(self.slope * log_odds + self.intercept, -30, 30))
        return round(1 / (1 + float(np.exp(-z))), 4)


class Calibration(Record):
    """Per finding: the answer's and the places' calibration, and the threshold of presence."""

    findings: dict[FindingName, Platt] = Field(default_factory=dict)
    places: dict[FindingName, Platt] = Field(default_factory=dict)
    thresholds: dict[FindingName, Probability] = Field(default_factory=dict)
    default_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def probability(self, name: FindingName, likelihood: float) -> float:
        """The calibrated probability of presence from the likelihood of "present"."""
        p = min(max(likelihood, 1e-7), 1 - 1e-7)
        return self.findings.get(name, Platt()).apply(float(np.log(p / (1 - p))))

    def threshold(self, name: FindingName) -> float:
        """The probability from which on a finding is called present."""
        return self.thresholds.get(name, self.default_threshold)


def judge_findings(
    draft: Draft,
    said: list[Finding],
    likelihoods: dict[FindingName, float],
    calibration: Calibration,
    view: int = 0,
) -> tuple[list[Finding], list[Code]]:
    """Findings of one study, and flags.

    ``said``: what the labeler reads in the draft. ``likelihoods``: of "present" for each finding
    that was asked for; a finding only in the text keeps its status and has no probability.
    """
    located = _with_boxes(said, draft, calibration, view)
    spoken = {f.name: f for f in located}
    asked_parents = {FINDINGS[n].parent for n in likelihoods}
    findings, flags = [], []
    for name, likelihood in likelihoods.items():
        p = calibration.probability(name, likelihood)
        present = p >= calibration.threshold(name)
        status = Status.PRESENT if present else Status.ABSENT
        words = spoken.pop(name, None)
        # silence is an absence: a text that leaves out what is likely disagrees too
        if (words.status if words else Status.ABSENT) is not status:
            flags.append(Code.TEXT_DISAGREES)
        instances = words.instances if present and words else []
        if present and not instances:
            instances = _best_place(name, draft, calibration, view)
        findings.append(Finding(name=name, status=status, probability=p, instances=instances))
    # a parent said only through its child stands or falls with the child's probability
    findings += [f for f in spoken.values() if f.name not in asked_parents]
    if not draft.complete:
        flags.append(Code.TEXT_CUT)
    return with_parents(findings), sorted(set(flags))


def _with_boxes(
    said: list[Finding], draft: Draft, calibration: Calibration, view: int
) -> list[Finding]:
    """The labeler's instances with the box that stands right after their sentence."""
    byend = {(p.finding, p.end): p for p in draft.places}
    for finding in said:
        for instance in finding.instances:
            place = byend.get((finding.name, instance.span[1])) if instance.span else None
            if place is not None:
                instance.box = Box(view=view, xyxy=place.box)
                instance.probability = _place_probability(place, calibration)
    return said


def _place_probability(place: Located, calibration: Calibration) -> float:
    return calibration.places.get(FindingName(place.finding), Platt()).apply(place.score)


def _best_place(
    name: FindingName, draft: Draft, calibration: Calibration, view: int
) -> list[Instance]:
    """Where the text is silent: the engine's best place, with nothing else known of it."""
    places = [p for p in draft.places if p.finding == name]
    if not places:
        return []
    best = max(places, key=lambda p: p.score)
    return [
        Instance(
            box=Box(view=view, xyxy=best.box), probability=_place_probability(best, calibration)
        )
    ]
