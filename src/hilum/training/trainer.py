"""TRL's trainer with what a run must keep: answer-only loss, parts, whole checkpoints, clinics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from hilum.codes import Code, HilumError
from hilum.findings import Finding, FindingName
from hilum.training import checkpoint, parts
from hilum.training.build import Built
from hilum.training.collate import Collator
from hilum.training.corpus import REPORT, Corpus, Sample, Task
from hilum.training.loss import let_answer
from hilum.training.preflight import Checked
from hilum.training.recipe import Recipe
from hilum.training.validate import (
    Metrics,
    Prediction,
    chunks,
    clinical,
    higher_is_better,
    probability,
)

KINDS = {"constant": "constant_with_warmup", "cosine": "cosine", "linear": "linear"}


class Tuner(SFTTrainer):
    """One run of a recipe. Made by :func:`hilum.training.sft.train`."""

    def __init__(
        self,
        built: Built,
        recipe: Recipe,
        train: tuple[Corpus, Checked],
        validation: tuple[Corpus, Checked] | None,
        arguments: SFTConfig,
        places: NDArray[np.int64],
        metrics: Metrics = clinical,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        from datasets import Dataset

        self.recipe, self.built, self.metrics = recipe, built, metrics
        self.corpus, self.checked = train
        self.validation = validation
        self.collate: Any = Collator(built.chat)
        self.tally = torch.zeros(3, dtype=torch.float64)  # loss, learnt tokens, all tokens
        base = built.model.get_base_model() if hasattr(built.model, "peft_config") else built.model
        let_answer(base)
        order = Dataset.from_dict({"place": places[:, 0], "epoch": places[:, 1]})
        self.model: Any
        super().__init__(
            model=built.model,
            args=arguments,
            train_dataset=order,
            eval_dataset=order if validation else None,  # `evaluate` has its own
            processing_class=built.chat.processor,
            data_collator=self._batch,
            callbacks=list(callbacks),
        )
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True  # type: ignore[assignment]
        parts.to_float32(self.model)

    def _batch(self, places: list[dict[str, int]]) -> dict[str, Any]:
        tasks = self.checked.tasks
        return self.collate([self.corpus.sample(tasks[p["place"]], p["epoch"]) for p in places])

    # -- a step ------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The answers' negative log likelihood over the tokens that all devices learn in a step."""
        out = model(**inputs, answer_only=True)
        tokens = out.tokens if num_items_in_batch is None else num_items_in_batch
        loss = out.loss / torch.as_tensor(tokens).clamp(min=1)
        if not torch.isfinite(out.loss.detach()):
            raise self._diverged("the loss")
        seen = [out.loss.detach(), out.tokens, inputs["attention_mask"].sum()]
        self.tally += torch.stack([v.double().cpu() for v in seen])
        # DDP takes the mean of the gradients over the devices; the loss is their sum
        return loss * self.accelerator.num_processes

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        scaled = self.accelerator.scaler is not None  # fp16: such a step is skipped, not taken
        if norm is not None and not scaled and not math.isfinite(float(norm)):
            raise self._diverged("the gradient")
        return norm

    def _diverged(self, what: str) -> HilumError:
        detail = (
            f"{what} at step {self.state.global_step + 1}; {self.kept()}: "
            "run the same again with a lower schedule.lr or schedule.clip"
        )
        return HilumError(Code.TRAINING_DIVERGED, self.args.output_dir, detail)

    def kept(self) -> str:
        """What a stopped run goes on from, in words."""
        whole = checkpoint.checkpoints(self.recipe.folder)
        return f"goes on from step {checkpoint.step_of(whole[-1])}" if whole else "begins anew"

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW with a rate for each part."""
        if self.optimizer is None:
            groups = parts.groups(self.model if model is None else model, self.recipe)
            self.optimizer = torch.optim.AdamW(groups, lr=self.recipe.schedule.lr)
        return self.optimizer

    # -- checkpoints -------------------------------------------------------------------------

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.args.should_save:
            folder = Path(output_dir) if output_dir else self.recipe.folder
            checkpoint.save_trained(self.model, folder, self._gathered(state_dict))

    def _gathered(self, state: Any) -> Any:
        """Under FSDP the whole tensors, which the accelerator has collected."""
        if not self.is_fsdp_enabled:
            return None
        names = {name for name, _ in parts.trainable(self.model)}
        return {n: t for n, t in state.items() if n in names}

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        run = self.recipe.folder
        folder = run / f"{checkpoint.PREFIX}{self.state.global_step}"
        kept = f"{self.kept()}: make room and run the same again"
        if self.args.should_save:
            checkpoint.require_room(run, checkpoint.needed_bytes(self.model), kept)
        with checkpoint.guarded(folder, kept):
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                checkpoint.seal(folder)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None a checkpoint: ``hilum merge`` writes the card."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoint.load_trained(
            self.model if model is None else model, Path(resume_from_checkpoint)
        )

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Adam's state as it was, the rates as the recipe has them now."""
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        rates = [group["lr"] for group in parts.groups(self.model, self.recipe)]
        scheduler: Any = self.lr_scheduler
        scheduler.base_lrs = rates
        optimizer: Any = self.optimizer
        for group, rate, share in zip(
            optimizer.param_groups, rates, scheduler.lr_lambdas, strict=True
        ):
            group["initial_lr"], group["lr"] = rate, rate * share(scheduler.last_epoch)

    # -- validation --------------------------------------------------------------------------

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Loss and clinical metrics on validation studies, shared among the devices."""
        assert self.validation is not None
        corpus, checked = self.validation
        training = self.model.training
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            metrics = self._loss(corpus, checked.tasks)
            predictions = self._predictions(corpus, checked.tasks)
        self.model.train(training)
        truth = [self._asked_of(corpus, row) for row, _ in predictions]
        metrics |= self.metrics([p for _, p in predictions], truth)
        logs = {f"eval_{k}": v for k, v in metrics.items() if math.isfinite(v)}
        best = self.recipe.evaluation.best
        if f"eval_{best}" not in logs:
            detail = f"evaluation.best: {best}; there are {', '.join(metrics)}"
            raise HilumError(Code.RECIPE_INVALID, self.recipe.name, detail)
        self.log(dict(logs))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, logs)
        return logs

    def _asked_of(self, corpus: Corpus, row: int) -> list[Finding]:
        """The true findings that the recipe is about."""
        about = corpus.how.about
        asked = {*(about or ()), *corpus.how.questions} if about else None
        return [f for f in corpus.truth(row) if asked is None or f.name in asked]

    def _mine(self, items: Sequence[Any]) -> Sequence[Any]:
        return items[self.accelerator.process_index :: self.accelerator.num_processes]

    def _score(self, samples: Sequence[Sample]) -> tuple[Any, Any]:
        """Log likelihood of each sample's answer, and its tokens."""
        batch = self._prepare_inputs(self.collate(list(samples)))
        out = self.model(**batch, answer_only=True)
        return out.rows.double().cpu(), (batch["labels"] != -100).sum(1).cpu()

    def _loss(self, corpus: Corpus, tasks: list[Task]) -> dict[str, float]:
        total = torch.zeros(2, dtype=torch.float64)
        for some in chunks(self._mine(tasks), self.recipe.schedule.micro_batch):
            rows, tokens = self._score([corpus.sample(t) for t in some])
            total += torch.stack([-rows.sum(), tokens.sum().double()])
        total = self.accelerator.reduce(total.to(self.args.device), "sum")
        return {"loss": float(total[0] / total[1].clamp(min=1))}

    def _predictions(self, corpus: Corpus, tasks: list[Task]) -> list[tuple[int, Prediction]]:
        """Each study and language with what was written of it and its probabilities."""
        bystudy: dict[tuple[int, str], list[Task]] = {}
        for task in tasks:
            bystudy.setdefault((task.row, task.language), []).append(task)
        keys = list(bystudy)
        written = set(keys[: self.recipe.evaluation.reports])
        found = []
        for key in self._mine(keys):
            reports = [t for t in bystudy[key] if t.about == REPORT and key in written]
            asked = [t for t in bystudy[key] if t.about != REPORT]
            text = self._write(corpus, reports[0]) if reports else None
            chances = {FindingName(t.about): self._chance(corpus, t) for t in asked}
            found.append((key[0], Prediction(corpus.study(key[0]), key[1], text, chances)))
        if self.accelerator.num_processes > 1:
            from accelerate.utils import gather_object

            found = gather_object(found)
        return found

    def _write(self, corpus: Corpus, task: Task) -> str:
        from transformers import GenerationConfig

        batch = self._prepare_inputs(self.collate([corpus.sample(task)], answers=False))
        tokenizer = self.built.chat.tokenizer
        how = GenerationConfig(
            max_new_tokens=self.recipe.evaluation.max_new_tokens,
            do_sample=False,
            eos_token_id=self.built.chat.stop_ids or [self.built.chat.stop],
            pad_token_id=tokenizer.pad_token_id,
        )
        model = self.accelerator.unwrap_model(self.model)
        ids = model.generate(**batch, generation_config=how)[0, batch["input_ids"].shape[1] :]
        return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def _chance(self, corpus: Corpus, task: Task) -> float:
        from dataclasses import replace

        asked = corpus.sample(task)
        answers = [replace(asked, answer=a) for a in corpus.how.answers[task.language]]
        rows, _ = self._score(answers)
        return probability(float(rows[0]), float(rows[1]))


