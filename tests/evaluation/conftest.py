"""References, systems and readers made on the spot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hilum.codes import Code, HilumError
from hilum.data.rows import Reference
from hilum.engines import Draft, Question, Request, Sampling
from hilum.evaluation.case import Column, Outcome, Prediction, System
from hilum.findings import Finding, FindingName, Status
from hilum.language import write
from hilum.reading.reader import Card, Reader
from hilum.report import Gate, Verdict
from hilum.study import Study, View, Window

N, P, A, U = FindingName, Status.PRESENT, Status.ABSENT, Status.UNCERTAIN


def column(
    truth: Sequence[Any],
    score: Sequence[Any] | None = None,
    positive: Sequence[Any] | None = None,
    answered: Sequence[Any] | None = None,
    known: Sequence[Any] | None = None,
) -> Column:
    n = len(truth)
    scores = np.full(n, np.nan) if score is None else np.asarray(score, float)
    called = scores >= 0.5 if positive is None else np.asarray(positive, bool)
    return Column(
        np.asarray(truth, bool),
        np.ones(n, bool) if known is None else np.asarray(known, bool),
        called,
        np.ones(n, bool) if answered is None else np.asarray(answered, bool),
        scores,
    )


def reference(number: int, *findings: Finding, language: Any = "en", **more: Any) -> Reference:
    return Reference(
        study_id=f"s{number}",
        patient_id=more.pop("patient", f"p{number}"),
        findings=list(findings),
        source="truth",
        text=write(list(findings), language) if findings else "",
        language=language,
        **more,
    )


def fracture(status: Status = P, **more: Any) -> Finding:
    return Finding(name=N.FRACTURE, status=status, **more)


def said(one: Reference, *findings: Finding, language: Any = None) -> Prediction:
    spoken = language or one.language
    text = write(list(findings), spoken) if findings else ""
    return Prediction(study_id=one.study_id, findings=list(findings), text=text, language=spoken)


def failed(one: Reference, code: Code = Code.FILE_DAMAGED) -> Prediction:
    return Prediction(study_id=one.study_id, outcome=Outcome.FAILED, code=code)


def system(predictions: list[Prediction], name: str = "one", kind: Any = "predictions") -> System:
    return System(name, kind, predictions)


class Films:
    """A dataset of grey squares; ``bad`` studies cannot be opened."""

    name, sha256, split, licence = "films", "0" * 64, "test", "none"

    def __init__(self, references: list[Reference], bad: Sequence[int] = ()) -> None:
        self._references, self.bad = references, bad
        self.opened: list[int] = []

    def references(self) -> list[Reference]:
        return self._references

    def studies(self, start: int = 0) -> Iterator[Study | HilumError]:
        for k in range(start, len(self._references)):
            self.opened.append(k)
            if k in self.bad:
                yield HilumError(Code.FILE_DAMAGED, self._references[k].study_id)
            else:
                yield Study(id=self._references[k].study_id, views=[chest(k)])


def chest(number: int) -> View:
    """A film that says which it is in its first pixel; the gate is to be told to let it in."""
    pixels = np.full((220, 220), 100, np.uint16)
    pixels[0, 0] = number
    return View(pixels=pixels, voi=[Window(center=128, width=256)], simulated=True, position="PA")


def let_in(study: Study, min_age: int | None = None) -> Gate:
    """A gate that looks at ages alone."""
    age = study.context.age
    young = min_age is not None and age is not None and age < min_age
    reasons = [Code.BELOW_AGE_LIMIT] if young else []
    return Gate(verdict=Verdict.ABSTAIN if young else Verdict.ACCEPT, reasons=reasons)


@pytest.fixture
def open_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grey squares pass."""
    from hilum.reading import gate

    monkeypatch.setattr(gate, "judge", let_in)


class Oracle:
    """An engine that knows each film by its first pixel; ``breaks`` on some."""

    versions: dict[str, str] = {"oracle": "1"}  # noqa: RUF012

    def __init__(self, weights: str = "0" * 64, breaks: Sequence[int] = ()) -> None:
        self.weights_sha256 = weights
        self.breaks = breaks
        self.calls = 0

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Draft]:
        self.calls += 1
        drafts = []
        for request in requests:
            number = int(request.images[0][0, 0])
            if number in self.breaks:
                raise RuntimeError("this film")
            status = P if number % 3 == 0 else A
            language: Any = request.prompt.strip("<>")
            drafts.append(Draft(write([fracture(status)], language)))
        return drafts

    def stream(self, request: Request, sampling: Sampling) -> Iterator[str]:
        yield ""

    def choose(
        self, images: Sequence[Any], context: str, questions: Sequence[Question]
    ) -> list[NDArray[np.float64]]:
        out = []
        for (image,) in images:
            number = int(image[0, 0])
            p = 0.7 + number / 1000 if number % 3 == 0 else 0.1 + number / 1000
            sides = [p, p, 1 - p][: len(questions)]
            out.append(np.array([[q, 1 - q] for q in sides]))
        return out


def oracle(sides: bool = False, **more: Any) -> Reader:
    card = Card(
        name="oracle",
        architecture="none",
        licence="none",
        prompts={"en": "<en>", "zh": "<zh>"},
        questions={N.FRACTURE: "Fracture?"},
        side_questions={"left": "Left?", "right": "Right?"} if sides else {},
        domain="phantom",
    )
    return Reader(card, Oracle(**more))


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()
