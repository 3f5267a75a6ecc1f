"""Calibration: likelihoods to probabilities, and the one file that a site keeps of it.

Fitting one is :mod:`hilum.evaluation.calibrate`'s; a reader only applies it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from hilum.codes import Code, HilumError
from hilum.findings import FindingName, Probability, Record, Side, Status

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Platt(Record):
    """probability = sigmoid(slope * log odds + intercept) (Platt 1999).

    Temperature scaling (Guo et al., arXiv 1706.04599) is slope 1 / T and no intercept.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, log_odds: float) -> float:
        """A probability, to four decimals."""
        z = float(np.clip(self.slope * log_odds + self.intercept, -30, 30))
        return round(1 / (1 + float(np.exp(-z))), 4)


class Isotonic(Record):
    """A monotone curve through (log odds, probability), straight between its points.

    Left and right of them it goes on level (Zadrozny and Elkan, KDD 2002).
    """

    log_odds: Annotated[list[float], Field(min_length=1)]
    probability: list[Probability]

    @model_validator(mode="after")
    def _rises(self) -> Isotonic:
        if len(self.log_odds) != len(self.probability):
            raise ValueError("an isotonic curve has as many probabilities as log odds")
        if np.any(np.diff(self.log_odds) <= 0) or np.any(np.diff(self.probability) < 0):
            raise ValueError("an isotonic curve rises from the left to the right")
        return self

    def apply(self, log_odds: float) -> float:
        """A probability, to four decimals."""
        return round(float(np.interp(log_odds, self.log_odds, self.probability)), 4)


Curve = Platt | Isotonic


class Calibration(Record):
    """Per finding: curves of the answers and of the places, and the operating points.

    ``sides``: of the questions after a fracture on one side. A probability from ``thresholds``
    on is present; from ``doubts`` on, where there is one, uncertain; below, absent.
    """

    findings: dict[FindingName, Curve] = Field(default_factory=dict)
    sides: dict[Side, Curve] = Field(default_factory=dict)
    places: dict[FindingName, Platt] = Field(default_factory=dict)
    thresholds: dict[FindingName, Probability] = Field(default_factory=dict)
    doubts: dict[FindingName, Probability] = Field(default_factory=dict)
    default_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @model_validator(mode="after")
    def _doubt_comes_first(self) -> Calibration:
        for name, doubt in self.doubts.items():
            if doubt > self.threshold(name):
                raise ValueError(f"{name}: the point of doubt lies above the point of certainty")
        return self

    def probability(self, name: FindingName, likelihood: float) -> float:
        """The calibrated probability of presence from the likelihood of "present"."""
        return self.findings.get(name, Platt()).apply(log_odds(likelihood))

    def side(self, side: Side, likelihood: float) -> float:
        """The calibrated probability of a fracture on that side."""
        return self.sides.get(side, Platt()).apply(log_odds(likelihood))

    def threshold(self, name: FindingName) -> float:
        """The probability from which on a finding is called present."""
        return self.thresholds.get(name, self.default_threshold)

    def status(self, name: FindingName, probability: float) -> Status:
        """What a probability makes of a finding."""
        if probability >= self.threshold(name):
            return Status.PRESENT
        doubt = self.doubts.get(name)
        return Status.ABSENT if doubt is None or probability < doubt else Status.UNCERTAIN


class CalibrationFile(Record):
    """What ``hilum calibrate`` writes: a calibration, and all that it holds for.

    ``prompt_sha256``: of the questions that the likelihoods answer. ``fitted``: on what and how
    well, for whoever opens the file; nothing reads it back.
    """

    site: Annotated[str, Field(min_length=1, max_length=80)]
    weights_sha256: Digest
    prompt_sha256: Digest
    calibration: Calibration
    fitted: dict[str, Any] = Field(default_factory=dict)


def log_odds(probability: float) -> float:
    """ln(p / (1 - p)), with p kept 1e-7 off 0 and 1; NaN stays NaN."""
    p = min(max(probability, 1e-7), 1 - 1e-7)
    return float(np.log(p / (1 - p)))


def open_file(path: Path) -> tuple[CalibrationFile, str]:
    """A calibration file and its sha256. Raises ``file_not_found``, ``calibration_invalid``."""
    try:
        content = path.read_bytes()
        return CalibrationFile.model_validate_json(content), hashlib.sha256(content).hexdigest()
    except FileNotFoundError as error:
        raise HilumError(Code.FILE_NOT_FOUND, path) from error
    except (OSError, ValueError) as error:  # ValueError: not JSON, not UTF-8, no calibration
        raise HilumError(Code.CALIBRATION_INVALID, path, type(error).__name__) from error


def check(
    file: CalibrationFile, path: Path, weights: str, prompt: str, site: str | None = None
) -> None:
    """Raise ``calibration_mismatch`` where the file was fitted for something else."""
    bound = {
        "weights": (file.weights_sha256, weights),
        "prompt": (file.prompt_sha256, prompt),
        "site": (file.site, site or file.site),
    }
    for what, (fitted, here) in bound.items():
        if fitted != here:
            detail = f"{what}: fitted for {fitted[:12]}, not {here[:12]}"
            hint = "quantised or trained weights need a new one: " if what == "weights" else ""
            raise HilumError(
                Code.CALIBRATION_MISMATCH, path, f"{detail}; {hint}run hilum calibrate again"
            )
