"""The database's versions, both ways, and the audit log that nobody can change."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from hilum.codes import Code, HilumError
from hilum.service import journal, migrate
from hilum.service.store import Database, metadata


def tables(db: Database) -> set[str]:
    with db.read() as connection:
        return set(inspect(connection).get_table_names())


def test_up_and_down_and_up_again(database_url: str) -> None:
    db = Database(database_url)
    migrate.upgrade(db, "0001")
    assert "studies" in tables(db)
    assert "audit" not in tables(db)
    migrate.upgrade(db)
    assert migrate.current(db) == migrate.head()
    migrate.downgrade(db, "0001")
    assert migrate.current(db) == "0001"
    migrate.downgrade(db, "base")
    assert tables(db) == {"alembic_version"}
    migrate.upgrade(db)
    assert set(metadata.tables) <= tables(db)
    db.close()


def test_the_migrations_make_the_tables_that_the_code_uses(db: Database) -> None:
    with db.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_rows_survive_the_way_up(database_url: str) -> None:
    db = Database(database_url)
    migrate.upgrade(db, "0001")
    with db.write() as connection:
        connection.execute(
            text(
                "INSERT INTO studies (id, created, language, context, priority, urgent)"
                " VALUES ('a', 1.5, 'zh', '{}', 2, 0)"
            )
        )
    migrate.upgrade(db)
    with db.read() as connection:
        assert connection.execute(text("SELECT id, created FROM studies")).all() == [("a", 1.5)]
    db.close()


def test_an_older_database_is_not_changed_in_passing(database_url: str) -> None:
    db = Database(database_url)
    migrate.upgrade(db, "0001")
    with pytest.raises(HilumError) as error:
        migrate.prepare(db)
    assert error.value.code is Code.DATABASE_VERSION
    assert "migrate upgrade" in error.value.detail
    assert migrate.current(db) == "0001"
    db.close()


def test_somebody_elses_database_is_left_alone(database_url: str) -> None:
    db = Database(database_url)
    with db.write() as connection:
        connection.execute(text("CREATE TABLE theirs (id INTEGER)"))
    with pytest.raises(HilumError) as error:
        migrate.prepare(db)
    assert error.value.code is Code.DATABASE_VERSION
    assert tables(db) == {"theirs"}
    db.close()


@pytest.mark.parametrize("statement", ["UPDATE audit SET who = 'x'", "DELETE FROM audit"])
def test_the_audit_log_refuses_changes(db: Database, statement: str) -> None:
    with db.write() as connection:
        journal.note(connection, "system", "server_started")
    with pytest.raises((DBAPIError, HilumError)), db.write() as connection:
        connection.execute(text(statement))
    (entry,) = journal.entries(db, 0, 10)
    assert entry["who"] == "system"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--data", str(tmp_path)]
    assert migrate.main([*folder, "show"]) == 0
    assert "database: empty" in capsys.readouterr().out
    assert migrate.main([*folder, "upgrade"]) == 0
    assert migrate.main([*folder, "downgrade", "0001"]) == 0
    assert "database: 0001" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        migrate.main([*folder, "downgrade"])


def test_a_database_that_is_not_there_is_a_code() -> None:
    db = Database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(HilumError) as error:
        migrate.prepare(db)
    assert error.value.code is Code.DATABASE_UNREACHABLE
    assert "nobody" not in error.value.line()


def test_nonsense_is_no_database_url() -> None:
    with pytest.raises(HilumError) as error:
        Database("PLANTED")
    assert error.value.code is Code.DATABASE_UNREACHABLE
    assert "PLANTED" not in error.value.line()
