"""Leases: each job done once, whoever dies. On SQLite, and on PostgreSQL where it is at hand."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hilum.codes import Code
from hilum.report import Language
from hilum.service import jobs
from hilum.service.jobs import Job
from hilum.service.store import Database
from hilum.service.store import jobs as table
from hilum.service.store import studies as studies_table
from hilum.study import Study, View
from tests.service.fakes import report_of


def study(name: str = "0" * 16) -> Study:
    return Study(id=name, views=[View(pixels=np.zeros((4, 4), np.uint16))])


def add(db: Database, name: str, priority: int = 0, language: Language = "en") -> None:
    with db.write() as connection:
        connection.execute(
            studies_table.insert().values(
                id=name,
                created=time.time(),
                language=language,
                context="{}",
                priority=priority,
                urgent=0,
            )
        )
        jobs.enqueue(connection, name, language)


def states(db: Database) -> dict[str, str]:
    with db.read() as connection:
        return {row.study: row.state for row in connection.execute(table.select())}


def test_a_job_is_claimed_once(db: Database) -> None:
    add(db, "a")
    assert jobs.claim(db, "w1", 8, 60) == [Job("a", "en", 1)]
    assert jobs.claim(db, "w2", 8, 60) == []


def test_many_workers_at_once_claim_each_job_once(db: Database) -> None:
    for k in range(30):
        add(db, f"{k:02}")
    claimed: list[str] = []

    def work(name: str) -> None:
        while batch := jobs.claim(db, name, 3, 60):
            for job in batch:
                assert jobs.finish(db, name, job, report_of(study(job.study), "en"))
                claimed.append(job.study)

    threads = [threading.Thread(target=work, args=(f"w{k}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(claimed) == {f"{k:02}": 1 for k in range(30)}
    assert set(states(db).values()) == {"done"}


def test_a_batch_is_of_one_language(db: Database) -> None:
    add(db, "a"), add(db, "b", language="zh"), add(db, "c")
    assert [j.study for j in jobs.claim(db, "w", 8, 60)] == ["a", "c"]
    assert [j.study for j in jobs.claim(db, "w", 8, 60)] == ["b"]


def test_only_the_holder_of_a_lease_finishes(db: Database) -> None:
    add(db, "a")
    (first,) = jobs.claim(db, "w1", 1, 60)
    assert jobs.expire(db, time.time() + 61) == 1
    (second,) = jobs.claim(db, "w2", 1, 60)
    assert second.attempt == 2
    report = report_of(study("a"), "en")
    assert jobs.finish(db, "w1", first, report) is False
    assert jobs.finish(db, "w2", first, report) is False  # another claim's number
    assert jobs.finish(db, "w2", second, report) is True
    assert jobs.finish(db, "w2", second, report) is False


def test_a_renewed_lease_does_not_run_out(db: Database) -> None:
    add(db, "a")
    jobs.claim(db, "w", 1, 1)
    jobs.renew(db, "w", 100)
    assert jobs.expire(db, time.time() + 50) == 0
    jobs.renew(db, "another", 1)
    assert jobs.expire(db, time.time() + 50) == 0


def test_two_deaths_set_a_job_aside_and_the_second_try_is_alone(db: Database) -> None:
    for name in "abc":
        add(db, name)
    assert len(jobs.claim(db, "w1", 8, 60)) == 3
    assert jobs.bury(db, "w1") == 3
    assert jobs.claim(db, "w2", 8, 60) == [Job("a", "en", 2)]
    jobs.bury(db, "w2")
    assert states(db) == {"a": "quarantined", "b": "queued", "c": "queued"}
    assert jobs.claim(db, "w3", 8, 60) == [Job("b", "en", 2)]


def test_what_is_given_back_in_good_order_was_never_tried(db: Database) -> None:
    add(db, "a"), add(db, "b")
    for _ in range(10):
        assert len(jobs.claim(db, "w", 8, 60)) == 2  # together: neither is under suspicion
        assert jobs.give_back(db, "w") == 2
    assert set(states(db).values()) == {"queued"}


def test_a_job_whose_leases_only_run_out_is_not_tried_for_ever(db: Database) -> None:
    add(db, "a")
    for _ in range(jobs.ATTEMPTS):
        assert len(jobs.claim(db, "w", 1, 1)) == 1
        jobs.expire(db, time.time() + 10)
    assert states(db) == {"a": "quarantined"}


def test_jobs_of_dead_processes_of_this_machine_are_recovered(db: Database) -> None:
    add(db, "a"), add(db, "b"), add(db, "c")
    mine = jobs.worker_name()
    host = mine.split(":")[0]
    jobs.claim(db, f"{host}:4194305:0a", 1, 60)  # no process has this number
    jobs.claim(db, mine, 1, 60)
    jobs.claim(db, "elsewhere:1:0a", 1, 60)
    assert jobs.recover(db) == 1
    assert states(db) == {"a": "queued", "b": "running", "c": "running"}


def test_retry_gives_new_tries(db: Database) -> None:
    add(db, "a")
    for name in ("w1", "w2"):
        jobs.claim(db, name, 1, 60)
        jobs.bury(db, name)
    assert states(db) == {"a": "quarantined"}
    assert jobs.retry(db, "a", "zh") == 0
    assert jobs.retry(db, "a", "en") == 1
    (job,) = jobs.claim(db, "w3", 1, 60)
    assert jobs.finish(db, "w3", job, error=Code.FILE_DAMAGED, detail="x" * 500)
    assert states(db) == {"a": "failed"}
    assert jobs.retry(db, "a", "en") == 1


def test_what_is_committed_is_there_for_another_process(tmp_path: Path) -> None:
    from hilum.service import migrate

    url = f"sqlite:///{tmp_path / 'x.db'}"
    first = Database(url)
    migrate.prepare(first)
    add(first, "a")
    second = Database(url)
    migrate.prepare(second)
    assert states(second) == {"a": "queued"}


@pytest.mark.parametrize("count", [0, 3])
def test_counts_and_the_oldest(db: Database, count: int) -> None:
    for k in range(count):
        add(db, str(k))
    with db.read() as connection:
        assert jobs.counts(connection)["queued"] == count
        assert jobs.oldest(connection) >= 0
