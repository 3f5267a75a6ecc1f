"""Any other system's answers: a file of predictions, matched to the references by study."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from hilum.codes import Code, HilumError
from hilum.data.rows import Reference
from hilum.evaluation.case import Outcome, Prediction, System
from hilum.findings import Finding, FindingName, Status
from hilum.language import label
from hilum.language.words import language_of
from hilum.report import LANGUAGES

THRESHOLD = 0.5
_IDS = ("study_id", "id")
_TEXTS = ("text", "report", "model_prediction")
_KEYS = frozenset(
    {*_IDS, *_TEXTS, "language", "findings", "probabilities", "threshold", "sides", "error"}
)
_HEADING = re.compile(r"^\s*(?:findings|impression)\s*:\s*", re.IGNORECASE | re.MULTILINE)
_MIDDLE = re.compile(r"(?<=[.。])\s*(?:Findings|Impression)\s*:\s*")


def load(path: Path, references: Sequence[Reference], name: str | None = None) -> System:
    """A file of predictions as a system: JSON lines, or ReXrank's JSON.

    A line is ``{"study_id", "text", "language", "findings", "probabilities", "sides",
    "threshold", "error"}``, of which only the id is needed; or a line of ``hilum read --json``,
    or of an evaluation's own predictions. Findings that are not given are read off the text. A
    probability decides its finding's status, at ``threshold`` (0.5).

    A reference without a line is a failed study (``prediction_missing``); lines of other studies
    are counted and left out. Raises ``file_not_found`` and ``predictions_invalid``, with the
    line, for what cannot be read and for a study that stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise HilumError(Code.FILE_NOT_FOUND, path) from error
    except (OSError, ValueError) as error:
        raise HilumError(Code.PREDICTIONS_INVALID, path, type(error).__name__) from error
    found: dict[str, Prediction] = {}
    known = {r.study_id for r in references}
    for where, value in _lines(path, text):
        try:
            prediction = _prediction(value, known)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            detail = f"{where}: {_reason(error)}"
            raise HilumError(Code.PREDICTIONS_INVALID, path, detail) from error
        if prediction.study_id in found:
            raise HilumError(Code.PREDICTIONS_INVALID, path, f"{where}: a study stands twice")
        found[prediction.study_id] = prediction
    if not known & found.keys():
        detail = f"none of its {len(found)} studies is among the {len(known)} of the dataset"
        raise HilumError(Code.PREDICTIONS_INVALID, path, detail)
    missing = Prediction(study_id="-", outcome=Outcome.FAILED, code=Code.PREDICTION_MISSING)
    predictions = [
        found.get(r.study_id) or missing.model_copy(update={"study_id": r.study_id})
        for r in references
    ]
    about = {"file": path.name, "others": len(found.keys() - known)}
    return System(name or path.stem, "predictions", predictions, about)


def _lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Every entry with its place in the file."""
    if path.suffix.lower() == ".json":
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise HilumError(Code.PREDICTIONS_INVALID, path, "not JSON") from error
        if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
            raise HilumError(Code.PREDICTIONS_INVALID, path, "not ReXrank's JSON; else give .jsonl")
        for study_id, value in content.items():
            if "model_prediction" not in value:
                raise HilumError(
                    Code.PREDICTIONS_INVALID, path, "an entry without model_prediction"
                )
            yield f"entry {study_id}", _from_rexrank(study_id, value)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                detail = f"line {number}: not JSON"
                raise HilumError(Code.PREDICTIONS_INVALID, path, detail) from error


def _from_rexrank(study_id: str, value: dict[str, Any]) -> dict[str, Any]:
    """ReXrank's answer, without the headings that its references do not have."""
    text = str(value["model_prediction"] or "")
    return {"study_id": study_id, "text": _MIDDLE.sub("\n", _HEADING.sub("", text)).strip()}


def _prediction(value: dict[str, Any], known: set[str]) -> Prediction:
    if "outcome" in value:
        return Prediction.model_validate(value)
    if "study" in value and "gate" in value:
        return _from_read(value, known)
    if "path" in value and "error" in value:
        study_id = _stem(str(value["path"]), known)
        return Prediction(study_id=study_id, outcome=Outcome.FAILED, code=Code(value["error"]))
    unknown = value.keys() - _KEYS
    if unknown:
        raise ValueError(f"unknown key {min(unknown)}")
    study_id = str(value["study_id"] if "study_id" in value else value["id"])
    if value.get("error"):
        code = Code(value["error"]) if value["error"] in set(Code) else Code.INTERNAL_ERROR
        return Prediction(study_id=study_id, outcome=Outcome.FAILED, code=code)
    text = next((value[key] for key in _TEXTS if value.get(key) is not None), None)
    language = value.get("language") or (language_of(text) if text else None)
    if language not in (None, *LANGUAGES):
        raise ValueError("a language other than en and zh")
    given = value.get("findings")
    findings = [Finding.model_validate(f) for f in given] if given is not None else None
    if findings is None:
        findings = label(text, language) if text else []
    threshold = float(value.get("threshold", THRESHOLD))
    return Prediction(
        study_id=study_id,
        findings=_decided(findings, value.get("probabilities") or {}, threshold),
        text=text,
        language=language,
        sides=value.get("sides") or {},
    )


def _from_read(value: dict[str, Any], known: set[str]) -> Prediction:
    """A line of ``hilum read --json``: the study is known by its id or by its file's name."""
    study = value["study"]
    ids = [str(study["id"]), *(_stem(view["path"], known) for view in study["views"])]
    study_id = next((i for i in ids if i in known), ids[0])
    if value["gate"]["verdict"] == "abstain":
        return Prediction(
            study_id=study_id, outcome=Outcome.ABSTAINED, code=value["gate"]["reasons"][0]
        )
    return Prediction(
        study_id=study_id,
        findings=value["findings"],
        text=value["text"],
        language=value["language"],
    )


def _stem(path: str, known: set[str]) -> str:
    name = PurePosixPath(path.replace("\\", "/"))
    return name.name if name.name in known else name.stem


def _decided(
    findings: list[Finding], probabilities: dict[str, float], threshold: float
) -> list[Finding]:
    """Findings with the probabilities that are given, which decide their status."""
    byname = {f.name: f for f in findings}
    for name, p in probabilities.items():
        status = Status.PRESENT if p >= threshold else Status.ABSENT
        known = byname.get(FindingName(name))
        kept = known.instances if known and status is Status.PRESENT else []
        byname[FindingName(name)] = Finding(
            name=FindingName(name), status=status, probability=p, instances=kept
        )
    return list(byname.values())


def _reason(error: Exception) -> str:
    """What is wrong, without what the file says: it may be a patient's."""
    if hasattr(error, "errors"):
        first = error.errors()[0]
        return f"{'.'.join(str(p) for p in first['loc'])}: {first['type']}"
    if isinstance(error, ValueError) and error.args and str(error).startswith(("unknown", "a ")):
        return str(error)
    return "no study_id" if isinstance(error, KeyError) else type(error).__name__
