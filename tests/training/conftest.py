"""A small prepared dataset, twins, and recipes over both, made on the spot."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hilum.data.schema import SCHEMA
from hilum.findings import Finding
from hilum.language import write
from hilum.models.twins import families, make_twin
from hilum.training.recipe import Recipe, parse

FAMILIES = families()
MakeRecipe = Callable[..., Recipe]


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tables that ``datasets`` makes go with the test."""
    import datasets.config

    folder = tmp_path_factory.mktemp("datasets")
    datasets.config.HF_DATASETS_CACHE = folder


def png(number: int, side: int = 72) -> bytes:
    """A film of its own for every number: what it shows is bright where the number is odd."""
    y, x = np.mgrid[0:side, 0:side] / side
    levels = 90 + 50 * np.sin(6 * x + number) * np.cos(4 * y - number)
    levels[20:40, 10:30] += 80 * (number % 2)
    file = io.BytesIO()
    Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def study(number: int, split: str, films: int = 1) -> dict[str, Any]:
    """A row: odd numbers have a fracture."""
    findings = [
        Finding.model_validate(
            {
                "name": "fracture",
                "status": "present" if number % 2 else "absent",
                "instances": [{"bone": "rib", "side": "left", "ribs": [5]}] if number % 2 else [],
            }
        ),
        Finding.model_validate({"name": "pneumothorax", "status": "absent"}),
    ]
    view = {"position": "PA", "rows": 72, "columns": 72, "mm_per_pixel": 5.0,
            "simulated": True, "sha256": ""}  # fmt: skip
    return {
        "study_id": f"study-{number}",
        "patient_id": f"patient-{number}",
        "images": [{"bytes": png(number + 100 * k), "path": f"{number}.png"} for k in range(films)],
        "views": [view] * films,
        "context": {"age": None, "sex": None, "indication": None, "priors": []},
        "report": {"findings": write(findings, "en"), "impression": "", "language": "en"},
        "findings": [f.model_dump(mode="json") for f in findings],
        "findings_source": "truth",
        "source": "phantom",
        "licence": "Apache-2.0",
        "split": split,
        "flags": [],
    }


def write_dataset(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as ``hilum prepare`` lays them out."""
    (folder / "data").mkdir(parents=True)
    for split in dict.fromkeys(r["split"] for r in rows):
        some = [r for r in rows if r["split"] == split]
        table = pa.Table.from_pylist(some, SCHEMA)
        pq.write_table(table, folder / "data" / f"{split}-00000.parquet")
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 studies to train on, of which one has two films and one none, and 4 to validate."""
    films = {3: 2, 4: 0}
    rows = [study(n, "train", films.get(n, 1)) for n in range(16)]
    rows += [study(n, "validation") for n in range(16, 20)]
    return write_dataset(tmp_path_factory.mktemp("dataset"), rows)


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's twin, made once."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = make_twin(family, tmp_path_factory.mktemp("twin") / family)
        return made[family]

    return folder


@pytest.fixture
def make_recipe(dataset: Path, twin: Callable[[str], Path], tmp_path: Path) -> MakeRecipe:
    """A recipe of a few steps; keys are given with __ for the dots of inner ones."""

    def make(family: str = "gemma3", **over: Any) -> Recipe:
        raw: dict[str, Any] = {
            "name": "try",
            "model": {"path": str(twin(family))},
            "data": {
                "path": str(dataset),
                "text": "templated",
                "questions": {"fracture": {"en": "Is there a fracture?"}},
            },
            "parts": {
                "vision": {"train": "full"},
                "projector": {"train": "full"},
                "language": {"train": "lora"},
            },
            "lora": {"rank": 4, "dropout": 0.0},
            "precision": "fp32",
            "schedule": {"steps": 6, "batch": 4, "micro_batch": 2, "lr": 0.002, "warmup": 0.0},
            "evaluation": {"every": 3, "rows": 0},
            "output": str(tmp_path / "run"),
        }
        for key, value in over.items():
            *outer, last = key.split("__")
            place = raw
            for name in outer:
                place = place.setdefault(name, {})
            place[last] = value
        return parse(raw)

    return make
