"""The worker processes: started, listened to, replaced when they die, sent home."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.processes import processors
from hilum.service import jobs, journal
from hilum.service.settings import Settings
from hilum.service.store import Database

LONGEST_PAUSE = 30.0
"""Most seconds before a worker that keeps dying is started again."""

STEADY = 60.0
"""Seconds of life after which a worker's deaths are forgotten."""

Message = dict[str, Any]
Listener = Callable[[Message], None]


class Hand:
    """One worker process, as the server sees it."""

    def __init__(self, settings: Settings, threads: int) -> None:
        self.name = ""  # on its leases, once it has said so
        self.started = time.monotonic()
        self._lock = threading.Lock()
        self.process = subprocess.Popen(
            settings.worker_command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a signal for the server's group is not for it
            text=True,
            encoding="utf-8",
            env=_environment(threads),
        )
        self.send(settings.model_dump_json())

    def send(self, line: str) -> bool:
        """One line to the worker; False where it is gone."""
        assert self.process.stdin is not None
        with self._lock:
            try:
                self.process.stdin.write(line + "\n")
                self.process.stdin.flush()
            except (OSError, ValueError):
                return False
        return True


class Supervisor:
    """Keeps as many workers alive as the settings say.

    ``listener`` gets every message of a worker, from a thread of this class.
    """

    def __init__(self, settings: Settings, db: Database, listener: Listener) -> None:
        self.settings, self.db, self.listener = settings, db, listener
        self.deaths = 0
        self.reader, self.chat = "", "findings"  # as its card says, once a worker is ready
        self.refused: HilumError | None = None
        self._hands: list[Hand] = []
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def ready(self) -> int:
        """Workers that have their weights."""
        with self._lock:
            return sum(bool(hand.name) for hand in self._hands)

    def start(self) -> None:
        """Start the workers; what an earlier server of this machine left is queued again."""
        jobs.recover(self.db)
        for number in range(self.settings.workers):
            thread = threading.Thread(target=self._keep_one, name=f"worker {number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        thread = threading.Thread(target=self._expire, name="leases", daemon=True)
        thread.start()

    def wake(self) -> None:
        """Say that a job waits."""
        self._tell_all("{}")

    def ask(self, message: Message) -> None:
        """Send a conversation to a worker, in turn. Raises ``server_busy`` where there is none."""
        with self._lock:
            ready = [hand for hand in self._hands if hand.name]
            if ready:  # the next one gets the next
                self._hands.remove(ready[0])
                self._hands.append(ready[0])
        if not ready or not ready[0].send(json.dumps(message)):
            raise HilumError(Code.SERVER_BUSY, "", "no worker is ready")

    def cancel(self, chat: str) -> None:
        """Stop a conversation that nobody listens to any more."""
        self._tell_all(json.dumps({"cancel": chat}))

    def stop(self, seconds: float) -> None:
        """Let the workers finish what they have in hand, and end those that take longer."""
        self._stopping.set()
        with self._lock:
            hands = list(self._hands)
        for hand in hands:
            hand.send(json.dumps({"stop": True}))
        until = time.monotonic() + seconds
        for hand in hands:
            try:
                hand.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                journal.log("worker_killed", worker=hand.name)
                hand.process.kill()
                hand.process.wait()
        for thread in self._threads:
            thread.join(5)
        for hand in hands:
            if hand.name:  # what a killed one held was no fault of the study
                with suppress(HilumError):
                    jobs.give_back(self.db, hand.name)

    def _keep_one(self) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            try:
                hand = Hand(self.settings, self._share())
            except OSError as error:
                journal.log("worker_not_started", error=type(error).__name__)
                self._stopping.wait(LONGEST_PAUSE)
                continue
            with self._lock:
                self._hands.append(hand)
            try:
                self._listen(hand)
            finally:
                status = hand.process.wait()
                with self._lock:
                    self._hands.remove(hand)
            if self._stopping.is_set():
                return
            self._bury(hand, status)
            steady = time.monotonic() - hand.started > STEADY
            pause = 0.0 if steady else min(LONGEST_PAUSE, max(0.5, 2 * pause))
            self._stopping.wait(pause)

    def _listen(self, hand: Hand) -> None:
        assert hand.process.stdout is not None
        for line in hand.process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if "ready" in message:
                hand.name = message["ready"]
                self.reader, self.chat = message["reader"], message["chat"]
                self.refused = None
                journal.log("worker_ready", worker=hand.name)
            elif "refused" in message:
                self.refused = HilumError(Code(message["refused"]), "", message["detail"])
                journal.log("worker_refused", error=message["refused"])
                self.listener(message)
            else:
                self.listener(message)

    def _bury(self, hand: Hand, status: int) -> None:
        self.deaths += 1
        try:
            held = jobs.bury(self.db, hand.name) if hand.name else 0
        except HilumError as error:  # the leases run out by themselves
            journal.log("bury_failed", error=error.code)
            held = 0
        journal.log("worker_died", worker=hand.name, cause=_cause(status), jobs=held)
        self.listener({"died": hand.name})

    def _expire(self) -> None:
        while not self._stopping.wait(self.settings.lease_seconds / 3):
            try:
                if jobs.expire(self.db):
                    self.wake()
            except HilumError as error:
                journal.log("expire_failed", error=error.code)

    def _tell_all(self, line: str) -> None:
        with self._lock:
            hands = [hand for hand in self._hands if hand.name]
        for hand in hands:
            hand.send(line)

    def _share(self) -> int:
        return self.settings.threads or max(1, processors() // max(1, self.settings.workers))


def _environment(threads: int) -> dict[str, str]:
    """The server's, with this package in reach, and so many threads; nothing from the network."""
    home = str(Path(__file__).parents[2])
    paths = [home, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"),
        "OMP_NUM_THREADS": str(threads),
    }


def _cause(status: int) -> str:
    with suppress(ValueError):
        if status < 0:
            return signal.Signals(-status).name
    return f"exit status {status}"
