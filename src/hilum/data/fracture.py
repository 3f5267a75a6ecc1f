"""``--task fracture``: the data of a fracture reader, in the manner of ChexFract.

Each report becomes the canonical description of its fractures (the sentences of
:mod:`hilum.language.template`), a study without one becomes "No fracture.". Which studies count as
without is the rule; how many of them stay is the balance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from hilum.codes import Code, HilumError
from hilum.data.pair import Pair, join
from hilum.data.split import fraction_of
from hilum.data.work import without_spans
from hilum.findings import Bone, Finding, FindingName, Instance, Side, Status
from hilum.language import label, write
from hilum.report import LANGUAGES, Language

_BONES, _SIDES = list(Bone), list(Side)
Rule = Literal["stated", "unmentioned", "any"]
"""Negatives: the report denies a fracture, does not mention one, or either."""


@dataclass(frozen=True)
class FractureTask:
    """Turns rows into fracture rows. ``below``: negatives whose fraction is smaller stay."""

    rule: Rule = "any"
    below: float = 1.0
    seed: int = 0
    language: Language | None = None

    def __call__(self, values: dict[str, Any], pair: Pair) -> dict[str, Any]:
        """The row with fractures alone. Raises ``left_out`` for a study that is not selected."""
        findings = [Finding.model_validate(f) for f in values["findings"]]
        fracture = next((f for f in findings if f.name is FindingName.FRACTURE), None)
        refuse_unless_selected(fracture, self, pair.patient_id, pair.study_id)
        said = without_spans(fracture or Finding(name=FindingName.FRACTURE, status=Status.ABSENT))
        said = said.model_copy(update={"instances": sorted(said.instances, key=_order)})
        spoken = values["report"]["language"]
        language: Language = self.language or (spoken if spoken in LANGUAGES else "en")
        known = [said.model_dump(mode="json")] if fracture else []
        text = write([said], language)
        report = {"findings": text, "impression": "", "language": language}
        return {**values, "findings": known, "report": report}


def _order(instance: Instance) -> tuple[int, int, list[int]]:
    """Ribs before other bones, left before right, the first before the last."""
    bone = len(_BONES) if instance.bone is None else _BONES.index(instance.bone)
    side = len(_SIDES) if instance.side is None else _SIDES.index(instance.side)
    return bone, side, instance.ribs


def refuse_unless_selected(
    fracture: Finding | None, task: FractureTask, patient: str, study: str
) -> None:
    """Raises ``left_out`` with the reason."""
    if fracture is not None and fracture.present:
        return
    if fracture is not None and fracture.status is Status.UNCERTAIN:
        raise HilumError(Code.LEFT_OUT, study, "uncertain fracture")
    kind = "unmentioned" if fracture is None else "stated"
    if task.rule not in ("any", kind):
        raise HilumError(Code.LEFT_OUT, study, f"negative by the rule {kind}, not {task.rule}")
    if fraction_of(f"{task.seed}:negative:{patient}:{study}") >= task.below:
        raise HilumError(Code.LEFT_OUT, study, "negative beyond the balance")


@dataclass
class Balance:
    """Counts positives and negatives, and finds the fraction below which negatives stay."""

    rule: Rule
    seed: int
    positives: int = 0
    _fractions: list[float] = field(default_factory=list)

    def count(self, pairs: Iterable[Pair]) -> Iterable[Pair]:
        """Label every report as it passes."""
        for pair in pairs:
            fracture = fracture_of(pair)
            if fracture is not None and fracture.present:
                self.positives += 1
            elif fracture is None or fracture.status is Status.ABSENT:
                kind = "unmentioned" if fracture is None else "stated"
                if self.rule in ("any", kind):
                    name = f"{self.seed}:negative:{pair.patient_id}:{pair.study_id}"
                    self._fractions.append(fraction_of(name))
            yield pair

    def below(self, negatives_per_positive: float | None) -> float:
        """The fraction that keeps so many negatives for each positive; all of them for None."""
        if negatives_per_positive is None:
            return 1.0
        wanted = round(self.positives * negatives_per_positive)
        return sorted(self._fractions)[wanted] if wanted < len(self._fractions) else 1.0


def fracture_of(pair: Pair) -> Finding | None:
    """What a pair says of fractures, before any cleaning."""
    if pair.error is not None:
        return None
    language: Any = pair.language
    if pair.truth is not None:
        findings = pair.truth
    elif language in (None, *LANGUAGES):
        findings = label(join(pair.findings, pair.impression), language)
    else:
        findings = []
    return next((f for f in findings if f.name is FindingName.FRACTURE), None)
