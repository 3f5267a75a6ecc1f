"""Jobs: one for each study and language, leased to workers, done exactly once.

A worker claims jobs for a time and renews the lease while it works. What it did counts only while
the lease is its own, in one transaction with the report. A job comes back

- at once, when its worker died (a strike) or gave it back (no strike);
- when the lease runs out, because nobody was left to see the worker end.

A job that came back once is read alone, so that two strikes mean the study and not its
neighbours: it is quarantined.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex

from sqlalchemy import ColumnElement, Connection, case, func, insert, or_, select, update

from hilum.codes import Code
from hilum.findings import FindingName
from hilum.report import Language, Report
from hilum.service.store import Database, jobs, reports, studies

STRIKES = 2
"""Workers that died alone with a study, or in its company first, before it is set aside."""

ATTEMPTS = 5
"""Claims of one job, however they ended, before it is set aside."""

QUEUED, RUNNING, DONE = "queued", "running", "done"
FAILED, QUARANTINED = "failed", "quarantined"
STATES = (QUEUED, RUNNING, DONE, FAILED, QUARANTINED)
ENDED = (DONE, FAILED, QUARANTINED)


@dataclass(frozen=True)
class Job:
    """One claim of a job; ``attempt`` tells it from an earlier claim."""

    study: str
    language: Language
    attempt: int


def worker_name() -> str:
    """This process's name on a lease: host, process, and a number of its own."""
    return f"{socket.gethostname()[:100]}:{os.getpid()}:{token_hex(4)}"


def enqueue(
    connection: Connection, study: str, language: Language, now: float | None = None
) -> bool:
    """Make a study's job in a language; False where there is one already."""
    at = (jobs.c.study == study) & (jobs.c.language == language)
    if connection.execute(select(jobs.c.state).where(at)).first():
        return False
    connection.execute(
        insert(jobs).values(
            study=study,
            language=language,
            state=QUEUED,
            created=time.time() if now is None else now,
            attempts=0,
            strikes=0,
        )
    )
    return True


def claim(db: Database, worker: str, most: int, lease: float) -> list[Job]:
    """Take up to ``most`` waiting jobs of one language: the urgent first, then the oldest.

    A job that came back is taken alone.
    """
    now = time.time()
    with db.write() as connection:
        rows = connection.execute(
            select(jobs.c.study, jobs.c.language, jobs.c.attempts)
            .join(studies)
            .where(jobs.c.state == QUEUED)
            .order_by(studies.c.priority.desc(), jobs.c.created, jobs.c.study)
            .limit(most)
            .with_for_update(skip_locked=True, of=jobs)
        ).all()
        if not rows:
            return []
        first = rows[0]
        together = [r for r in rows if not r.attempts and r.language == first.language]
        taken = [first] if first.attempts else together
        for row in taken:
            connection.execute(
                update(jobs)
                .where(jobs.c.study == row.study, jobs.c.language == row.language)
                .values(
                    state=RUNNING,
                    worker=worker,
                    started=now,
                    attempts=row.attempts + 1,
                    lease_until=now + lease,
                )
            )
    return [Job(row.study, row.language, row.attempts + 1) for row in taken]


def renew(db: Database, worker: str, lease: float) -> None:
    """Keep a worker's leases."""
    with db.write() as connection:
        connection.execute(
            update(jobs)
            .where(jobs.c.state == RUNNING, jobs.c.worker == worker)
            .values(lease_until=time.time() + lease)
        )


def finish(
    db: Database,
    worker: str,
    job: Job,
    report: Report | None = None,
    error: Code | None = None,
    detail: str = "",
) -> bool:
    """Keep a report, or why there is none. False, and nothing kept, where the lease was lost."""
    now = time.time()
    with db.write() as connection:
        mine = (
            (jobs.c.study == job.study)
            & (jobs.c.language == job.language)
            & (jobs.c.state == RUNNING)
            & (jobs.c.worker == worker)
            & (jobs.c.attempts == job.attempt)
        )
        changed = connection.execute(
            update(jobs)
            .where(mine)
            .values(
                state=DONE if report is not None else FAILED,
                finished=now,
                lease_until=None,
                error=error,
                detail=detail[:200],
            )
        )
        if changed.rowcount != 1:
            return False
        if report is not None:
            _keep(connection, job, report, now)
    return True


