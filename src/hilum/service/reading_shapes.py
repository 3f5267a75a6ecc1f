"""What goes over the wire of reviews and conversations, as OpenAPI shows it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from hilum.findings import FindingName
from hilum.reading.linking import Disagreement, Linked
from hilum.report import Language
from hilum.service.auth import Scope
from hilum.service.reviews import Action, Reason
from hilum.service.shapes import ReviewState, Shape

_CONTROLS = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f]")


def _plain(text: str) -> str:
    if _CONTROLS.search(text):
        raise ValueError("no control characters but tab and line breaks")
    return text


Written = Annotated[str, StringConstraints(max_length=8000), AfterValidator(_plain)]
Asking = Annotated[str, StringConstraints(min_length=1, max_length=4000), AfterValidator(_plain)]
Number = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Session(Shape):
    """Who asks, what they may do, and what is served. ``chat``: who answers questions."""

    who: str
    name: str | None
    scopes: list[Scope]
    version: str
    reader: str | None
    chat: Literal["findings", "model"]
    files: int
    body_bytes: int


class Step(Shape):
    """One step of a review. ``who``: a key's id, or local; ``name``: the key's."""

    id: int
    at: float
    who: str
    name: str | None
    action: Action
    language: Language | None
    text: str | None
    reason: Reason | None


class Review(Shape):
    """A review as it stands. ``text`` is the draft until somebody edits it.

    ``sentences`` are of ``text``, linked to the report's findings; ``disagreements`` are where
    ``text`` says other than the probabilities. ``base`` goes with the next step.
    """

    state: ReviewState
    base: int
    language: Language
    draft: str | None
    text: str | None
    sentences: list[Linked]
    disagreements: list[Disagreement]
    history: list[Step]


class Reviewed(Shape):
    """A step to be kept. ``base``: the last step that was seen, 0 where there was none."""

    action: Action
    base: Number
    language: Language
    text: Written | None = None
    reason: Reason | None = None


class SaidTurn(Shape):
    """One turn. ``disagrees``: findings of which a model's words say other than they are."""

    id: int
    at: float
    who: str
    name: str | None
    role: Literal["user", "assistant"]
    text: str
    state: Literal["whole", "stopped", "failed"]
    disagrees: list[FindingName]


class Conversation(Shape):
    """A conversation about a study; ``last`` is the newest one's number, 0 before any."""

    conversation: int
    last: int
    turns: list[SaidTurn]


class Question(Shape):
    """What is asked, in a conversation or, with the number after the last, in a new one.

    Without ``text`` the last question is answered again. ``language``: of the answer; by
    default that of the question.
    """

    conversation: Annotated[int, Field(ge=1, le=10_000)] = 1
    text: Asking | None = None
    language: Language | None = None
