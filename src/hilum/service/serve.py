"""The server process: uvicorn with this service's limits, and a graceful end."""

from __future__ import annotations

import os
import signal
import socket
from types import FrameType

import uvicorn

from hilum.codes import Code, HilumError
from hilum.service import auth, journal
from hilum.service.app import Service, create
from hilum.service.protocol import Protocol
from hilum.service.settings import Settings


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C: then nothing new is taken, and what is in hand is finished.

    Raises ``keys_needed``, ``address_unavailable``, ``reader_not_found``, or what the database
    and the folder are refused for.
    """
    os.umask(0o077)
    journal.set_up()
    app, service = create(settings)
    if not settings.local and not auth.any_in_force(service.db):
        hint = "hilum keys add NAME makes one, or leave --host away"
        raise HilumError(Code.KEYS_NEEDED, settings.host, hint)
    listening = _listen(settings)
    limits = settings.limits
    own = {"header_seconds": limits.header_seconds, "most": limits.connections}
    protocol = type("Protocol", (Protocol,), own)
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
        h11_max_incomplete_event_size=64 << 10,
    )
    host, port = listening.getsockname()[:2]
    journal.log("listening", host=host, port=port, keys="none" if _open(service) else "needed")
    server = _Server(config, service)
    service.give_up = server.leave
    server.run([listening])
    if service.failed is not None:
        raise HilumError(service.failed.code, settings.reader, service.failed.detail)


class _Server(uvicorn.Server):
    """uvicorn's, which tells the service first that it is to end."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, a second Ctrl-C leaves at once; neither is raised again."""
        journal.log("draining", signal=signal.Signals(sig).name)
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        self._service.drain()

    def leave(self) -> None:
        """End as if told to."""
        self.should_exit = True


def _open(service: Service) -> bool:
    return service.local and not auth.any_ever(service.db)


def _listen(settings: Settings) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)  # who comes while the workers start is answered, not refused
    except OSError as error:
        place = f"{settings.host}:{settings.port}"
        reason = os.strerror(error.errno or 0).lower() if error.errno else type(error).__name__
        raise HilumError(Code.ADDRESS_UNAVAILABLE, place, reason) from None
    return listening
