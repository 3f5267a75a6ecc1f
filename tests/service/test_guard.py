"""What stands before every request: keys, scopes, names, sizes, rates, headers."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from hilum.codes import Code, HilumError
from hilum.service import auth, serve
from hilum.service.auth import Scope
from hilum.service.guard import Rates
from hilum.service.settings import Settings
from hilum.service.store import keys
from tests.service.conftest import Desk
from tests.service.fakes import film

OpenDesk = Callable[..., Desk]
CUT = b"--x\r\nContent-Disposition: form-data; name=files\r\n\r\ncut"
ALL = (
    "x-content-type-options x-frame-options referrer-policy cache-control"
    " content-security-policy x-request-id cross-origin-resource-policy"
).split()


def code(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


def key(desk: Desk, *scopes: Scope, days: float | None = None) -> dict[str, str]:
    _, made = auth.create(desk.service.db, "test", scopes, days)
    return {"Authorization": f"Bearer {made}"}


@pytest.fixture
def locked(open_desk: OpenDesk) -> Desk:
    """A service that has a key already: nobody comes in without one."""
    desk = open_desk()
    key(desk, Scope.READ)
    return desk


# -- keys ---------------------------------------------------------------------------------------


def test_without_any_key_this_machine_may_do_all(desk: Desk) -> None:
    assert desk.http.get("/v1/studies").status_code == 200
    assert desk.http.get("/v1/audit").status_code == 200


def test_from_the_first_key_on_every_request_needs_one(locked: Desk) -> None:
    for method, path in (
        ("GET", "/v1/studies"),
        ("POST", "/v1/studies"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/nothing"),
    ):
        answer = locked.http.request(method, path)
        assert (answer.status_code, code(answer)) == (401, "key_refused"), path
        assert answer.headers["www-authenticate"] == "Bearer"
    assert locked.http.get("/healthz").status_code == 200
    assert locked.http.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer hilum_",
        "Bearer hilum_000000000000_" + "a" * 43,
        "Basic aGlsdW0=",
        "hilum",
        "Bearer " + "x" * 10_000,
        "Bearer hilum_é",
    ],
)
def test_a_wrong_key_is_401(locked: Desk, header: str) -> None:
    answer = locked.http.get("/v1/studies", headers={"Authorization": header.encode()})
    assert (answer.status_code, code(answer)) == (401, "key_refused")


@pytest.mark.parametrize(
    ("scope", "reads", "writes", "administers"),
    [
        (Scope.READ, 200, 403, 403),
        (Scope.WRITE, 200, 202, 403),
        (Scope.ADMIN, 200, 202, 200),
    ],
)
def test_scopes(locked: Desk, scope: Scope, reads: int, writes: int, administers: int) -> None:
    headers = key(locked, scope)
    send = {"files": [("files", ("x", film()))], "headers": headers}
    assert locked.http.get("/v1/studies", headers=headers).status_code == reads
    assert locked.http.post("/v1/studies", **send).status_code == writes
    assert locked.http.get("/v1/audit", headers=headers).status_code == administers
    gone = locked.http.delete(f"/v1/studies/{'0' * 16}", headers=headers)
    assert code(gone) == ("study_unknown" if administers == 200 else "scope_missing")


def test_an_expired_and_a_revoked_key_are_refused(
    locked: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REMEMBERED_SECONDS", -1.0)
    short, long = key(locked, Scope.READ, days=1), key(locked, Scope.READ)
    for headers in (short, long):
        assert locked.http.get("/v1/studies", headers=headers).status_code == 200
    with locked.service.db.write() as connection:
        connection.execute(
            update(keys).where(keys.c.expires.is_not(None)).values(expires=time.time() - 1)
        )
    assert locked.http.get("/v1/studies", headers=short).status_code == 401
    auth.revoke(locked.service.db, long["Authorization"].split("_")[1])
    assert locked.http.get("/v1/studies", headers=long).status_code == 401


def test_when_the_last_key_is_revoked_nobody_comes_in(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "REMEMBERED_SECONDS", -1.0)
    headers = key(desk, Scope.READ)
    auth.revoke(desk.service.db, headers["Authorization"].split("_")[1])
    assert desk.http.get("/v1/studies").status_code == 401


def test_the_database_keeps_no_key(locked: Desk) -> None:
    secret = key(locked, Scope.READ)["Authorization"].split("_", 2)[2]
    with locked.service.db.read() as connection:
        kept = str(connection.execute(select(keys)).all())
    assert secret not in kept
    for file in locked.service.data.glob("hilum.db*"):
        assert secret.encode() not in file.read_bytes()


@pytest.mark.parametrize("name", ["", "a b", "DOE^JANE", "x" * 65, "-x", "张三"])
def test_a_keys_name_is_a_plain_word(desk: Desk, name: str) -> None:
    with pytest.raises(HilumError) as error:
        auth.create(desk.service.db, name, [Scope.READ], None)
    assert error.value.code is Code.OPTION_INVALID


def test_another_address_needs_a_key(settings: Settings) -> None:
    wide = settings.model_copy(update={"host": "0.0.0.0"})
    with pytest.raises(HilumError) as error:
        serve.serve(wide)
    assert error.value.code is Code.KEYS_NEEDED


def test_a_service_on_another_address_is_open_to_nobody(open_desk: OpenDesk) -> None:
    desk = open_desk(host="0.0.0.0")
    assert desk.http.get("/v1/studies").status_code == 401


# -- names and origins --------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "", "[", "a b"])
def test_another_name_is_refused(desk: Desk, host: str) -> None:
    answer = desk.http.get("/v1/studies", headers={"Host": host})
    assert (answer.status_code, code(answer)) == (421, "host_refused")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:8000", "LOCALHOST:1", "pacs"])
def test_its_own_names_are_answered(open_desk: OpenDesk, host: str) -> None:
    desk = open_desk(names=("pacs",))
    assert desk.http.get("/v1/studies", headers={"Host": host}).status_code == 200


def test_a_page_of_another_site_can_change_nothing(desk: Desk) -> None:
    send = {"files": [("files", ("x", film()))]}
    for origin in ("https://evil.example", "null", "", "http://[", "http://127.0.0.1:1"):
        answer = desk.http.post("/v1/studies", headers={"Origin": origin}, **send)
        assert (answer.status_code, code(answer)) == (403, "origin_refused")
    own = {"Origin": "http://127.0.0.1"}
    assert desk.http.post("/v1/studies", headers=own, **send).status_code == 202


# -- sizes --------------------------------------------------------------------------------------


def test_a_large_body_is_refused_by_its_length_alone(open_desk: OpenDesk) -> None:
    desk = open_desk(limits={"body_bytes": 20_000})
    answer = desk.send(bytes(30_000))
    assert (answer.status_code, code(answer)) == (413, "body_too_large")
    assert desk.send(film()).status_code == 202


def test_a_body_without_length_is_counted(open_desk: OpenDesk) -> None:
    desk = open_desk(limits={"body_bytes": 20_000})

    def body() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="f"\r\n\r\n'
        for _ in range(100):
            yield bytes(1000)

    answer = desk.http.post(
        "/v1/studies",
        content=body(),
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert (answer.status_code, code(answer)) == (413, "body_too_large")
    assert not list((desk.service.data / "incoming").iterdir())


def test_a_large_body_where_no_film_is_taken(desk: Desk) -> None:
    name = desk.id(film())
    body = {"language": "en", "x": "y" * 100_000}
    answer = desk.http.post(f"/v1/studies/{name}/jobs", json=body)
    assert (answer.status_code, code(answer)) == (413, "body_too_large")


def test_ten_thousand_parts_are_refused(desk: Desk) -> None:
    answer = desk.send(*([b"x"] * 10_000))
    assert (answer.status_code, code(answer)) == (413, "too_many_parts")
    assert not list((desk.service.data / "incoming").iterdir())


def test_a_long_text_field_is_refused(desk: Desk) -> None:
    answer = desk.send(film(), context=" " * 100_000)
    assert (answer.status_code, code(answer)) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (b"nonsense", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\nno disposition\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (CUT, "multipart/form-data; boundary=x"),
        (b"{}", "application/json"),
        (b"{}", ""),
        (b"--x--", "multipart/form-data"),
        (b"--x--", "multipart/form-data; boundary=" + "x" * 5000),
    ],
)
def test_what_is_no_form_is_400(desk: Desk, content: bytes, kind: str) -> None:
    answer = desk.http.post("/v1/studies", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 400, answer.text
    assert code(answer) in ("request_invalid", "no_files")
    assert not list((desk.service.data / "incoming").iterdir())


@pytest.mark.parametrize(
    "fields",
    [
        {"priority": "PLANTED"},
        {"language": "PLANTED"},
        {"together": "PLANTED"},
        {"PLANTED": "x"},
        {"context": "PLANTED"},
        {"context": '{"PLANTED": 1}'},
        {"context": '{"indication": "PLANTED"}'},
        {"context": '{"age": "PLANTED"}'},
        {"context": '{"age": 131}'},
        {"context": '{"priors": ["PLANTED"]}'},
        {"context": "[" * 50_000},
    ],
)
def test_a_field_that_does_not_fit_is_400_and_is_not_quoted(
    desk: Desk, fields: dict[str, str]
) -> None:
    answer = desk.send(film(), **fields)
    assert (answer.status_code, code(answer)) == (400, "request_invalid")
    assert "PLANTED" not in answer.text
    assert not list((desk.service.data / "incoming").iterdir())


def test_a_field_that_comes_twice_is_400(desk: Desk) -> None:
    files = [("files", ("x", film())), ("priority", (None, "stat")), ("priority", (None, "stat"))]
    assert desk.http.post("/v1/studies", files=files).status_code == 400


# -- how much at once ---------------------------------------------------------------------------


def test_a_full_queue_is_503_and_keeps_nothing(open_desk: OpenDesk) -> None:
    desk = open_desk(limits={"queue": 2})
    desk.id(film(seed=1)), desk.id(film(seed=2))
    answer = desk.send(film(seed=3))
    assert (answer.status_code, code(answer)) == (503, "queue_full")
    assert int(answer.headers["retry-after"]) >= 1
    assert desk.http.get("/v1/studies").json()["total"] == 2
    assert len([p for p in (desk.service.data / "films").rglob("*") if p.is_file()]) == 2
    assert desk.send(film(seed=1)).status_code == 200  # what is kept already takes no room
    desk.work()
    assert desk.send(film(seed=3)).status_code == 202


def test_too_many_requests_of_one_key_are_429(open_desk: OpenDesk) -> None:
    desk = open_desk(limits={"requests_per_minute": 60})
    one, other = key(desk, Scope.READ), key(desk, Scope.READ)
    answers = [desk.http.get("/v1/studies", headers=one) for _ in range(12)]
    assert [a.status_code for a in answers[:10]] == [200] * 10
    assert (answers[-1].status_code, code(answers[-1])) == (429, "rate_limited")
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert desk.http.get("/v1/studies", headers=other).status_code == 200
    assert desk.http.get("/healthz").status_code == 200


def test_a_bucket_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rates = Rates(60)
    for _ in range(10):
        rates.take("a")
    with pytest.raises(HilumError):
        rates.take("a")
    now[0] += 1.0
    rates.take("a")
    with pytest.raises(HilumError):
        rates.take("a")


def test_too_many_requests_at_once_are_503(open_desk: OpenDesk) -> None:
    desk = open_desk(limits={"in_flight": 0})
    answer = desk.http.get("/v1/studies")
    assert (answer.status_code, code(answer)) == (503, "server_busy")
    assert desk.http.get("/healthz").status_code == 200


def test_too_many_that_wait_are_503(open_desk: OpenDesk) -> None:
    desk = open_desk(limits={"waiting": 0})
    answer = desk.http.post("/analyze-fracture", files={"file": ("x", film())})
    assert (answer.status_code, code(answer)) == (503, "server_busy")


def test_a_server_that_drains_takes_nothing_new_and_still_shows(desk: Desk) -> None:
    name = desk.id(film())
    desk.work()
    desk.service.drain()
    answer = desk.send(film(seed=2))
    assert (answer.status_code, code(answer)) == (503, "server_draining")
    assert desk.http.get(f"/v1/studies/{name}").status_code == 200
    assert desk.http.get("/readyz").json()["taking"] is False
    assert desk.http.get("/readyz").status_code == 503


# -- answers ------------------------------------------------------------------------------------


def test_every_answer_has_the_headers_and_none_names_the_server(desk: Desk) -> None:
    name = desk.id(film())
    for answer in (
        desk.http.get("/healthz"),
        desk.http.get("/nothing"),
        desk.http.put("/v1/studies"),
        desk.http.get("/v1/studies"),
        desk.http.get("/v1/studies", headers={"Host": "evil.example"}),
        desk.http.get(f"/v1/studies/{name}/pixels"),
        desk.send(b"none"),
    ):
        assert all(header in answer.headers for header in ALL)
        assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/PLANTED", 404),
        ("GET", "/docs", 404),
        ("GET", "/redoc", 404),
        ("PUT", "/v1/studies", 405),
        ("TRACE", "/v1/studies", 405),
        ("PLANTED", "/v1/studies", 405),
        ("GET", "/v1/studies/" + "0" * 16 + "/../../../etc/passwd", 404),
    ],
)
def test_a_path_that_is_not_there(desk: Desk, method: str, path: str, status: int) -> None:
    answer = desk.http.request(method, path)
    assert answer.status_code == status
    assert "PLANTED" not in answer.text
    assert set(answer.json()["error"]) >= {"code", "message", "message_zh", "type", "param"}


def test_a_defect_is_500_without_its_words(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from hilum.service import studies

    def broken(*_: Any) -> Any:
        raise RuntimeError("PLANTED words")

    monkeypatch.setattr(studies, "worklist", broken)
    answer = desk.http.get("/v1/studies")
    assert (answer.status_code, code(answer)) == (500, "internal_error")
    assert "PLANTED" not in answer.text
    assert "PLANTED" not in "".join(capfd.readouterr())


def test_a_log_line_that_cannot_be_written_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from hilum.service import journal

    closed = io.StringIO()
    closed.close()
    journal.set_up()
    try:
        raise RuntimeError("PLANTED words")
    except RuntimeError:
        with monkeypatch.context() as patch:
            patch.setattr("sys.stderr", closed)
            journal.log("defect")
    journal.log("after")
    shown = "".join(capfd.readouterr())
    assert "PLANTED" not in shown
    assert "Logging error" not in shown
    assert '"after"' in shown


def test_metrics_count_and_name_routes_only(desk: Desk) -> None:
    name = desk.id(film())
    desk.http.get(f"/v1/studies/{name}")
    desk.http.get("/PLANTED")
    page = desk.http.get("/metrics").text
    assert 'hilum_jobs{state="queued"} 1.0' in page
    assert 'route="/v1/studies/{study}"' in page
    assert name not in page
    assert "PLANTED" not in page


def test_a_database_that_goes_away_is_503(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise HilumError(Code.DATABASE_UNREACHABLE)

    desk.http.get("/v1/studies")
    monkeypatch.setattr(desk.service.db, "read", away)
    answer = desk.http.get("/v1/studies")
    assert (answer.status_code, code(answer)) == (503, "database_unreachable")
    assert desk.http.get("/readyz").json()["database"] is False
    assert desk.http.get("/healthz").status_code == 200


def test_the_audit_log_tells_who_did_what(locked: Desk) -> None:
    writer, admin = key(locked, Scope.WRITE), key(locked, Scope.ADMIN)
    ids = {h["Authorization"].split("_")[1]: n for n, h in (("w", writer), ("a", admin))}
    sent = locked.http.post("/v1/studies", files=[("files", ("x", film()))], headers=writer)
    name = sent.json()["studies"][0]["id"]
    locked.work()
    locked.http.get(f"/v1/studies/{name}", headers=writer)
    locked.http.get(f"/v1/studies/{name}/pixels", headers=writer)
    locked.http.delete(f"/v1/studies/{name}", headers=admin)
    log = locked.http.get("/v1/audit", headers=admin).json()
    told = [(ids.get(e["who"]), e["action"]) for e in log if e["subject"] == name]
    assert told == [
        ("w", "study_sent"),
        ("w", "report_shown"),
        ("w", "pixels_shown"),
        ("a", "study_deleted"),
    ]
    after = locked.http.get("/v1/audit", params={"after": log[-1]["id"]}, headers=admin)
    assert after.json() == []


def test_the_clients_of_a_real_server_see_no_server_name(start: Any) -> None:
    server = start(workers=0)
    answer = httpx.get(f"{server.url}/healthz")
    assert "server" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
