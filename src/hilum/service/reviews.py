"""Reviews: what people did with a draft. The draft stays; every step is a row that stays too.

A study is preliminary until somebody approves or rejects it; then only reopening changes it.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from hilum.codes import Code, HilumError
from hilum.reading import linking
from hilum.report import Language, Report
from hilum.service import journal
from hilum.service.store import Database, keys, reports, reviews, studies

PRELIMINARY, APPROVED, REJECTED = "preliminary", "approved", "rejected"


class Action(StrEnum):
    """What a person does with a draft."""

    EDIT = "edit"
    APPROVE = "approve"
    REJECT = "reject"
    REOPEN = "reopen"


class Reason(StrEnum):
    """Why a draft is rejected: a list, so that rejections can be counted and learnt from."""

    FINDING_MISSED = "finding_missed"
    FINDING_FALSE = "finding_false"
    PLACE_WRONG = "place_wrong"
    WORDING = "wording"
    FILM_UNSUITABLE = "film_unsuitable"
    OTHER = "other"


_BECOMES = {
    Action.EDIT: PRELIMINARY,
    Action.APPROVE: APPROVED,
    Action.REJECT: REJECTED,
    Action.REOPEN: PRELIMINARY,
}


def step(
    db: Database,
    study: str,
    who: str,
    action: Action,
    base: int,
    language: Language,
    text: str | None = None,
    reason: Reason | None = None,
) -> None:
    """Keep one step. ``base``: the last one that the person had seen, 0 where there was none.

    ``text`` goes with an edit or an approval; an approval without it takes the text as it
    stands. Raises ``study_unknown``, ``nothing_to_review`` (abstained, or not read in this
    language), ``review_conflict``, ``review_closed``, and ``request_invalid`` for an empty text.
    """
    with db.write() as connection:
        state = connection.scalar(
            select(studies.c.review).where(studies.c.id == study).with_for_update()
        )
        if state is None:
            raise HilumError(Code.STUDY_UNKNOWN)
        report = _report(connection, study, language)
        if report is None or report.abstained:
            raise HilumError(Code.NOTHING_TO_REVIEW)
        if _last(connection, study) != base:
            raise HilumError(Code.REVIEW_CONFLICT)
        if (state == PRELIMINARY) == (action is Action.REOPEN):
            raise HilumError(Code.REVIEW_CLOSED, "", f"it is {state}")
        if action is Action.APPROVE and text is None:
            text = _standing(connection, study, language) or report.text
        if action in (Action.EDIT, Action.APPROVE) and not (text or "").strip():
            raise HilumError(Code.REQUEST_INVALID, "", "text: empty")
        connection.execute(
            insert(reviews).values(
                study=study,
                at=time.time(),
                who=who,
                action=action,
                language=language,
                text=text if action in (Action.EDIT, Action.APPROVE) else None,
                reason=reason if action is Action.REJECT else None,
            )
        )
        connection.execute(
            update(studies).where(studies.c.id == study).values(review=_BECOMES[action])
        )
        journal.note(connection, who, f"review_{action}", study)


def shown(db: Database, study: str, language: Language | None = None) -> dict[str, Any]:
    """The state, the draft, the text as it stands, its sentences, and every step, oldest first.

    In a language, by default the one the study was first asked in. Raises ``study_unknown``.
    """
    with db.read() as connection:
        row = connection.execute(
            select(studies.c.review, studies.c.language).where(studies.c.id == study)
        ).first()
        if row is None:
            raise HilumError(Code.STUDY_UNKNOWN)
        chosen: Language = language or row.language
        report = _report(connection, study, chosen)
        steps = connection.execute(
            select(reviews, keys.c.name)
            .outerjoin(keys, keys.c.id == reviews.c.who)
            .where(reviews.c.study == study)
            .order_by(reviews.c.id)
        ).mappings()
        history = [{k: v for k, v in step.items() if k != "study"} for step in steps]
    written = [s["text"] for s in history if s["text"] is not None and s["language"] == chosen]
    draft = report.text if report is not None else None
    text = written[-1] if written else draft
    spoken = chosen if text == draft else None  # a person writes in whatever language
    return {
        "state": row.review,
        "base": history[-1]["id"] if history else 0,
        "language": chosen,
        "draft": draft,
        "text": text,
        "sentences": linking.link(text, spoken, report) if report and text else [],
        "disagreements": linking.disagreements(text, spoken, report) if report and text else [],
        "history": history,
    }


def _report(connection: Connection, study: str, language: Language) -> Report | None:
    content = connection.scalar(
        select(reports.c.content).where(reports.c.study == study, reports.c.language == language)
    )
    return Report.model_validate_json(content) if content else None


def _last(connection: Connection, study: str) -> int:
    return connection.scalar(select(func.max(reviews.c.id)).where(reviews.c.study == study)) or 0


def _standing(connection: Connection, study: str, language: Language) -> str | None:
    """The text as it was last written in a language, if anyone wrote it."""
    text: str | None = connection.scalar(
        select(reviews.c.text)
        .where(
            reviews.c.study == study, reviews.c.language == language, reviews.c.text.is_not(None)
        )
        .order_by(reviews.c.id.desc())
        .limit(1)
    )
    return text
