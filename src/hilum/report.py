"""Report: one study's draft, with findings, flags and where it came from."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hilum.codes import Code
from hilum.findings import Finding, FindingName, Probability, Record
from hilum.study import Context, Step, Study

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

NOTICE: dict[Language, str] = {
    "en": "Research use only. A draft for a radiologist to check, never a diagnosis on its own.",
    "zh": "仅供研究使用。本草稿须由放射科医师核对，不能单独作为诊断依据。",
}


class Verdict(StrEnum):
    """Whether a study is read."""

    ACCEPT = "accept"
    ABSTAIN = "abstain"


class Gate(Record):
    """The gate's verdict, with every reason for an abstention."""

    verdict: Verdict
    reasons: list[Code] = Field(default_factory=list)


class Calibrated(Record):
    """Which site's calibration file a reader had, and its sha256."""

    site: str
    sha256: str


class Provenance(Record):
    """Everything needed to say how a draft came about.

    ``thresholds``: from which probability on a finding is present; ``doubts``: from which on it
    is uncertain, where there is such a point; ``calibration``: None where it is the packaged one.
    """

    reader: str
    weights_sha256: str
    prompt: str
    decoding: dict[str, Any]
    thresholds: dict[FindingName, Probability]
    doubts: dict[FindingName, Probability] = Field(default_factory=dict)
    calibration: Calibrated | None = None
    licence: str
    versions: dict[str, str]


class StepRecord(Step):
    """A step with its words in the report's language."""

    text: str


class ViewRecord(Record):
    """What a report keeps of a view; ``steps`` only where an explanation was asked for."""

    path: str
    position: str | None
    rows: int
    columns: int
    mm_per_pixel: float | None
    steps: list[StepRecord] = Field(default_factory=list)


class StudyRecord(Record):
    """What a report keeps of a study: everything but the pixels."""

    id: str
    views: list[ViewRecord]
    context: Context

    @classmethod
    def of(cls, study: Study) -> StudyRecord:
        """The record of a study."""
        names = ViewRecord.model_fields.keys() - {"steps"}
        views = [ViewRecord(**{n: getattr(v, n) for n in names}) for v in study.views]
        return cls(id=study.id, views=views, context=study.context)


class Report(Record):
    """What ``hilum read --json`` prints for one study; it reads back as it was.

    An abstained study has no findings and no text, and at least one reason; anything else is
    refused. ``flags`` are remarks for whoever reviews, the grey levels' warnings among them.
    """

    study: StudyRecord
    gate: Gate
    findings: list[Finding] = Field(default_factory=list)
    text: str | None = None
    language: Language
    flags: list[Code] = Field(default_factory=list)
    provenance: Provenance
    notice: str

    @model_validator(mode="after")
    def _abstention_is_empty(self) -> Report:
        if self.abstained and (self.findings or self.text is not None or not self.gate.reasons):
            raise ValueError("an abstained study has reasons, and neither findings nor text")
        if not self.abstained and self.text is None:
            raise ValueError("a study that was read has a text")
        return self

    @property
    def abstained(self) -> bool:
        """True where the gate or the reader refused the study."""
        return self.gate.verdict is Verdict.ABSTAIN

    def finding(self, name: FindingName | str) -> Finding | None:
        """The finding of that name, or None where it is unmentioned."""
        return next((f for f in self.findings if f.name == name), None)


class Failure(BaseModel):
    """What ``hilum read --json`` prints for a file that cannot be read."""

    model_config = ConfigDict(extra="forbid")

    path: str
    error: Code
    message: str
