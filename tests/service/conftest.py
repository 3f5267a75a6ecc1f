"""A service within the test, and real ones in processes of their own."""

from __future__ import annotations

import json
import logging
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from hilum.codes import HilumError
from hilum.service import intake, jobs, migrate, studies
from hilum.service.app import create
from hilum.service.settings import Limits, Settings
from hilum.service.store import Database
from tests.service import fakes

PATIENCE = 120.0
"""Seconds that a busy machine may need for what takes one."""


class Server:
    """A real server with real workers, whose reader is the fake one."""

    def __init__(self, settings: Settings, tries: Path) -> None:
        self.settings, self.tries = settings, tries
        self.lines: list[str] = []
        self.url = ""
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.service.fakes", "serve", self.settings.model_dump_json()],
            cwd=fakes.ROOT,
            env=os.environ
            | {
                "PYTHONPATH": f"{fakes.ROOT / 'src'}{os.pathsep}{fakes.ROOT}",
                "HILUM_FAKE_TRIES": str(self.tries),
            },
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self.lines = []
        threading.Thread(target=self._listen, args=(self.process, self.lines), daemon=True).start()
        told = self.wait_for_line("listening")
        self.url = f"http://127.0.0.1:{told['port']}"

    def _listen(self, process: subprocess.Popen[str], lines: list[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)

    def told(self, event: str) -> list[dict[str, Any]]:
        """The log lines of an event."""
        every = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [line for line in every if line["event"] == event]

    def wait_for_line(self, event: str, count: int = 1) -> dict[str, Any]:
        """The count-th line of an event, once it is there."""

        def there() -> list[dict[str, Any]]:
            if self.process.poll() is not None and not self.told(event):
                raise AssertionError("".join(self.lines))
            return self.told(event)[count - 1 :]

        return until(there)[0]

    def send(self, *contents: bytes, **fields: str) -> httpx.Response:
        """Upload films."""
        files = [("files", ("film", content)) for content in contents]
        return httpx.post(f"{self.url}/v1/studies", files=files, data=fields, timeout=PATIENCE)

    def get(self, path: str, **more: Any) -> Any:
        """The JSON of a path."""
        return httpx.get(self.url + path, timeout=PATIENCE, **more).json()

    def ended(self, count: int) -> list[dict[str, Any]]:
        """The worklist, once so many studies have ended."""

        def rows() -> list[dict[str, Any]]:
            found = self.get("/v1/studies?limit=500")["studies"]
            over = [r for r in found if r["state"] in ("done", "failed", "quarantined")]
            return over if len(over) >= count else []

        return until(rows)

    def tried(self) -> list[str]:
        """The ids of studies, once for each try."""
        return self.tries.read_text().split() if self.tries.exists() else []

    def worker(self, count: int = 1) -> int:
        """The process id of the count-th worker that got ready."""
        return int(self.wait_for_line("worker_ready", count)["worker"].split(":")[1])

    def kill(self) -> None:
        """kill -9 of the server alone."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start again on the same data."""
        self._start()

    def stop(self, seconds: float = PATIENCE) -> int:
        """SIGTERM, and its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def until(look: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What ``look`` finds, once it finds something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"nothing after {seconds:g} s")
        time.sleep(0.05)
    return found


@pytest.fixture(autouse=True)
def _quiet_again() -> Iterator[None]:
    """Undo what a service started within the test did to logging."""
    loggers = logging.getLogger(), logging.getLogger("hilum.service")
    before = [(log.handlers, log.level, log.propagate) for log in loggers]
    hooks = sys.excepthook, threading.excepthook
    yield
    for log, (handlers, level, propagate) in zip(loggers, before, strict=True):
        log.handlers, log.level, log.propagate = handlers, level, propagate
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a small service with little patience."""
    return Settings(
        data=tmp_path / "data",
        port=0,
        workers=0,
        worker_command=fakes.COMMAND,
        lease_seconds=6,
        drain_seconds=20,
        limits=Limits(min_free_bytes=0, idle_seconds=3, header_seconds=3, wait_seconds=30),
    )


@pytest.fixture
def start(tmp_path: Path, settings: Settings) -> Iterator[Callable[..., Server]]:
    """Starts servers, by default with one worker, and ends them."""
    servers: list[Server] = []

    def make(limits: dict[str, Any] | None = None, **more: Any) -> Server:
        chosen = settings.limits.model_copy(update=limits or {})
        own = settings.model_copy(update={"workers": 1, "limits": chosen} | more)
        servers.append(Server(own, tmp_path / "tries"))
        return servers[-1]

    yield make
    for server in servers:
        if server.process.poll() is None:
            server.process.terminate()
    for server in servers:
        try:
            server.process.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


class Desk:
    """A service within the test, without workers: the test itself does the jobs."""

    def __init__(self, settings: Settings) -> None:
        guard, self.service = create(settings)
        self.http = TestClient(guard, base_url="http://127.0.0.1", raise_server_exceptions=False)

    def send(self, *contents: bytes, field: str = "files", **fields: str) -> Any:
        """Upload films."""
        files = [(field, ("film", content)) for content in contents]
        return self.http.post("/v1/studies", files=files, data=fields)

    def id(self, *contents: bytes, **fields: str) -> str:
        """Upload one study; its id."""
        answer = self.send(*contents, **fields)
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["studies"][0]["id"])

    def work(self, most: int = 16) -> list[str]:
        """Read what waits, as a worker would; the ids in the order they were taken."""
        reader, done = fakes.FakeReader(), []
        service = self.service
        while batch := jobs.claim(service.db, "desk:1:0", most, 60):
            for job in batch:
                hashes, context = studies.films_of(service.db, job.study)
                try:
                    study = intake.load(service.films, job.study, hashes, context)
                    (report,) = reader.read_studies([study], job.language)
                except HilumError as error:
                    jobs.finish(service.db, "desk:1:0", job, error=error.code, detail=error.detail)
                else:
                    jobs.finish(service.db, "desk:1:0", job, report)
                done.append(job.study)
        return done


