"""Asking a model in training about validation studies: loss, reports, answers, on every device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from hilum.codes import Code, HilumError
from hilum.evaluation.case import Prediction
from hilum.findings import FindingName
from hilum.report import Language
from hilum.training.collate import Chat
from hilum.training.corpus import REPORT, Corpus, Sample, Task
from hilum.training.recipe import Recipe
from hilum.training.validate import Metrics, chunks, clinical, prediction, probability

Asked = tuple[tuple[int, Language], Task | None, list[Task]]
"""A study's row and language, the report that is to be written, and the questions."""


class Validation:
    """Validation studies and what their answers are worth; the model is the trainer's."""

    def __init__(
        self,
        recipe: Recipe,
        chat: Chat,
        corpus: Corpus,
        tasks: Sequence[Task],
        metrics: Metrics = clinical,
    ) -> None:
        self.recipe, self.chat, self.corpus, self.tasks = recipe, chat, corpus, tasks
        self.metrics = metrics

    def numbers(self, trainer: Any) -> dict[str, float]:
        """The loss a token, and the metrics of what the model says."""
        found = self._loss(trainer)
        said = self._said(trainer, _mine(trainer, self._asked()))
        if trainer.accelerator.num_processes > 1:
            from accelerate.utils import gather_object

            said = list(gather_object(said))
        return found | self._judged(sorted(said, key=lambda one: (one[0], one[1].language or "")))

    def check_best(self) -> None:
        """Raise ``recipe_invalid`` where validation will not give the metric named as best.

        An empty report and an even chance for each study show before the first step what will be
        there: studies of one class have no AUC, for one.
        """
        blank = []
        for (row, language), report, asked in self._asked():
            even = {FindingName(t.about): 0.5 for t in asked}
            text = None if report is None else ""
            blank.append((row, prediction(self.corpus.study(row), language, text, even)))
        self.require_best({"loss": 0.0, **self._judged(blank)})

    def require_best(self, metrics: Mapping[str, float]) -> None:
        """Raise ``recipe_invalid``, naming what there is, where the best metric is not there."""
        best = self.recipe.evaluation.best
        there = [name for name, value in metrics.items() if math.isfinite(value)]
        if best not in there:
            detail = f"evaluation.best: {best}; there are {', '.join(there)}"
            raise HilumError(Code.RECIPE_INVALID, self.recipe.name, detail)

    def _judged(self, said: Sequence[tuple[int, Prediction]]) -> dict[str, float]:
        references = [self.corpus.reference(row, p.language or "en") for row, p in said]
        return self.metrics([p for _, p in said], references)

    def _asked(self) -> list[Asked]:
        bystudy: dict[tuple[int, Language], list[Task]] = {}
        for task in self.tasks:
            bystudy.setdefault((task.row, task.language), []).append(task)
        asked: list[Asked] = []
        for number, (key, tasks) in enumerate(bystudy.items()):
            written = number < self.recipe.evaluation.reports
            report = next((t for t in tasks if written and t.about == REPORT), None)
            asked.append((key, report, [t for t in tasks if t.about != REPORT]))
        return asked

    def _loss(self, trainer: Any) -> dict[str, float]:
        total = torch.zeros(2, dtype=torch.float64)
        for some in chunks(_mine(trainer, self.tasks), self.recipe.schedule.micro_batch):
            rows, tokens = _score(trainer, [self.corpus.sample(t) for t in some])
            total += torch.stack([-rows.sum(), tokens.sum().double()])
        total = trainer.accelerator.reduce(total.to(trainer.args.device), "sum")
        return {"loss": float(total[0] / total[1].clamp(min=1))}

    def _said(self, trainer: Any, asked: Sequence[Asked]) -> list[tuple[int, Prediction]]:
        """What the model writes and answers, a micro-batch at a time."""
        size = self.recipe.schedule.micro_batch
        reports = [report for _, report, _ in asked if report is not None]
        questions = [t for _, _, some in asked for t in some]
        texts: dict[Task, str] = {}
        chances: dict[Task, float] = {}
        for some in chunks(reports, size):
            written = self._write(trainer, [self.corpus.sample(t) for t in some])
            texts |= dict(zip(some, written, strict=True))
        for some in chunks(questions, size):
            chances |= dict(zip(some, self._chances(trainer, some), strict=True))
        said = []
        for (row, language), report, some in asked:
            text = texts[report] if report is not None else None
            likely = {FindingName(t.about): chances[t] for t in some}
            said.append((row, prediction(self.corpus.study(row), language, text, likely)))
        return said

    def _write(self, trainer: Any, samples: list[Sample]) -> list[str]:
        from transformers import GenerationConfig

        batch = trainer._prepare_inputs(trainer.collate(samples, answers=False))
        tokenizer = self.chat.tokenizer
        how = GenerationConfig(
            max_new_tokens=self.recipe.evaluation.max_new_tokens,
            do_sample=False,
            eos_token_id=self.chat.stop_ids or [self.chat.stop],
            pad_token_id=tokenizer.pad_token_id,
        )
        model = trainer.accelerator.unwrap_model(trainer.model)
        ids = model.generate(**batch, generation_config=how)[:, batch["input_ids"].shape[1] :]
        return [str(tokenizer.decode(row, skip_special_tokens=True)).strip() for row in ids]

    def _chances(self, trainer: Any, tasks: Sequence[Task]) -> list[float]:
        """Of presence, from the likelihoods of both answers."""
        answers = [
            replace(self.corpus.sample(task), answer=answer)
            for task in tasks
            for answer in self.corpus.how.answers[task.language]
        ]
        rows, _ = _score(trainer, answers)
        return [probability(float(a), float(b)) for a, b in rows.view(-1, 2)]


def _mine(trainer: Any, items: Sequence[Any]) -> Sequence[Any]:
    return items[trainer.accelerator.process_index :: trainer.accelerator.num_processes]


def _score(trainer: Any, samples: Sequence[Sample]) -> tuple[Any, Any]:
    """Log likelihood of each sample's answer, and its tokens."""
    batch = trainer._prepare_inputs(trainer.collate(list(samples)))
    out = trainer.model(**batch, answer_only=True)
    return out.rows.double().cpu(), (batch["labels"] != -100).sum(1).cpu()
