"""The database's version: made at the first start, changed only when asked.

    python -m hilum.service.migrate [--data DIR | --database URL] show|upgrade|downgrade [VERSION]

An upgrade is never done in passing: it is to be backed up first (docs/service.md).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from hilum.codes import Code, HilumError
from hilum.service.settings import Settings
from hilum.service.store import Database

HERE = Path(__file__).parent / "migrations"


def current(db: Database) -> str | None:
    """The database's version; None for an empty one."""
    with db.read() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The version that this Hilum needs."""
    return ScriptDirectory(str(HERE)).get_current_head() or ""


def upgrade(db: Database, to: str = "head") -> None:
    """Bring the database up to a version; all of it or nothing."""
    with db.write() as connection:
        if not db.is_sqlite:  # servers that start together
            connection.execute(text("SELECT pg_advisory_xact_lock(4812)"))
        command.upgrade(_config(connection), to)


def downgrade(db: Database, to: str) -> None:
    """Bring the database down to a version; what the later ones kept is lost."""
    with db.write() as connection:
        command.downgrade(_config(connection), to)


def prepare(db: Database) -> None:
    """Make an empty database; any other must be of this version.

    Raises ``database_version`` where it is older or newer, or holds somebody else's tables.
    """
    found = current(db)
    if found == head():
        return
    if found is not None:
        hint = "back it up, then run python -m hilum.service.migrate upgrade"
        raise HilumError(Code.DATABASE_VERSION, "", f"{found}, not {head()}; {hint}")
    with db.read() as connection:
        tables = inspect(connection).get_table_names()
    if tables:
        raise HilumError(Code.DATABASE_VERSION, "", "it holds tables that are not Hilum's")
    upgrade(db)


def _config(connection: object) -> Config:
    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.attributes["connection"] = connection
    return config


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m hilum.service.migrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, default=Settings().data)
    parser.add_argument("--database", default="")
    parser.add_argument("do", choices=("show", "upgrade", "downgrade"))
    parser.add_argument("version", nargs="?")
    args = parser.parse_args(arguments)
    if args.do == "downgrade" and not args.version:
        parser.error("downgrade to which version?")
    db = Database(Settings(data=args.data, database=args.database).database_url)
    try:
        if args.do == "upgrade":
            upgrade(db, args.version or "head")
        elif args.do == "downgrade":
            downgrade(db, args.version)
        sys.stdout.write(f"database: {current(db) or 'empty'}; this Hilum needs {head()}\n")
    except HilumError as error:
        sys.stderr.write(error.line() + "\n")
        return 4
    finally:
        db.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
