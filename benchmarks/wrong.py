"""Pictures of wrong readings: each as a radiologist gets it, and close by, beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from hilum import imaging
from hilum.findings import Finding, FindingName
from hilum.reading import overlay
from hilum.reading.lettering import write
from hilum.report import Report
from hilum.study import Study, View

MOST = 12  # of a finding
COLUMNS = 3
TILE = 300  # of a close view, in pixels
LEAST = 80  # of the film, in a close view
TEXT = 26
TRUE, SAID, PAPER, INK = "#7CFC9A", "#FFB04A", "#111820", "#FFFFFF"
Box = tuple[float, float, float, float]

# A film's file, what is there by name, and what was read.
Case = tuple[Path, dict[str, Finding], Report]


def picture(cases: Sequence[Case], names: Sequence[FindingName], out: Path) -> None:
    """For each finding its worst errors: missed with certainty, or seen where none is.

    ``NAME-00.png`` and so on are the readings; ``NAME.jpg`` shows each error close by, and again
    with the truth in green and what was said in orange.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        errors = [(abs(found[name].present - _said(r, name)), p, found, r) for p, found, r in cases]
        worst = [e for e in sorted(errors, key=lambda e: -e[0])[:MOST] if e[0] >= 0.5]
        close = []
        for k, (_, path, found, report) in enumerate(worst):
            study = imaging.load_study([path])
            file = f"{name}-{k:02d}.png"
            overlay.save(report, study, out / file)
            kind = "missed" if found[name].present else "none there"
            words = f"{k:02d} {kind}, {_said(report, name):.2f}"
            close.append(_closer(study, _boxes(found[name]), _boxes(report.finding(name)), words))
            print(f"{file}: {path.name} {words}")
        if close:
            _sheet(close).save(out / f"{name}.jpg", quality=88)


def _said(report: Report, name: FindingName) -> float:
    finding = report.finding(name)
    return (finding.probability if finding else None) or 0.0


def _boxes(finding: Finding | None) -> list[Box]:
    return [i.box.xyxy for i in finding.instances if i.box] if finding else []


def _closer(study: Study, true: list[Box], said: list[Box], words: str) -> Image.Image:
    """The place twice, bare and marked; the whole film where there is no box."""
    view = study.views[0]
    left, top, side = _window(view, true or said)
    film = Image.fromarray(view.display()).convert("RGB")
    there = (round(left), round(top), round(left + side), round(top + side))
    bare = film.crop(there).resize((TILE, TILE), Image.Resampling.BICUBIC)
    marked = bare.copy()
    pen = ImageDraw.Draw(marked)
    for boxes, colour in ((said, SAID), (true, TRUE)):
        for x0, y0, x1, y1 in boxes:
            scaled = (np.array([x0 - left, y0 - top, x1 - left, y1 - top]) * TILE / side).tolist()
            pen.rectangle(scaled, outline=colour, width=2)
    tile = Image.new("RGB", (2 * TILE + 4, TILE + TEXT), PAPER)
    tile.paste(bare, (0, TEXT))
    tile.paste(marked, (TILE + 2, TEXT))
    write(ImageDraw.Draw(tile), (6, TEXT - 8), words, 16, INK)
    return tile


def _window(view: View, boxes: list[Box]) -> tuple[float, float, float]:
    """Left, top and side of the square that is shown."""
    if not boxes:
        return 0.0, 0.0, float(max(view.rows, view.columns))
    x0, y0 = (min(box[k] for box in boxes) for k in (0, 1))
    x1, y1 = (max(box[k] for box in boxes) for k in (2, 3))
    side = max(LEAST, 1.6 * max(x1 - x0, y1 - y0))
    return (x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side


def _sheet(tiles: list[Image.Image]) -> Image.Image:
    wide, high = tiles[0].size
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    page = Image.new("RGB", (columns * (wide + 8), rows * (high + 8)), PAPER)
    for k, tile in enumerate(tiles):
        page.paste(tile, (k % columns * (wide + 8), k // columns * (high + 8)))
    return page
