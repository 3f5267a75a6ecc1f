"""Conversations about a study, kept with it: who asked what, and what was answered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import delete, func, insert, select

from hilum.codes import Code, HilumError
from hilum.service.store import Database, keys, studies, turns

MOST = 200
"""Turns of one conversation; then a new one is to be started."""

State = Literal["whole", "stopped", "failed"]


def listed(db: Database, study: str, conversation: int | None = None) -> dict[str, Any]:
    """The turns of a conversation, by default of the last one. Raises ``study_unknown``."""
    with db.read() as connection:
        if connection.scalar(select(studies.c.id).where(studies.c.id == study)) is None:
            raise HilumError(Code.STUDY_UNKNOWN)
        last = connection.scalar(
            select(func.max(turns.c.conversation)).where(turns.c.study == study)
        )
        chosen = conversation if conversation is not None else last or 1
        rows = connection.execute(
            select(turns, keys.c.name)
            .outerjoin(keys, keys.c.id == turns.c.who)
            .where(turns.c.study == study, turns.c.conversation == chosen)
            .order_by(turns.c.id)
        ).mappings()
        said = [
            {k: v for k, v in row.items() if k not in ("study", "conversation")}
            | {"disagrees": row["disagrees"].split()}
            for row in rows
        ]
    return {"conversation": chosen, "last": last or 0, "turns": said}


def ask(db: Database, study: str, conversation: int, who: str, text: str) -> None:
    """Keep a question. Raises ``study_unknown``, ``request_invalid`` for a full conversation."""
    known = listed(db, study, conversation)
    if conversation > known["last"] + 1:
        raise HilumError(Code.REQUEST_INVALID, "", f"conversation: at most {known['last'] + 1}")
    if len(known["turns"]) >= MOST:
        raise HilumError(Code.REQUEST_INVALID, "", f"{MOST} turns; start a new conversation")
    _keep(db, study, conversation, who, "user", text, "whole", ())


def ask_again(db: Database, study: str, conversation: int) -> None:
    """Forget the answers after the last question. Raises ``request_invalid`` without any."""
    at = (turns.c.study == study) & (turns.c.conversation == conversation)
    with db.write() as connection:
        last = connection.scalar(select(func.max(turns.c.id)).where(at, turns.c.role == "user"))
        if last is None:
            raise HilumError(Code.REQUEST_INVALID, "", "nothing was asked")
        connection.execute(delete(turns).where(at, turns.c.id > last))


def answered(
    db: Database,
    study: str,
    conversation: int,
    who: str,
    text: str,
    state: State,
    disagrees: Sequence[str] = (),
) -> None:
    """Keep an answer, whole or as far as it came."""
    _keep(db, study, conversation, who, "assistant", text, state, disagrees)


def _keep(
    db: Database,
    study: str,
    conversation: int,
    who: str,
    role: str,
    text: str,
    state: State,
    disagrees: Sequence[str],
) -> None:
    with db.write() as connection:
        if connection.scalar(select(studies.c.id).where(studies.c.id == study)) is None:
            raise HilumError(Code.STUDY_UNKNOWN)  # deleted while it was spoken of
        connection.execute(
            insert(turns).values(
                study=study,
                conversation=conversation,
                at=time.time(),
                who=who,
                role=role,
                text=text,
                state=state,
                disagrees=" ".join(disagrees),
            )
        )
