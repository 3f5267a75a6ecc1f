"""The picture of a reading: film whole, boxes in place, every word readable and inside."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor, ImageDraw, ImageFont

from hilum.codes import Code
from hilum.findings import FINDINGS, Bone, Box, Finding, FindingName, Instance, Status
from hilum.language import template, write
from hilum.reading import lettering, overlay, panel
from hilum.report import (
    LANGUAGES,
    NOTICE,
    Gate,
    Language,
    Provenance,
    Report,
    StudyRecord,
    Verdict,
)
from hilum.study import Study, View, Window

N, P, A, U = FindingName, Status.PRESENT, Status.ABSENT, Status.UNCERTAIN
GREY = 150
SHAPES = [(50, 50), (200, 800), (800, 200), (30, 900), (900, 30), (1, 1)]
Words = list[tuple[str, float, float, float, int]]


def study(rows: int = 400, columns: int = 400) -> Study:
    """A film of one grey, which nothing else on the page has."""
    pixels = np.full((rows, columns), GREY, np.uint16)
    view = View(pixels=pixels, voi=[Window(center=128, width=256)], position="PA")
    return Study(id="0123456789ab", views=[view])


def report(of: Study, language: Language = "en", **more: Any) -> Report:
    given: dict[str, Any] = {
        "study": StudyRecord.of(of),
        "gate": Gate(verdict=Verdict.ACCEPT),
        "text": "No fracture.",
        "language": language,
        "provenance": Provenance(
            reader="embedded",
            weights_sha256="3fa9c1d2" * 8,
            prompt="",
            decoding={},
            thresholds={N.FRACTURE: 0.35, N.NODULE: 0.4},
            licence="Apache-2.0",
            versions={"hilum": "0.1.0", "torch": "2.13.0"},
        ),
        "notice": NOTICE[language],
    }
    return Report(**(given | more))


def fracture(*xyxy: float, rib: int = 7, view: int = 0, p: float | None = 0.8) -> Instance:
    x0, y0, x1, y1 = xyxy
    box = Box(view=view, xyxy=(x0, y0, x1, y1))
    return Instance(bone=Bone.RIB, ribs=[rib], box=box, probability=p)


def broken(*instances: Instance, status: Status = P) -> Finding:
    return Finding(name=N.FRACTURE, status=status, probability=0.9, instances=list(instances))


def film_of(page: Image.Image) -> tuple[int, int, int, int]:
    """Where the film lies on the page, seen by its grey: left, top, right, bottom, inclusive."""
    y, x = np.nonzero((np.asarray(page) == GREY).all(2))
    return int(x.min()), int(y.min()), int(x.max()), int(y.max())


def coloured(page: Image.Image, colour: str) -> np.ndarray:
    return (np.asarray(page) == ImageColor.getrgb(colour)).all(2)


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> Words:
    """Every line that is written: text, left, baseline, right, size."""
    seen: Words = []

    def listen(
        pen: ImageDraw.ImageDraw,
        at: tuple[float, float],
        text: str,
        size: int,
        colour: str,
        align: str = "left",
    ) -> None:
        length = lettering.width(text, size)
        left = at[0] - length * {"left": 0.0, "middle": 0.5, "right": 1.0}[align]
        seen.append((text, left, at[1], left + length, size))
        lettering.write(pen, at, text, size, colour, align)

    monkeypatch.setattr(overlay, "write", listen)
    monkeypatch.setattr(panel, "write", listen)
    return seen


def joined(words: Words) -> str:
    return "".join(text for text, *_ in words).replace(" ", "")


# -- every kind of report, at every shape -------------------------------------------------------


def kinds(of: Study, language: Language) -> dict[str, Report]:
    rows, columns = of.views[0].pixels.shape
    instances = [fracture(0, 0, columns - 1, rows - 1)] if min(rows, columns) > 1 else []
    findings = [
        broken(*instances),
        Finding(name=N.NODULE, status=A, probability=0.004),
        Finding(name=N.LUNG_LESION, status=U),
    ]
    outside = Code.READ_OUTSIDE_DOMAIN.sentence(language)
    text = write(findings, language)
    return {
        "accepted": report(of, language, findings=findings, text=text, flags=[Code.TEXT_DISAGREES]),
        "outside": report(
            of,
            language,
            findings=findings,
            text=text,
            flags=[Code.READ_OUTSIDE_DOMAIN, Code.WINDOW_INVALID],
            notice=f"{outside} {NOTICE[language]}",
        ),
        "abstained": report(
            of,
            language,
            gate=Gate(verdict=Verdict.ABSTAIN, reasons=[Code.NOT_A_CHEST, Code.TOO_SMALL]),
            text=None,
        ),
        "empty": report(of, language, text=""),
    }


@pytest.mark.parametrize(
    ("shape", "language"),
    [*((shape, "en") for shape in SHAPES), ((4000, 4000), "en"), ((200, 800), "zh")],
)
def test_the_film_is_whole_and_keeps_its_shape(
    shape: tuple[int, int], language: Language, words: Words
) -> None:
    of = study(*shape)
    for kind, one in kinds(of, language).items():
        words.clear()
        page = overlay.draw(one, of)
        left, top, right, bottom = film_of(page)
        column = page.width - overlay.PANEL
        if kind in ("abstained", "empty"):  # no label lies on the film
            wide, high = right - left + 1, bottom - top + 1
            assert (wide == overlay.WIDEST) or (high == overlay.HEIGHT)
            assert wide == pytest.approx(high * shape[1] / shape[0], abs=1 + high / shape[0] / 2)
            assert int(coloured(page, "#969696").sum()) == wide * high
        assert page.height == overlay.HEIGHT
        assert 0 <= left <= right < column
        for text, x0, y, x1, size in words:
            assert 0 <= x0 < x1 <= page.width, text
            assert size <= y <= page.height - 4, text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("shape", [(800, 200), (200, 800)])
@pytest.mark.parametrize("kind", ["accepted", "outside", "abstained", "empty"])
def test_no_two_lines_of_the_column_overlap(
    kind: str, shape: tuple[int, int], language: Language, words: Words
) -> None:
    of = study(*shape)
    page = overlay.draw(kinds(of, language)[kind], of)
    column = [w for w in words if w[1] > page.width - overlay.PANEL]
    assert len(column) > 3
    for (_, ax0, ay, ax1, asize), (_, bx0, by, bx1, bsize) in combinations(column, 2):
        beside = ax1 <= bx0 or bx1 <= ax0
        assert beside or abs(ay - by) >= 0.95 * max(asize if ay > by else bsize, 11)
        assert min(ax0, bx0) >= page.width - overlay.PANEL + panel.MARGIN
        assert max(ax1, bx1) <= page.width - panel.MARGIN + 1


# -- what is said -------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_accepted_report_says_all_there_is(language: Language, words: Words) -> None:
    of = study()
    one = kinds(of, language)["accepted"]
    overlay.draw(one, of)
    said = joined(words)
    assert one.text is not None
    expected = [one.text, one.notice, one.study.id, Code.TEXT_DISAGREES.sentence(language)]
    expected += [panel.term(f.name, language) for f in one.findings]
    expected += ["0.90", "<0.01", "3fa9c1d2", "embedded", "0.1.0"]
    for text in expected:
        assert text.replace(" ", "") in said
    assert {"R", "L"} <= {text for text, *_ in words}


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_abstained_report_says_why_and_nothing_that_looks_like_a_result(
    language: Language, words: Words
) -> None:
    of = study()
    page = overlay.draw(kinds(of, language)["abstained"], of)
    said = joined(words)
    for code in (Code.NOT_A_CHEST, Code.TOO_SMALL):
        assert code.sentence(language).replace(" ", "") in said
        assert str(code) in said
    assert panel.WORDS[language]["nothing"].replace(" ", "") in said
    assert not {"R", "L"} & {text for text, *_ in words}
    assert coloured(page, panel.WARNING).sum() > 10_000
    for finding in (N.FRACTURE, N.NODULE):
        assert not coloured(page, panel.COLOURS[finding]).any()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_film_outside_the_readers_domain_has_a_field_that_cannot_be_missed(
    language: Language, words: Words
) -> None:
    of = study()
    made = kinds(of, language)
    page = overlay.draw(made["outside"], of)
    said = joined(words)
    sentence = Code.READ_OUTSIDE_DOMAIN.sentence(language).replace(" ", "")
    assert said.count(sentence) == 1  # in the field, and not again in the notice
    assert NOTICE[language].replace(" ", "") in said
    assert coloured(page, panel.WARNING).sum() > 20_000
    assert coloured(overlay.draw(made["accepted"], of), panel.WARNING).sum() < 5_000


def test_flags_stand_above_the_findings_and_findings_above_the_draft(words: Words) -> None:
    of = study()
    overlay.draw(kinds(of, "en")["accepted"], of)
    height = {text: y for text, _, y, *_ in words}
    flag = next(y for text, y in height.items() if text.startswith("! "))
    draft = next(y for text, y in height.items() if text.startswith("Fracture of the"))
    assert flag < height["fracture"] < height["nodule"] < draft


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "<0.01"),
        (1e-9, "<0.01"),
        (0.0049, "<0.01"),
        (0.005, "0.01"),
        (0.5, "0.50"),
        (0.994, "0.99"),
        (0.9951, ">0.99"),
        (1.0, ">0.99"),
    ],
)
def test_a_probability_is_never_rounded_to_certainty(p: float, text: str) -> None:
    assert panel.chance(p) == text


# -- boxes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "xyxy"),
    [
        ((400, 400), (100.0, 120.0, 180.0, 160.0)),
        ((400, 400), (0.0, 0.0, 399.0, 399.0)),
        ((50, 50), (10.0, 20.0, 12.5, 21.5)),
        ((800, 200), (5.0, 700.0, 190.0, 790.0)),
        ((200, 800), (600.0, 5.0, 790.0, 190.0)),
        ((4000, 4000), (3000.0, 100.0, 3999.0, 400.0)),
    ],
)
def test_a_box_is_drawn_where_it_is(
    shape: tuple[int, int], xyxy: tuple[float, float, float, float]
) -> None:
    of = study(*shape)
    left, top, right, bottom = film_of(overlay.draw(report(of), of))
    page = overlay.draw(report(of, findings=[broken(fracture(*xyxy))]), of)
    fx, fy = (right - left + 1) / shape[1], (bottom - top + 1) / shape[0]
    x0, x1 = ((v + 0.5) * fx - 0.5 + left for v in xyxy[::2])
    y0, y1 = ((v + 0.5) * fy - 0.5 + top for v in xyxy[1::2])
    yellow = coloured(page, panel.COLOURS[N.FRACTURE])
    for x in (x0, x1):
        edge = yellow[round(y0) : round(y1) + 1, max(0, round(x) - 2) : round(x) + 3]
        assert edge.any(1).mean() > 0.6  # its own label may lie across a part of it
    for y in (y0, y1):
        edge = yellow[max(0, round(y) - 2) : round(y) + 3, round(x0) : round(x1) + 1]
        assert edge.any(0).mean() > 0.6
    middle = yellow[round(y0) + 4 : round(y1) - 3, round(x0) + 4 : round(x1) - 3]
    if xyxy != (0.0, 0.0, 399.0, 399.0):  # whose label has no other place than inside
        assert not middle.any()


def test_a_box_on_another_view_or_of_what_is_absent_is_not_drawn(words: Words) -> None:
    of = study()
    gone = [
        broken(fracture(10, 10, 90, 90, view=1)),
        broken(fracture(10, 10, 90, 90), status=A),
        broken(Instance(bone=Bone.RIB, ribs=[3])),
    ]
    column = np.s_[:, : 400 * overlay.HEIGHT // 400]
    for finding in gone:
        page = overlay.draw(report(of, findings=[finding]), of)
        assert not coloured(page, panel.COLOURS[N.FRACTURE])[column].any()
    assert not [text for text, *_ in words if text.startswith("rib ")]


def test_the_second_view_shows_its_own_boxes() -> None:
    of = Study(id="a", views=[study(100, 100).views[0], study(300, 100).views[0]])
    one = report(of, findings=[broken(fracture(10, 100, 90, 190, view=1))])
    boxes = [coloured(overlay.draw(one, of, view), panel.COLOURS[N.FRACTURE]) for view in (0, 1)]
    column = overlay.NARROWEST
    assert not boxes[0][:, :column].any()
    assert boxes[1][:, :column].any()


def test_what_is_uncertain_has_a_box_and_a_question_mark(words: Words) -> None:
    of = study()
    page = overlay.draw(report(of, findings=[broken(fracture(100, 100, 200, 200), status=U)]), of)
    assert coloured(page, panel.COLOURS[N.FRACTURE])[:, :1000].any()
    assert "rib 7 fracture ? 0.80" in [text for text, *_ in words]


def test_labels_name_the_rib_in_both_languages(words: Words) -> None:
    of = study()
    finding = broken(fracture(10, 10, 90, 90), fracture(200, 10, 290, 90, rib=10, p=None))
    for language in LANGUAGES:
        overlay.draw(report(of, language, findings=[finding]), of)
    said = [text for text, *_ in words]
    assert {"rib 7 fracture 0.80", "rib 10 fracture", "第7肋骨折 0.80", "第10肋骨折"} <= set(said)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("shape", [(400, 400), (800, 200), (900, 30), (200, 800)])
@pytest.mark.parametrize("seed", range(2))
def test_labels_never_overlap_and_stay_beside_the_column(
    seed: int, shape: tuple[int, int], language: Language, words: Words
) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = shape
    instances = []
    for k in range(14):
        # the last ones all lie on one spot
        x, y = (
            (rng.uniform(0, v * 0.7) for v in (columns, rows)) if k < 8 else (columns / 3, rows / 3)
        )
        instances.append(
            fracture(
                x,
                y,
                x + rng.uniform(2, columns * 0.3),
                y + rng.uniform(2, rows * 0.3),
                rib=1 + k % 12,
            )
        )
    of = study(*shape)
    page = overlay.draw(report(of, language, findings=[broken(*instances)]), of)
    labels = [w for w in words if w[0].startswith(("rib ", "第"))]
    assert len(labels) == 14
    column = page.width - overlay.PANEL
    spots = [(x0 - 4, y - size, x1 + 4, y + 7) for _, x0, y, x1, size in labels]
    for spot in spots:
        assert spot[0] >= 0
        assert spot[2] <= column
        assert spot[1] >= 0
        assert spot[3] <= page.height
    for a, b in combinations(spots, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_a_label_leaves_a_small_lesion_visible(words: Words) -> None:
    """Two boxes, one right above the other: the lower one's label goes elsewhere."""
    of = study()
    above, below = (150.0, 150.0, 180.0, 170.0), (150.0, 175.0, 180.0, 195.0)
    page = overlay.draw(
        report(of, findings=[broken(fracture(*above), fracture(*below, rib=8))]), of
    )
    scale, left = overlay.HEIGHT / 400, film_of(page)[0]
    for x0, y0, x1, y1 in (above, below):
        for text, tx0, ty, tx1, size in words:
            if text.startswith("rib "):
                across = min(tx1 + 4, left + x1 * scale) - max(tx0 - 4, left + x0 * scale)
                down = min(ty + 7, y1 * scale) - max(ty - size, y0 * scale)
                assert across <= 4 or down <= 4, text


