"""A contact sheet: some films of a dataset on one picture, evenly from all of it."""

from __future__ import annotations

import io
from pathlib import Path
from textwrap import wrap
from typing import Any

import pyarrow.parquet as pq
from PIL import Image, ImageDraw

TILE, CAPTION, COLUMNS = 160, 40, 8
FILMS = 24


def contact_sheet(files: list[Path], films: int = FILMS) -> bytes | None:
    """PNG of up to ``films`` films, each over its split and present findings; None without films.

    Films keep their proportions on black.
    """
    tiles = [tile for row in _spread(files, films) if (tile := _tile(row)) is not None]
    if not tiles:
        return None
    lines = -(-len(tiles) // COLUMNS)
    sheet = Image.new("L", (min(len(tiles), COLUMNS) * TILE, lines * (TILE + CAPTION)))
    for n, tile in enumerate(tiles):
        sheet.paste(tile, (n % COLUMNS * TILE, n // COLUMNS * (TILE + CAPTION)))
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def _spread(files: list[Path], wanted: int) -> list[dict[str, Any]]:
    """Rows at even distances over all files; only the row groups that hold them are read."""
    groups = [
        (path, group, pq.ParquetFile(path).metadata.row_group(group).num_rows)
        for path in files
        for group in range(pq.ParquetFile(path).num_row_groups)
    ]
    total = sum(rows for *_, rows in groups)
    picks = sorted({total * n // wanted for n in range(min(wanted, total))} or set(range(total)))
    found: list[dict[str, Any]] = []
    first = 0
    for path, group, rows in groups:
        inside = [pick - first for pick in picks if first <= pick < first + rows]
        if inside:
            table = pq.ParquetFile(path).read_row_group(group, ["images", "findings", "split"])
            found += table.take(inside).to_pylist()
        first += rows
    return found


def _tile(row: dict[str, Any]) -> Image.Image | None:
    if not row["images"]:
        return None
    film = Image.open(io.BytesIO(row["images"][0]["bytes"]), formats=["PNG"]).convert("L")
    film.thumbnail((TILE, TILE))
    tile = Image.new("L", (TILE, TILE + CAPTION))
    tile.paste(film, ((TILE - film.width) // 2, (TILE - film.height) // 2))
    present = [f["name"].replace("_", " ") for f in row["findings"] if f["status"] == "present"]
    draw = ImageDraw.Draw(tile)
    draw.text((3, TILE + 2), row["split"], fill=160)
    for n, line in enumerate(wrap(", ".join(present) or "-", 26)[:2]):
        draw.text((3, TILE + 14 + 12 * n), line, fill=255)
    return tile
