"""What stands before every request: names, keys, rates, sizes and times, and what is logged.

uvicorn has no limit on a body and no time-out for headers; both are here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio.to_thread

from hilum.codes import Code, HilumError
from hilum.service import journal, replies
from hilum.service.auth import Caller
from hilum.service.settings import LOOPBACK

if TYPE_CHECKING:
    from hilum.service.app import Service

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PAGE = "/page/"
"""Where the reading page's own files are."""

OPEN = frozenset({"/", "/healthz", "/readyz"})
"""Paths that need no key, with those under ``PAGE``: they tell nothing of a study."""

UNBOUNDED = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that a busy or closing server still answers."""

_CSP = (
    b"default-src 'self'",
    b"img-src 'self' blob: data:",
    b"object-src 'none'",
    b"base-uri 'none'",
    b"form-action 'self'",
    b"frame-ancestors 'none'",
)
SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"content-security-policy", b"; ".join(_CSP)),
)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_SMALL_BODY = 64 << 10
"""Most bytes of a body on a path that takes no films."""


class Guard:
    """The outermost layer of the application."""

    def __init__(self, app: App, service: Service) -> None:
        self.app, self.service = app, service
        self.in_flight = 0
        names = {service.settings.host, *service.settings.names}
        self._names = {name.lower() for name in names | (LOOPBACK if service.local else set())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = Visit(self.service, scope, receive, send)
        self.in_flight += 1
        try:
            self._check(scope, visit)
            scope.setdefault("state", {})["caller"] = await self._caller(scope)
            visit.caller = scope["state"]["caller"]
            await self.app(scope, visit.receive, visit.send)
        except HilumError as error:
            await visit.answer(error)
        except Exception as error:  # said already: uvicorn would print what it says
            journal.log("defect", logging.ERROR, error=journal.place_of(error))
            await visit.answer(HilumError(Code.INTERNAL_ERROR, "", journal.place_of(error)))
        finally:
            self.in_flight -= 1
            visit.log()

    def _check(self, scope: Scope, visit: Visit) -> None:
        limits = self.service.settings.limits
        headers = visit.headers
        self._check_names(scope["method"], headers)
        if scope["path"] not in UNBOUNDED:
            if self.in_flight > limits.in_flight:
                raise HilumError(Code.SERVER_BUSY, "", f"{limits.in_flight} requests at once")
            if self.service.draining and scope["method"] not in _SAFE:
                raise HilumError(Code.SERVER_DRAINING)
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > visit.most:
            raise HilumError(Code.BODY_TOO_LARGE, "", f"at most {visit.most} bytes")

    def _check_names(self, method: str, headers: dict[str, str]) -> None:
        """A page of another site must not reach a server that trusts its own machine."""
        host = _host(headers.get("host", ""))
        if self.service.local and host not in self._names:
            raise HilumError(Code.HOST_REFUSED, "", "hilum serve --name adds one")
        origin = headers.get("origin")
        if method in _SAFE or origin is None:
            return
        if origin.partition("://")[2].lower() != headers.get("host", "").lower():
            raise HilumError(Code.ORIGIN_REFUSED)

    async def _caller(self, scope: Scope) -> Caller | None:
        if scope["path"] in OPEN or scope["path"].startswith(PAGE):
            return None
        header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        door = self.service.doorkeeper
        caller = door.remembered(header)
        if caller is None:
            caller = await anyio.to_thread.run_sync(door.admit, header)
        self.service.rates.take(caller.id)
        return caller


class Visit:
    """One request: its body counted and timed, its answer given the headers, and a log line."""

    def __init__(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        self._service, self._scope = service, scope
        self._receive, self._send = receive, send
        self.headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        self.id, self.begun = token_hex(8), time.monotonic()
        self.caller: Caller | None = None
        self.status = 0
        limits = service.settings.limits
        films = {"/v1/studies": limits.body_bytes, "/analyze-fracture": limits.body_bytes}
        self._to_disk = scope["path"] in films
        self._held = 0
        self.most = (films | {"/v1/chat/completions": limits.chat_bytes}).get(
            scope["path"], _SMALL_BODY
        )
        self._got, self._whole = 0, False
        self._problem: HilumError | None = None
        self._replaced = False

    async def receive(self) -> Message:
        """The next piece of the body. Raises ``body_too_large`` or ``request_too_slow``."""
        if self._whole:
            return await self._receive()
        limits = self._service.settings.limits
        left = self.begun + limits.body_seconds - time.monotonic()
        try:
            message = await asyncio.wait_for(
                self._receive(), max(0.0, min(left, limits.idle_seconds))
            )
        except TimeoutError:
            raise self._found(HilumError(Code.REQUEST_TOO_SLOW)) from None
        if message["type"] == "http.request":
            self._got += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._got > self.most:
                detail = f"at most {self.most} bytes"
                raise self._found(HilumError(Code.BODY_TOO_LARGE, "", detail))
            if not self._to_disk:
                self._hold(len(message.get("body", b"")))
        return message

    def _hold(self, count: int) -> None:
        self._held += count
        self._service.buffered += count
        limit = self._service.settings.limits.buffered_bytes
        if self._service.buffered > limit:
            detail = f"{limit} bytes of requests are held"
            raise self._found(HilumError(Code.SERVER_BUSY, "", detail))

    def _found(self, problem: HilumError) -> HilumError:
        self._problem = problem
        return problem

    async def send(self, message: Message) -> None:
        """Pass the answer on; a framework's own words for a body cut off are replaced."""
        if message["type"] == "http.response.start":
            if self._problem is not None:
                self._replaced = True
                await self.answer(self._problem)
                return
            self.status = message["status"]
            known = {name for name, _ in message["headers"]}
            added = [(k, v) for k, v in SECURITY if k not in known]
            headers = [*message["headers"], *added, (b"x-request-id", self.id.encode())]
            message = {**message, "headers": headers}
        elif self._replaced:
            return
        await self._send(message)

    async def answer(self, error: HilumError) -> None:
        """Answer with an error, where nothing has been answered yet."""
        if self.status:
            return
        self.status = replies.status_of(error)
        content = replies.as_json(error)
        more = replies.headers(error, self._service.retry_after(error.code))
        if not self._whole and self._scope["method"] not in _SAFE:
            more["Connection"] = "close"  # the rest of the body is not wanted
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            *((k.lower().encode(), v.encode()) for k, v in more.items()),
            *SECURITY,
            (b"x-request-id", self.id.encode()),
        ]
        with suppress(OSError):
            await self._send(
                {"type": "http.response.start", "status": self.status, "headers": headers}
            )
            await self._send({"type": "http.response.body", "body": content})

    def log(self) -> None:
        """One line, with the route's pattern and never the path; what was held is let go."""
        self._service.buffered -= self._held
        seconds = time.monotonic() - self.begun
        route = getattr(self._scope.get("route"), "path", "-")
        method = self._scope["method"] if self._scope["method"] in _METHODS else "-"
        self._service.metrics.request(method, route, self.status, seconds)
        if route not in UNBOUNDED:
            journal.log(
                "request",
                id=self.id,
                method=method,
                route=route,
                status=self.status,
                ms=round(seconds * 1000, 1),
                who=self.caller.id if self.caller else None,
            )


_METHODS = _SAFE | {"POST", "PUT", "PATCH", "DELETE"}


def _host(header: str) -> str:
    """The name in a Host header, without port."""
    with suppress(ValueError):
        return (urlsplit(f"//{header}").hostname or "").lower()
    return ""


class Rates:
    """Requests a minute of each caller: a bucket that fills evenly and holds ten seconds' worth."""

    def __init__(self, per_minute: int) -> None:
        self._per_second = per_minute / 60
        self._most = max(10.0, self._per_second * 10)
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> None:
        """Count a request. Raises ``rate_limited``."""
        now = time.monotonic()
        left, at = self._left.get(caller, (self._most, now))
        left = min(self._most, left + (now - at) * self._per_second)
        if left < 1:
            self._left[caller] = (left, now)
            raise HilumError(Code.RATE_LIMITED, "", f"{self._per_second * 60:.0f} a minute")
        self._left[caller] = (left - 1, now)
