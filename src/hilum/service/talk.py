"""One answer of a conversation, in OpenAI's shapes, whole or piece by piece."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from secrets import token_hex
from typing import Any

import anyio.to_thread

from hilum.codes import Code, HilumError
from hilum.language.words import language_of
from hilum.reading.chat import Turn, answer, disagreements, pieces
from hilum.reading.phrases import PHRASES
from hilum.report import Language, Report
from hilum.service import replies
from hilum.service.app import Service
from hilum.service.asked import Asked


class Talk:
    """One answer in OpenAI's shapes. ``language``: of the answer; None: that of the question."""

    def __init__(
        self,
        hall: Service,
        asked: Asked,
        study: str | None,
        report: Report | None,
        language: Language | None = None,
    ) -> None:
        self.hall, self.asked, self.study, self.report = hall, asked, study, report
        self.language = language
        self.said: list[str] = []
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
            self.said.append(piece)
            yield piece

    async def _all(self) -> AsyncIterator[str]:
        # OpenAI calls the system's turn the developer's as well
        turns = [
            Turn(role="system" if m.role == "developer" else m.role, text=m.text)
            for m in self.asked.messages
        ]
        if self.report is None:
            asked = next((t.text for t in reversed(turns) if t.role == "user"), "")
            for piece in pieces(PHRASES[self.language or language_of(asked)]["no_film"]):
                yield piece
        elif self.of_model:
            async for piece in self._of_model(turns):
                yield piece
        else:
            said = await anyio.to_thread.run_sync(answer, self.report, turns, self.language)
            for piece in pieces(said):
                yield piece

    @property
    def of_model(self) -> bool:
        """Whether a model writes the answer, rather than the rules."""
        if self.report is None or self.report.abstained:
            return False
        return self.hall.supervisor.chat == "model"

    async def disagrees(self) -> list[str]:
        """Findings of which a model's words, so far, say other than their probability does."""
        if self.report is None or not self.of_model:
            return []  # the rules answer from the probabilities
        said = "".join(self.said)
        return list(await anyio.to_thread.run_sync(disagreements, self.report, said))

    async def _of_model(self, turns: list[Turn]) -> AsyncIterator[str]:
        assert self.report is not None
        message = {
            "chat": self.id,
            "study": self.study,
            "report": self.report.model_dump(mode="json"),
            "turns": [turn.model_dump() for turn in turns],
            "sampling": self.asked.sampling(self.most),
            "language": self.language,
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

    async def whole(self, said: str) -> dict[str, Any]:
        """All of it at once."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": said, "refusal": None},
            "logprobs": None,
            "finish_reason": self._finish(),
        }
        return self._frame("chat.completion", [choice]) | {
            "usage": self._usage(),
            "hilum": self._about(await self.disagrees()),
        }

    async def events(self, first: str, words: AsyncIterator[str]) -> AsyncIterator[bytes]:
        """Piece by piece, as server-sent events; a failure on the way is an event too."""
        yield self._event(delta={"role": "assistant", "content": ""}, hilum=self._about())
        try:
            yield self._event(delta={"content": first})
            async for piece in words:
                yield self._event(delta={"content": piece})
            disagrees = {"disagrees": await self.disagrees()}
            yield self._event(delta={}, finish=self._finish(), hilum=disagrees)
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

    def _about(self, disagrees: list[str] | None = None) -> dict[str, Any] | None:
        """What a chat client does not show, and a page does."""
        if self.report is None:
            return None
        rated = {f.name: f.probability for f in self.report.findings if f.probability is not None}
        about = {} if disagrees is None else {"disagrees": disagrees}
        return about | {
            "study_id": self.study,
            "verdict": self.report.gate.verdict,
            "flags": self.report.flags,
            "probabilities": rated,
            "notice": self.report.notice,
        }
