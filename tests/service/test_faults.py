"""What is lost when processes are killed, disks fill and clients misbehave: nothing.

Every test here starts real servers and workers.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.conftest import Server, until
from tests.service.fakes import HANG, KILL, RAISE, READ, SLEEP, film

Start = Callable[..., Server]
pytestmark = pytest.mark.slow


def ids(response: httpx.Response) -> list[str]:
    assert response.status_code in (200, 202), response.text
    return [study["id"] for study in response.json()["studies"]]


def reports(server: Server, names: list[str]) -> list[dict[str, Any]]:
    return [server.get(f"/v1/studies/{name}") for name in names]


def test_a_worker_killed_in_the_middle_costs_nothing(start: Start) -> None:
    server = start()
    worker = server.worker()
    names = ids(server.send(film(SLEEP, tenths=20, seed=1)))
    until(server.tried)  # it is at it
    os.kill(worker, signal.SIGKILL)
    server.ended(1)
    assert server.get(f"/v1/studies/{names[0]}")["report"]["text"]
    assert Counter(server.tried()) == {names[0]: 2}
    assert server.told("worker_died")[0]["cause"] == "SIGKILL"
    assert server.worker(2) != worker


def test_the_server_killed_in_the_middle_costs_nothing(start: Start) -> None:
    """Its worker finishes what it has in hand, and the next server does the rest, once each."""
    server = start(batch=2)
    server.worker()
    names = ids(server.send(*(film(SLEEP, tenths=8, seed=k) for k in range(5))))
    until(server.tried)
    server.kill()
    server.restart()
    server.ended(5)
    assert all(shown["report"] for shown in reports(server, names))
    assert Counter(server.tried()) == Counter(names)
    done = [e for e in server.get("/v1/audit?limit=1000") if e["action"] == "study_sent"]
    assert sorted(e["subject"] for e in done) == sorted(names)


def test_server_and_worker_killed_together(start: Start) -> None:
    server = start()
    worker = server.worker()
    names = ids(server.send(film(SLEEP, tenths=15, seed=1), film(READ, seed=2)))
    until(server.tried)
    server.kill()
    os.kill(worker, signal.SIGKILL)
    server.restart()
    server.ended(2)
    assert all(shown["state"] == "done" for shown in reports(server, names))


def test_a_film_that_kills_workers_is_set_aside_after_two_tries_and_spoils_no_other(
    start: Start,
) -> None:
    server = start()
    server.worker()
    poison, *good = ids(
        server.send(film(KILL, seed=1), film(READ, seed=2), film(READ, seed=3), film(READ, seed=4))
    )
    server.ended(4)
    shown = server.get(f"/v1/studies/{poison}")
    assert shown["state"] == "quarantined"
    assert shown["error"] == "quarantined"
    assert shown["report"] is None
    assert Counter(server.tried())[poison] == 2
    assert all(one["state"] == "done" for one in reports(server, good))
    assert len(server.told("worker_died")) == 2


def test_a_film_that_hangs_a_worker_is_set_aside_too(start: Start) -> None:
    server = start(job_seconds=8, lease_seconds=3)
    server.worker()
    (name,) = ids(server.send(film(HANG)))
    (row,) = server.ended(1)
    assert row["id"] == name
    assert row["state"] == "quarantined"
    assert Counter(server.tried())[name] == 2


def test_a_defect_fails_one_study_and_says_nothing_of_its_message(start: Start) -> None:
    server = start()
    bad, good = ids(server.send(film(RAISE, seed=1), film(READ, seed=2)))
    server.ended(2)
    shown = server.get(f"/v1/studies/{bad}")
    assert (shown["state"], shown["error"]) == ("failed", "internal_error")
    assert "PLANTED" not in str(shown) + "".join(server.lines)
    assert server.get(f"/v1/studies/{good}")["state"] == "done"


def test_what_was_set_aside_can_be_asked_for_again(start: Start) -> None:
    server = start()
    (name,) = ids(server.send(film(RAISE)))
    server.ended(1)
    answer = httpx.post(f"{server.url}/v1/studies/{name}/jobs", json={"language": "en"})
    assert (answer.status_code, answer.json()["known"]) == (202, False)
    until(lambda: Counter(server.tried())[name] == 2)


def test_sigterm_finishes_what_is_in_hand_and_keeps_the_rest(start: Start) -> None:
    server = start(batch=1)
    server.worker()
    names = ids(server.send(*(film(SLEEP, tenths=10, seed=k) for k in range(3))))
    until(server.tried)
    assert server.stop() == 0
    assert len(server.tried()) == 1
    server.restart()
    server.ended(3)
    assert Counter(server.tried()) == Counter(names)


def test_sigterm_under_load_loses_no_accepted_study(start: Start) -> None:
    server = start()
    server.worker()
    accepted: list[str] = []
    refused: list[int] = []

    def client(number: int) -> None:
        for k in range(1000):
            try:
                answer = server.send(film(SLEEP, tenths=1, seed=1000 * number + k))
            except httpx.HTTPError:
                return  # the server has gone
            if answer.status_code == 202:
                accepted.extend(ids(answer))
            else:
                refused.append(answer.status_code)
                return

    with ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(client, number) for number in range(6)]
        until(lambda: len(accepted) > 12)
        server.process.send_signal(signal.SIGTERM)
        for one in clients:
            one.result()
    assert server.process.wait(60) == 0
    assert set(refused) <= {503}
    server.restart()
    rows = server.ended(len(accepted))
    assert set(accepted) <= {row["id"] for row in rows if row["state"] == "done"}
    assert max(Counter(server.tried()).values()) == 1


def test_an_answer_that_is_waited_for_at_the_end_is_a_503_that_names_the_study(
    start: Start,
) -> None:
    server = start(batch=1)
    server.worker()
    server.send(film(SLEEP, tenths=20, seed=1))
    until(server.tried)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            httpx.post,
            f"{server.url}/analyze-fracture",
            files={"file": film(READ, seed=2)},
            timeout=60,
        )
        until(lambda: server.get("/v1/studies")["total"] == 2)
        server.process.send_signal(signal.SIGTERM)
        answer = waiting.result()
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "server_draining"
    assert int(answer.headers["retry-after"]) > 0
    assert server.process.wait(60) == 0


def test_overload_is_refused_politely_and_what_was_accepted_is_done(start: Start) -> None:
    server = start(limits={"queue": 5}, batch=4)
    server.worker()
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda k: server.send(film(SLEEP, tenths=3, seed=k)), range(40)))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {202, 503}
    for answer in answers:
        if answer.status_code == 503:
            assert answer.json()["error"]["code"] == "queue_full"
            assert int(answer.headers["retry-after"]) >= 1
    accepted = [name for a in answers if a.status_code == 202 for name in ids(a)]
    rows = server.ended(len(accepted))
    assert {row["id"] for row in rows} == set(accepted)  # nothing of a refused one is kept


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.system(f"mount -t tmpfs -o size=8m tmpfs {place} 2>/dev/null") != 0:
        pytest.skip("mounting a small file system needs root")
    yield place
    os.system(f"umount -l {place}")


@pytest.mark.parametrize("reserve", [0, 3 << 20])
def test_a_full_disk_is_507_and_recovers(start: Start, small_disk: Path, reserve: int) -> None:
    server = start(data=small_disk / "data", limits={"min_free_bytes": reserve})
    server.worker()
    (before,) = ids(server.send(film(seed=1)))
    server.ended(1)
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(1 << 14))
            file.flush()
    answer = server.send(film(seed=2))
    assert answer.status_code == 507, answer.text
    assert answer.json()["error"]["code"] == "storage_full"
    assert int(answer.headers["retry-after"]) > 0
    assert not list((small_disk / "data" / "incoming").iterdir())
    filler.unlink()
    (after,) = ids(server.send(film(seed=2)))
    server.ended(2)
    assert {r["id"] for r in server.get("/v1/studies")["studies"]} == {before, after}


def test_a_disk_that_fills_while_a_study_is_read_delays_it(start: Start, small_disk: Path) -> None:
    server = start(data=small_disk / "data")
    server.worker()
    (name,) = ids(server.send(film(SLEEP, tenths=10)))
    until(server.tried)
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(1 << 12))
            file.flush()
    time.sleep(2.5)
    filler.unlink()
    (row,) = server.ended(1)
    assert (row["id"], row["state"]) == (name, "done")
    assert Counter(server.tried())[name] == 1


# -- clients that misbehave ---------------------------------------------------------------------


def connect(server: Server) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    found = socket.create_connection((host, int(port)), timeout=30)
    return found


def test_slow_headers_are_cut_off_while_others_are_served(start: Start) -> None:
    server = start(limits={"header_seconds": 1.5})
    slow = [connect(server) for _ in range(20)]
    for one in slow:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
    assert server.get("/healthz") == {"status": "ok"}
    begun = time.monotonic()
    for one in slow:
        with suppress(ConnectionError):
            while one.recv(4096):
                pass
    assert time.monotonic() - begun < 20  # the limit is far below: a busy machine


def test_a_second_request_with_slow_headers_is_cut_off_too(start: Start) -> None:
    server = start(limits={"header_seconds": 1.5})
    one = connect(server)
    one.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert b"200" in one.recv(65536)
    one.sendall(b"GET /healthz HTTP/1.1\r\nHo")
    with suppress(ConnectionError):
        while one.recv(4096):
            pass


def test_one_connection_too_many_is_told_so(start: Start) -> None:
    server = start(limits={"connections": 4}, workers=0)
    held = [connect(server) for _ in range(4)]
    for one in held:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert one.recv(65536).startswith(b"HTTP/1.1 200")
    answer = connect(server).recv(65536)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"Retry-After: " in answer
    assert b"server_busy" in answer
    held[0].close()
    until(lambda: _answers(server))


def _answers(server: Server) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{server.url}/healthz", timeout=30).status_code == 200
    return False


def test_a_body_that_stalls_is_408(start: Start) -> None:
    server = start(limits={"idle_seconds": 1.0})
    one = connect(server)
    head = (
        "POST /v1/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    one.sendall(head.encode())
    assert one.recv(65536).startswith(b"HTTP/1.1 408")


def test_a_body_that_drips_is_408(start: Start) -> None:
    server = start(limits={"body_seconds": 2.0})
    one = connect(server)
    head = (
        "POST /v1/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    one.sendall(head.encode())
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.2):
            with suppress(OSError):
                one.sendall(b"x")

    threading.Thread(target=drip, daemon=True).start()
    assert one.recv(65536).startswith(b"HTTP/1.1 408")
    stop.set()


def test_a_client_that_goes_away_leaves_nothing(start: Start) -> None:
    server = start()
    one = connect(server)
    content = film()
    head = (
        f"POST /v1/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content) + 500}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        'Content-Disposition: form-data; name="files"; filename="f"\r\n\r\n'
    )
    one.sendall(head.encode() + content)
    incoming = server.settings.data / "incoming"
    until(lambda: list(incoming.iterdir()))
    one.close()
    until(lambda: not list(incoming.iterdir()))
    assert server.get("/v1/studies")["total"] == 0


def test_two_servers_share_a_database_and_do_each_study_once(start: Start) -> None:
    first = start(batch=2)
    second = start(batch=2)
    first.worker()
    second.worker()
    names = ids(first.send(*(film(SLEEP, tenths=2, seed=k) for k in range(12))))
    second.ended(12)
    assert Counter(first.tried()) == Counter(names)
