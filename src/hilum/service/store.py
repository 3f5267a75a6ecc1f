"""The database: its tables, and connections that SQLite and PostgreSQL treat alike.

Times are seconds since 1970. Ids, hashes, codes, numbers and reports are kept, and what a person
writes on the page (edits, questions); no file name, and no header text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    text,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from hilum.codes import Code, HilumError

metadata = MetaData()

studies = Table(
    "studies",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("created", Float, nullable=False),
    Column("language", String(2), nullable=False),  # of the first job
    Column("context", Text, nullable=False),  # JSON of hilum.study.Context
    Column("priority", Integer, nullable=False),  # as given; raised, never lowered
    Column("fracture", Float),  # probability, of the first job
    Column("urgent", Integer, nullable=False, default=0),  # 1: the reader calls a fracture
    Column("review", String(12), nullable=False, default="preliminary"),  # approved, rejected
    Index("studies_worklist", "priority", "fracture", "created"),
)
instances = Table(
    "instances",
    metadata,
    Column("key", String(64), primary_key=True),  # sha256 of SOPInstanceUID, or of the bytes
    Column("sha256", String(64), nullable=False),
    Column("size", Integer, nullable=False),
    Index("instances_sha256", "sha256"),
)
_STUDY = "studies.id"
views = Table(
    "views",
    metadata,
    Column("study", ForeignKey(_STUDY, ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("instance", ForeignKey("instances.key"), nullable=False, index=True),
)
jobs = Table(
    "jobs",
    metadata,
    Column("study", ForeignKey(_STUDY, ondelete="CASCADE"), primary_key=True),
    Column("language", String(2), primary_key=True),
    Column("state", String(12), nullable=False),  # queued running done failed quarantined
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("finished", Float),
    Column("attempts", Integer, nullable=False, default=0),
    Column("strikes", Integer, nullable=False, default=0),  # workers that died holding it
    Column("worker", String(200)),
    Column("lease_until", Float),
    Column("error", String(40)),
    Column("detail", String(200)),
    Index("jobs_queue", "state", "created"),
)
reports = Table(
    "reports",
    metadata,
    Column("study", ForeignKey(_STUDY, ondelete="CASCADE"), primary_key=True),
    Column("language", String(2), primary_key=True),
    Column("created", Float, nullable=False),
    Column("verdict", String(8), nullable=False),
    Column("flags", Text, nullable=False),  # codes, with a space between
    Column("content", Text, nullable=False),  # JSON of hilum.report.Report
)
reviews = Table(
    "reviews",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("study", ForeignKey(_STUDY, ondelete="CASCADE"), nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("who", String(12), nullable=False),
    Column("action", String(8), nullable=False),  # edit approve reject reopen
    Column("language", String(2)),  # of the text
    Column("text", Text),
    Column("reason", String(20)),  # of a rejection
    sqlite_autoincrement=True,
)
turns = Table(
    "turns",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("study", ForeignKey(_STUDY, ondelete="CASCADE"), nullable=False),
    Column("conversation", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("who", String(12), nullable=False),
    Column("role", String(9), nullable=False),  # user assistant
    Column("text", Text, nullable=False),
    Column("state", String(8), nullable=False),  # whole stopped failed
    Column("disagrees", Text, nullable=False, default=""),  # findings, with a space between
    Index("turns_study", "study", "conversation", "id"),
    sqlite_autoincrement=True,
)
keys = Table(
    "keys",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("scopes", String(40), nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
)
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("who", String(12), nullable=False),  # a key's id, local, or system
    Column("action", String(40), nullable=False),
    Column("subject", String(16)),  # a study's id, or a key's
    Column("outcome", String(40), nullable=False),
)


class Database:
    """Connections to one database. Safe for several threads and processes.

    Every transaction that writes holds SQLite's write lock from its first statement on, so that
    what it read still holds when it writes; PostgreSQL locks the rows it selects for update.
    """

    def __init__(self, url: str) -> None:
        self.is_sqlite = url.startswith("sqlite")
        more: dict[str, Any] = {"max_overflow": 40, "pool_timeout": 30}
        if self.is_sqlite:
            more["connect_args"] = {"timeout": 30, "isolation_level": None}
        else:
            more["pool_pre_ping"] = True
        try:
            self.engine = create_engine(_driver(url), hide_parameters=True, **more)
        except (SQLAlchemyError, ImportError):
            raise HilumError(Code.DATABASE_UNREACHABLE, "", "not a database URL") from None
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def write(self, *, alone: bool = False) -> Iterator[Connection]:
        """A transaction that may write. ``alone``: no other of that kind runs meanwhile."""
        with _named(), self.engine.begin() as connection:
            if alone and not self.is_sqlite:
                connection.execute(text("LOCK TABLE instances IN EXCLUSIVE MODE"))
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, and waits for no writer."""
        with _named(), self.engine.connect() as plain:
            connection = plain.execution_options(reading=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close every idle connection."""
        self.engine.dispose()


def _driver(url: str) -> str:
    """PostgreSQL's plain URL names no driver; psycopg 3 is the one installed."""
    for plain in ("postgresql://", "postgres://"):
        if url.startswith(plain):
            return "postgresql+psycopg://" + url.removeprefix(plain)
    return url


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("reading")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def _named() -> Iterator[None]:
    """A database's failure as one of Hilum's, without its message: that may quote values."""
    try:
        yield
    except DBAPIError as error:
        said = str(error.orig)
        if "disk is full" in said or "No space left" in said or "disk I/O error" in said:
            raise HilumError(Code.STORAGE_FULL, "", "the database") from None
        if error.connection_invalidated or "OperationalError" in type(error).__name__:
            raise HilumError(Code.DATABASE_UNREACHABLE, "", type(error.orig).__name__) from None
        raise


def folder_of(data: Path) -> Path:
    """The service's folder, made for its owner alone. Raises ``output_unwritable``."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HilumError(Code.OUTPUT_UNWRITABLE, data, type(error).__name__) from None
    return data
