"""The paths behind the reading page: who is here, reviews of drafts, conversations kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query, Response
from sqlalchemy import select
from starlette.responses import StreamingResponse

import hilum
from hilum.codes import Code, HilumError
from hilum.report import Language
from hilum.service import reading_shapes, reviews, turns
from hilum.service.access import ERRORS, Hall, Reads, Writes
from hilum.service.asked import ALIAS, Asked, Said
from hilum.service.auth import Caller
from hilum.service.openai import report_of
from hilum.service.shapes import StudyId
from hilum.service.store import keys
from hilum.service.talk import Talk

router = APIRouter(responses=ERRORS, tags=["reading"])
REMEMBERED = 40
"""Turns of a conversation that an answer is made from."""


@router.get("/v1/session", response_model=reading_shapes.Session)
def get_session(hall: Hall, caller: Reads) -> dict[str, Any]:
    """Who asks and what they may do, and what is served: for a page to show and to hide."""
    with hall.db.read() as connection:
        name = connection.scalar(select(keys.c.name).where(keys.c.id == caller.id))
    return {
        "who": caller.id,
        "name": name,
        "scopes": sorted(caller.scopes),
        "version": hilum.__version__,
        "reader": hall.supervisor.reader,
        "chat": "model" if hall.supervisor.chat == "model" else "findings",
        "files": hall.settings.limits.files,
        "body_bytes": hall.settings.limits.body_bytes,
    }


@router.get("/v1/studies/{study}/review", response_model=reading_shapes.Review)
def get_review(
    hall: Hall, caller: Reads, study: StudyId, language: Language | None = None
) -> dict[str, Any]:
    """What people did with the draft, and each sentence linked to its findings and boxes."""
    shown = reviews.shown(hall.db, study, language)
    hall.note(caller.id, "review_shown", study)
    return shown


@router.post("/v1/studies/{study}/review", response_model=reading_shapes.Review)
def add_review(
    hall: Hall, caller: Writes, study: StudyId, step: reading_shapes.Reviewed
) -> dict[str, Any]:
    """Edit, approve, reject or reopen a report. The draft and every step are kept.

    409 where somebody else was quicker (`review_conflict`), where the report is approved or
    rejected (`review_closed`), and where the study was not read (`nothing_to_review`).
    """
    given = (step.action, step.base, step.language, step.text, step.reason)
    reviews.step(hall.db, study, caller.id, *given)
    return reviews.shown(hall.db, study, step.language)


@router.get("/v1/studies/{study}/turns", response_model=reading_shapes.Conversation)
def get_turns(
    hall: Hall,
    caller: Reads,
    study: StudyId,
    conversation: Annotated[int | None, Query(ge=1, le=10_000)] = None,
) -> dict[str, Any]:
    """A conversation about a study, by default the last one."""
    found = turns.listed(hall.db, study, conversation)
    hall.note(caller.id, "turns_shown", study)
    return found


@router.post(
    "/v1/studies/{study}/turns",
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "The answer's pieces, as chat's"}
    },
)
async def add_turn(
    hall: Hall, caller: Writes, study: StudyId, question: reading_shapes.Question
) -> Response:
    """Ask about a study; question and answer are kept with it, and go when it goes.

    The answer comes as `/v1/chat/completions` streams it. A client that closes the connection
    stops it; what was said by then is kept.
    """
    report = await report_of(study, hall)
    at = question.conversation
    if question.text is None:
        await anyio.to_thread.run_sync(turns.ask_again, hall.db, study, at)
    else:
        await anyio.to_thread.run_sync(turns.ask, hall.db, study, at, caller.id, question.text)
    known = await anyio.to_thread.run_sync(turns.listed, hall.db, study, at)
    await anyio.to_thread.run_sync(hall.note, caller.id, "chat", study)
    said = [Said(role=t["role"], content=t["text"]) for t in known["turns"][-REMEMBERED:]]
    asked = Asked(model=ALIAS, messages=said, stream=True, study_id=study)
    talk = Talk(hall, asked, study, report, question.language)
    words = talk.words()
    try:
        first = await anext(words)  # what fails at once is an error, not a broken stream
    except StopAsyncIteration:
        first = ""
    events = _kept(talk, caller, at, first, words)
    return StreamingResponse(events, media_type="text/event-stream")


async def _kept(
    talk: Talk, caller: Caller, conversation: int, first: str, words: AsyncIterator[str]
) -> AsyncIterator[bytes]:
    """The events of an answer, which is kept before its end is told, and where it is cut off."""
    left: list[turns.State] = ["stopped"]

    async def keep(state: turns.State) -> None:
        left.clear()
        wrong = await talk.disagrees()
        study = talk.study or ""
        said = "".join(talk.said)
        await anyio.to_thread.run_sync(
            turns.answered, talk.hall.db, study, conversation, caller.id, said, state, wrong
        )

    async def heard() -> AsyncIterator[str]:
        try:
            async for piece in words:
                yield piece
        except HilumError:
            await keep("failed")
            raise
        await keep("whole")

    try:
        async for event in talk.events(first, heard()):
            yield event
    finally:
        if left:
            with anyio.CancelScope(shield=True):
                try:
                    await keep("stopped")
                except HilumError as error:  # the study went meanwhile
                    if error.code is not Code.STUDY_UNKNOWN:
                        raise
