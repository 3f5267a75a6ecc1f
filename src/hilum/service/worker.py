"""A worker: ``python -m hilum.service.worker``, a process that takes jobs and reads them.

The settings come as the first line on standard input; after it, one line a message: a wake-up, a
conversation to be answered, or its cancelling. The end of standard input, as when the server is
killed, means: finish what is in hand, and leave. What happens is told on standard output.

A worker that takes too long for a batch ends itself: its jobs come back and are read alone.
"""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TextIO

from hilum.codes import Code, HilumError
from hilum.engines import Sampling
from hilum.reading.chat import Turn, converse
from hilum.reading.reader import Reader
from hilum.report import Report
from hilum.service import intake, jobs, journal, studies
from hilum.service.files import Films
from hilum.service.jobs import Job
from hilum.service.settings import Settings
from hilum.service.store import Database
from hilum.study import Study

TOO_LONG = 70
"""Exit status of a worker whose batch took longer than ``job_seconds``."""

POLL = 0.5
"""Seconds between looks at the queue where nobody wakes the worker."""

RUSH = 1.0
"""Seconds after a batch in which those just answered are expected to come again."""

GATHER, LONGEST = 0.05, 0.5
"""Seconds between looks at a queue that still grows then, and of looking in all."""

LOADERS = 4

Load = Callable[[str], Reader]
Message = dict[str, Any]


