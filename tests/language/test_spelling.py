"""Slips of the keys, and words that only look like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.findings import Status
from hilum.language import label
from hilum.language.spelling import corrected


@pytest.mark.parametrize(
    ("slip", "word"),
    [
        ("pnuemothorax", "pneumothorax"),  # changed over
        ("consoldation", "consolidation"),  # too few
        ("cardiomegally", "cardiomegaly"),  # too many
        ("atelectesis", "atelectasis"),  # a wrong vowel
    ],
)
def test_a_slip_is_read_as_the_word(slip: str, word: str) -> None:
    assert corrected(slip) == word
    (finding,) = label(f"No {slip} is seen.", "en")
    assert finding.status is Status.ABSENT


@pytest.mark.parametrize(
    "word",
    [
        "injection",  # infection
        "displayed",  # displaced
        "thoracotomy",  # thoracostomy
        "masse",
        "pneumothorax",
        "nneumothorax",  # the first letter must be right
        "",
        "x" * 100_000,
    ],
)
def test_other_words_stay(word: str) -> None:
    assert corrected(word) == word


@given(st.text(max_size=30))
def test_any_word_at_all_is_taken(word: str) -> None:
    assert corrected(corrected(word)) == corrected(word)
