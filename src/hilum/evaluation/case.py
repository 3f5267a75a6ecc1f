"""What a system said of a study, and how references and answers become arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hilum.codes import Code
from hilum.data.rows import Reference
from hilum.findings import Finding, FindingName, Probability, Record, Side, Status, with_parents
from hilum.language import label
from hilum.report import Language

N = FindingName
CHEXPERT14: tuple[FindingName, ...] = tuple(FindingName)[:14]
# The five that CheXpert's authors compete on (Irvin et al., AAAI 2019).
CHEXPERT5 = (N.ATELECTASIS, N.CARDIOMEGALY, N.CONSOLIDATION, N.EDEMA, N.PLEURAL_EFFUSION)
BESIDE = (N.NO_FINDING, N.SUPPORT_DEVICES)  # do not speak against a normal film

Uncertain = Literal["present", "absent", "out"]
UNCERTAIN: tuple[Uncertain, ...] = ("present", "absent", "out")
Source = Literal["likelihood", "words"]
SOURCES: tuple[Source, ...] = ("likelihood", "words")
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Outcome(StrEnum):
    """What became of a study."""

    READ = "read"
    ABSTAINED = "abstained"
    FAILED = "failed"


class Prediction(Record):
    """One line of a predictions file; ``code`` says why there is no draft.

    ``likelihoods`` and ``sides`` are the engine's, before calibration; a system that gives none
    has none.
    """

    study_id: Annotated[str, Field(min_length=1)]
    outcome: Outcome = Outcome.READ
    code: Code | None = None
    findings: list[Finding] = Field(default_factory=list)
    text: str | None = None
    language: Language | None = None
    likelihoods: dict[FindingName, Probability] = Field(default_factory=dict)
    sides: dict[Side, Probability] = Field(default_factory=dict)

    @property
    def read(self) -> bool:
        """True where there is a draft to judge."""
        return self.outcome is Outcome.READ


@dataclass
class System:
    """Whoever answered: a reader, a file of predictions, or a baseline; one answer a study."""

    name: str
    kind: Literal["reader", "predictions", "baseline"]
    predictions: list[Prediction]
    about: dict[str, object] = field(default_factory=dict)
    _said: list[list[Finding]] | None = None

    def said(self) -> list[list[Finding]]:
        """What the labeler reads in each draft; nothing where there is none."""
        if self._said is None:
            self._said = [
                label(p.text, p.language) if p.read and p.text else [] for p in self.predictions
            ]
        return self._said

    def has_words(self) -> bool:
        """Whether any answer has a text."""
        return any(p.text for p in self.predictions)


def statuses(findings: Sequence[Finding]) -> dict[FindingName, Status]:
    """Status by name, with parents; "no finding" where nothing else is there (CheXpert's rule)."""
    found = {f.name: f.status for f in with_parents(list(findings))}
    abnormal = any(s is not Status.ABSENT for n, s in found.items() if n not in BESIDE)
    found[N.NO_FINDING] = Status.ABSENT if abnormal else Status.PRESENT
    return found


@dataclass(frozen=True)
class Column:
    """One question about every study, as arrays of one length.

    ``truth``; ``known``: False where the reference is left out; ``positive``: the answer;
    ``answered``: False where there is none, which is wrong whatever the truth; ``score``: NaN
    where there is no probability.
    """

    truth: Bools
    known: Bools
    positive: Bools
    answered: Bools
    score: Floats

    @property
    def scored(self) -> bool:
        """Whether there are probabilities to rank by."""
        return bool(np.isfinite(self.score).any())

    @property
    def both(self) -> bool:
        """Whether there are studies with it and studies without it."""
        truth = self.truth[self.known]
        return bool(truth.any() and not truth.all())

    def take(self, rows: NDArray[np.intp]) -> Column:
        """The same question about some of the studies."""
        return Column(
            self.truth[rows],
            self.known[rows],
            self.positive[rows],
            self.answered[rows],
            self.score[rows],
        )


def truths(
    references: Sequence[Reference], names: Sequence[FindingName], uncertain: Uncertain
) -> dict[FindingName, tuple[Bools, Bools]]:
    """For each finding its presence by the references, and where it is known."""
    found = [statuses(r.findings) for r in references]
    out = {}
    for name in names:
        said = [f.get(name, Status.ABSENT) for f in found]
        known = np.array([s is not Status.UNCERTAIN or uncertain != "out" for s in said], bool)
        out[name] = _present(said, uncertain), known
    return out


def columns_of(
    references: Sequence[Reference],
    system: System,
    names: Sequence[FindingName],
    source: Source,
    uncertain: Uncertain,
) -> dict[FindingName, Column]:
    """A system's answers on each finding; ``words``: read off its text, without probabilities."""
    predictions = system.predictions
    given = system.said() if source == "words" else [p.findings for p in predictions]
    found = [statuses(f) for f in given]
    stated = [{f.name: f.probability for f in fs} for fs in given]
    answered = np.array([p.read for p in predictions], bool)
    counts_as: Uncertain = "present" if uncertain == "out" else uncertain
    out = {}
    for name, (truth, known) in truths(references, names, uncertain).items():
        said = [f.get(name, Status.ABSENT) for f in found]
        score = [None if source == "words" else p.get(name) for p in stated]
        out[name] = Column(
            truth,
            known,
            _present(said, counts_as),
            answered,
            np.array([np.nan if s is None else s for s in score], float),
        )
    return out


def side_column(references: Sequence[Reference], system: System, side: Side) -> Column:
    """A fracture on one side: by the sides of the occurrences, and the side's own likelihood."""
    predictions = system.predictions
    return Column(
        np.array([_on(r.findings, side) for r in references], bool),
        np.ones(len(references), bool),
        np.array([_on(p.findings, side) for p in predictions], bool),
        np.array([p.read for p in predictions], bool),
        np.array([p.sides.get(side, np.nan) for p in predictions], float),
    )


def fractures(findings: Sequence[Finding]) -> list[Finding]:
    """The fractures among them that are present."""
    return [f for f in findings if f.name is N.FRACTURE and f.present]


def _on(findings: Sequence[Finding], side: Side) -> bool:
    return any(i.side in (side, Side.BILATERAL) for f in fractures(findings) for i in f.instances)


def _present(found: Sequence[Status], uncertain: Uncertain) -> Bools:
    also = uncertain == "present"
    return np.array([s is Status.PRESENT or (also and s is Status.UNCERTAIN) for s in found], bool)
