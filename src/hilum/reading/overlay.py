"""One picture of a reading: the whole film with its boxes, and the draft beside it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from hilum.findings import Bone, Finding, Instance, Status
from hilum.reading.lettering import width, write
from hilum.reading.panel import COLOURS, INK, OTHER, PAPER, Panel, chance, term
from hilum.report import Language, Report
from hilum.study import Study, View

HEIGHT = 1080  # of the film in the picture, in pixels
WIDEST = 1620
NARROWEST = 360  # of the column that the film stands in: a label fits beside any film
PANEL = 620  # width of the column beside it
MARGIN = 34  # on either side of the film, for R and L
LABEL = 17
Rectangle = tuple[float, float, float, float]


def draw(report: Report, study: Study, view: int = 0) -> Image.Image:
    """The picture of one view of a study and its report.

    Nothing of the film is cut off. Beside a film that was read stand R and L, for a frontal
    film shown as if facing the patient.
    """
    film = _fitted(study.views[view])
    column = max(film.width, NARROWEST) + 2 * MARGIN
    page = Image.new("RGB", (column + PANEL, HEIGHT), PAPER)
    corner = ((column - film.width) // 2, (HEIGHT - film.height) // 2)
    page.paste(film, corner)
    if not report.abstained:
        pen = ImageDraw.Draw(page)
        for x, letter in (
            (corner[0] - MARGIN / 2, "R"),
            (corner[0] + film.width + MARGIN / 2, "L"),
        ):
            write(pen, (x, corner[1] + 34), letter, 30, INK, "middle")
        scale = film.width / study.views[view].columns, film.height / study.views[view].rows
        _mark(pen, report, view, scale, corner, (0, 0, column, HEIGHT))
    Panel(page, column, report).draw()
    return page


def save(report: Report, study: Study, path: Path, view: int = 0) -> None:
    """Write the picture as PNG."""
    draw(report, study, view).save(path)


def _fitted(view: View) -> Image.Image:
    scale = min(HEIGHT / view.rows, WIDEST / view.columns)
    size = (max(1, round(view.columns * scale)), max(1, round(view.rows * scale)))
    return Image.fromarray(view.display()).resize(size, Image.Resampling.LANCZOS).convert("RGB")


def _mark(
    pen: ImageDraw.ImageDraw,
    report: Report,
    view: int,
    scale: tuple[float, float],
    corner: tuple[int, int],
    space: Rectangle,
) -> None:
    """Boxes, large ones first, and then their labels, small ones first."""
    marks: list[tuple[Rectangle, Finding, Instance]] = []
    for finding in report.findings:
        for instance in finding.instances:
            if finding.status is not Status.ABSENT and instance.box and instance.box.view == view:
                # pixel centres lie at whole numbers, on the film and on the page
                spread = [
                    (v + 0.5) * scale[k % 2] - 0.5 + corner[k % 2]
                    for k, v in enumerate(instance.box.xyxy)
                ]
                marks.append(((spread[0], spread[1], spread[2], spread[3]), finding, instance))
    marks.sort(key=lambda mark: _area(mark[0]))
    for box, finding, _ in reversed(marks):
        colour = COLOURS.get(finding.name, OTHER)
        x0, y0, x1, y1 = box
        pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=PAPER, width=4)
        pen.rectangle(box, outline=colour, width=2)
    boxes = [box for box, _, _ in marks]
    taken: list[Rectangle] = []
    for box, finding, instance in marks:
        text = _label(finding, instance, report.language)
        spot = _spot(box, (width(text, LABEL) + 8, LABEL + 7.0), space, boxes, taken)
        taken.append(spot)
        pen.rectangle(spot, fill=PAPER)
        place = (spot[0] + 4, spot[3] - 7)
        write(pen, place, text, LABEL, COLOURS.get(finding.name, OTHER))


def _label(finding: Finding, instance: Instance, language: Language) -> str:
    text = term(finding.name, language)
    if instance.bone is Bone.RIB and len(instance.ribs) == 1:
        rib = instance.ribs[0]
        text = f"第{rib}肋{text}" if language == "zh" else f"rib {rib} {text}"
    if finding.status is Status.UNCERTAIN:
        text += " ?"
    return text if instance.probability is None else f"{text} {chance(instance.probability)}"


def _spot(
    box: Rectangle,
    size: tuple[float, float],
    space: Rectangle,
    boxes: list[Rectangle],
    taken: list[Rectangle],
) -> Rectangle:
    """Where a label goes: beside its box, on no other label, and on as little else as can be."""
    x0, y0, x1, y1 = box
    wide, high = size
    near = [(x0, y0 - high - 3), (x0, y1 + 4), (x1 - wide, y0 - high - 3), (x1 - wide, y1 + 4)]
    near += [(x1 + 4, y0), (x0 - wide - 4, y0), (x1 + 4, y1 - high), (x0 - wide - 4, y1 - high)]
    near += [(x0 + 4, y0 + 4), (x1 - wide - 4, y1 - high - 4)]
    anywhere = [(x0, y) for y in range(round(y0), round(space[3] - high))]
    anywhere += [(x0, y) for y in range(round(y0), round(space[1]), -1)]
    anywhere += [(x, y) for x in range(0, int(space[2]), 20) for y in range(0, int(space[3]), 12)]
    for places in (near, anywhere):
        spots = [_within((x, y, x + wide, y + high), space) for x, y in places]
        free = [s for s in spots if not any(_shared(s, t) for t in taken)]
        if free and places is near:
            return min(free, key=lambda s: sum(_hidden(s, b) for b in boxes))
        if free:
            return free[0]
    return spots[0]


def _within(spot: Rectangle, space: Rectangle) -> Rectangle:
    """The spot moved as little as possible, so that it lies in the space."""
    dx = max(space[0] - spot[0], 0) or min(space[2] - spot[2], 0)
    dy = max(space[1] - spot[1], 0) or min(space[3] - spot[3], 0)
    return spot[0] + dx, spot[1] + dy, spot[2] + dx, spot[3] + dy


def _area(box: Rectangle) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shared(a: Rectangle, b: Rectangle) -> float:
    """Area that two rectangles have in common, with a pixel around."""
    wide = min(a[2], b[2]) - max(a[0], b[0]) + 1
    high = min(a[3], b[3]) - max(a[1], b[1]) + 1
    return max(wide, 0) * max(high, 0)


def _hidden(spot: Rectangle, box: Rectangle) -> float:
    """Share of a box that a label hides: a small lesion matters more than a large one's corner."""
    return _shared(spot, box) / max(_area(box), 1.0)
