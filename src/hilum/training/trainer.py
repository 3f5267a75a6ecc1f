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
from hilum.training import checkpoint, parts
from hilum.training.build import Built
from hilum.training.collate import Collator
from hilum.training.corpus import Corpus
from hilum.training.loss import let_answer
from hilum.training.preflight import Checked
from hilum.training.recipe import Recipe
from hilum.training.validate import higher_is_better
from hilum.training.validation import Validation

KINDS = {"constant": "constant_with_warmup", "cosine": "cosine", "linear": "linear"}


class Tuner(SFTTrainer):
    """One run of a recipe. Made by :func:`hilum.training.sft.train`."""

    def __init__(
        self,
        built: Built,
        recipe: Recipe,
        train: tuple[Corpus, Checked],
        validation: Validation | None,
        arguments: SFTConfig,
        places: NDArray[np.int64],
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        from datasets import Dataset

        self.recipe, self.built = recipe, built
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
        training = self.model.training
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            metrics = self.validation.numbers(self)
        self.model.train(training)
        self.validation.require_best(metrics)
        logs = {f"eval_{k}": v for k, v in metrics.items() if math.isfinite(v)}
        self.log(dict(logs))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, logs)
        return logs


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
