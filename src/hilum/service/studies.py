"""Studies in the database: taken in, listed in triage order, shown, deleted."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from sqlalchemy import Connection, case, delete, func, insert, select, update

from hilum.codes import Code, HilumError
from hilum.report import Language
from hilum.service import jobs as queue
from hilum.service import journal
from hilum.service.files import Films
from hilum.service.intake import Film
from hilum.service.settings import Limits
from hilum.service.store import Database, instances, jobs, reports, reviews, studies, views
from hilum.study import Context


class Priority(IntEnum):
    """How urgent a study is said to be."""

    ROUTINE = 0
    URGENT = 1
    STAT = 2


@dataclass(frozen=True)
class Order:
    """What is asked for with a study."""

    language: Language
    priority: Priority = Priority.ROUTINE
    context: Context = field(default_factory=Context)


@dataclass(frozen=True)
class Admitted:
    """A study that is kept; ``known``: it was before, with these very films and this job."""

    id: str
    state: str
    known: bool


def admit(
    db: Database, store: Films, films: Sequence[Film], order: Order, limits: Limits, who: str
) -> Admitted:
    """Keep a study and queue its job, or find it again.

    A study is its films: the same SOPInstanceUIDs with the same bytes are the same study, whose
    priority is raised where a higher one is given and whose context stays. Raises
    ``instance_conflict``, ``queue_full`` or ``storage_full``, and then keeps nothing.
    """
    unique = {film.key: film for film in films}
    if any(unique[film.key].arrived.sha256 != film.arrived.sha256 for film in films):
        raise HilumError(Code.INSTANCE_CONFLICT, "", "two files of this request")
    study = _name(unique)
    now = time.time()
    with db.write(alone=True) as connection:
        _refuse_others(connection, unique)
        new = _make_room(connection, study, order.language, limits)
        given = select(studies.c.priority).where(studies.c.id == study)
        priority = connection.scalar(given)
        if priority is None:
            _insert(connection, store, study, unique, order, now)
        elif order.priority > priority:
            connection.execute(
                update(studies).where(studies.c.id == study).values(priority=order.priority)
            )
        queue.enqueue(connection, study, order.language, now)
        state = queue.states(connection, [(study, order.language)])[study, order.language]
        journal.note(connection, who, "study_sent", study, "new" if new else "known")
    return Admitted(study, state, known=not new)


def _make_room(connection: Connection, study: str, language: str, limits: Limits) -> bool:
    """Whether a job is new. Raises ``queue_full`` where it would be one too many."""
    if queue.states(connection, [(study, language)]):
        return False
    if queue.waiting(connection) >= limits.queue:
        raise HilumError(Code.QUEUE_FULL, "", f"{limits.queue} are waiting")
    return True


def _name(films: dict[str, Film]) -> str:
    lines = sorted(f"{key} {film.arrived.sha256}" for key, film in films.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _refuse_others(connection: Connection, films: dict[str, Film]) -> None:
    known = connection.execute(
        select(instances.c.key, instances.c.sha256).where(instances.c.key.in_(films))
    )
    if any(films[row.key].arrived.sha256 != row.sha256 for row in known):
        raise HilumError(Code.INSTANCE_CONFLICT)


def _insert(
    connection: Connection,
    store: Films,
    study: str,
    films: dict[str, Film],
    order: Order,
    now: float,
) -> None:
    connection.execute(
        insert(studies).values(
            id=study,
            created=now,
            language=order.language,
            context=order.context.model_dump_json(),
            priority=order.priority,
            urgent=0,
        )
    )
    known = set(connection.scalars(select(instances.c.key).where(instances.c.key.in_(films))))
    for number, (key, film) in enumerate(films.items()):
        store.keep(film.arrived)
        if key not in known:
            connection.execute(
                insert(instances).values(
                    key=key, sha256=film.arrived.sha256, size=film.arrived.size
                )
            )
        connection.execute(insert(views).values(study=study, number=number, instance=key))


# Given by the caller, or raised by the reader; the reader lowers nothing.
_RANK = case((studies.c.priority > studies.c.urgent, studies.c.priority), else_=studies.c.urgent)


def worklist(
    db: Database, state: str | None, limit: int, offset: int, review: str | None = None
) -> tuple[int, list[dict[str, Any]]]:
    """How many there are, and a page of them in triage order.

    Rank first (the priority given, raised to urgent where the reader calls a fracture), then the
    probability of a fracture, then whoever has waited longest. What has no probability comes
    after what has one, within its rank.
    """
    joined = studies.join(
        jobs, (jobs.c.study == studies.c.id) & (jobs.c.language == studies.c.language)
    ).outerjoin(
        reports, (reports.c.study == studies.c.id) & (reports.c.language == studies.c.language)
    )
    wanted = [jobs.c.state == state] if state else []
    wanted += [studies.c.review == review] if review else []
    now = time.time()
    with db.read() as connection:
        total = connection.scalar(select(func.count()).select_from(joined).where(*wanted)) or 0
        rows = connection.execute(
            select(
                studies,
                _RANK.label("rank"),
                jobs.c.state,
                jobs.c.error,
                jobs.c.finished,
                reports.c.verdict,
                reports.c.flags,
            )
            .select_from(joined)
            .where(*wanted)
            .order_by(
                _RANK.desc(),
                studies.c.fracture.desc().nulls_last(),
                studies.c.created,
                studies.c.id,
            )
            .limit(limit)
            .offset(offset)
        ).all()
    return total, [
        {
            "id": row.id,
            "state": row.state,
            "priority": Priority(row.rank).name.lower(),
            "priority_given": Priority(row.priority).name.lower(),
            "fracture_probability": row.fracture,
            "fracture_called": bool(row.urgent),
            "verdict": row.verdict,
            "flags": row.flags.split() if row.flags else [],
            "error": row.error,
            "language": row.language,
            "created": row.created,
            "finished": row.finished,
            "review": row.review,
            "context": json.loads(row.context),
            "waiting_seconds": round(max(0.0, now - row.created), 1),
        }
        for row in rows
    ]


def show(db: Database, study: str, language: Language | None = None) -> dict[str, Any]:
    """One study, its job and report in a language; by default the one it was first asked in.

    Raises ``study_unknown``.
    """
    with db.read() as connection:
        row = connection.execute(
            select(studies, _RANK.label("rank")).where(studies.c.id == study)
        ).first()
        if row is None:
            raise HilumError(Code.STUDY_UNKNOWN)
        chosen = language or row.language
        every = connection.execute(select(jobs).where(jobs.c.study == study)).all()
        job = next((j for j in every if j.language == chosen), None)
        content = connection.scalar(
            select(reports.c.content).where(reports.c.study == study, reports.c.language == chosen)
        )
        reviewed = connection.scalar(
            select(reviews.c.language)
            .where(reviews.c.study == study, reviews.c.text.is_not(None))
            .order_by(reviews.c.id.desc())
            .limit(1)
        )
        films = connection.scalar(
            select(func.count()).select_from(views).where(views.c.study == study)
        )
    return {
        "id": row.id,
        "state": job.state if job else None,
        "language": chosen,
        "languages": [j.language for j in every],
        "priority": Priority(row.rank).name.lower(),
        "priority_given": Priority(row.priority).name.lower(),
        "fracture_probability": row.fracture,
        "review": row.review,
        "review_language": reviewed,
        "views": films,
        "context": json.loads(row.context),
        "created": row.created,
        "started": job.started if job else None,
        "finished": job.finished if job else None,
        "attempts": job.attempts if job else 0,
        "error": job.error if job else None,
        "detail": job.detail or None if job else None,
        "report": json.loads(content) if content else None,
    }


def again_in(db: Database, study: str, language: Language, limits: Limits) -> tuple[str, bool]:
    """Queue a study in another language: that job's state, and whether it was there before.

    Raises ``study_unknown`` or ``queue_full``.
    """
    with db.write(alone=True) as connection:
        if connection.scalar(select(studies.c.id).where(studies.c.id == study)) is None:
            raise HilumError(Code.STUDY_UNKNOWN)
        new = _make_room(connection, study, language, limits)
        queue.enqueue(connection, study, language)
        return queue.states(connection, [(study, language)])[study, language], not new


def films_of(db: Database, study: str) -> tuple[list[str], Context]:
    """The hashes of a study's films, in order, and its context. Raises ``study_unknown``."""
    with db.read() as connection:
        context = connection.scalar(select(studies.c.context).where(studies.c.id == study))
        if context is None:
            raise HilumError(Code.STUDY_UNKNOWN)
        found = connection.scalars(
            select(instances.c.sha256)
            .join(views, views.c.instance == instances.c.key)
            .where(views.c.study == study)
            .order_by(views.c.number)
        ).all()
    return list(found), Context.model_validate_json(context)


