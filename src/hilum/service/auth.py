"""API keys: who may do what.

A key is ``hilum_<id>_<secret>`` with 256 random bits, shown once; the database keeps its SHA-256.
(A slow hash guards guessable passwords; 256 random bits cannot be guessed.)
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from secrets import token_hex, token_urlsafe
from typing import Any

from sqlalchemy import func, insert, select, update

from hilum.codes import Code, HilumError
from hilum.service import journal
from hilum.service.store import Database, keys

DAY = 86_400.0
REMEMBERED_SECONDS = 2.0
"""How long a key that was found good is taken for good without asking again."""

_KEY = re.compile(r"hilum_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Scope(StrEnum):
    """What a key may do; write includes read, admin includes both."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


_RANK = {Scope.READ: 0, Scope.WRITE: 1, Scope.ADMIN: 2}


@dataclass(frozen=True)
class Caller:
    """Who asks: a key's id, or ``local`` where no keys are needed."""

    id: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether one of its scopes is this one or includes it."""
        return any(_RANK[held] >= _RANK[scope] for held in self.scopes)


LOCAL = Caller("local", frozenset({Scope.ADMIN}))


def create(db: Database, name: str, scopes: Iterable[Scope], days: float | None) -> tuple[str, str]:
    """A new key: its id, and the key itself, which cannot be shown again.

    Raises ``option_invalid`` for a name of other than letters, digits and ``_ . -``.
    """
    if not _NAME.fullmatch(name):
        raise HilumError(Code.OPTION_INVALID, "NAME", "letters, digits, _ . -, at most 64")
    granted = sorted(set(scopes), key=lambda s: _RANK[s]) or [Scope.READ]
    identity, secret = token_hex(6), token_urlsafe(32)
    now = time.time()
    with db.write() as connection:
        connection.execute(
            insert(keys).values(
                id=identity,
                name=name,
                digest=_digest(secret),
                scopes=" ".join(granted),
                created=now,
                expires=now + days * DAY if days is not None else None,
            )
        )
        journal.note(connection, "system", "key_created", identity)
    return identity, f"hilum_{identity}_{secret}"


def revoke(db: Database, identity: str) -> None:
    """End a key. Raises ``option_invalid`` where there is none of this id that is in force."""
    with db.write() as connection:
        changed = connection.execute(
            update(keys)
            .where(keys.c.id == identity, keys.c.revoked.is_(None))
            .values(revoked=time.time())
        )
        if not changed.rowcount:
            raise HilumError(Code.OPTION_INVALID, "ID", "no key in force has it; hilum keys list")
        journal.note(connection, "system", "key_revoked", identity)


def listed(db: Database) -> list[dict[str, Any]]:
    """Every key, without its secret: id, name, scopes, created, expires, revoked."""
    with db.read() as connection:
        rows = connection.execute(select(keys).order_by(keys.c.created)).mappings().all()
    return [{k: v for k, v in row.items() if k != "digest"} for row in rows]


def any_ever(db: Database) -> bool:
    """Whether a key was ever made: from then on every request needs one."""
    with db.read() as connection:
        return bool(connection.scalar(select(func.count()).select_from(keys)))


def any_in_force(db: Database) -> bool:
    """Whether a key can be used."""
    with db.read() as connection:
        found = connection.execute(select(keys.c.expires, keys.c.revoked)).all()
    return any(_in_force(row.expires, row.revoked) for row in found)


class Doorkeeper:
    """Tells who sends a request. A good key is remembered for a moment."""

    def __init__(self, db: Database, open_to_all: bool) -> None:
        self._db, self._open = db, open_to_all
        self._known: dict[bytes, tuple[float, Caller]] = {}
        self._asked, self._keyless = 0.0, False

    def remembered(self, header: str) -> Caller | None:
        """The caller, where no question to the database is needed."""
        now = time.monotonic()
        if self._open and self._keyless and now < self._asked:
            return LOCAL
        until, caller = self._known.get(_fingerprint(header), (0.0, LOCAL))
        return caller if now < until else None

    def admit(self, header: str) -> Caller:
        """The caller that an Authorization header names. Raises ``key_refused``.

        Where no keys are needed the header is not looked at: OpenAI's client always sends one.
        """
        now = time.monotonic()
        if self._open:
            self._keyless = not any_ever(self._db)
            self._asked = now + REMEMBERED_SECONDS
            if self._keyless:
                return LOCAL
        caller = self._look_up(header)
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[_fingerprint(header)] = (now + REMEMBERED_SECONDS, caller)
        return caller

    def _look_up(self, header: str) -> Caller:
        scheme, _, key = header.partition(" ")
        match = _KEY.fullmatch(key.strip())
        if scheme.lower() != "bearer" or not match:
            raise HilumError(Code.KEY_REFUSED, "", "send Authorization: Bearer hilum_...")
        with self._db.read() as connection:
            row = connection.execute(select(keys).where(keys.c.id == match[1])).first()
        known = row.digest if row is not None else "0" * 64
        right = hmac.compare_digest(_digest(match[2]), known)
        if row is None or not right or not _in_force(row.expires, row.revoked):
            raise HilumError(Code.KEY_REFUSED, "", "unknown, revoked or expired")
        return Caller(row.id, frozenset(Scope(s) for s in row.scopes.split()))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _fingerprint(header: str) -> bytes:
    return hashlib.sha256(header.encode("utf-8", "surrogateescape")).digest()


def _in_force(expires: float | None, revoked: float | None) -> bool:
    return revoked is None and (expires is None or time.time() < expires)
