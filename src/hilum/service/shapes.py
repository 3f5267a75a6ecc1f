"""What goes over the wire, as OpenAPI shows it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hilum.codes import Code, HilumError
from hilum.findings import Finding
from hilum.report import Language, Report
from hilum.study import Context, View, Window

StudyId = Annotated[str, Field(pattern="^[0-9a-f]{16}$", examples=["4be1c07a9c1de2f0"])]
PriorityName = Literal["routine", "urgent", "stat"]
StateName = Literal["queued", "running", "done", "failed", "quarantined"]
ReviewState = Literal["preliminary", "approved", "rejected"]
T = TypeVar("T", bound=BaseModel)
_Probability = Annotated[float, Field(ge=0, le=1)] | None


class Shape(BaseModel):
    """Base: nothing beside what is named."""

    model_config = ConfigDict(extra="forbid")


class Indication(StrEnum):
    """Why the film was taken: a list, so that no patient's text comes in with it."""

    TRAUMA = "trauma"
    CHEST_PAIN = "chest_pain"
    COUGH = "cough"
    DYSPNOEA = "dyspnoea"
    FEVER = "fever"
    SCREENING = "screening"
    PREOPERATIVE = "preoperative"
    FOLLOW_UP = "follow_up"
    DEVICE_POSITION = "device_position"
    OTHER = "other"


class GivenContext(Shape):
    """What the caller says of the patient. ``priors``: ids of earlier studies kept here."""

    age: Annotated[int, Field(ge=0, le=130)] | None = None
    sex: Literal["F", "M", "O"] | None = None
    indication: Indication | None = None
    priors: Annotated[list[StudyId], Field(max_length=8)] = []

    def context(self) -> Context:
        """As a Study holds it."""
        return Context.model_validate(self.model_dump(mode="json"))


class ErrorDetail(Shape):
    """One error. ``code`` never changes its meaning; ``param`` is there for OpenAI's clients."""

    code: Code
    message: str
    message_zh: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None = None
    file: int | None = None
    study_id: str | None = None


class ErrorBody(Shape):
    """The body of every error."""

    error: ErrorDetail


class Accepted(Shape):
    """A study that is kept; ``known``: it was before."""

    id: StudyId
    state: StateName
    known: bool
    files: int


class Uploaded(Shape):
    """What became of an upload: its studies, and the files that were refused (from 0)."""

    studies: list[Accepted]
    refused: list[ErrorBody] = []


class Row(Shape):
    """One line of the worklist. Times are seconds since 1970.

    ``fracture_called``: the probability is at or above the reader's threshold.
    """

    id: StudyId
    state: StateName
    priority: PriorityName
    priority_given: PriorityName
    fracture_probability: _Probability
    fracture_called: bool
    verdict: Literal["accept", "abstain"] | None
    flags: list[Code]
    error: Code | None
    language: Language
    created: float
    finished: float | None
    review: ReviewState
    context: Context
    waiting_seconds: float


class Worklist(Shape):
    """A page of the worklist, in triage order."""

    total: int
    studies: list[Row]


class Shown(Shape):
    """One study. ``report`` is what `hilum read --json` prints, once there is one.

    ``review_language``: of the text that was last edited or approved, None before that.
    """

    id: StudyId
    state: StateName | None
    language: Language
    languages: list[Language]
    priority: PriorityName
    priority_given: PriorityName
    fracture_probability: _Probability
    review: ReviewState
    review_language: Language | None
    views: int
    context: Context
    created: float
    started: float | None
    finished: float | None
    attempts: int
    error: Code | None
    detail: str | None
    report: Report | None


class WindowShape(Shape):
    """A VOI window that a film offers; a VOI LUT is not told."""

    center: float
    width: float
    function: str


class ViewHeader(Shape):
    """What a viewer needs beside the grey levels; no text of a header."""

    position: str | None
    mm_per_pixel: float | None
    inverted: bool
    windows: list[WindowShape]
    warnings: list[Code]

    @classmethod
    def of(cls, view: View) -> ViewHeader:
        """Of a view; a position that is no plain code is left out, as headers are ASCII."""
        position = view.position if (view.position or "").isascii() else None
        return cls(
            position=position,
            mm_per_pixel=view.mm_per_pixel,
            inverted=view.inverted,
            windows=[
                WindowShape(center=w.center, width=w.width, function=w.function)
                for w in view.voi
                if isinstance(w, Window)
            ],
            warnings=view.warnings,
        )


class AskedAgain(Shape):
    """Which language a study is to be read in as well."""

    language: Language


class Analysis(Shape):
    """The answer to /analyze-fracture. ``findings`` and the rest are null where not read."""

    status: Literal["success", "abstained", "pending"]
    fracture_description: str | None
    model_version: str
    study_id: StudyId
    fracture_probability: _Probability = None
    findings: list[Finding] | None = None
    reasons: list[Code] = []
    flags: list[Code] = []
    notice: str | None = None


class AuditEntry(Shape):
    """One line of the audit log. ``who``: a key's id, local, or system."""

    id: int
    at: float
    who: str
    action: str
    subject: str | None
    outcome: str


def parsed(kind: type[T], text: str, name: str) -> T:
    """JSON of a form's field. Raises ``request_invalid``, which says where and quotes nothing."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise HilumError(Code.REQUEST_INVALID, "", places(error.errors(), name)) from None


def places(errors: Any, name: str = "") -> str:
    """Where a value does not fit, and how; never the value, nor a name the sender chose."""
    wrong = []
    for found in errors[:8]:
        loc = found["loc"][:-1] if found["type"] == "extra_forbidden" else found["loc"]
        where = ".".join([name, *map(str, loc)] if name else list(map(str, loc)))
        wrong.append(f"{where}: {found['type']}")
    return "; ".join(wrong)
