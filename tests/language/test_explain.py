"""The page of `hilum label --explain`: what it marks, and what it says under each text."""

from __future__ import annotations

import pytest

from hilum.language import read
from hilum.language.explain import marks, page


def html(text: str) -> str:
    return "".join(page([("1", text, read(text))], "t"))


def test_a_normal_chest_is_marked_as_normal_not_as_a_finding() -> None:
    text = "No acute cardiopulmonary abnormality."
    assert [m.kind for m in marks(read(text))] == ["cue", "normal"]
    assert 'mark class="present"' not in html(text).partition("</h1>")[2].partition("</p>")[2]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "Old fracture of the right 5th rib. No effusion. Possible pneumonia.",
            ["Old fracture of the right 5th rib.", "pleural effusion", "Possible pneumonia."],
        ),
        (
            "右侧第5肋骨陈旧性骨折。未见气胸、胸腔积液。",
            ["右侧第5肋骨陈旧性骨折。", "气胸、胸腔积液"],
        ),
    ],
)
def test_what_was_read_is_said_in_the_texts_language(text: str, lines: list[str]) -> None:
    for line in lines:
        assert f"<dd>{line}</dd>" in html(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "[text_empty]"),
        ("The sky is blue.", "Nothing is said of a known finding."),
        ("今天天气很好。", "未提及任何已知所见。"),
        ("<script>No effusion.", "&lt;script&gt;"),
    ],
)
def test_what_cannot_be_read_is_said_and_nothing_runs(text: str, said: str) -> None:
    assert said in html(text)
    assert "<script" not in html(text)
