"""uvicorn's HTTP protocol with what it lacks: time for headers, and a number of connections."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from hilum.codes import Code, HilumError
from hilum.service import replies

_CROWDED = b"\r\n".join(
    (
        b"HTTP/1.1 503 Service Unavailable",
        b"Retry-After: 5",
        b"Connection: close",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(crowded := replies.as_json(HilumError(Code.SERVER_BUSY))),
        b"",
        crowded,
    )
)


class Protocol(H11Protocol):
    """uvicorn's, which closes connections that take too long to say what they want."""

    header_seconds = 10.0
    most = 512
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the first header its time; one connection too many is told so."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.write(_CROWDED)
            transport.close()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Give each later header its time, from its first byte."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._watch()
        else:
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.header_seconds, self._too_slow)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()
