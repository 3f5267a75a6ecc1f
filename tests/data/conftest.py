"""Small sources made on the spot, each in the layout its data set is published in."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.server import server

__all__ = ["server"]

MakeFilm = Callable[..., Path]


@pytest.fixture
def make_film() -> MakeFilm:
    """A function that writes a PNG of chest-like brightness, different for every ``number``."""
    return film


def film(path: Path, number: int = 0, side: int = 240, **save: Any) -> Path:
    y, x = np.mgrid[0:side, 0:side] / side
    levels = 90 + 60 * np.sin(7 * x + number) * np.cos(5 * y - number) + 40 * y
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(path, **save)
    return path


def write_csv(path: Path, rows: Iterable[dict[str, Any]], encoding: str = "utf-8") -> Path:
    rows = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of 12 studies of 8 patients with a film each; every report is another."""
    folder = tmp_path / "source"
    rows = []
    for n in range(12):
        film(folder / f"film{n}.png", n)
        report = f"Fracture of the left {n % 9 + 1}th rib. No pleural effusion. Study {n} ends."
        rows.append(
            {"image": f"film{n}.png", "report": report, "patient_id": f"p{n % 8}", "study_id": n}
        )
    write_csv(folder / "reports.csv", rows)
    return folder
