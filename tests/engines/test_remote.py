from __future__ import annotations

import json
import socket

import pytest

from hilum.codes import Code, HilumError
from hilum.engines.remote import Answer, Patience, Remote
from tests.server import Reply, Server, hang, raw, say, status

QUICK = Patience(attempts=3, timeout=0.3, pause=0.0, longest=2.0)
ASK = [{"role": "user", "content": "secret report"}]


def client(url: str, **more: object) -> Remote:
    return Remote(url, "m", **({"patience": QUICK} | more))  # type: ignore[arg-type]


def test_a_conversation_is_answered_at_temperature_zero(server: Server) -> None:
    server.otherwise = say("  Lungs are clear. ")
    with client(server.url + "/", key="k1") as remote:
        assert remote.complete(ASK, 99) == Answer("Lungs are clear.")
    assert server.requests == [{"model": "m", "messages": ASK, "temperature": 0, "max_tokens": 99}]
    assert server.headers[0]["Authorization"] == "Bearer k1"


def test_an_answer_at_the_length_limit_is_not_complete(server: Server) -> None:
    server.otherwise = say("Lungs are", finish="length")
    with client(server.url) as remote:
        assert remote.complete(ASK) == Answer("Lungs are", complete=False)


@pytest.mark.parametrize(
    "fault",
    [
        status(429),
        status(500),
        status(502),
        status(503),
        hang(0.6),
        raw(b'{"choices": [{"mess', length=4000),
        raw(b'{"choices": [{"mess'),
        raw(b"<html>Bad gateway</html>"),
        raw(b""),
        raw(b"[" * 100_000),
        raw(b'{"choices": []}'),
        raw(b'{"choices": [{"message": {"content": null}}]}'),
        raw(b'{"choices": [{"message": {"content": [1]}}]}'),
        raw(b"null"),
    ],
)
def test_a_fault_that_passes_is_asked_again(server: Server, fault: Reply) -> None:
    server.replies = [fault, fault]
    with client(server.url) as remote:
        assert remote.complete(ASK).text == "ok"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (status(500), Code.REMOTE_UNREACHABLE),
        (status(429), Code.REMOTE_UNREACHABLE),
        (hang(0.6), Code.REMOTE_UNREACHABLE),
        (raw(b"x", length=9), Code.REMOTE_UNREACHABLE),
        (raw(b"<html>"), Code.REMOTE_INVALID),
        (raw(b"x" * (5 << 20)), Code.REMOTE_INVALID),
    ],
)
def test_a_fault_that_stays_has_a_code_and_tells_no_text(
    server: Server, fault: Reply, code: Code
) -> None:
    server.otherwise = fault
    with client(server.url, key="k1") as remote, pytest.raises(HilumError) as caught:
        remote.complete(ASK)
    assert caught.value.code is code
    assert len(server.requests) == QUICK.attempts
    assert "secret" not in caught.value.line()
    assert "k1" not in caught.value.line()


@pytest.mark.parametrize("number", [400, 401, 403, 404, 422, 301, 302, 307])
def test_a_refusal_and_a_redirect_are_final(server: Server, number: int) -> None:
    server.otherwise = status(number, Location="http://127.0.0.1:9/v1")
    with client(server.url) as remote, pytest.raises(HilumError) as caught:
        remote.complete(ASK)
    assert caught.value.code is Code.REMOTE_REFUSED
    assert caught.value.detail == f"status {number}"
    assert len(server.requests) == 1


def test_nobody_at_home_is_unreachable() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        with client(url) as remote, pytest.raises(HilumError) as caught:
            remote.complete(ASK)
    assert caught.value.code is Code.REMOTE_UNREACHABLE


def test_pauses_double_and_keep_to_retry_after(server: Server) -> None:
    pauses: list[float] = []
    server.replies = [
        status(429, Retry_After="1.5"),
        status(429, Retry_After="3600"),
        status(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
        status(503, Retry_After="soon"),
        status(500),
        status(500),
    ]
    patience = Patience(attempts=7, timeout=5, pause=0.1, longest=2.0)
    with client(server.url, patience=patience, sleep=pauses.append) as remote:
        assert remote.complete(ASK).text == "ok"
    assert pauses[:3] == [1.5, 2.0, 0.0]
    for pause, longest in zip(pauses[3:], (0.8, 1.6, 2.0), strict=True):
        assert longest / 2 <= pause <= longest


def test_the_environments_proxy_is_not_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with client(server.url) as remote:
        assert remote.complete(ASK).text == "ok"


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "file:///etc/passwd", "ftp://a/v1", "http://"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(HilumError) as caught:
        Remote(url, "m")
    assert caught.value.code is Code.OPTION_INVALID


def test_a_slow_drip_ends_at_the_timeout(server: Server) -> None:
    import time

    def drip(handler: object, body: object) -> None:
        handler.send_response(200)  # type: ignore[attr-defined]
        handler.send_header("Content-Length", "1000")  # type: ignore[attr-defined]
        handler.end_headers()  # type: ignore[attr-defined]
        for _ in range(100):
            handler.wfile.write(b" ")  # type: ignore[attr-defined]
            time.sleep(0.05)

    server.otherwise = drip
    patience = Patience(attempts=1, timeout=0.2)
    with client(server.url, patience=patience) as remote, pytest.raises(HilumError) as caught:
        remote.complete(ASK)
    assert caught.value.detail == "ReadTimeout"


def test_the_request_is_json(server: Server) -> None:
    with client(server.url) as remote:
        remote.complete([{"role": "user", "content": '引号 " \u2028'}])
    assert json.loads(json.dumps(server.requests[0]))["messages"][0]["content"] == '引号 " \u2028'