def remove(db: Database, store: Films, study: str, who: str) -> None:
    """Delete a study, its job and report, and the films no other study has."""
    with db.write(alone=True) as connection:
        if not connection.execute(delete(studies).where(studies.c.id == study)).rowcount:
            raise HilumError(Code.STUDY_UNKNOWN)
        journal.note(connection, who, "study_deleted", study)
        _remove_unseen(connection, store)


def forget_older(db: Database, store: Films, than: float) -> list[str]:
    """Delete every study that came before a time and waits for nothing; their ids."""
    busy = select(jobs.c.study).where(jobs.c.state.not_in(queue.ENDED))
    old = (studies.c.created < than) & studies.c.id.not_in(busy)
    with db.write(alone=True) as connection:
        gone = list(connection.scalars(select(studies.c.id).where(old).limit(500)))
        if gone:
            connection.execute(delete(studies).where(studies.c.id.in_(gone)))
            for study in gone:
                journal.note(connection, "system", "study_expired", study)
            _remove_unseen(connection, store)
    return gone


def _remove_unseen(connection: Connection, store: Films) -> None:
    unseen = instances.c.key.not_in(select(views.c.instance))
    rows = connection.execute(select(instances.c.key, instances.c.sha256).where(unseen)).all()
    if not rows:
        return
    connection.execute(delete(instances).where(instances.c.key.in_([r.key for r in rows])))
    hashes = {row.sha256 for row in rows}
    shared = connection.scalars(select(instances.c.sha256).where(instances.c.sha256.in_(hashes)))
    store.remove(hashes.difference(shared))


def sweep(db: Database, store: Films) -> None:
    """Delete files that nothing refers to, as a server that was killed may leave."""
    store.sweep_incoming()
    strays = list(store.strays())
    for some in (strays[i : i + 500] for i in range(0, len(strays), 500)):
        with db.write(alone=True) as connection:
            known = connection.scalars(
                select(instances.c.sha256).where(instances.c.sha256.in_(some))
            )
            store.remove(set(some).difference(known))
