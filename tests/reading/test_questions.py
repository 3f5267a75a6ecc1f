"""Hard questions in both languages: what the answer holds, and what it must never hold."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from hilum.codes import Code
from hilum.findings import Finding, FindingName, Status
from hilum.language.words import language_of
from hilum.reading.chat import Turn, answer, disagreements
from hilum.reading.questions import parse
from hilum.report import Language, Report
from tests.reading.test_chat import FOUND, report

N = FindingName
FILM = [FOUND[0], Finding(name=N.PNEUMOTHORAX, status=Status.ABSENT, probability=0.02), *FOUND[1:]]
CLEAR = [Finding(name=f.name, status=Status.ABSENT, probability=0.02) for f in FILM]
HEALTHY = ("film is normal", "are healthy", "is healthy", "片子正常", "您很健康", "没有问题")


class Row(NamedTuple):
    """A line of the table."""

    asked: tuple[str, ...]
    held: tuple[str, ...]
    banned: tuple[str, ...]


def rows(language: Language) -> list[Row]:
    text = (Path(__file__).parent / f"questions_{language}.txt").read_text(encoding="utf-8")
    found = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            cells = [cell.strip() for cell in line.rsplit(" | ", line.count(" | "))]
            asked, held, banned = [*cells, ""][:3]
            found.append(Row(tuple(asked.split(" >> ")), tuple(held.split("; ")), _words(banned)))
    return found


def _words(cell: str) -> tuple[str, ...]:
    return tuple(word for word in cell.split("; ") if word)


def ask(questions: tuple[str, ...], of: Report) -> str:
    return answer(of, [Turn(role="user", text=q) for q in questions])


ROWS = rows("en") + rows("zh")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " >> ".join(row.asked))
def test_the_answer_holds_what_it_must_and_no_more(row: Row) -> None:
    said = ask(row.asked, report(FILM)).lower()
    assert not [w for w in row.held if w.lower() not in said], said
    assert not [w for w in row.banned if w.lower() in said], said


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " >> ".join(row.asked))
def test_no_answer_turns_a_finding_whatever_the_draft(row: Row) -> None:
    for found, language in product((FILM, CLEAR), ("en", "zh")):
        said = ask(row.asked, report(found, language))  # type: ignore[arg-type]
        assert disagreements(report(found), said) == [], said
        assert not [w for w in HEALTHY if w in said], said


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " >> ".join(row.asked))
def test_a_film_that_was_not_read_has_one_answer(row: Row) -> None:
    refused = report(reasons=(Code.NOT_A_CHEST,))
    said = ask(row.asked, refused)
    assert Code.NOT_A_CHEST.en in said or Code.NOT_A_CHEST.zh in said
    assert len({said, *(ask((q,), refused) for q in row.asked[-1:])}) == 1


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_table_is_long_and_says_nothing_twice(language: Language) -> None:
    found = rows(language)
    assert len(found) >= 80
    assert len({row.asked for row in found}) == len(found)
    assert all(row.held != ("",) for row in found)
    assert all(language_of(row.asked[-1]) == language for row in found)


def test_a_question_without_end_is_answered_and_its_end_is_not_read() -> None:
    assert parse("x " * 1_000_000) == []
    assert len(parse("fracture? " * 1000)) <= 8
