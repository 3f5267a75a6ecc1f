"""OpenAI's chat completions: films as data URLs in, answers about them out, streamed or whole."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse, StreamingResponse

from hilum.codes import Code, HilumError
from hilum.report import Report
from hilum.service import addresses, jobs, replies, studies
from hilum.service.access import ERRORS, Hall, Reads, Writes
from hilum.service.app import Service
from hilum.service.asked import ALIAS, Asked
from hilum.service.auth import Caller
from hilum.service.routes import take
from hilum.service.studies import Order
from hilum.service.talk import Talk

router = APIRouter(responses=ERRORS, tags=["chat"])


@router.get("/v1/models")
def list_models(hall: Hall, _: Reads) -> dict[str, Any]:
    """The reader that is served."""
    return {"object": "list", "data": [_model(name) for name in _names(hall)]}


@router.post(
    "/v1/chat/completions",
    response_class=Response,
    responses={
        200: {
            "content": {"application/json": {}, "text/event-stream": {}},
            "description": "The answer, or with stream its pieces",
        }
    },
)
async def complete(request: Request, hall: Hall, caller: Writes, asked: Asked) -> Response:
    """Answer about the films of the last message that has any, in the language of the question.

    The key `hilum` of the answer holds the study's id, its flags and the probabilities; at the
    end also which findings a model's words `disagrees` with.
    """
    if asked.model not in _names(hall):
        raise HilumError(Code.MODEL_UNKNOWN, "", f"one of {', '.join(_names(hall))}")
    study = asked.study_id or await _study(asked, hall, caller)
    report = None
    if study is not None:
        try:
            report = await report_of(study, hall)
        except HilumError as error:
            return replies.reply(error, study_id=study)
        await anyio.to_thread.run_sync(hall.note, caller.id, "chat", study)
    talk = Talk(hall, asked, study, report)
    words = talk.words()
    try:
        first = await anext(words)  # what fails at once is an error, not a broken stream
    except StopAsyncIteration:
        first = ""
    if asked.stream:
        return StreamingResponse(talk.events(first, words), media_type="text/event-stream")
    said = first + "".join([piece async for piece in words])
    return JSONResponse(await talk.whole(said))


async def _study(asked: Asked, hall: Service, caller: Caller) -> str | None:
    """The study that the last films of the conversation are; None without any."""
    urls = next((m.films for m in reversed(asked.messages) if m.role == "user" and m.films), [])
    if not urls:
        return None
    contents = [await addresses.fetch(url, hall.settings) for url in urls]
    order = Order(hall.settings.language)

    def keep() -> str:
        arrived = []
        try:
            for content in contents:
                arrived.append(hall.films.receive_all(content))
        except BaseException:
            for file in arrived:
                file.drop()
            raise
        admitted, refused = take(hall, caller, arrived, order, True)
        if not admitted:
            raise refused[0].error
        return admitted[0][0].id

    study = await anyio.to_thread.run_sync(keep, limiter=hall.intake)
    hall.supervisor.wake()
    return study


async def report_of(study: str, hall: Service) -> Report:
    """A study's report, once it is read.

    Raises why it could not be read, and ``server_busy`` where the wait is over.
    """
    shown = await anyio.to_thread.run_sync(studies.show, hall.db, study)
    if shown["state"] not in jobs.ENDED:
        await hall.wait(study, shown["language"], hall.settings.limits.wait_seconds)
        shown = await anyio.to_thread.run_sync(studies.show, hall.db, study)
    if shown["error"]:
        raise HilumError(Code(shown["error"]), "", shown["detail"] or "")
    if not shown["report"]:
        raise HilumError(Code.SERVER_BUSY, "", "the film is still being read")
    return Report.model_validate(shown["report"])


def _names(hall: Service) -> list[str]:
    return list(dict.fromkeys(filter(None, [hall.supervisor.reader, ALIAS])))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "hilum"}
