"""A round in a real browser: send, read, window, hover, ask, edit, approve, reload."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hilum import imaging
from tests.service.conftest import Server
from tests.service.web.conftest import barriers, greys

if TYPE_CHECKING:
    from playwright.sync_api import Page

Visit = Callable[..., Any]
Picture = Callable[[Any, str], None]
WORDS = {
    "en": {
        "locale": "en-GB",
        "notice": "Research use only",
        "preliminary": "Preliminary",
        "approved": "Approved by",
        "question": "Is there a fracture?",
        "answer": "fracture",
        "edited": "Old fracture of the left 6th rib. Heart size is normal.",
    },
    "zh": {
        "locale": "zh-CN",
        "notice": "仅供研究使用",
        "preliminary": "初步报告",
        "approved": "已审核",
        "question": "有骨折吗？",
        "answer": "骨折",
        "edited": "左侧第6肋骨陈旧性骨折。心影大小正常。",
    },
}
DROP = """async ([content, name]) => {
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.body.dispatchEvent(
      new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
  }
}"""


def send(page: Page, path: Path, dropped: bool) -> None:
    page.locator("[data-filter]").first.wait_for()  # drawn once the page listens
    if dropped:
        content = base64.b64encode(path.read_bytes()).decode()
        page.evaluate(DROP, [content, path.name])
    else:
        page.set_input_files("#files", path)
    page.locator("dialog button.primary").click()


def test_a_film_from_the_door_to_the_signature(
    reading: Server, films: list[Path], visit: Visit, picture: Picture
) -> None:
    for number, (language, words) in enumerate(WORDS.items()):
        path = films[number]
        page = visit(reading, locale=words["locale"])
        page.get_by_role("note").get_by_text(words["notice"]).wait_for()
        send(page, path, dropped=number == 0)
        page.locator(".sentence").first.wait_for()  # it opens by itself and is read
        page.locator(".film .corner:not(:empty)").wait_for()
        picture(page, f"{language}-read")

        # the film at full depth, through its own window
        (view,) = imaging.load(next(iter(imaging.scan([path])))).views
        shape = (view.rows, view.columns)
        np.testing.assert_array_equal(greys(page, shape), view.display())

        # window by dragging: what is shown changes, and the readout with it
        before, said = greys(page, shape), page.locator(".corner").inner_text()
        box = page.locator(".film").bounding_box()
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0] - 90, middle[1] + 60, steps=3)
        page.mouse.up()
        assert page.locator(".corner").inner_text() != said
        assert (greys(page, shape) != before).mean() > 0.2
        page.keyboard.press("1")
        np.testing.assert_array_equal(greys(page, shape), before)
        page.keyboard.press("i")
        np.testing.assert_array_equal(greys(page, shape), 255 - before)
        page.keyboard.press("i")

        # hover a finding, see its sentence and box; hover a sentence, see its finding
        rows = page.locator("button.finding")
        if rows.count():
            rows.first.hover()
            name = rows.first.get_attribute("data-link").split()[0]
            assert page.locator(f'.box.lit[data-link^="{name}:"]').count() >= 1
        page.locator(".sentence").last.hover()
        assert page.locator(".sentence.lit").count() >= 1
        assert page.locator(".finding.lit").count() >= 1
        picture(page, f"{language}-hover")

        # ask
        page.keyboard.press("c")
        page.keyboard.type(words["question"])
        page.keyboard.press("Enter")
        page.locator(".turn.assistant p", has_text=words["answer"]).first.wait_for()
        page.locator(".ask button.primary").wait_for()
        answer = page.locator(".turn.assistant p").first.inner_text()
        picture(page, f"{language}-chat")
        page.keyboard.press("Escape")

        # edit, approve
        page.keyboard.press("e")
        page.locator("#editor").fill(words["edited"])
        page.keyboard.press("Control+Enter")
        page.locator(".sentences", has_text=words["edited"]).wait_for()
        page.locator(".state.preliminary", has_text=words["preliminary"]).wait_for()
        page.keyboard.press("a")
        page.locator("dialog blockquote", has_text=words["edited"]).wait_for()
        assert "null" not in page.locator("dialog").inner_text()
        picture(page, f"{language}-approve")
        page.locator("dialog button.primary").click()
        page.locator(".state.approved", has_text=words["approved"]).wait_for()
        assert page.get_by_role("button", name=re.compile("^(Edit|编辑)$")).count() == 0

        # reload: everything is still there
        page.reload()
        page.locator(".state.approved", has_text=words["approved"]).wait_for()
        assert page.locator(".sentences").inner_text() == words["edited"]
        page.locator(".turn.assistant p").first.wait_for()
        assert page.locator(".turn.assistant p").first.inner_text() == answer
        assert page.locator(".history li").count() == 3
        page.keyboard.press("y")
        page.locator(".alert.done").wait_for()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert words["edited"] in copied
        assert words["approved"] in copied
        assert words["notice"] in copied
        picture(page, f"{language}-approved")


@pytest.fixture
def read_film(reading: Server, films: list[Path]) -> str:
    """A study that was read, preliminary, in English."""
    study = reading.send(films[2].read_bytes(), language="en").json()["studies"][0]["id"]
    reading.get(f"/v1/studies/{study}?wait=60")
    return str(study)


def test_measure_zoom_turn_and_compare(
    reading: Server, read_film: str, visit: Visit, picture: Picture
) -> None:
    other = reading.send(
        b"".join([_png(seed=1)]), context=f'{{"age": 71, "priors": ["{read_film}"]}}'
    ).json()["studies"][0]["id"]
    page = visit(reading, f"/#s={read_film}")
    page.locator(".corner:not(:empty)").wait_for()
    page.keyboard.press("m")
    box = page.locator(".film").bounding_box()
    scale = min(box["width"], box["height"]) / 512
    start = (box["x"] + box["width"] / 2 - 100, box["y"] + 200)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + 200, start[1], steps=2)
    page.mouse.up()
    said = page.locator(".lines text").text_content()
    mm = reading.get(f"/v1/studies/{read_film}")["report"]["study"]["views"][0]["mm_per_pixel"]
    assert float(re.match(r"([\d.]+) mm", said)[1]) == pytest.approx(200 / scale * mm, abs=2)
    page.keyboard.press("r")
    page.keyboard.press("+")
    assert page.locator(".lines text").text_content() == said  # the line stays on the film
    page.keyboard.press("0")
    assert page.locator(".box").count() > 0 or not page.locator("button.finding").count()
    page.keyboard.press("o")
    assert page.locator(".box").count() == 0
    page.keyboard.press("o")

    page.goto(f"{reading.url}/#s={other}")  # a picture without scale, its prior beside it
    page.locator("figcaption").nth(1).wait_for()
    page.locator(".film").nth(1).locator(".corner:not(:empty)").wait_for()
    page.locator(".state.unread").wait_for()  # the embedded reader knows phantoms alone
    assert page.locator(".state.unread code").all_inner_texts()
    assert not re.search("normal(?! nor)", page.locator("#draft").inner_text().split("neither")[0])
    assert page.get_by_role("button", name="Approve", exact=True).count() == 0
    first = page.locator(".film").first.bounding_box()
    page.keyboard.press("m")
    page.mouse.move(first["x"] + 80, first["y"] + 250)
    page.mouse.down()
    page.mouse.move(first["x"] + 160, first["y"] + 250)
    page.mouse.up()
    assert "px" in page.locator(".film").first.locator(".lines text").text_content()
    picture(page, "en-prior")


def _png(seed: int) -> bytes:
    from tests.service.fakes import film

    return film(seed=seed)


def test_barriers_and_sizes(
    reading: Server, read_film: str, visit: Visit, picture: Picture
) -> None:
    for wide, high, themes in ((1280, 720, ("dark", "light")), (2160, 3840, ("dark",))):
        page = visit(reading, wide=wide, high=high)
        page.locator(".row").first.wait_for()
        for theme in themes:
            assert page.locator("html").get_attribute("data-theme") == theme
            assert barriers(page) == []
            picture(page, f"worklist-{theme}-{wide}x{high}")
            if len(themes) == 2:
                page.keyboard.press("t")
        page.locator(f'[data-row="{read_film}"]').click()
        page.locator(".sentence").first.wait_for()
        page.locator(".corner:not(:empty)").wait_for()
        for theme in themes:
            assert barriers(page) == []
            picture(page, f"study-{theme}-{wide}x{high}")
            if len(themes) == 2:
                page.keyboard.press("t")
        across = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        down = page.evaluate("document.documentElement.scrollHeight - innerHeight")
        for part in ("#draft", "#worklist", ".bar", "#chat"):
            wider = page.locator(part).evaluate("e => e.scrollWidth - e.clientWidth")
            assert wider <= 0, part
            assert page.locator(part).bounding_box()["width"] >= 200, part
        assert across <= 0
        assert down <= 0
        for name in ("Approve", "Edit", "Reject", "Copy", "Print", "Ask", "Invert", "Measure"):
            button = page.get_by_role("button", name=name, exact=True).bounding_box()
            assert button["x"] >= 0
            assert button["x"] + button["width"] <= wide
            assert button["y"] + button["height"] <= high
    page.keyboard.press("?")
    page.locator("dialog kbd").first.wait_for()
    assert barriers(page) == []


def test_the_keyboard_alone_reaches_everything(
    reading: Server, read_film: str, visit: Visit
) -> None:
    page = visit(reading)
    page.locator(f'[data-row="{read_film}"]').wait_for()
    seen: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("document.activeElement.dataset.row ?? document.activeElement.id")
        )
        if seen[-1] == read_film:
            break
    assert seen[-1] == read_film
    assert seen[:1] == [""]  # the way past the list comes first
    assert seen.index("upload") < seen.index("help") < seen.index(read_film)
    page.keyboard.press("Enter")
    page.locator(".sentence").first.wait_for()
    page.locator(".film").focus()
    said = page.locator(".corner").inner_text()
    page.keyboard.press("Shift+ArrowRight")
    assert page.locator(".corner").inner_text() != said
    page.keyboard.press("?")
    page.get_by_label("Single keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("b")  # does nothing now
    assert page.locator(".sentence").count() > 0
    page.keyboard.press("?")
    page.get_by_label("Single keys").check()
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.locator("#main").wait_for(state="hidden")
    assert page.evaluate("document.activeElement.dataset.row") == read_film
