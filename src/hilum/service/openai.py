"""OpenAI's chat completions: films as data URLs in, answers about them out, streamed or whole."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from secrets import token_hex
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, StreamingResponse

from hilum.codes import Code, HilumError
from hilum.language.words import language_of
from hilum.reading.chat import Turn, answer, pieces
from hilum.reading.phrases import PHRASES
from hilum.report import Report
from hilum.service import addresses, jobs, replies, studies
from hilum.service.app import Service
from hilum.service.auth import Caller
from hilum.service.routes import ERRORS, Hall, Reads, Writes, take
from hilum.service.shapes import Shape, StudyId
from hilum.service.studies import Order

ALIAS = "hilum"
"""The reader that is served, whatever its name."""

router = APIRouter(responses=ERRORS, tags=["chat"])
_EXAMPLE: dict[str, Any] = {
    "model": ALIAS,
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "这张胸片有骨折吗？"},
                {"type": "image_url", "image_url": {"url": "data:application/dicom;base64,..."}},
            ],
        }
    ],
}


class Address(BaseModel):
    """Where an image is: a data URL; other addresses only where their host is allowed."""

    model_config = ConfigDict(extra="ignore")

    url: str


class FileData(BaseModel):
    """A film as a data URL; its name is not looked at."""

    model_config = ConfigDict(extra="ignore")

    file_data: str


class TextPart(Shape):
    """Words."""

    type: Literal["text"]
    text: Annotated[str, Field(max_length=20_000)]


class ImagePart(Shape):
    """A film: PNG, JPEG, TIFF or DICOM."""

    type: Literal["image_url"]
    image_url: Address


class FilePart(Shape):
    """A film as a file."""

    type: Literal["file"]
    file: FileData


Part = Annotated[TextPart | ImagePart | FilePart, Field(discriminator="type")]


class Said(BaseModel):
    """One message."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Field(max_length=20_000)] | Annotated[list[Part], Field(max_length=32)]

    @property
    def text(self) -> str:
        """Its words."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def films(self) -> list[str]:
        """The addresses of its films."""
        if isinstance(self.content, str):
            return []
        return [
            part.image_url.url if isinstance(part, ImagePart) else part.file.file_data
            for part in self.content
            if not isinstance(part, TextPart)
        ]


class StreamOptions(Shape):
    """What a stream tells beside the words."""

    include_usage: bool = False
    include_obfuscation: bool = False


class Asked(Shape):
    """A request. What would change the answer and is not done is refused, never ignored.

    Drafts are greedy: temperature, top_p, seed and penalties are taken and change nothing.
    ``study_id`` asks about a study that is kept here, without sending it again.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})

    model: Annotated[str, Field(max_length=200)]
    messages: Annotated[list[Said], Field(min_length=1, max_length=200)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=8192)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=8192)] | None = None
    n: Literal[1] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: int | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    user: Annotated[str, Field(max_length=200)] | None = None
    study_id: StudyId | None = None


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

    The key `hilum` of the answer holds the study's id, its flags and the probabilities.
    """
    if asked.model not in _names(hall):
        raise HilumError(Code.MODEL_UNKNOWN, "", f"one of {', '.join(_names(hall))}")
    study = asked.study_id or await _study(asked, hall, caller)
    report = None
    if study is not None:
        shown = await _read(study, hall)
        if shown["error"]:
            error = HilumError(Code(shown["error"]), "", shown["detail"] or "")
            return replies.reply(error, study_id=study)
        if not shown["report"]:
            busy = HilumError(Code.SERVER_BUSY, "", "the film is still being read")
            return replies.reply(busy, study_id=study)
        report = Report.model_validate(shown["report"])
        await anyio.to_thread.run_sync(hall.note, caller.id, "chat", study)
    talk = _Talk(hall, asked, study, report)
    words = talk.words()
    try:
        first = await anext(words)  # what fails at once is an error, not a broken stream
    except StopAsyncIteration:
        first = ""
    if asked.stream:
        return StreamingResponse(talk.events(first, words), media_type="text/event-stream")
    said = first + "".join([piece async for piece in words])
    return JSONResponse(talk.whole(said))


class _Talk:
    """One answer in OpenAI's shapes."""

    def __init__(
        self, hall: Service, asked: Asked, study: str | None, report: Report | None
    ) -> None:
        self.hall, self.asked, self.study, self.report = hall, asked, study, report
        self.id, self.created = f"chatcmpl-{token_hex(12)}", int(time.time())
        self.most = asked.max_completion_tokens or asked.max_tokens or 1024
        self.count, self.cut = 0, False

    async def words(self) -> AsyncIterator[str]:
        """The pieces of the answer, at most as many as were asked for."""
        async for piece in self._all():
            if self.count == self.most:
                self.cut = True
                return
            self.count += 1
            yield piece

    async def _all(self) -> AsyncIterator[str]:
        # OpenAI calls the system's turn the developer's as well
        turns = [
            Turn(role="system" if m.role == "developer" else m.role, text=m.text)
            for m in self.asked.messages
        ]
        if self.report is None:
            asked = next((t.text for t in reversed(turns) if t.role == "user"), "")
            for piece in pieces(PHRASES[language_of(asked)]["no_film"]):
                yield piece
        elif self.hall.supervisor.chat == "model" and not self.report.abstained:
            async for piece in self._of_model(turns):
                yield piece
        else:
            said = await anyio.to_thread.run_sync(answer, self.report, turns)
            for piece in pieces(said):
                yield piece

    async def _of_model(self, turns: list[Turn]) -> AsyncIterator[str]:
        assert self.report is not None
        message = {
            "chat": self.id,
            "study": self.study,
            "report": self.report.model_dump(mode="json"),
            "turns": [turn.model_dump() for turn in turns],
            "max_tokens": self.most,
        }
        async with self.hall.chat(self.id, message) as answers:
            while True:
                limit = self.hall.settings.limits.wait_seconds
                try:
                    told = await asyncio.wait_for(answers.get(), limit)
                except TimeoutError:
                    raise HilumError(Code.SERVER_BUSY, "", "the model is silent") from None
                if "error" in told:
                    raise HilumError(Code(told["error"]), "", told["detail"])
                if told.get("end"):
                    return
                yield told["piece"]

    def whole(self, said: str) -> dict[str, Any]:
        """All of it at once."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": said, "refusal": None},
            "logprobs": None,
            "finish_reason": self._finish(),
        }
        return self._frame("chat.completion", [choice]) | {
            "usage": self._usage(),
            "hilum": self._about(),
        }

    async def events(self, first: str, words: AsyncIterator[str]) -> AsyncIterator[bytes]:
        """Piece by piece, as server-sent events; a failure on the way is an event too."""
        yield self._event(delta={"role": "assistant", "content": ""}, hilum=self._about())
        try:
            yield self._event(delta={"content": first})
            async for piece in words:
                yield self._event(delta={"content": piece})
            yield self._event(delta={}, finish=self._finish())
            options = self.asked.stream_options
            if options is not None and options.include_usage:
                frame = self._frame("chat.completion.chunk", []) | {"usage": self._usage()}
                yield f"data: {json.dumps(frame)}\n\n".encode()
        except HilumError as error:
            yield f"data: {json.dumps(replies.body(error))}\n\n".encode()
        yield b"data: [DONE]\n\n"

    def _event(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        frame = self._frame("chat.completion.chunk", [choice]) | more
        return f"data: {json.dumps(frame, ensure_ascii=False)}\n\n".encode()

    def _frame(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        frame = {"id": self.id, "object": kind, "created": self.created}
        return frame | {"model": self.asked.model, "choices": choices}

    def _finish(self) -> str:
        return "length" if self.cut else "stop"

    def _usage(self) -> dict[str, int]:
        """In pieces: words, or Chinese characters."""
        asked = sum(len(pieces(message.text)) for message in self.asked.messages)
        total = asked + self.count
        return {
            "prompt_tokens": asked,
            "completion_tokens": self.count,
            "total_tokens": total,
        }

    def _about(self) -> dict[str, Any] | None:
        """What a chat client does not show, and a page does."""
        if self.report is None:
            return None
        rated = {f.name: f.probability for f in self.report.findings if f.probability is not None}
        return {
            "study_id": self.study,
            "verdict": self.report.gate.verdict,
            "flags": self.report.flags,
            "probabilities": rated,
            "notice": self.report.notice,
        }


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

    study = await anyio.to_thread.run_sync(keep)
    hall.supervisor.wake()
    return study


async def _read(study: str, hall: Service) -> dict[str, Any]:
    """A study, once it is read or the wait is over."""
    shown = await anyio.to_thread.run_sync(studies.show, hall.db, study)
    if shown["state"] in jobs.ENDED:
        return shown
    await hall.wait(study, shown["language"], hall.settings.limits.wait_seconds)
    return await anyio.to_thread.run_sync(studies.show, hall.db, study)


def _names(hall: Service) -> list[str]:
    return list(dict.fromkeys(filter(None, [hall.supervisor.reader, ALIAS])))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "hilum"}