# -- long texts ---------------------------------------------------------------------------------

LONG: dict[str, str] = {
    "english": "Acute displaced fracture of the posterolateral left 7th rib. " * 60,
    "chinese": "左侧第10肋骨腋段新鲜骨折，断端移位。" * 80,
    "one word": "a" * 5000,
    "no spaces": "，" * 3000,
    "lines": "one\n\n  two\r\nthree\u2028four\t five\n" * 40,
    "controls": "\x00\x1b[31m\u202e" * 500,
    "huge": "肺 lung " * 40_000,
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_a_long_text_stays_in_the_column_and_is_cut_with_a_word(
    text: str, language: Language, words: Words
) -> None:
    of = study()
    every = [Finding(name=n, status=P, probability=0.5) for n in FindingName]
    page = overlay.draw(report(of, language, findings=every, text=text, flags=list(Code)[:3]), of)
    right = page.width - panel.MARGIN
    begin = NOTICE[language][:12]
    foot = next(y - size for line, _, y, _, size in words if line.startswith(begin))
    for line, x0, y, x1, _ in words:
        if x0 > page.width - overlay.PANEL:
            assert x1 <= right + 1, line
            assert y <= page.height - 4
    body = [w for w in words if w[1] > page.width - overlay.PANEL and w[2] < foot]
    assert max(y for _, _, y, _, _ in body) < foot
    said = joined(words)
    whole = "".join(c for c in text if c.isprintable()).replace(" ", "") in said
    assert whole or panel.WORDS[language]["more"].replace(" ", "") in said


def test_a_text_that_just_fits_is_not_cut(words: Words) -> None:
    of = study()
    for sentences in (1, 20, 26, 27, 28, 29, 30, 45, 60, 90):
        words.clear()
        text = "Healing fracture of the lateral right 8th rib. " * sentences
        overlay.draw(report(of, text=text.strip()), of)
        said = joined(words)
        cut = panel.WORDS["en"]["more"].replace(" ", "") in said
        assert cut != (text.replace(" ", "") in said)
        assert not cut or sentences > 20


def test_letters_shrink_only_as_far_as_needed(words: Words) -> None:
    of = study()
    sizes = []
    for sentences in (2, 40, 300):
        words.clear()
        overlay.draw(
            report(of, text="Healing fracture of the lateral right 8th rib. " * sentences), of
        )
        sizes.append(next(size for text, *_, size in words if text.startswith("Healing")))
    assert sizes[0] > sizes[1] > sizes[2] >= 11


# -- letters ------------------------------------------------------------------------------------


def printed_in_chinese() -> set[str]:
    tables = (template.BONES, template.SIDES, template.REGIONS, template.STAGES)
    texts = [row[1] for table in tables for row in table.values()]
    texts += [row[1] for row in template.DISPLACEMENTS.values()]
    texts += [row.zh for row in FINDINGS.values()] + [code.zh for code in Code]
    texts += [*template.FIXED["zh"].values(), *panel.WORDS["zh"].values(), NOTICE["zh"]]
    return {c for c in "".join(texts) + "未见可能第、侧肺野" if not c.isspace()}


def test_every_letter_that_hilum_prints_has_a_shape() -> None:
    """A missing glyph is drawn as nothing or as a hollow box: a rib's number would vanish."""
    han = ImageFont.truetype(str(lettering.FONT), 24)
    latin = ImageFont.load_default(24)
    letters = printed_in_chinese() | set(map(chr, range(33, 127)))
    for letter in sorted(letters):
        face = han if letter >= lettering.HAN else latin
        shape, missing = (bytes(face.getmask(c)) for c in (letter, "\ue000"))
        assert any(shape), f"{letter} is blank"
        assert shape != missing, f"{letter} has no glyph"


def test_numbers_and_chinese_letters_stand_on_one_line() -> None:
    page = Image.new("RGB", (400, 60))
    pen = ImageDraw.Draw(page)
    lettering.write(pen, (10, 40), "第10肋", 30, "#ffffff")
    assert lettering.width("第10肋", 30) == pytest.approx(
        sum(lettering.width(c, 30) for c in ("第", "10", "肋"))
    )
    ink = np.asarray(page.convert("L")) > 128
    starts = [10 + lettering.width(text, 30) for text in ("", "第", "第10")]
    ends = [*starts[1:], 10 + lettering.width("第10肋", 30)]
    for x0, x1 in zip(starts, ends, strict=True):
        rows = np.flatnonzero(ink[:, round(x0) : round(x1)].any(1))
        assert rows.min() > 8
        assert 35 <= rows.max() <= 46


@settings(deadline=None, max_examples=100)
@given(
    st.text(st.sampled_from("ab1 肺，。（第\n\t\u2028’."), max_size=120),
    st.integers(11, 30),
    st.integers(40, 500),
)
def test_wrapping_loses_nothing_and_never_runs_over(text: str, size: int, room: int) -> None:
    lines = list(lettering.wrap(text, size, room))
    assert "".join("".join(lines).split()) == "".join(text.split())
    for line in lines:
        assert line == line.strip()
        assert line
        assert lettering.width(line, size) <= room or len(line) == 1


def test_english_breaks_between_words_and_chinese_not_before_a_stop() -> None:
    text = "Acute displaced fracture of the lateral right 7th rib."
    assert " ".join(lettering.wrap(text, 20, 200)) == text
    for room in range(60, 200, 3):
        for line in lettering.wrap("左侧第10肋骨腋段新鲜骨折，断端移位。未见气胸。", 20, room):
            assert line[0] not in "，。"
            assert not line.startswith("0")  # a number is not torn apart


def test_a_picture_is_the_same_every_time_and_is_a_png(tmp_path: Path) -> None:
    of = study()
    one = kinds(of, "zh")["outside"]
    for name in ("a.png", "b.png"):
        overlay.save(one, of, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
    with pytest.raises(OSError, match="No such file"):
        overlay.save(one, of, tmp_path / "no" / "a.png")
