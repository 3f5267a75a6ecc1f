"""Many phantoms on disk: films as DICOM or PNG, and truth.jsonl."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hilum.codes import Code, HilumError
from hilum.language import write
from hilum.phantom.dicom import MODEL_NAME, to_dicom
from hilum.phantom.film import Film, Position, simulate
from hilum.processes import end_with_parent, processors

Format = Literal["dicom", "png"]
TRUTH = "truth.jsonl"


def make_corpus(
    folder: Path,
    n: int,
    seed: int,
    size: int = 1024,
    format: Format = "dicom",
    processes: int | None = None,
    progress: Callable[[], object] = lambda: None,
    lateral: bool = False,
) -> Path:
    """Write ``n`` phantoms and their truth into ``folder``; returns the path of truth.jsonl.

    ``lateral``: each chest from the side too, as a second view of its study.

    The same seed gives the same bytes on one machine, whatever ``processes`` is. truth.jsonl is
    written last and in one piece, so a folder with it is complete. Raises ``output_unwritable``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TRUTH).unlink(missing_ok=True)
        jobs = (
            range(n),
            repeat(folder),
            repeat(seed),
            repeat(size),
            repeat(format),
            repeat(lateral),
        )
        rows = []
        for row in _in_order(processes or max(1, min(processors(), n)), *jobs):
            rows.append(json.dumps(row, ensure_ascii=False))
            progress()
        part = folder / f".{TRUTH}.part"
        part.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return part.replace(folder / TRUTH)
    except OSError as error:
        raise HilumError(Code.OUTPUT_UNWRITABLE, folder, error.strerror or "") from error


def _in_order(processes: int, *jobs: Any) -> Iterator[dict[str, Any]]:
    if processes == 1:
        yield from map(_write_one, *jobs)
        return
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=begin_simulating
    ) as pool:
        yield from pool.map(_write_one, *jobs, chunksize=4)


def begin_simulating() -> None:
    """What a process does first that simulates beside others."""
    cv2.setNumThreads(1)
    end_with_parent()


def _write_one(
    index: int, folder: Path, seed: int, size: int, format: Format, lateral: bool
) -> dict[str, Any]:
    name = f"phantom-{seed}-{index:05d}"
    film = simulate(seed, index, size)
    row = truth_row(film, _save(film, folder, name, index, format, "PA"), name)
    if lateral:
        side = simulate(seed, index, size, position="LL")
        row["views"] = [
            {"path": _save(side, folder, f"{name}-lateral", index, format, "LL"), "position": "LL"}
        ]
    return row


def _save(
    film: Film, folder: Path, stem: str, index: int, format: Format, position: Position
) -> str:
    """Write one film; its file's name."""
    path = folder / f"{stem}.{'dcm' if format == 'dicom' else 'png'}"
    if format == "dicom":
        name = stem.removesuffix("-lateral")
        ds = to_dicom(film, name, inverted=index % 2 == 1, position=position)
        ds.save_as(path, enforce_file_format=True)
    else:
        _to_png(film, path)
    return path.name


def _to_png(film: Film, path: Path) -> None:
    info = PngInfo()
    info.add_text("Source", MODEL_NAME)
    info.add_text("mm_per_pixel", repr(film.mm_per_pixel))
    Image.fromarray((film.pixels >> 4).astype(np.uint8)).save(path, pnginfo=info)


def truth_row(film: Film, path: str, patient_id: str) -> dict[str, Any]:
    """One line of truth.jsonl."""
    return {
        "path": path,
        "patient_id": patient_id,
        "mm_per_pixel": film.mm_per_pixel,
        "position": "PA",
        "findings": [f.model_dump(mode="json") for f in film.findings],
        "report": {"en": write(film.findings, "en"), "zh": write(film.findings, "zh")},
    }
