"""Codes: stable names, complete sentences, and errors that survive a worker process."""

from __future__ import annotations

import copy
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from hilum.codes import SENTENCES, Code, HilumError

CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_stable_name_and_both_sentences(code: Code) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", code.value)
    assert code.value == code.name.lower()
    assert CHINESE.search(code.zh)
    assert not CHINESE.search(code.en)
    for sentence in (code.en, code.zh):
        assert sentence == sentence.strip()
        assert "\n" not in sentence
        assert not sentence.endswith((".", "。")), "the sentence goes into a longer line"


def test_no_sentence_is_left_over_and_none_says_two_things() -> None:
    assert set(SENTENCES) == set(Code)
    for language in (0, 1):
        sentences = [pair[language] for pair in SENTENCES.values()]
        assert len(set(sentences)) == len(sentences)


def test_a_code_is_its_name_in_text_and_json() -> None:
    assert f"{Code.BLANK_FILM}" == "blank_film" == str(Code.BLANK_FILM)
    assert Code("blank_film") is Code.BLANK_FILM
    with pytest.raises(ValueError, match="is not a valid Code"):
        Code("BLANK_FILM")


@pytest.mark.parametrize("language", ["en", "fr", "", "ZH"])
def test_any_language_but_zh_is_english(language: str) -> None:
    assert Code.BLANK_FILM.sentence(language) == Code.BLANK_FILM.en


@pytest.mark.parametrize(
    ("subject", "detail", "line"),
    [
        ("", "", "the film is blank [blank_film]"),
        ("a.dcm", "", "a.dcm: the film is blank [blank_film]"),
        ("", "0 of 9 levels", "the film is blank (0 of 9 levels) [blank_film]"),
        (Path("胸/片 1.dcm"), "x", "胸/片 1.dcm: the film is blank (x) [blank_film]"),
        ("100%{0}", "%s", "100%{0}: the film is blank (%s) [blank_film]"),
    ],
)
def test_the_line_of_an_error(subject: object, detail: str, line: str) -> None:
    error = HilumError(Code.BLANK_FILM, subject, detail)
    assert error.line() == str(error) == line


def test_the_line_in_chinese_keeps_subject_detail_and_code() -> None:
    line = HilumError(Code.BLANK_FILM, "a.dcm", "x").line("zh")
    assert line == f"a.dcm: {Code.BLANK_FILM.zh} (x) [blank_film]"


def _fail(subject: str) -> None:
    raise HilumError(Code.FILE_DAMAGED, subject, "7 bytes")


def test_an_error_comes_back_whole_from_a_worker_process() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(HilumError) as caught,
    ):
        pool.submit(_fail, "b.dcm").result(timeout=60)
    assert caught.value.code is Code.FILE_DAMAGED
    assert (caught.value.subject, caught.value.detail) == ("b.dcm", "7 bytes")


@pytest.mark.parametrize("again", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_an_error_is_copied_with_its_parts(again: object) -> None:
    error = HilumError(Code.FILE_DAMAGED, Path("c.dcm"), "x")
    twin = again(error)  # type: ignore[operator]
    assert (twin.code, twin.subject, twin.detail) == (error.code, "c.dcm", "x")
    assert twin.line("zh") == error.line("zh")
