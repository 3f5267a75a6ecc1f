"""What the service writes down: the audit log in the database, and log lines on stderr.

Neither ever holds a file name, a header's text, a query, or what an exception said.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, insert, select

from hilum.service.store import Database, audit

PACKAGE = Path(__file__).parents[1]
_log = logging.getLogger("hilum.service")


def note(
    connection: Connection, who: str, action: str, subject: str | None = None, outcome: str = "ok"
) -> None:
    """A line of the audit log, in the transaction of what it tells of.

    ``subject`` is the id of the study, or of the key, that it is about. Lines are never changed or
    deleted: the database refuses it.
    """
    connection.execute(
        insert(audit).values(
            at=time.time(), who=who, action=action, subject=subject, outcome=outcome
        )
    )


def entries(db: Database, after: int, limit: int) -> list[dict[str, Any]]:
    """Lines of the audit log after a number, in order."""
    with db.read() as connection:
        rows = connection.execute(
            select(audit).where(audit.c.id > after).order_by(audit.c.id).limit(limit)
        ).mappings()
        return [dict(row) for row in rows]


def log(event: str, level: int = logging.INFO, **values: str | float | None) -> None:
    """One JSON line on stderr."""
    line = {"at": round(time.time(), 3), "level": logging.getLevelName(level), "event": event}
    _log.log(level, json.dumps(line | {k: v for k, v in values.items() if v is not None}))


def place_of(error: BaseException) -> str:
    """An exception's type and where it came from, and nothing of its message."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    where = (inside or frames)[-1:]
    at = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in where)
    return type(error).__name__ + at


def set_up() -> None:
    """Log to stderr, quietly for libraries: what they log may quote what they were given."""
    _log.handlers = [_Lines()]
    _log.setLevel(logging.INFO)
    _log.propagate = False
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [_TypesOnly()]
    root.setLevel(logging.ERROR)
    sys.excepthook = _say_uncaught
    threading.excepthook = lambda args: _say_uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


class _Lines(logging.Handler):
    """One line each on whatever stderr is now; a line that cannot be written is lost.

    ``logging.StreamHandler`` prints the exception being handled, words and all, when its stream
    fails: a closed pipe must not do what a log line may not.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        with suppress(OSError, ValueError):
            sys.stderr.write(record.getMessage() + "\n")
            sys.stderr.flush()


class _TypesOnly(logging.Handler):
    """What a library logs, without its words."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say which library logged, where, and the type of an exception."""
        where = f"{record.name} at {record.module}:{record.lineno}"
        error = record.exc_info[1] if record.exc_info else None
        log("library", record.levelno, where=where, error=place_of(error) if error else None)


def _say_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        log("uncaught", logging.CRITICAL, error=place_of(error.with_traceback(trace)))
