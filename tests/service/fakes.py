"""A reader that does what the film's first pixels say, in a real worker and a real server.

    python -m tests.service.fakes worker
    python -m tests.service.fakes serve SETTINGS

It needs no torch, so that processes start quickly and can be killed often. Every try of a study
is a line in ``tries`` beside the database.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hilum.codes import Code
from hilum.engines import Draft, Request, Sampling
from hilum.findings import Bone, Finding, FindingName, Instance, Side, Status
from hilum.language import write
from hilum.reading.reader import Card, Reader
from hilum.report import NOTICE, Gate, Language, Provenance, Report, StudyRecord, Verdict
from hilum.study import Study

READ, SLEEP, KILL, RAISE, ABSTAIN, HANG = range(6)
ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "tests.service.fakes", "worker")


def film(action: int = READ, tenths: int = 0, permille: int = 900, seed: int = 0) -> bytes:
    """A 16-bit PNG whose first pixels say what the reader does, for how long, and its answer."""
    pixels = np.random.default_rng(seed).integers(0, 4096, (64, 64)).astype(np.uint16)
    pixels[0, :3] = action, tenths, permille
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pixels_of(action: int = READ, tenths: int = 0, permille: int = 900, seed: int = 0) -> Any:
    """The same as an array."""
    return np.asarray(Image.open(io.BytesIO(film(action, tenths, permille, seed)))).astype(
        np.uint16
    )


def report_of(study: Study, language: Language, probability: float = 0.9) -> Report:
    """A report of one finding."""
    present = probability >= 0.5
    instances = [Instance(bone=Bone.RIB, side=Side.LEFT, ribs=[6])] if present else []
    fracture = Finding(
        name=FindingName.FRACTURE,
        status=Status.PRESENT if present else Status.ABSENT,
        probability=probability,
        instances=instances,
    )
    effusion = Finding(name=FindingName.PLEURAL_EFFUSION, status=Status.ABSENT, probability=0.02)
    findings = [fracture, effusion]
    return Report(
        study=StudyRecord.of(study),
        gate=Gate(verdict=Verdict.ACCEPT),
        findings=findings,
        text=write(findings, language),
        language=language,
        provenance=PROVENANCE,
        notice=NOTICE[language],
    )


PROVENANCE = Provenance(
    reader="fake",
    weights_sha256="0" * 64,
    prompt="",
    decoding={},
    thresholds={FindingName.FRACTURE: 0.5},
    licence="none",
    versions={},
)


class Parrot:
    """An engine that says how many films it was shown, and the prompt."""

    weights_sha256 = "0" * 64
    versions: dict[str, str] = {}  # noqa: RUF012

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Draft]:
        return [Draft(r.prompt) for r in requests]

    def stream(self, request: Request, sampling: Sampling) -> Iterator[str]:
        yield from f"{len(request.images)} film; {request.prompt}".split(" ")

    def choose(self, images: Any, context: str, questions: Any) -> list[Any]:
        raise NotImplementedError


class FakeReader(Reader):
    """Reads by the first pixels of a study's first film."""

    def __init__(self, chat: str = "findings") -> None:
        card = Card(
            name="fake",
            architecture="none",
            licence="none",
            prompts={"en": "<en>", "zh": "<zh>"},
            chat=chat,
        )
        super().__init__(card, Parrot())

    def read_studies(
        self,
        studies: Sequence[Study],
        language: Language = "en",
        allow_outside_domain: bool = False,
    ) -> list[Report]:
        return [self._one(study, language) for study in studies]

    def _one(self, study: Study, language: Language) -> Report:
        action, tenths, permille = (int(v) for v in study.views[0].pixels[0, :3])
        if log := os.environ.get("HILUM_FAKE_TRIES"):
            with Path(log).open("a") as file:
                file.write(f"{study.id}\n")
        time.sleep(tenths / 10)
        if action == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if action == RAISE:
            raise RuntimeError("PLANTED words of an exception")
        if action == HANG:
            time.sleep(600)
        report = report_of(study, language, permille / 1000)
        if action == ABSTAIN:
            gate = Gate(verdict=Verdict.ABSTAIN, reasons=[Code.NOT_A_CHEST])
            report = Report(**(report.model_dump() | {"gate": gate, "findings": [], "text": None}))
        return report


def main() -> int:
    if sys.argv[1] == "worker":
        from hilum.service.worker import main as work

        status = work(lambda name: FakeReader("model" if name == "model" else "findings"))
        sys.stdout.flush()
        os._exit(status)
    from hilum.codes import HilumError
    from hilum.service.serve import serve
    from hilum.service.settings import Settings

    try:
        serve(Settings.model_validate_json(sys.argv[2]))
    except HilumError as error:
        print(error.line(), file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
