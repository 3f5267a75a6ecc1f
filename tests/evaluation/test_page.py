"""The page: both languages, no network, nothing of a report taken for markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from hilum.codes import Code, HilumError
from hilum.data.rows import Reference
from hilum.evaluation.case import System
from hilum.evaluation.evaluate import JSON, MARKDOWN, PAGE, Wanted, evaluate
from hilum.evaluation.gallery import marked, worst
from hilum.evaluation.judge import Settings
from hilum.evaluation.page import notes, words
from hilum.findings import Box, Finding, Instance, Side
from tests.evaluation.conftest import A, Films, N, P, U, failed, fracture, reference, said, system

VOID = {"meta"}


class Tags(HTMLParser):
    """Balanced tags, and every attribute that could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.scripts = 0
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.loads += [v or "" for k, v in attrs if k in ("src", "href", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [v or "" for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        while self.open[-1] != tag:  # td, tr, th may be left open
            assert self.open[-1] in ("td", "tr", "th", "li"), (tag, self.open[-3:])
            self.open.pop()
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    tags.close()
    return tags


def rows() -> list[Reference]:
    box = Box(xyxy=(20, 30, 60, 80))
    left = fracture(instances=[Instance(side=Side.LEFT, box=box)])
    return [
        reference(k, left if k % 2 else fracture(A), language="zh" if k > 5 else "en")
        for k in range(8)
    ]


def answers(references: list[Reference]) -> list[System]:
    right = fracture(probability=0.9, instances=[Instance(side=Side.RIGHT)])
    one = [
        said(r, right if k % 3 == 0 else fracture(A, probability=0.2))
        for k, r in enumerate(references)
    ]
    one[2] = failed(references[2])
    return [system(one, "<b>one</b>"), system([said(r, *r.findings) for r in references], "two")]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("judged")
    references = rows()
    wanted = Wanted(gallery=3, command="hilum evaluate films --out <x>")
    films = Films(references, bad=[3])
    evaluate(films, references, answers(references), out, Settings(rounds=100), wanted)
    return out


def test_the_page_is_whole_and_asks_no_network_for_anything(written: Path) -> None:
    html = (written / PAGE).read_text(encoding="utf-8")
    tags = parsed(html)
    assert tags.open == []
    assert tags.scripts == 1
    assert tags.loads
    assert all(url.startswith("data:image/jpeg;base64,") for url in tags.loads)
    assert not re.search(r"@import|url\(|https?://|fetch\(|XMLHttp", html)


def test_both_languages_are_in_it(written: Path) -> None:
    html = (written / PAGE).read_text(encoding="utf-8")
    assert html.count('class="en') == html.count('class="zh')
    for sentence in ("敏感度", "sensitivity", "参考标准", "Research use only"):
        assert sentence in html


def test_what_failed_is_on_the_page(written: Path) -> None:
    text = " ".join(parsed((written / PAGE).read_text(encoding="utf-8")).text)
    assert "1 not read; counted as wrong" in text
    assert "file_damaged" in text
    assert "s2" in text


def test_names_are_never_markup(written: Path) -> None:
    html = (written / PAGE).read_text(encoding="utf-8")
    assert "<b>one</b>" not in html
    assert "&lt;b&gt;one&lt;/b&gt;" in html
    assert "--out &lt;x&gt;" in html


def test_json_and_tables_are_beside_it(written: Path) -> None:
    told = json.loads((written / JSON).read_text(encoding="utf-8"))
    assert [s["name"] for s in told["systems"]][:2] == ["<b>one</b>", "two"]
    assert {"hilum", "numpy", "sacrebleu", "rouge-score"} <= told["versions"].keys()
    assert told["dataset"]["sha256"] == "0" * 64
    markdown = (written / MARKDOWN).read_text(encoding="utf-8")
    tables = [line for line in markdown.splitlines() if line.startswith("|")]
    assert "| all normal |" in markdown
    assert "real AUC" in markdown
    assert all(line.endswith("|") for line in tables)
    assert json.loads((written / "rexrank-two.json").read_text(encoding="utf-8"))["s2"]


def test_the_same_twice(written: Path, tmp_path: Path) -> None:
    references = rows()
    wanted = Wanted(gallery=3, command="hilum evaluate films --out <x>")
    films = Films(references, bad=[3])
    evaluate(films, references, answers(references), tmp_path, Settings(rounds=100), wanted)
    for name in (JSON, MARKDOWN, PAGE):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_two_systems_of_one_name_are_refused(tmp_path: Path) -> None:
    references = rows()
    same = [system([said(r) for r in references], name) for name in ("a b", "a-b")]
    with pytest.raises(HilumError, match="option_invalid"):
        evaluate(Films(references), references, same, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    references = rows()[:2]
    one = system([said(r, *r.findings) for r in references])
    with pytest.raises(HilumError) as caught:
        evaluate(Films(references), references, [one], tmp_path / "file", Settings(rounds=100))
    assert caught.value.code is Code.OUTPUT_UNWRITABLE


# -- words ----------------------------------------------------------------------------------------


def test_every_note_has_both_languages_and_the_same_gaps() -> None:
    told = yaml.safe_load(Path(notes.__file__).with_name("notes.yaml").read_text("utf-8"))
    for key, pair in told.items():
        gaps = [set(re.findall(r"{(\w+)}", pair[language])) for language in ("en", "zh")]
        assert gaps[0] == gaps[1], key
        assert re.search("[\u4e00-\u9fff]", pair["zh"])
        assert not re.search("[\u4e00-\u9fff]", pair["en"])


def test_every_finding_and_side_has_a_name_in_both() -> None:
    for name in (*N, "fracture_left", "fracture_right"):
        en, zh = words.term(name)
        assert en.isascii()
        assert re.search("[\u4e00-\u9fff]", zh)


# -- gallery --------------------------------------------------------------------------------------


def test_the_most_certain_error_comes_first_and_what_was_not_read_is_elsewhere() -> None:
    references = [reference(k, fracture(A)) for k in range(4)]
    told = [fracture(P, probability=p) for p in (0.6, 0.99, 0.7)]
    predictions = [said(r, f) for r, f in zip(references, told, strict=False)]
    for one, f in zip(predictions, told, strict=True):
        one.findings = [f]
    found = worst(references, system([*predictions, failed(references[3])]), "present")
    assert [w.number for w in found] == [1, 2, 0]
    assert (
        worst(references, system([*predictions, failed(references[3])]), "present", 1)[0].number
        == 1
    )


def test_a_right_answer_is_no_error_and_a_wrong_text_is_a_lesser_one() -> None:
    references = [reference(0, fracture(A)), reference(1, fracture(A)), reference(2, fracture(A))]
    right, spoken, wrong = (said(r, fracture(A, probability=0.1)) for r in references)
    spoken.text = "Fracture."
    wrong.findings = [fracture(P, probability=0.8)]
    found = worst(references, system([right, spoken, wrong]), "present")
    assert [(w.number, w.mistakes[0].by_words) for w in found] == [(2, False), (1, True)]


def test_a_parent_is_not_a_second_mistake() -> None:
    nodule = Finding(name=N.NODULE, status=P)
    references = [reference(0, nodule)]
    (one,) = worst(
        references, system([said(references[0], Finding(name=N.NODULE, status=A))]), "present"
    )
    assert [m.name for m in one.mistakes] == [N.NODULE]


@pytest.mark.parametrize(
    ("text", "other", "kind", "words_"),
    [
        ("No fracture. Heart size is normal.", [fracture(P)], "wrong", "No fracture."),
        ("Left rib fracture.", [fracture(A)], "wrong", None),
        ("Left rib fracture.", [], "wrong", None),
        ("Left rib fracture.", [fracture(P)], None, None),
        ("Left rib fracture.", [fracture(P, instances=[Instance(side=Side.LEFT)])], None, None),
        ("Left rib fracture.", [fracture(P, instances=[Instance(side=Side.RIGHT)])], "place", None),
        ("Possible fracture.", [fracture(P)], None, None),
        ("Possible fracture.", [fracture(A)], "wrong", None),
        ("Possible fracture.", [fracture(U)], None, None),
    ],
)
def test_what_disagrees_is_marked(
    text: str, other: Any, kind: str | None, words_: str | None
) -> None:
    html = marked(text, "en", other, "present")
    assert re.sub("<[^>]*>", "", html) == text
    found = re.findall(r'<mark class="(\w+)" title="fracture">([^<]*)</mark>', html)
    assert [k for k, _ in found] == ([kind] if kind else [])
    if words_:
        assert found[0][1] == words_


def test_a_report_is_never_markup() -> None:
    text = 'No fracture <script>alert("x")</script> & <img src=x>.'
    html = marked(text, "en", [fracture(P)], "present")
    assert "<script" not in html
    assert "<img" not in html
