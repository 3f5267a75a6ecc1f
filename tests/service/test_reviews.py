"""Reviews: the draft, every edit and who made it stay; preliminary until somebody approves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hilum.codes import Code, HilumError
from hilum.service import auth, reviews
from hilum.service.auth import Scope
from hilum.service.reviews import Action
from hilum.service.store import Database
from tests.service.conftest import Desk
from tests.service.fakes import ABSTAIN, film


@pytest.fixture
def study(desk: Desk) -> str:
    """A study that was read: a fracture of the left 6th rib, 90 %."""
    made = desk.id(film())
    desk.work()
    return made


def step(desk: Desk, study: str, action: str, base: int = 0, **more: Any) -> Any:
    body = {"action": action, "base": base, "language": "en"} | more
    return desk.http.post(f"/v1/studies/{study}/review", json=body)


def seen(desk: Desk, study: str, language: str = "en") -> Any:
    return desk.http.get(f"/v1/studies/{study}/review?language={language}").json()


def row(desk: Desk, **query: str) -> Any:
    return desk.http.get("/v1/studies", params=query).json()["studies"]


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_draft_is_preliminary_and_its_sentences_are_linked(desk: Desk, study: str) -> None:
    review = seen(desk, study)
    assert (review["state"], review["base"], review["history"]) == ("preliminary", 0, [])
    assert review["text"] == review["draft"]
    first = review["sentences"][0]
    assert review["text"][first["start"] : first["end"]].strip().endswith("6th rib.")
    assert first["findings"][0] == {"name": "fracture", "status": "present", "agrees": True}
    assert first["instances"] == [["fracture", 0]]
    assert review["disagreements"] == []


def test_edit_approve_and_everything_stays(desk: Desk, study: str) -> None:
    draft = seen(desk, study)["draft"]
    edited = step(desk, study, "edit", text="Old fracture of the left 6th rib.").json()
    assert (edited["state"], edited["draft"]) == ("preliminary", draft)
    approved = step(desk, study, "approve", edited["base"]).json()
    assert approved["state"] == "approved"
    assert approved["text"] == "Old fracture of the left 6th rib."
    assert [(s["action"], s["who"], s["text"] is not None) for s in approved["history"]] == [
        ("edit", "local", True),
        ("approve", "local", True),
    ]
    assert approved["draft"] == draft
    assert seen(desk, study) == approved
    (line,) = row(desk)
    assert line["review"] == "approved"
    assert row(desk, review="preliminary") == []
    assert len(row(desk, review="approved")) == 1
    shown = desk.http.get(f"/v1/studies/{study}").json()
    assert (shown["review"], shown["review_language"]) == ("approved", "en")
    assert shown["report"]["text"] == draft  # what the reader wrote is never changed


def test_approving_without_a_text_takes_the_draft(desk: Desk, study: str) -> None:
    approved = step(desk, study, "approve").json()
    assert approved["history"][0]["text"] == approved["draft"] == approved["text"]


def test_an_edit_that_changes_a_finding_is_told(desk: Desk, study: str) -> None:
    edited = step(desk, study, "edit", text="No fracture. No pleural effusion.").json()
    (wrong,) = edited["disagreements"]
    assert wrong == {"name": "fracture", "said": "absent", "status": "present", "probability": 0.9}
    assert edited["sentences"][0]["findings"][0]["agrees"] is False


def test_a_rejection_has_a_reason_and_no_text(desk: Desk, study: str) -> None:
    rejected = step(desk, study, "reject", reason="place_wrong", text="not kept").json()
    assert rejected["state"] == "rejected"
    assert rejected["history"][0]["reason"] == "place_wrong"
    assert rejected["history"][0]["text"] is None
    assert code(step(desk, study, "reject", rejected["base"], reason="because")) == (
        400,
        "request_invalid",
    )


def test_what_is_closed_must_be_reopened(desk: Desk, study: str) -> None:
    base = step(desk, study, "approve").json()["base"]
    for action in ("edit", "approve", "reject"):
        assert code(step(desk, study, action, base, text="x")) == (409, "review_closed")
    again = step(desk, study, "reopen", base).json()
    assert again["state"] == "preliminary"
    assert code(step(desk, study, "reopen", again["base"])) == (409, "review_closed")
    assert row(desk)[0]["review"] == "preliminary"


def test_whoever_comes_second_is_told_and_loses_nothing(desk: Desk, study: str) -> None:
    step(desk, study, "edit", text="First.")
    assert code(step(desk, study, "approve", 0)) == (409, "review_conflict")
    assert code(step(desk, study, "edit", 0, text="Second.")) == (409, "review_conflict")
    assert seen(desk, study)["text"] == "First."


def test_a_study_that_was_not_read_cannot_be_approved(desk: Desk) -> None:
    waiting = desk.id(film(seed=3))
    assert code(step(desk, waiting, "approve")) == (409, "nothing_to_review")
    assert seen(desk, waiting)["text"] is None
    abstained = desk.id(film(ABSTAIN, seed=4))
    desk.work()
    assert code(step(desk, abstained, "approve", text="Normal.")) == (409, "nothing_to_review")
    assert seen(desk, abstained)["sentences"] == []
    assert {r["review"] for r in row(desk)} == {"preliminary"}


@pytest.mark.parametrize("text", ["", " \n ", "a\0b", "x" * 8001, "\x1b[2J"])
def test_texts_that_are_refused(desk: Desk, study: str, text: str) -> None:
    for action in ("edit", "approve"):
        assert code(step(desk, study, action, text=text)) == (400, "request_invalid")
    assert seen(desk, study)["history"] == []


def test_markup_in_a_text_is_kept_as_it_was_typed(desk: Desk, study: str) -> None:
    text = "<script>alert(1)</script> <img src=x onerror=alert(1)>\n骨折 ‮ 🦴"
    assert step(desk, study, "edit", text=text).json()["text"] == text
    assert seen(desk, study)["text"] == text


def test_each_language_has_its_text(desk: Desk, study: str) -> None:
    desk.http.post(f"/v1/studies/{study}/jobs", json={"language": "zh"})
    assert code(step(desk, study, "approve", language="zh")) == (409, "nothing_to_review")
    desk.work()
    base = step(desk, study, "edit", text="English.").json()["base"]
    approved = step(desk, study, "approve", base, language="zh").json()
    assert "骨折" in approved["text"]
    assert seen(desk, study, "en")["text"] == "English."
    assert desk.http.get(f"/v1/studies/{study}").json()["review_language"] == "zh"


def test_reviews_go_with_their_study(desk: Desk, study: str) -> None:
    step(desk, study, "approve")
    assert desk.http.delete(f"/v1/studies/{study}").status_code == 204
    assert code(desk.http.get(f"/v1/studies/{study}/review")) == (404, "study_unknown")
    assert code(step(desk, study, "approve")) == (404, "study_unknown")
    desk.id(film())
    desk.work()
    assert seen(desk, study)["history"] == []


def test_who_did_it_is_the_key_and_a_reader_may_only_look(
    open_desk: Callable[..., Desk],
) -> None:
    desk = open_desk()
    study = desk.id(film())
    desk.work()
    wang, writes = auth.create(desk.service.db, "dr-wang", [Scope.WRITE], None)
    _, reads = auth.create(desk.service.db, "student", [Scope.READ], None)
    desk.service.doorkeeper._asked = 0.0  # a first key counts from now on, not in two seconds
    as_reader = {"Authorization": f"Bearer {reads}"}
    body = {"action": "approve", "base": 0, "language": "en"}
    path = f"/v1/studies/{study}/review"
    assert code(desk.http.post(path, json=body, headers=as_reader)) == (403, "scope_missing")
    assert desk.http.get(path, headers=as_reader).json()["state"] == "preliminary"
    assert desk.http.get(path).status_code == 401
    given = {"Authorization": f"Bearer {writes}"}
    (done,) = desk.http.post(path, json=body, headers=given).json()["history"]
    assert (done["who"], done["name"]) == (wang, "dr-wang")
    session = desk.http.get("/v1/session", headers=given).json()
    assert (session["who"], session["name"], session["scopes"]) == (wang, "dr-wang", ["write"])


def test_of_many_at_once_one_counts(db: Database, open_desk: Callable[..., Desk]) -> None:
    url = db.engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    desk = open_desk(database=url)
    study = desk.id(film())
    desk.work()

    def one(number: int) -> str:
        try:
            reviews.step(desk.service.db, study, "local", Action.EDIT, 0, "en", f"Text {number}.")
        except HilumError as error:
            return error.code
        return "kept"

    with ThreadPoolExecutor(6) as pool:
        ends = Counter(pool.map(one, range(12)))
    assert ends == {"kept": 1, Code.REVIEW_CONFLICT: 11}
    assert len(seen(desk, study)["history"]) == 1


def test_the_audit_log_tells_of_each_step_and_of_no_text(desk: Desk, study: str) -> None:
    step(desk, study, "edit", text="ZQWORDS of mine.")
    lines = desk.http.get("/v1/audit?limit=1000").json()
    assert [x["action"] for x in lines if x["action"].startswith("review")] == ["review_edit"]
    assert "ZQWORDS" not in str(lines)
