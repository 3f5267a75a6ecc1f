"""Reader: weights, prompts, calibration and domain, together; Study in, Report out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

import hilum
from hilum.codes import Code, HilumError
from hilum.engines import Engine, Question, Request, Sampling
from hilum.findings import FindingName, Record
from hilum.language import label
from hilum.reading import gate
from hilum.reading.score import Calibration, judge_findings
from hilum.report import NOTICE, Gate, Language, Provenance, Report, StudyRecord, Verdict
from hilum.study import Study

CARD = "reader.json"
EMBEDDED = "embedded"
BATCH = 16

Words = Annotated[str, Field(min_length=1)]


class Card(Record):
    """``reader.json``: all that a reader is beside its weights.

    ``prompts``: per language. ``questions``: per finding, put after ``question_context``;
    ``answers``: present, absent. ``domain``: "phantom" where the weights know only phantoms,
    "chest" otherwise. ``min_age``: in years; younger patients abstain. ``chat``: who answers
    questions on a study, rules from its "findings" or the "model" itself.
    """

    name: str
    architecture: str
    licence: str
    prompts: Annotated[dict[Language, str], Field(min_length=1)]
    question_context: str = ""
    questions: dict[FindingName, Words] = Field(default_factory=dict)
    answers: tuple[Words, Words] = ("present", "absent")
    domain: str = Field(default="chest", pattern="^(phantom|chest)$")
    min_age: Annotated[int, Field(ge=0, le=130)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] = 224
    chat: str = Field(default="findings", pattern="^(findings|model)$")
    calibration: Calibration = Field(default_factory=Calibration)


class Reader:
    """Reads studies; made by :meth:`load`."""

    def __init__(self, card: Card, engine: Engine) -> None:
        self.card = card
        self.engine = engine

    @classmethod
    def load(cls, source: str | Path = EMBEDDED) -> Reader:
        """A reader from "embedded" or a folder that holds ``reader.json`` and weights.

        Raises ``reader_not_found``, ``reader_invalid`` or ``extra_missing``.
        """
        folder = _embedded_folder() if str(source) == EMBEDDED else Path(source)
        if not folder.is_dir():
            raise HilumError(Code.READER_NOT_FOUND, source, "give embedded or a reader's folder")
        try:
            card = Card.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:  # ValueError: not JSON, not UTF-8, not a card
            raise HilumError(Code.READER_INVALID, folder / CARD, type(error).__name__) from error
        from hilum.engines.local import LocalEngine

        return cls(card, LocalEngine(folder))

    def read(
        self,
        path: str | Path | Sequence[str | Path],
        language: Language = "en",
        allow_outside_domain: bool = False,
    ) -> Report:
        """The report on one study: a file, or several files that belong together.

        Raises HilumError where a file cannot be read; a film the reader is not for gives a
        report that abstains.
        """
        from hilum import imaging

        paths = [path] if isinstance(path, str | Path) else list(path)
        return self.read_studies([imaging.load_study(paths)], language, allow_outside_domain)[0]

    def read_studies(
        self,
        studies: Sequence[Study],
        language: Language = "en",
        allow_outside_domain: bool = False,
    ) -> list[Report]:
        """One report a study, in order; what the gate accepts is run as one batch."""
        if language not in self.card.prompts:
            known = ", ".join(self.card.prompts)
            raise HilumError(Code.LANGUAGE_UNSUPPORTED, self.card.name, f"it writes {known}")
        verdicts = [self._judge(s, allow_outside_domain) for s in studies]
        accepted = [i for i, v in enumerate(verdicts) if v.verdict is Verdict.ACCEPT]
        drafted = self._draft([studies[i] for i in accepted], language)
        bystudy = dict(zip(accepted, drafted, strict=True))
        return [
            Report(
                study=_record(study),
                gate=verdict,
                language=language,
                provenance=self._provenance(language),
                **self._outcome(study, bystudy.get(i), language),
            )
            for i, (study, verdict) in enumerate(zip(studies, verdicts, strict=True))
        ]

    def read_stream(
        self,
        studies: Iterable[Study],
        language: Language = "en",
        allow_outside_domain: bool = False,
        batch: int = BATCH,
    ) -> Iterator[Report]:
        """Reports in order, ``batch`` studies at a time: no more is held in memory."""
        waiting: list[Study] = []
        for study in studies:
            waiting.append(study)
            if len(waiting) == batch:
                yield from self.read_studies(waiting, language, allow_outside_domain)
                waiting = []
        if waiting:
            yield from self.read_studies(waiting, language, allow_outside_domain)

    def _judge(self, study: Study, allow_outside_domain: bool) -> Gate:
        reasons = list(gate.judge(study, self.card.min_age).reasons)
        if len(study.views) > 1:
            reasons.append(Code.SEVERAL_VIEWS_UNSUPPORTED)
        if self._outside(study) and not allow_outside_domain:
            reasons.append(Code.OUTSIDE_READER_DOMAIN)
        return Gate(verdict=Verdict.ABSTAIN if reasons else Verdict.ACCEPT, reasons=reasons)

    def _outside(self, study: Study) -> bool:
        return self.card.domain == "phantom" and not all(v.simulated for v in study.views)

    def _draft(self, studies: Sequence[Study], language: Language) -> list[dict[str, Any]]:
        """Findings, text and flags of each accepted study."""
        if not studies:
            return []
        card = self.card
        images = [tuple(view.display() for view in s.views) for s in studies]
        sampling = Sampling(card.max_new_tokens)
        likelihoods: list[dict[FindingName, float]] = [{} for _ in studies]
        if card.questions:
            asked = [Question(q, card.answers) for q in card.questions.values()]
            for film, chosen in zip(
                likelihoods, self.engine.choose(images, card.question_context, asked), strict=True
            ):
                film.update(zip(card.questions, (float(p) for p in chosen[:, 0]), strict=True))
        drafts = self.engine.generate(
            [Request(i, card.prompts[language]) for i in images], sampling
        )
        outcomes = []
        for draft, likelihood in zip(drafts, likelihoods, strict=True):
            said = label(draft.text, language)
            findings, flags = judge_findings(draft, said, likelihood, card.calibration)
            outcomes.append({"findings": findings, "text": draft.text, "flags": flags})
        return outcomes

    def _outcome(
        self, study: Study, drafted: dict[str, Any] | None, language: Language
    ) -> dict[str, Any]:
        notice = NOTICE[language]
        if drafted is None:
            return {"notice": notice}
        warnings = [w for view in study.views for w in view.warnings]
        flags = drafted["flags"] + gate.remarks(study, self.card.min_age) + warnings
        if self._outside(study):
            flags = [Code.READ_OUTSIDE_DOMAIN, *flags]
            notice = f"{Code.READ_OUTSIDE_DOMAIN.sentence(language)} {notice}"
        return {**drafted, "flags": flags, "notice": notice}

    def _provenance(self, language: Language) -> Provenance:
        card = self.card
        return Provenance(
            reader=card.name,
            weights_sha256=self.engine.weights_sha256,
            prompt=card.prompts[language],
            decoding=Sampling(card.max_new_tokens).describe(),
            thresholds={name: card.calibration.threshold(name) for name in card.questions},
            licence=card.licence,
            versions={"hilum": hilum.__version__, **self.engine.versions},
        )


def _record(study: Study) -> StudyRecord:
    """What a report keeps of a study; a file's name may hold bytes that JSON cannot."""
    record = StudyRecord.of(study)
    for view in record.views:
        view.path = view.path.encode("utf-8", "backslashreplace").decode()
    return record


def _embedded_folder() -> Path:
    """The weights that come with the package; found without importing torch."""
    return Path(hilum.__file__).parent / "models" / "embedded" / "weights"
