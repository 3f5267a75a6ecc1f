"""A reader's calibration for one site: fitted on its answers there, written as one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hilum.codes import Code, HilumError
from hilum.data.build import write_whole
from hilum.data.rows import Dataset, Reference
from hilum.evaluation.calibrate import AUTO, Fitted, Points, fit
from hilum.evaluation.case import Floats, System, Uncertain, side_column, truths
from hilum.evaluation.evaluate import versions
from hilum.findings import FindingName, Side
from hilum.reading.calibration import CalibrationFile
from hilum.reading.reader import Reader


@dataclass(frozen=True)
class Wish:
    """How it is fitted. ``uncertain``: what a possible finding counts as."""

    method: str = AUTO
    points: Points = field(default_factory=Points)
    uncertain: Uncertain = "present"


def calibrate(
    reader: Reader,
    dataset: Dataset,
    references: Sequence[Reference],
    system: System,
    site: str,
    wish: Wish | None = None,
) -> CalibrationFile:
    """Fit every finding, and every side of a fracture, that the reader gives likelihoods of.

    What has too few cases keeps the curve it has, and ``fitted`` says so. Raises
    ``no_probability`` for a reader that asks no questions, ``calibration_impossible`` where
    nothing can be fitted.
    """
    wish = wish or Wish()
    if not reader.card.questions:
        raise HilumError(Code.NO_PROBABILITY, reader.card.name, "its card has no questions")
    old = reader.card.calibration
    new = old.model_copy(deep=True)
    told: dict[str, Any] = {}
    asked = list(reader.card.questions)
    for name, (truth, known) in truths(references, asked, wish.uncertain).items():
        found = _fit(
            truth & known,
            _likelihoods(system, name),
            known,
            references,
            wish,
            old.findings.get(name),
        )
        told[name.value] = found if isinstance(found, str) else found.told
        if isinstance(found, Fitted):
            new.findings[name] = found.curve
            _set(new.thresholds, name, found.threshold)
            _set(new.doubts, name, found.doubt)
    for side in reader.card.side_questions:
        column = side_column(references, system, side)
        score = np.array([p.sides.get(side, np.nan) for p in system.predictions])
        found = _fit(column.truth, score, column.known, references, wish, old.sides.get(side))
        told[f"fracture_{side.value}"] = found if isinstance(found, str) else found.told
        if isinstance(found, Fitted):
            new.sides[side] = found.curve
    if all(isinstance(one, str) for one in told.values()):
        raise HilumError(Code.CALIBRATION_IMPOSSIBLE, dataset.name, str(next(iter(told.values()))))
    return CalibrationFile(
        site=site,
        weights_sha256=reader.engine.weights_sha256,
        prompt_sha256=reader.card.asked.sha256,
        calibration=new,
        fitted={
            "reader": reader.card.name,
            "dataset": {"name": dataset.name, "split": dataset.split, "sha256": dataset.sha256},
            "references": sorted({r.source for r in references}),
            "uncertain": wish.uncertain,
            "points": vars(wish.points),
            "not_read": sum(not p.read for p in system.predictions),
            "versions": {**versions(), **reader.engine.versions},
            "findings": told,
        },
    )


def save(file: CalibrationFile, path: Path) -> None:
    """Write the file whole, or not at all. Raises ``output_unwritable``."""
    try:
        write_whole(path, (file.model_dump_json(indent=1) + "\n").encode())
    except OSError as error:
        raise HilumError(Code.OUTPUT_UNWRITABLE, path, error.strerror or "") from error


def _fit(
    truth: np.ndarray,
    likelihood: Floats,
    known: np.ndarray,
    references: Sequence[Reference],
    wish: Wish,
    before: Any,
) -> Fitted | str:
    rows = np.flatnonzero(known & np.isfinite(likelihood))
    patients = [references[int(k)].patient_id for k in rows]
    try:
        return fit(truth[rows], likelihood[rows], patients, wish.method, wish.points, before)
    except ValueError as error:
        return str(error)


def _likelihoods(system: System, name: FindingName) -> Floats:
    return np.array([p.likelihoods.get(name, np.nan) for p in system.predictions], float)


def _set(points: dict[Any, float], name: FindingName | Side, value: float | None) -> None:
    points.pop(name, None)
    if value is not None:
        points[name] = value
