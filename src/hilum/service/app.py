"""The application: what it holds, and what happens beside the requests."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

import hilum
from hilum.codes import Code, HilumError
from hilum.service import auth, jobs, journal, migrate, replies, studies
from hilum.service.files import Films
from hilum.service.guard import Guard, Rates
from hilum.service.metrics import Metrics
from hilum.service.settings import Settings
from hilum.service.store import Database, folder_of
from hilum.service.supervisor import Message, Supervisor

SWEEP_SECONDS = 600.0
"""Time between two looks for what is to be forgotten."""

LOOK_SECONDS = 1.0
"""Time between looks at a job that is waited for, where no worker here ends it."""

DESCRIPTION = """Chest radiographs in, draft reports with calibrated probabilities out.

Research use only. Every answer is a draft for a radiologist to check, never a diagnosis on its own.
Errors are `{"error": {"code", "message", "message_zh", "type", "param"}}` with a stable code."""


class Service:
    """What every request shares."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data = folder_of(settings.data)
        self.db = Database(settings.database_url)
        migrate.prepare(self.db)
        self.films = Films(self.data, settings.limits.min_free_bytes)
        self.metrics = Metrics()
        self.rates = Rates(settings.limits.requests_per_minute)
        self.doorkeeper = auth.Doorkeeper(self.db, open_to_all=settings.local)
        self.supervisor = Supervisor(settings, self.db, self._on_message)
        self.draining = False
        self.buffered = 0  # bytes of bodies in memory
        self.failed: HilumError | None = None
        self.give_up: Callable[[], None] = lambda: None
        self.pictures = anyio.CapacityLimiter(settings.limits.pictures)
        self.intake = anyio.CapacityLimiter(settings.limits.intake)
        self._waiting: dict[tuple[str, str], set[asyncio.Event]] = {}
        self._chats: dict[str, asyncio.Queue[Message]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._recent: deque[float] = deque(maxlen=64)  # when jobs ended

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.settings.local

    def retry_after(self, code: Code) -> float:
        """Seconds after which a refused request has a chance."""
        if code is Code.QUEUE_FULL and len(self._recent) > 1:
            pace = (time.monotonic() - self._recent[0]) / len(self._recent)
            return min(60.0, max(1.0, pace * self.settings.limits.queue / 10))
        return 1.0 if code is Code.RATE_LIMITED else 5.0

    async def wait(self, study: str, language: str, seconds: float) -> str:
        """The state of a job, once it has ended or the time is over.

        Raises ``server_busy`` where too many wait already, and ``server_draining`` where the
        job will not be done before the server has gone.
        """
        limits = self.settings.limits
        if sum(map(len, self._waiting.values())) >= limits.waiting:
            raise HilumError(Code.SERVER_BUSY, "", f"{limits.waiting} wait for their jobs")
        key, event = (study, language), asyncio.Event()
        until = time.monotonic() + min(seconds, limits.wait_seconds)
        self._waiting.setdefault(key, set()).add(event)
        try:
            while True:
                state = await anyio.to_thread.run_sync(self._state, key)
                left = until - time.monotonic()
                if state in jobs.ENDED or left <= 0:
                    return state
                if self.draining and state == jobs.QUEUED:
                    raise HilumError(Code.SERVER_DRAINING, "", f"study {study} stays queued")
                event.clear()
                try:
                    await asyncio.wait_for(event.wait(), min(left, LOOK_SECONDS))
                except TimeoutError:
                    continue
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]

    def _state(self, key: tuple[str, str]) -> str:
        with self.db.read() as connection:
            found = jobs.states(connection, [key]).get(key)
        if found is None:
            raise HilumError(Code.STUDY_UNKNOWN)
        return found

    @asynccontextmanager
    async def chat(self, name: str, message: Message) -> AsyncIterator[asyncio.Queue[Message]]:
        """A conversation that a worker answers; its messages come out of the queue."""
        answers: asyncio.Queue[Message] = asyncio.Queue()
        self._chats[name] = answers
        try:
            await anyio.to_thread.run_sync(self.supervisor.ask, message)
            yield answers
        finally:
            del self._chats[name]
            self.supervisor.cancel(name)

    def _on_message(self, message: Message) -> None:
        """What a worker says; comes in a thread of the supervisor."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hear, message)

    def _hear(self, message: Message) -> None:
        if "job" in message:
            study, language = message["job"]
            self.metrics.ended(message["state"], message["seconds"])
            self._recent.append(time.monotonic())
            for event in self._waiting.get((study, language), ()):
                event.set()
            journal.log("job", study=study, state=message["state"])
        elif "chat" in message and message["chat"] in self._chats:
            self._chats[message["chat"]].put_nowait(message)
        elif "refused" in message and not self.supervisor.reader:
            self.end(HilumError(Code(message["refused"]), "", message["detail"]))
        elif "died" in message:
            for answers in self._chats.values():
                answers.put_nowait({"error": Code.SERVER_BUSY, "detail": "the worker stopped"})

    def end(self, error: HilumError) -> None:
        """Give up: the reader cannot be loaded, and never could."""
        self.failed = self.failed or error
        self.give_up()

    async def start(self) -> None:
        """Start the workers and what happens by the clock."""
        self._loop = asyncio.get_running_loop()
        await anyio.to_thread.run_sync(self.supervisor.start)
        self._sweeper = asyncio.create_task(self._sweep())
        self.note("system", "server_started")

    async def stop(self) -> None:
        """Let the workers finish."""
        self.draining = True
        self._sweeper.cancel()
        await anyio.to_thread.run_sync(self.supervisor.stop, self.settings.drain_seconds)
        self.note("system", "server_stopped")
        self.db.close()

    def drain(self) -> None:
        """From now on nothing new is taken, and nobody waits for what is only queued."""
        self.draining = True
        for events in self._waiting.values():
            for event in events:
                event.set()

    def note(self, who: str, action: str, subject: str | None = None, outcome: str = "ok") -> None:
        """A line of the audit log by itself."""
        with self.db.write() as connection:
            journal.note(connection, who, action, subject, outcome)

    async def _sweep(self) -> None:
        while True:
            try:
                await anyio.to_thread.run_sync(self.forget)
            except Exception as error:  # a full disk, a database that is away: later again
                journal.log("sweep_failed", logging.ERROR, error=journal.place_of(error))
            await asyncio.sleep(SWEEP_SECONDS)

    def forget(self) -> None:
        """Delete what has been kept long enough, and files that nothing refers to."""
        before = time.time() - self.settings.keep_days * auth.DAY
        while studies.forget_older(self.db, self.films, before):
            pass
        studies.sweep(self.db, self.films)

    def ready(self) -> dict[str, Any]:
        """What must hold for studies to be taken and read, each true or false."""
        try:
            with self.db.read() as connection:
                waiting = jobs.waiting(connection)
            reachable = True
        except HilumError:
            waiting, reachable = 0, False
        return {
            "database": reachable,
            "disk": self.films.has_room(),
            "workers": self.supervisor.ready > 0 or self.settings.workers == 0,
            "queue": waiting < self.settings.limits.queue,
            "taking": not self.draining,
        }

    def scrape(self) -> bytes:
        """The page that Prometheus reads."""
        with self.db.read() as connection:
            counts, oldest = jobs.counts(connection), jobs.oldest(connection)
        free = shutil.disk_usage(self.data).free
        workers, deaths = self.supervisor.ready, self.supervisor.deaths
        return self.metrics.page(counts, oldest, workers, deaths, free)


def create(settings: Settings) -> tuple[Guard, Service]:
    """The guarded application, and the service behind it.

    Raises what the database, the folder or the settings are refused for.
    """
    from hilum.service import openai, operation, page, pictures, reading_room, routes

    service = Service(settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="Hilum",
        version=hilum.__version__,
        description=DESCRIPTION,
        lifespan=life,
        docs_url=None,  # its page would fetch scripts from elsewhere
        redoc_url=None,
        license_info={"name": "Apache-2.0"},
    )
    app.state.service = service
    for part in (routes, pictures, reading_room, openai, operation, page):
        app.include_router(part.router)
    app.add_exception_handler(HilumError, replies.on_error)
    app.add_exception_handler(RequestValidationError, replies.on_invalid)
    app.add_exception_handler(HTTPException, replies.on_http)
    app.add_exception_handler(Exception, replies.on_defect)
    return Guard(app, service), service
