"""From a trained model to a reader's folder: half-precision weights, calibration, reader.json."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from transformers import PreTrainedTokenizerFast, VisionEncoderDecoderModel

from hilum.engines import Question, Request, Sampling
from hilum.engines.local import LocalEngine
from hilum.evaluation.calibrate import fit_platt
from hilum.evaluation.metrics import auc, calibration_error, logit
from hilum.findings import FindingName
from hilum.models.embedded.attributes import SIDES
from hilum.models.embedded.configuration import CLASSES
from hilum.reading.reader import CARD, Card
from hilum.reading.score import Calibration, Platt
from hilum.report import LANGUAGES
from hilum.training.embedded.shards import Shards
from hilum.training.embedded.words import ABSENT, PRESENT, QUESTIONS, match

SPECIFICITY = 0.90  # from where on a fracture is in doubt
DRAFT = 250  # tokens of a draft: the decoder has 256 positions, its prompt takes two


def export(
    model: VisionEncoderDecoderModel,
    tokenizer: PreTrainedTokenizerFast,
    held_out: Shards,
    out: Path,
    log: Callable[[str], None],
) -> Path:
    """Write the reader's folder; its calibration is fitted on films that were not trained on."""
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    # safetensors are read at any precision; half of it is enough and halves the package
    model.to(torch.float16).save_pretrained(part)  # type: ignore[arg-type]
    tokenizer.save_pretrained(part)
    card = _card(Calibration())
    (part / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    engine = LocalEngine(part)
    card.calibration = calibrate(engine, card, held_out, log)
    (part / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    return part.replace(out)


def _card(calibration: Calibration) -> Card:
    return Card(
        name="embedded",
        architecture="film encoder + MBart decoder",
        licence="Apache-2.0",
        prompts={language: f"<{language}>" for language in LANGUAGES},
        question_context="",
        questions={FindingName(name): QUESTIONS[name].text for name in CLASSES},
        side_questions={side: QUESTIONS[f"fracture_{side}"].text for side in SIDES},
        answers=(PRESENT, ABSENT),
        domain="phantom",
        max_new_tokens=DRAFT,
        calibration=calibration,
    )


def calibrate(
    engine: LocalEngine, card: Card, held_out: Shards, log: Callable[[str], None]
) -> Calibration:
    """Platt scaling of every answer, and of every proposal's score (is it on a true box?)."""
    asked = card.asked
    words = [*asked.findings.values(), *asked.sides.values()]
    questions = [Question(q, card.answers) for q in words]
    likelihoods: list[Any] = []
    scores: dict[str, list[float]] = {name: [] for name in CLASSES}
    right: dict[str, list[bool]] = {name: [] for name in CLASSES}
    for start in range(0, len(held_out), 16):
        rows = [held_out[i] for i in range(start, min(start + 16, len(held_out)))]
        images = [(np.asarray(film),) for film, _, _ in rows]
        likelihoods += [c[:, 0] for c in engine.choose(images, card.question_context, questions)]
        requests = [Request(i, card.prompts["en"]) for i in images]
        for draft, (film, _, entry) in zip(
            engine.generate(requests, Sampling(1)), rows, strict=True
        ):
            found = np.array([p.box for p in draft.places], np.float32)
            kinds = [int(r[0]) for r in entry["instances"]]
            boxes = [np.array(r[1:5], np.float32) for r in entry["instances"]]
            found_true = set(match(boxes, kinds, found, len(film)))
            for k, place in enumerate(draft.places):
                scores[place.finding].append(place.score)
                right[place.finding].append(k in found_true)
    calibration = Calibration()
    for k, (name, question) in enumerate(QUESTIONS.items()):
        truth = np.array([question.true(e) for e in held_out.entries])
        likelihood = np.array([row[k] for row in likelihoods])
        slope, intercept = fit_platt(truth, likelihood)
        fitted = Platt(slope=slope, intercept=intercept)
        p = np.array([fitted.apply(z) for z in logit(likelihood)])
        if question.side is not None:
            calibration.sides[SIDES[question.side]] = fitted
        else:
            calibration.findings[FindingName(name)] = fitted
        if name == "fracture":
            _doubt(calibration, truth, p)
        before = calibration_error(truth, likelihood)
        log(
            f"held out {name}: AUC {auc(truth, likelihood):.4f}, calibration error "
            f"{calibration_error(truth, p):.4f} (before: {before:.4f})"
        )
    for name, hits in right.items():
        if len(set(hits)) == 2:  # after a short trial every proposal may be wrong
            slope, intercept = fit_platt(hits, expit(scores[name]))
            calibration.places[FindingName(name)] = Platt(slope=slope, intercept=intercept)
    return calibration


def _doubt(calibration: Calibration, broken: NDArray[np.bool_], p: NDArray[np.float64]) -> None:
    """A missed fracture is worse than one too many: doubt begins where 90 % of the whole lie below.

    What lies between this and the threshold is uncertain, and comes first in review.
    """
    doubt = round(float(np.quantile(p[~broken], SPECIFICITY)), 4)
    if doubt < calibration.threshold(FindingName.FRACTURE):
        calibration.doubts[FindingName.FRACTURE] = doubt