def _keep(connection: Connection, job: Job, report: Report, now: float) -> None:
    connection.execute(
        insert(reports).values(
            study=job.study,
            language=job.language,
            created=now,
            verdict=report.gate.verdict,
            flags=" ".join(report.flags),
            content=report.model_dump_json(),
        )
    )
    found = report.finding(FindingName.FRACTURE)
    if found is not None and found.probability is not None:
        connection.execute(
            update(studies)
            .where(studies.c.id == job.study, studies.c.language == job.language)
            .values(fracture=found.probability, urgent=int(found.present))
        )


def give_back(db: Database, worker: str) -> int:
    """A worker that ends in good order gives back what it has not finished: never tried."""
    with db.write() as connection:
        mine = (jobs.c.state == RUNNING) & (jobs.c.worker == worker)
        return connection.execute(
            update(jobs)
            .where(mine)
            .values(state=QUEUED, worker=None, lease_until=None, attempts=jobs.c.attempts - 1)
        ).rowcount


def bury(db: Database, worker: str) -> int:
    """Take the jobs of a worker that died: each has a strike, and the second sets it aside."""
    strikes = jobs.c.strikes + 1
    return _return(db, (jobs.c.worker == worker), strikes)


def expire(db: Database, now: float | None = None) -> int:
    """Take the jobs whose lease has run out."""
    late = jobs.c.lease_until < (time.time() if now is None else now)
    return _return(db, late, jobs.c.strikes)


def recover(db: Database) -> int:
    """Take the jobs of this machine's workers that no longer run, as after a kill -9 of all."""
    with db.read() as connection:
        held = connection.scalars(select(jobs.c.worker).where(jobs.c.state == RUNNING).distinct())
        gone = [name for name in held if name and _is_gone(name)]
    return sum(_return(db, (jobs.c.worker == name), jobs.c.strikes) for name in gone)


def retry(db: Database, study: str, language: Language) -> int:
    """Queue a job that failed or was set aside once more."""
    ended = jobs.c.state.in_((FAILED, QUARANTINED))
    with db.write() as connection:
        again = (jobs.c.study == study) & (jobs.c.language == language) & ended
        return connection.execute(
            update(jobs)
            .where(again)
            .values(state=QUEUED, attempts=0, strikes=0, error=None, detail=None, finished=None)
        ).rowcount


def _return(db: Database, which: ColumnElement[bool], strikes: ColumnElement[int]) -> int:
    """Queue running jobs again, or set them aside where they have had their tries."""
    spent = or_(strikes >= STRIKES, jobs.c.attempts >= ATTEMPTS)
    with db.write() as connection:
        return connection.execute(
            update(jobs)
            .where(jobs.c.state == RUNNING, which)
            .values(
                state=case((spent, QUARANTINED), else_=QUEUED),
                error=case((spent, Code.QUARANTINED.value), else_=None),
                finished=case((spent, time.time()), else_=None),
                strikes=strikes,
                worker=None,
                lease_until=None,
            )
        ).rowcount


def _is_gone(worker: str) -> bool:
    """Whether a lease's worker was of this machine and runs no more."""
    match = re.fullmatch(r"(.*):(\d+):[0-9a-f]+", worker)
    if not match or match[1] != socket.gethostname()[:100]:
        return False
    with suppress(PermissionError):
        try:
            os.kill(int(match[2]), 0)
        except ProcessLookupError:
            return True
    return False


def counts(connection: Connection) -> dict[str, int]:
    """How many jobs there are in each state."""
    found = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
    return dict.fromkeys(STATES, 0) | {state: int(n) for state, n in found}


def waiting(connection: Connection) -> int:
    """How many jobs wait; quick however many are kept."""
    return connection.scalar(select(func.count()).where(jobs.c.state == QUEUED)) or 0


def oldest(connection: Connection) -> float:
    """Seconds that the longest waiting job has waited."""
    since = connection.scalar(select(func.min(jobs.c.created)).where(jobs.c.state == QUEUED))
    return max(0.0, time.time() - since) if since is not None else 0.0


def states(connection: Connection, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The state of some jobs, by study and language; one that is not there is left out."""
    ids = [study for study, _ in wanted]
    rows = connection.execute(
        select(jobs.c.study, jobs.c.language, jobs.c.state).where(jobs.c.study.in_(ids))
    )
    found = {(row.study, row.language): row.state for row in rows}
    return {key: found[key] for key in wanted if key in found}
