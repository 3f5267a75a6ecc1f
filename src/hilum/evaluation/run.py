"""A reader on a dataset: one line a study, committed batch by batch, so that a kill costs one.

Batches are the same studies in every run, so that a run that was stopped, or done again, writes the
same bytes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.data.build import locked, write_whole
from hilum.data.rows import Dataset, Reference
from hilum.evaluation.case import Outcome, Prediction, System
from hilum.reading.reader import Reader
from hilum.reading.score import Scores
from hilum.report import Language, Report, Verdict
from hilum.study import Context, Study

BATCH = 16
# What every other study would meet as well: the run stops, and goes on when it is mended.
_FATAL = frozenset(
    {
        Code.REMOTE_UNREACHABLE,
        Code.REMOTE_REFUSED,
        Code.NO_PROBABILITY,
        Code.LANGUAGE_UNSUPPORTED,
        Code.EXTRA_MISSING,
    }
)


def run(
    reader: Reader,
    name: str,
    dataset: Dataset,
    references: Sequence[Reference],
    out: Path,
    *,
    allow_outside_domain: bool = False,
    language: Language | None = None,
    first_view: bool = False,
    progress: Callable[[int], object] = lambda done: None,
) -> System:
    """The reader's answers, from ``out/predictions`` where they are there already.

    Each draft is in ``language``, else in its reference's where the reader writes that.
    ``first_view``: only the first film of a study is shown. A study that cannot be loaded or
    read is a failed prediction with its code. Raises ``source_changed`` where the folder holds
    answers of another reader, dataset or setting under this name, ``output_busy``,
    ``output_unwritable``, and what every study would meet.
    """
    path = out / "predictions" / f"{slug(name)}.jsonl"
    plan = {
        "dataset": {"name": dataset.name, "split": dataset.split, "sha256": dataset.sha256},
        "reader": {
            "name": name,
            "calibration": reader.card.calibration.model_dump(mode="json"),
            "questions_sha256": reader.card.asked.sha256,
            "provenance": {
                spoken: reader.provenance(spoken).model_dump(mode="json")
                for spoken in reader.card.prompts
            },
        },
        "settings": {
            "allow_outside_domain": allow_outside_domain,
            "language": language,
            "first_view": first_view,
            "batch": BATCH,
        },
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(out):
            _agree(path, plan)
            done = _resume(path, references)
            progress(len(done))
            with path.open("ab") as file:
                studies = dataset.studies(len(done))
                for group in _groups(references[len(done) :], studies):
                    made = _answer(reader, group, language, allow_outside_domain, first_view)
                    lines = "".join(p.model_dump_json() + "\n" for p in made)
                    file.write(lines.encode("utf-8", "backslashreplace"))
                    file.flush()
                    os.fsync(file.fileno())
                    done += made
                    progress(len(made))
    except OSError as error:
        raise HilumError(Code.OUTPUT_UNWRITABLE, path, error.strerror or "") from error
    return System(name, "reader", done, plan)


def slug(name: str) -> str:
    """A system's name as a file's name."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "system"


def _agree(path: Path, plan: dict[str, Any]) -> None:
    """Write the plan of the answers in ``path``, or refuse to mix two; none without a plan."""
    record = path.with_suffix(".plan.json")
    text = json.dumps(plan, ensure_ascii=False, indent=1)
    if not record.is_file():
        path.unlink(missing_ok=True)
        write_whole(record, text.encode())
        return
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        other = [part for part, value in json.loads(text).items() if known.get(part) != value]
    except (ValueError, AttributeError):
        other = ["plan"]
    if other:
        detail = f"another {other[0]}; choose another --out, or remove this file"
        raise HilumError(Code.SOURCE_CHANGED, record, detail)


def _resume(path: Path, references: Sequence[Reference]) -> list[Prediction]:
    """Whole batches of an earlier run; what was half written is cut off."""
    done: list[Prediction] = []
    if path.is_file():
        content = path.read_bytes()
        lines = content.split(b"\n")[:-1]
        for line, reference in zip(lines, references, strict=False):
            try:
                prediction = Prediction.model_validate_json(line)
            except ValueError:
                break
            if prediction.study_id != reference.study_id:
                break
            done.append(prediction)
        if len(done) < len(references):
            done = done[: len(done) // BATCH * BATCH]
        kept = sum(len(line) + 1 for line in lines[: len(done)])
        if kept < len(content):
            os.truncate(path, kept)
    return done


Pair = tuple[Reference, Study | HilumError]


def _groups(
    references: Sequence[Reference], studies: Iterator[Study | HilumError]
) -> Iterator[list[Pair]]:
    pairs = zip(references, studies, strict=True)
    while group := list(islice(pairs, BATCH)):
        yield group


def _answer(
    reader: Reader,
    group: list[Pair],
    language: Language | None,
    allow_outside_domain: bool,
    first_view: bool,
) -> list[Prediction]:
    """One prediction a pair, in order; each language is one batch."""
    made: dict[str, Prediction] = {}
    spoken: dict[Language, list[tuple[str, Study]]] = {}
    for reference, study in group:
        if isinstance(study, HilumError):
            made[reference.study_id] = _failed(reference.study_id, study.code)
            continue
        if first_view:
            study = study.model_copy(update={"views": study.views[:1]})
        if reference.context != Context():  # else what the film's header says stays
            study.context = reference.context
        chosen = language or _language(reader, reference.language)
        spoken.setdefault(chosen, []).append((reference.study_id, study))
    for chosen, some in spoken.items():
        for (study_id, _), answer in zip(
            some, _read(reader, [s for _, s in some], chosen, allow_outside_domain), strict=True
        ):
            made[study_id] = (
                _failed(study_id, answer) if isinstance(answer, Code) else _said(study_id, *answer)
            )
    return [made[reference.study_id] for reference, _ in group]


def _language(reader: Reader, wanted: Language) -> Language:
    return wanted if wanted in reader.card.prompts else next(iter(reader.card.prompts))


def _read(
    reader: Reader, studies: list[Study], language: Language, outside: bool
) -> list[tuple[Report, Scores] | Code]:
    """A batch; where it fails, each study by itself, so that one costs no other."""
    try:
        return list(reader.read_scored(studies, language, outside))
    except Exception as error:
        if isinstance(error, HilumError) and error.code in _FATAL:
            raise
        if len(studies) == 1:
            return [error.code if isinstance(error, HilumError) else Code.INTERNAL_ERROR]
    return [answer for s in studies for answer in _read(reader, [s], language, outside)]


def _said(study_id: str, report: Report, scores: Scores) -> Prediction:
    if report.gate.verdict is Verdict.ABSTAIN:
        return Prediction(study_id=study_id, outcome=Outcome.ABSTAINED, code=report.gate.reasons[0])
    return Prediction(
        study_id=study_id,
        findings=report.findings,
        text=report.text,
        language=report.language,
        likelihoods={name: round(p, 9) for name, p in scores.findings.items()},
        sides={side: round(p, 9) for side, p in scores.sides.items()},
    )


def _failed(study_id: str, code: Code) -> Prediction:
    return Prediction(study_id=study_id, outcome=Outcome.FAILED, code=code)
