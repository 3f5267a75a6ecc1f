"""A real HTTP server on the loopback, which answers as a test tells it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Reply = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


def say(text: str, finish: str = "stop") -> Reply:
    """A chat completion."""

    def reply(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
        send(handler, 200, json.dumps({"choices": [choice]}).encode())

    return reply


def status(code: int, **headers: str) -> Reply:
    """An error, with headers (an underscore is a hyphen)."""

    def reply(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        send(handler, code, b"{}", {k.replace("_", "-"): v for k, v in headers.items()})

    return reply


def raw(content: bytes, length: int | None = None) -> Reply:
    """These bytes with status 200; ``length`` promises more than there are."""

    def reply(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        send(handler, 200, content, length=length)

    return reply


def hang(seconds: float) -> Reply:
    """Nothing, for a while; then the connection is closed."""

    def reply(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return reply


def send(
    handler: BaseHTTPRequestHandler,
    code: int,
    content: bytes,
    headers: dict[str, str] | None = None,
    length: int | None = None,
) -> None:
    handler.send_response(code)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(length or len(content)))
    handler.end_headers()
    handler.wfile.write(content)
    if length:
        handler.close_connection = True


class Server:
    """Replies in the order given, then by ``otherwise``; keeps every request."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.otherwise: Reply = say("ok")
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.models: list[str] = ["m"]
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.requests.append(body)
                    server.headers.append(dict(self.headers))
                    reply = server.replies.pop(0) if server.replies else server.otherwise
                try:
                    reply(self, body)
                except OSError:  # the client did not wait
                    self.close_connection = True

            def do_GET(self) -> None:
                send(self, 200, json.dumps({"data": [{"id": m} for m in server.models]}).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of one test."""
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()
