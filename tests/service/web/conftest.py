"""One real server with the embedded reader, one browser, and phantom films."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hilum.service.settings import Limits, Settings
from tests.service.conftest import Server
from tests.service.fakes import COMMAND, ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PICTURES = ROOT / "runs" / "page"
"""Where the screenshots are left to be looked at."""

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text("utf-8")
PATIENCE = 60_000
GREYS = """async () => {
  const { shownFilms } = await import("/page/viewer.js");
  const { picture } = shownFilms()[0];
  const { data } = picture.getContext("2d").getImageData(0, 0, picture.width, picture.height);
  let text = "";
  for (let i = 0; i < data.length; i += 4) text += String.fromCharCode(data[i]);
  return btoa(text);
}"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.fspath).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)
            if config.pluginmanager.hasplugin("xdist"):  # one browser, with --dist loadgroup
                item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        pytest.skip("no Chromium; apt-get install chromium brings it")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Simulated films, DICOM, 512 pixels."""
    from hilum.phantom.corpus import make_corpus

    folder = tmp_path_factory.mktemp("page-films")
    make_corpus(folder, 4, seed=11, size=512, format="dicom", processes=1)
    return sorted(folder.glob("*.dcm"))


@pytest.fixture(scope="session")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose worker has the embedded reader."""
    folder = tmp_path_factory.mktemp("page")
    settings = Settings(data=folder / "data", port=0, threads=1, limits=Limits(min_free_bytes=0))
    made = Server(settings, folder / "tries")
    yield made
    made.stop()


@pytest.fixture(scope="session")
def pretended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose worker has the fake reader, and a fake model that repeats what is asked."""
    folder = tmp_path_factory.mktemp("pretended")
    limits = Limits(min_free_bytes=0)
    settings = Settings(
        data=folder / "data", port=0, reader="model", worker_command=COMMAND, limits=limits
    )
    made = Server(settings, folder / "tries")
    yield made
    made.stop()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens the page in a browser that remembers nothing; nothing may fail in it."""
    contexts: list[Any] = []
    wrong: list[str] = []

    def opened(
        server: Server, path: str = "/", wide: int = 1280, high: int = 720, locale: str = "en-GB"
    ) -> Page:
        context = browser.new_context(viewport={"width": wide, "height": high}, locale=locale)
        context.set_default_timeout(PATIENCE)
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda told: wrong.append(told.text) if _is_defect(told.text) else None)
        page.on(
            "request",
            lambda request: None if _is_own(request.url, server.url) else wrong.append(request.url),
        )
        page.goto(server.url + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def _is_defect(text: str) -> bool:
    return "Content Security Policy" in text or "Uncaught" in text


def _is_own(url: str, server: str) -> bool:
    return url.startswith((server, "blob:", "data:", "about:"))


@pytest.fixture
def picture() -> Callable[[Page, str], None]:
    """Takes a screenshot, left under runs/page."""
    PICTURES.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str) -> None:
        page.screenshot(path=PICTURES / f"{name}.png")

    return take


def barriers(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.2 A and AA: the rule, and the first elements."""
    page.evaluate(AXE)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate(
        "tags => axe.run(document, { runOnly: tags, resultTypes: ['violations'] })", tags
    )
    return [
        f"{v['id']} ({v['impact']}): {[n['html'][:160] for n in v['nodes'][:3]]}"
        for v in found["violations"]
        if v["impact"] in ("serious", "critical", "moderate")
    ]


def greys(page: Page, shape: tuple[int, int]) -> Any:
    """The film as the page has windowed it, pixel for pixel."""
    return np.frombuffer(base64.b64decode(page.evaluate(GREYS)), np.uint8).reshape(shape)
