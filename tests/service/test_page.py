"""The reading page's files: whole, of one origin, in two languages, and text is only ever text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hilum.codes import Code
from hilum.findings import FINDINGS
from hilum.service import page
from tests.service.conftest import Desk

SCRIPTS = sorted(page.WEB.glob("*.js"))
STYLES = sorted(page.WEB.glob("*.css"))
INDEX = (page.WEB / "index.html").read_text("utf-8")
WORDS = (page.WEB / "words.js").read_text("utf-8")
PAIRS = {
    name: (en, zh)
    for name, en, zh in re.findall(r'(\w+): \["((?:[^"\\]|\\.)*)", "((?:[^"\\]|\\.)*)"\]', WORDS)
}


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(INDEX)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_and_every_file_are_served(desk: Desk) -> None:
    first = desk.http.get("/")
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert first.text == INDEX
    for path in (*SCRIPTS, *STYLES):
        answer = desk.http.get(f"/page/{path.name}")
        assert answer.status_code == 200
        assert answer.content == path.read_bytes()
        assert answer.headers["content-type"].split(";")[0] in ("text/javascript", "text/css")


def test_it_is_asked_for_again_and_not_sent_again(desk: Desk) -> None:
    first = desk.http.get("/page/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = desk.http.get("/page/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "web/main.js",
        "main.js%00",
        "",
        "a\\b",
        "x" * 999,
    ],
)
def test_no_other_file_is(desk: Desk, name: str) -> None:
    answer = desk.http.get(f"/page/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "request_invalid"


def test_the_page_needs_no_key_and_what_it_shows_does(desk: Desk) -> None:
    from hilum.service import auth

    auth.create(desk.service.db, "pacs", [auth.Scope.WRITE], None)
    desk.service.doorkeeper._asked = 0.0
    for path in ("/", "/page/main.js", "/page/terms.json"):
        assert desk.http.get(path).status_code == 200
    for path in ("/v1/session", "/v1/studies", "/page/../v1/studies", "/v1/audit"):
        assert desk.http.get(path).status_code == 401


def test_nothing_comes_from_elsewhere_and_nothing_is_inline(desk: Desk) -> None:
    policy = desk.http.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    for path in page.WEB.iterdir():
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn|@import|url\(", text), path.name
    for tag, given in Tags().found:
        assert not [n for n in given if n == "style" or n.startswith("on")], tag
        for name in ("src", "href"):
            assert given.get(name, "/page/x").startswith(("/page/", "#")), (tag, given)  # type: ignore[union-attr]
    assert all(given.get("src") for tag, given in Tags().found if tag == "script")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_no_script_makes_html_or_code_out_of_text(path: Path) -> None:
    text = path.read_text("utf-8")
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
        r"|createContextualFragment|srcdoc|javascript:|parseFromString|setHTML"
        r"""|setAttribute\(\s*["'](?:on|style)"""
    )
    assert not re.search(forbidden, text)
    assert text.count("\n") < 300


def test_every_word_is_in_both_languages() -> None:
    assert len(PAIRS) > 150
    for name, (en, zh) in PAIRS.items():
        assert en.strip(), name
        assert zh.strip(), name
        if name not in ("other_language", "other_language_label", "l_zh", "cw"):
            assert not re.search("[\u4e00-\u9fff]", en), name
        assert set(re.findall(r"\{\w+\}", en)) == set(re.findall(r"\{\w+\}", zh)), name


def test_every_word_that_is_used_is_there() -> None:
    names = ("data-t", "data-t-label")
    used = {given[n] for _, given in Tags().found for n in names if n in given}
    for path in SCRIPTS:
        used |= set(re.findall(r'(?<![\w.])t\("(\w+)"', path.read_text("utf-8")))
    assert used <= set(PAIRS), used - set(PAIRS)
    for prefix, names in {
        "s_": ("preliminary", "approved", "rejected"),
        "h_": ("edit", "approve", "reject", "reopen", "draft"),
        "": (
            *("queued", "running", "done", "failed", "quarantined", "present", "absent"),
            *("uncertain", "routine", "urgent", "stat", "finding_missed", "film_unsuitable"),
        ),
    }.items():
        assert {prefix + name for name in names} <= set(PAIRS)


def test_the_terms_are_the_codes_and_findings_of_the_code(desk: Desk) -> None:
    terms = json.loads(desk.http.get("/page/terms.json").content)
    assert set(terms["findings"]) == set(FINDINGS)
    assert set(terms["codes"]) == {code.value for code in Code}
    assert terms["findings"]["fracture"]["words"] == ["fracture", "骨折"]
    assert terms["codes"]["blank_film"] == [Code.BLANK_FILM.en, Code.BLANK_FILM.zh]


def test_every_reason_and_action_of_a_review_has_its_words() -> None:
    from hilum.service.reviews import Action, Reason

    review = (page.WEB / "review.js").read_text("utf-8")
    for reason in Reason:
        assert f'"{reason}"' in review
        assert reason in PAIRS
    for action in Action:
        assert f"h_{action}" in PAIRS


def test_every_element_that_is_looked_for_is_in_the_page() -> None:
    ids = {given["id"] for _, given in Tags().found if "id" in given}
    for path in SCRIPTS:
        for name in re.findall(r'byId\("(\w+)"\)', path.read_text("utf-8")):
            assert name in ids, (path.name, name)