def arguments(
    recipe: Recipe, built: Built, steps: int, processes: int, evaluate: bool
) -> SFTConfig:
    """The recipe in TRL's words.

    Raises ``option_invalid`` where the batch cannot be shared among the devices.
    """
    how, watch = recipe.schedule, recipe.evaluation
    shared = how.micro_batch * processes
    if how.batch % shared:
        detail = f"{how.batch} is no multiple of micro_batch x devices, {shared}"
        raise HilumError(Code.OPTION_INVALID, "schedule.batch", detail)
    kind = built.choice.precision
    return SFTConfig(
        output_dir=str(recipe.folder),
        per_device_train_batch_size=how.micro_batch,
        gradient_accumulation_steps=how.batch // shared,
        max_steps=steps,
        num_train_epochs=1,
        learning_rate=how.lr,
        # "constant" alone would leave the warm-up out without a word
        lr_scheduler_type=KINDS[how.kind] if how.warmup else how.kind,
        warmup_steps=math.ceil(how.warmup * steps),
        max_grad_norm=how.clip,
        bf16=kind == "bf16",
        fp16=kind == "fp16",
        use_cpu=built.device.kind == "cpu",
        activation_checkpointing=how.checkpointing,
        gradient_checkpointing=False,  # TRL has it on by default
        train_sampling_strategy="sequential",  # the order is made beforehand
        eval_strategy="steps" if evaluate else "no",
        eval_steps=watch.every,
        save_strategy="steps",
        save_steps=watch.every,
        save_total_limit=watch.keep,
        metric_for_best_model=watch.best if evaluate else None,
        greater_is_better=higher_is_better(watch.best),
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        seed=recipe.seed,
        max_length=None,  # TRL's default of 1024 cuts films' tokens
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        average_tokens_across_devices=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=built.device.kind == "cuda",
        push_to_hub=False,
    )