class Worker:
    """One process's work: claim, read, finish, again."""

    def __init__(self, settings: Settings, reader: Reader, tell: Callable[[Message], None]) -> None:
        self.settings, self.reader, self.tell = settings, reader, tell
        self.name = jobs.worker_name()
        self.db = Database(settings.database_url)
        self.films = Films(settings.data)
        self.loaders = ThreadPoolExecutor(LOADERS)
        self.messages: queue.Queue[Message] = queue.Queue()
        self.cancelled: set[str] = set()
        self.stopping = threading.Event()
        self._busy_since: float | None = None
        self._ended = -math.inf

    def run(self) -> None:
        """Work until told to stop."""
        threading.Thread(target=self._keep_leases, daemon=True).start()
        card = self.reader.card
        self.tell({"ready": self.name, "reader": card.name, "chat": card.chat})
        try:
            while not self.stopping.is_set():
                self._converse_all()
                if not self._work():
                    self._wait()
        finally:
            jobs.give_back(self.db, self.name)

    def _work(self) -> bool:
        """Do one batch; False where nothing waits."""
        try:
            self._gather()
            batch = jobs.claim(self.db, self.name, self.settings.batch, self.settings.lease_seconds)
        except HilumError as error:  # the database is away, or full: it is asked again
            journal.log("claim_failed", error=error.code)
            return False
        if not batch:
            return False
        begun = self._busy_since = time.monotonic()
        try:
            for job, outcome in self._read(batch):
                self._finish(job, outcome, time.monotonic() - begun)
        finally:
            self._busy_since, self._ended = None, time.monotonic()
        return True

    def _gather(self) -> None:
        """Right after a batch, let the queue fill as long as it grows: half a batch costs as much.

        A worker that was idle takes what comes at once.
        """
        begun, before = time.monotonic(), 0
        while time.monotonic() - begun < LONGEST and begun - self._ended < RUSH:
            with self.db.read() as connection:
                waiting = jobs.waiting(connection)
            if waiting == before or waiting >= self.settings.batch:
                return
            before = waiting
            self.stopping.wait(GATHER)

    def _read(self, batch: list[Job]) -> list[tuple[Job, Report | HilumError]]:
        """Each job's report, or why there is none; one bad study spoils no other's."""
        loaded = list(self.loaders.map(self._load, batch))
        good = [k for k, study in enumerate(loaded) if isinstance(study, Study)]
        outcomes: dict[int, Report | HilumError] = {
            k: study for k, study in enumerate(loaded) if isinstance(study, HilumError)
        }
        try:
            found = self._reports([loaded[k] for k in good], batch[0])
            outcomes |= dict(zip(good, found, strict=True))
        except Exception as error:
            if len(batch) > 1:
                return [pair for job in batch for pair in self._read([job])]
            outcomes |= dict.fromkeys(good, _failure(error))
        return [(job, outcomes[k]) for k, job in enumerate(batch)]

    def _reports(self, some: list[Any], job: Job) -> list[Report]:
        return self.reader.read_studies(some, job.language, self.settings.allow_outside_domain)

    def _load(self, job: Job) -> Study | HilumError:
        try:
            return self.study(job.study)
        except Exception as error:
            return _failure(error)

    def study(self, name: str) -> Study:
        """A study's films, with the context that was given with them."""
        hashes, context = studies.films_of(self.db, name)
        return intake.load(self.films, name, hashes, context)

    def _finish(self, job: Job, outcome: Report | HilumError, seconds: float) -> None:
        """Keep the outcome; on a full disk, again until there is room or it is time to leave."""
        while True:
            try:
                if isinstance(outcome, Report):
                    kept = jobs.finish(self.db, self.name, job, outcome)
                else:
                    kept = jobs.finish(
                        self.db, self.name, job, error=outcome.code, detail=outcome.detail
                    )
                break
            except HilumError as error:
                journal.log("finish_failed", error=error.code, study=job.study)
                self._busy_since = time.monotonic()  # waiting is not being stuck
                if self.stopping.wait(1.0):
                    return
        state = "lost" if not kept else "done" if isinstance(outcome, Report) else "failed"
        self.tell({"job": [job.study, job.language], "state": state, "seconds": seconds})

    def _wait(self) -> None:
        try:
            message = self.messages.get(timeout=POLL)
        except queue.Empty:
            return
        if "chat" in message:
            self._converse(message)

    def _converse_all(self) -> None:
        while True:
            try:
                message = self.messages.get_nowait()
            except queue.Empty:
                return
            if "chat" in message:
                self._converse(message)

    def _converse(self, message: Message) -> None:
        """Answer a conversation about a study that was read."""
        chat = str(message["chat"])
        self._busy_since = time.monotonic()
        try:
            report = Report.model_validate(message["report"])
            turns = [Turn.model_validate(turn) for turn in message["turns"]]
            study = self.study(message["study"])
            drawn, language = Sampling(**message["sampling"]), message.get("language")
            for piece in converse(self.reader, study, report, turns, drawn, language):
                if chat in self.cancelled:
                    break
                self.tell({"chat": chat, "piece": piece})
            self.tell({"chat": chat, "end": True})
        except Exception as error:
            failure = _failure(error)
            self.tell({"chat": chat, "error": failure.code, "detail": failure.detail})
        finally:
            self.cancelled.discard(chat)
            self._busy_since = None

    def _keep_leases(self) -> None:
        """Renew while there is progress; a batch that takes too long ends the process."""
        while True:
            time.sleep(self.settings.lease_seconds / 3)
            since = self._busy_since
            if since is None:
                continue
            if time.monotonic() - since > self.settings.job_seconds:
                journal.log("stuck", seconds=round(time.monotonic() - since))
                os._exit(TOO_LONG)
            try:
                jobs.renew(self.db, self.name, self.settings.lease_seconds)
            except HilumError as error:
                journal.log("renew_failed", error=error.code)

    def listen(self, lines: TextIO) -> None:
        """Take messages until the server is gone or says stop."""
        for line in lines:
            message = json.loads(line)
            if "stop" in message:
                break
            if "cancel" in message:
                self.cancelled.add(str(message["cancel"]))
            else:
                self.messages.put(message)
        self.stopping.set()
        self.messages.put({})


def _failure(error: Exception) -> HilumError:
    if isinstance(error, HilumError):
        return HilumError(error.code, "", error.detail)
    place = journal.place_of(error)
    journal.log("defect", error=place)
    return HilumError(Code.INTERNAL_ERROR, "", place)


def main(load_reader: Load = Reader.load) -> int:
    """The process: settings in, jobs done, until the server is gone."""
    journal.set_up()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which says stop
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    told = sys.stdin.readline()
    if not told:
        return 0
    settings = Settings.model_validate_json(told)
    out, lock = os.fdopen(os.dup(1), "w", encoding="utf-8"), threading.Lock()
    os.dup2(2, 1)  # whatever a library prints is no message

    def tell(message: Message) -> None:
        with lock:
            try:
                out.write(json.dumps(message) + "\n")
                out.flush()
            except (BrokenPipeError, ValueError):  # the server is gone: finish and leave
                pass

    try:
        reader = load_reader(settings.reader)
    except HilumError as error:
        tell({"refused": error.code, "detail": error.detail})
        return 4
    worker = Worker(settings, reader, tell)
    threading.Thread(target=worker.listen, args=(sys.stdin,), daemon=True).start()
    worker.run()
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # taking torch apart takes most of a second
