"""The one HTTP client: chat completions of any OpenAI-compatible server (vLLM, llama.cpp, ...).

Nothing is sent anywhere but to the URL that the caller names: redirects are not followed and
proxies of the environment are not used.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from hilum.codes import Code, HilumError

Message = dict[str, Any]
T = TypeVar("T")

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_NOT_ALLOWED = frozenset({401, 403, 404, 405})
_LARGEST = 4 << 20  # bytes of one answer; a long report has about 10,000


@dataclass(frozen=True)
class Answer:
    """What the server wrote; ``complete`` is False where it stopped at the length limit."""

    text: str
    complete: bool = True


@dataclass(frozen=True)
class Patience:
    """How long is waited, and how often asked again. Seconds.

    The pause doubles from ``pause`` to ``longest``, shortened at random by up to half so that
    clients do not come back together; a Retry-After of the server is kept up to ``longest``.
    """

    attempts: int = 5
    timeout: float = 120.0
    pause: float = 0.5
    longest: float = 30.0


class _LaterError(Exception):
    """A status after which it is worth asking again."""

    def __init__(self, status: int, asked: float | None) -> None:
        self.status, self.asked = status, asked
        super().__init__(status)


class Remote:
    """Chat completions at ``url``, whose path ends before ``/chat/completions``.

    May be used from several threads. ``key`` goes into the Authorization header and nowhere else.
    Raises ``option_invalid`` for what is no http(s) URL.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None = None,
        patience: Patience | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise HilumError(Code.OPTION_INVALID, "--endpoint", "an http:// or https:// URL")
        self.model = model
        self.patience = patience or Patience()
        self._sleep = sleep
        self._place = url.rstrip("/") + "/chat/completions"
        self.name = f"{urlsplit(url).hostname}:{urlsplit(url).port or ''}".rstrip(":")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(
            headers=headers,
            timeout=self.patience.timeout,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=64),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def complete(self, messages: Sequence[Message], max_tokens: int = 2048) -> Answer:
        """The answer to a conversation, at temperature 0.

        Asks again after 408, 409, 425, 429, 500 and 502 to 504, a broken connection, a timeout,
        and an answer that is cut off or no JSON. Raises ``remote_unreachable`` where the last
        attempt met one of the first kinds, ``remote_invalid`` where it met one of the last,
        ``remote_refused`` at once for any other status. No message holds what was sent or
        received.
        """
        body = {"messages": list(messages), "temperature": 0, "max_tokens": max_tokens}
        return self.ask(body, lambda content: _read(content, self.name))

    def ask(self, body: dict[str, Any], read: Callable[[bytes], T]) -> T:
        """What ``read`` makes of the server's answer to ``body``; asks again as ``complete`` does.

        ``read`` raises ``remote_invalid`` for what it cannot understand.
        """
        body = {"model": self.model, **body}

        def attempt() -> tuple[T, float | None]:
            status, content, asked = self._post(body)
            self._refuse(status, asked)
            return read(content), asked

        return self._patiently(attempt)

    def pieces(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a streamed answer (server-sent events); asked again until the first comes.

        Raises as ``complete`` does; ``remote_unreachable`` also for a stream that breaks off.
        """
        body = {"model": self.model, **body, "stream": True}

        def attempt() -> tuple[tuple[dict[str, Any] | None, Iterator[dict[str, Any]]], None]:
            events = self._events(body)
            return (next(events, None), events), None

        first, rest = self._patiently(attempt)
        if first is None:
            raise HilumError(Code.REMOTE_INVALID, self.name, "a stream without events")
        yield first
        try:
            yield from rest
        except httpx.HTTPError as error:
            raise HilumError(Code.REMOTE_UNREACHABLE, self.name, type(error).__name__) from error

    def _patiently(self, attempt: Callable[[], tuple[T, float | None]]) -> T:
        """The result of an attempt, or of a later one."""
        problem = HilumError(Code.REMOTE_UNREACHABLE, self.name)
        for number in range(self.patience.attempts):
            asked: float | None = None
            try:
                return attempt()[0]
            except _LaterError as later:
                asked = later.asked
                problem = HilumError(Code.REMOTE_UNREACHABLE, self.name, f"status {later.status}")
            except httpx.HTTPError as error:
                problem = HilumError(Code.REMOTE_UNREACHABLE, self.name, type(error).__name__)
            except HilumError as error:
                if error.code is not Code.REMOTE_INVALID:
                    raise
                problem = error
            if number + 1 < self.patience.attempts:
                self._sleep(self._pause(number, asked))
        raise problem

    def _refuse(self, status: int, asked: float | None) -> None:
        if status in _AGAIN:
            raise _LaterError(status, asked)
        if status != 200:
            raise HilumError(Code.REMOTE_REFUSED, self.name, f"status {status}")

    def _events(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        taken = 0
        with self._client.stream("POST", self._place, json=body) as response:
            self._refuse(response.status_code, _seconds(response.headers))
            ends = time.monotonic() + self.patience.timeout
            for line in response.iter_lines():
                taken += len(line)
                if taken > _LARGEST:
                    raise HilumError(Code.REMOTE_INVALID, self.name, "the answer is too long")
                if time.monotonic() > ends:
                    raise httpx.ReadTimeout("the answer drips")
                data = line.removeprefix("data:").strip()
                if not line.startswith("data:") or data == "[DONE]":
                    continue
                try:
                    event = json.loads(data)
                except (ValueError, RecursionError):
                    event = None
                if not isinstance(event, dict):
                    raise HilumError(Code.REMOTE_INVALID, self.name, "no event")
                yield event

    def _post(self, body: dict[str, Any]) -> tuple[int, bytes, float | None]:
        """Status, content and Retry-After. ``timeout`` bounds the whole answer, not each read."""
        ends = time.monotonic() + self.patience.timeout
        content = bytearray()
        with self._client.stream("POST", self._place, json=body) as response:
            for piece in response.iter_bytes():
                content += piece
                if time.monotonic() > ends:
                    raise httpx.ReadTimeout("the answer drips")
                if len(content) > _LARGEST:
                    raise HilumError(Code.REMOTE_INVALID, self.name, "the answer is too long")
            return response.status_code, bytes(content), _seconds(response.headers)

    def _pause(self, attempt: int, asked: float | None) -> float:
        if asked is not None:
            return min(asked, self.patience.longest)
        longest = min(self.patience.pause * 2**attempt, self.patience.longest)
        return longest * random.uniform(0.5, 1)


def is_fatal(error: HilumError) -> bool:
    """A refusal that every other request would meet as well: a wrong key, path or model."""
    return error.code is Code.REMOTE_REFUSED and any(
        error.detail == f"status {status}" for status in _NOT_ALLOWED
    )


def _seconds(headers: httpx.Headers) -> float | None:
    """Retry-After (RFC 9110 10.2.3) in seconds from now; None for none or nonsense."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _read(content: bytes, name: str) -> Answer:
    try:
        choice = json.loads(content)["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise HilumError(Code.REMOTE_INVALID, name, "no chat completion") from None
    if not isinstance(text, str):
        raise HilumError(Code.REMOTE_INVALID, name, "a chat completion without text")
    return Answer(text.strip(), choice.get("finish_reason") != "length")