@pytest.fixture
def open_desk(settings: Settings) -> Iterator[Callable[..., Desk]]:
    """Opens services within the test, and closes them."""
    with ExitStack() as stack:

        def make(limits: dict[str, Any] | None = None, **more: Any) -> Desk:
            chosen = settings.limits.model_copy(update=limits or {})
            desk = Desk(settings.model_copy(update={"limits": chosen} | more))
            stack.enter_context(desk.http)
            return desk

        yield make


@pytest.fixture
def desk(open_desk: Callable[..., Desk]) -> Desk:
    """One service within the test."""
    return open_desk()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real PostgreSQL, started for the tests where its programs are at hand."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which("initdb")
    home = Path(found).parent if found else homes[-1] if homes else None
    if home is None or not (home / "initdb").exists():
        pytest.skip("no PostgreSQL programs; apt-get install postgresql brings them")
    folder = Path(tempfile.mkdtemp(prefix="hilum-pg-"))  # pytest's own is closed to others
    run: dict[str, Any] = {}
    if os.getuid() == 0:  # it refuses to run as root
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL refuses root, and there is no account postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        run = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    data = folder / "data"
    quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, **run}
    subprocess.run(
        [home / "initdb", "-D", data, "-U", "hilum", "-A", "trust", "-E", "UTF8", "--no-sync"],
        **quiet,
    )
    options = f"-k {folder} -c listen_addresses= -c fsync=off"
    control = [home / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    subprocess.run([*control, "-o", options, "start"], **quiet)
    yield f"postgresql://hilum@/postgres?host={folder}"
    subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def empty_postgres(postgres: str) -> str:
    """A database of its own for one test."""
    server = Database(postgres)
    name = f"t{token_hex(6)}"
    with server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    server.close()
    return postgres.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    return str(request.getfixturevalue("empty_postgres"))


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """A prepared database of either kind."""
    made = Database(database_url)
    migrate.prepare(made)
    yield made
    made.close()
