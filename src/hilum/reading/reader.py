"""Reader: weights, prompts, calibration and domain, together; Study in, Report out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

import hilum
from hilum.codes import Code, HilumError
from hilum.engines import By, Engine, Request, Sampling
from hilum.engines.local.place import Precision
from hilum.findings import FindingName, Record, Side
from hilum.language import label
from hilum.reading import gate
from hilum.reading.calibration import Calibration, check, open_file
from hilum.reading.score import Asked, Scores, judge_findings, score
from hilum.report import (
    NOTICE,
    Calibrated,
    Gate,
    Language,
    Provenance,
    Report,
    StudyRecord,
    Verdict,
)
from hilum.study import Study

CARD = "reader.json"
EMBEDDED = "embedded"
BATCH = 32

Words = Annotated[str, Field(min_length=1)]
Wordings = Words | Annotated[tuple[Words, ...], Field(min_length=1)]


class Card(Record):
    """``reader.json``: all that a reader is beside its weights.

    ``prompts``: per language. ``questions``: per finding, put after ``question_context``;
    ``side_questions``: after a fracture on that side; ``answers``: present, absent, each worded in
    one or several ways, likely ``by`` the rule of :class:`hilum.engines.Question`. ``max_views``:
    films a study. ``domain``: "phantom" where the weights know only phantoms, "chest" otherwise.
    ``min_age``: in years; younger patients abstain. ``chat``: who answers questions on a
    study, rules from its "findings" or the "model" itself.
    """

    name: str
    architecture: str
    licence: str
    prompts: Annotated[dict[Language, str], Field(min_length=1)]
    question_context: str = ""
    questions: dict[FindingName, Words] = Field(default_factory=dict)
    side_questions: dict[Side, Words] = Field(default_factory=dict)
    answers: tuple[Wordings, Wordings] = ("present", "absent")
    by: By = "sequence"
    domain: str = Field(default="chest", pattern="^(phantom|chest)$")
    min_age: Annotated[int, Field(ge=0, le=130)] | None = None
    max_views: Annotated[int, Field(ge=1)] = 1
    max_new_tokens: Annotated[int, Field(ge=1)] = 224
    chat: str = Field(default="findings", pattern="^(findings|model)$")
    calibration: Calibration = Field(default_factory=Calibration)

    @property
    def asked(self) -> Asked:
        """The questions whose likelihoods make probabilities."""
        return Asked(
            self.question_context, self.questions, self.side_questions, self.answers, self.by
        )


class Reader:
    """Reads studies; made by :meth:`load`. ``site``: whose calibration it has, if a site's."""

    def __init__(self, card: Card, engine: Engine, site: Calibrated | None = None) -> None:
        self.card = card
        self.engine = engine
        self.site = site

    @classmethod
    def load(cls, source: str | Path = EMBEDDED, precision: Precision = "auto") -> Reader:
        """A reader from "embedded", a folder of weights (with a ``reader.json`` or not) or a URL.

        A URL is an OpenAI-compatible server's, ``http://host:8000/v1`` or, where it has several
        models, ``http://host:8000/v1#model``. A model without a ``reader.json`` is asked as
        :mod:`hilum.reading.plain` says, and is not calibrated. ``precision`` is for transformers'
        models. Raises ``reader_not_found``, ``reader_invalid``, ``extra_missing``, and what the
        engine raises.
        """
        if str(source).startswith(("http://", "https://")):
            return _served(str(source))
        folder = _embedded_folder() if str(source) == EMBEDDED else Path(source)
        if not folder.is_dir():
            raise HilumError(Code.READER_NOT_FOUND, source, "give embedded or a reader's folder")
        card = _card(folder)
        from hilum.engines.open import open_engine

        return cls(card, open_engine(folder, precision))

    def calibrated(self, path: str | Path, site: str | None = None) -> Reader:
        """This reader with the calibration of a file that ``hilum calibrate`` wrote.

        What the packaged one says of places is kept where the file says nothing. Raises
        ``file_not_found``, ``calibration_invalid``, and ``calibration_mismatch`` where the file
        was fitted for other weights, other questions or, where one is named, another site.
        """
        file, digest = open_file(Path(path))
        asked = self.card.asked.sha256
        check(file, Path(path), self.engine.weights_sha256, asked, site)
        places = self.card.calibration.places | file.calibration.places
        calibration = file.calibration.model_copy(update={"places": places})
        card = self.card.model_copy(update={"calibration": calibration})
        return Reader(card, self.engine, Calibrated(site=file.site, sha256=digest))

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
        return [report for report, _ in self.read_scored(studies, language, allow_outside_domain)]

    def read_scored(
        self,
        studies: Sequence[Study],
        language: Language = "en",
        allow_outside_domain: bool = False,
    ) -> list[tuple[Report, Scores]]:
        """Reports with the likelihoods they rest on; none for a study that abstains."""
        if language not in self.card.prompts:
            known = ", ".join(self.card.prompts)
            raise HilumError(Code.LANGUAGE_UNSUPPORTED, self.card.name, f"it writes {known}")
        verdicts = [self._judge(s, allow_outside_domain) for s in studies]
        accepted = [i for i, v in enumerate(verdicts) if v.verdict is Verdict.ACCEPT]
        drafts = self._draft([studies[i] for i in accepted], language)
        bystudy = dict(zip(accepted, drafts, strict=True))
        nothing: tuple[dict[str, Any] | None, Scores] = None, Scores()
        return [
            (
                Report(
                    study=_record(study),
                    gate=verdict,
                    language=language,
                    provenance=self.provenance(language),
                    **self._outcome(study, drafted, language),
                ),
                scores,
            )
            for i, (study, verdict) in enumerate(zip(studies, verdicts, strict=True))
            for drafted, scores in [bystudy.get(i, nothing)]
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
        if len(study.views) > self.card.max_views:
            reasons.append(Code.SEVERAL_VIEWS_UNSUPPORTED)
        if self._outside(study) and not allow_outside_domain:
            reasons.append(Code.OUTSIDE_READER_DOMAIN)
        return Gate(verdict=Verdict.ABSTAIN if reasons else Verdict.ACCEPT, reasons=reasons)

    def _outside(self, study: Study) -> bool:
        return self.card.domain == "phantom" and not all(v.simulated for v in study.views)

    def _draft(
        self, studies: Sequence[Study], language: Language
    ) -> list[tuple[dict[str, Any], Scores]]:
        """Findings, text and flags of each accepted study, and its likelihoods."""
        if not studies:
            return []
        card = self.card
        images = [tuple(view.display() for view in s.views) for s in studies]
        likelihoods = score(self.engine, images, card.asked)
        drafts = self.engine.generate(
            [Request(i, card.prompts[language]) for i in images], Sampling(card.max_new_tokens)
        )
        outcomes = []
        for draft, scores in zip(drafts, likelihoods, strict=True):
            said = label(draft.text, language)
            findings, flags = judge_findings(
                draft, said, scores.findings, card.calibration, sides=scores.sides
            )
            outcomes.append(({"findings": findings, "text": draft.text, "flags": flags}, scores))
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

    def provenance(self, language: Language) -> Provenance:
        """How this reader's drafts in that language come about."""
        card = self.card
        return Provenance(
            reader=card.name,
            weights_sha256=self.engine.weights_sha256,
            prompt=card.prompts[language],
            decoding=Sampling(card.max_new_tokens).describe(),
            thresholds={name: card.calibration.threshold(name) for name in card.questions},
            doubts=card.calibration.doubts,
            calibration=self.site,
            licence=card.licence,
            versions={"hilum": hilum.__version__, **self.engine.versions},
        )


def _served(url: str) -> Reader:
    from hilum.engines.open import open_url
    from hilum.reading.plain import served_card

    engine, model = open_url(url)
    return Reader(served_card(model), engine)


def _card(folder: Path) -> Card:
    if not (folder / CARD).exists():
        from hilum.reading.plain import plain_card

        return plain_card(folder)
    try:
        return Card.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: not JSON, not UTF-8, not a card
        raise HilumError(Code.READER_INVALID, folder / CARD, type(error).__name__) from error


def _record(study: Study) -> StudyRecord:
    """What a report keeps of a study; a file's name may hold bytes that JSON cannot."""
    record = StudyRecord.of(study)
    for view in record.views:
        view.path = view.path.encode("utf-8", "backslashreplace").decode()
    return record


def _embedded_folder() -> Path:
    """The weights that come with the package; found without importing torch."""
    return Path(hilum.__file__).parent / "models" / "embedded" / "weights"
