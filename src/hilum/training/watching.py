"""What is seen of a run: a line a step, TensorBoard, speed, memory, time left, dead parts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from hilum.training import parts
from hilum.training.recipe import Recipe
from hilum.training.validate import in_words

LOG = "log.jsonl"
Tick = Callable[[int, int, str], None]
"""Step, steps, and the numbers of it in words."""


def cut_log(run: Path, step: int) -> None:
    """Take out what a killed run did after the checkpoint that it goes on from."""
    path = run / LOG
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):  # the line that was being written
            continue
    path.write_text("".join(kept), encoding="utf-8")


def peak_memory() -> int:
    """The most bytes this process has held so far: on the GPU where there is one."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    except ImportError:  # Windows
        return 0


class Watching(TrainerCallback):
    """Looks on, writes down, and fails the run where a part is dead."""

    def __init__(self, recipe: Recipe, main: bool, tick: Tick, say: Callable[[str], None]) -> None:
        self.recipe, self.main, self.tick, self.say = recipe, main, tick, say
        self.trainer: Any = None
        self.watch: parts.Watch | None = parts.Watch()
        self.board: Any = None
        self.began = self.first = 0.0
        self.start = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The clock starts; what is done already does not count."""
        self.began, self.start = time.perf_counter(), state.global_step
        if self.main:
            self.board = _board(self.recipe.folder / "tensorboard", state.global_step)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Gradients are there."""
        if self.watch is not None:
            self.watch.look(self.trainer.model)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Weights have moved, or not."""
        if self.watch is None:
            return
        self.watch.compare(self.trainer.model)
        if self.watch.steps < min(parts.WATCHED_STEPS, state.max_steps - self.start):
            return
        still = self.watch.judge(self.trainer.model, self.recipe)
        self.watch = None
        if still and self.main:
            self.say(f"{len(still)} tensors stand still, though their part learns: {still[0]}")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The last step is evaluated too."""
        if state.global_step >= state.max_steps and self.trainer.validation is not None:
            control.should_evaluate = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """A line of numbers."""
        if not self.main or not logs:
            return
        seconds = time.perf_counter() - self.began
        numbers = {k: v for k, v in logs.items() if isinstance(v, int | float) and k != "epoch"}
        if "loss" in numbers:
            done = max(1, state.global_step - self.start)
            numbers["tokens_per_s"] = float(self.trainer.tally[2]) / max(seconds, 1e-9)
            numbers["peak_bytes"] = peak_memory()
            left = seconds / done * (state.max_steps - state.global_step)
            words = (
                f"loss {numbers['loss']:.4f}  {numbers['tokens_per_s']:,.0f} tokens/s  "
                f"{numbers['peak_bytes'] / 1e9:.2f} GB  {left / 60:.1f} min left"
            )
            self.tick(state.global_step, state.max_steps, words)
        elif any(k.startswith("eval_") for k in numbers):
            self.say(f"step {state.global_step}: {in_words(numbers)}")
        else:
            return
        _append(self.recipe.folder / LOG, {"step": state.global_step, **numbers})
        if self.board is not None:
            for key, value in numbers.items():
                self.board.add_scalar(key, value, state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close what is open."""
        if self.board is not None:
            self.board.close()


def _append(path: Path, entry: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def _board(folder: Path, step: int) -> Any:
    """TensorBoard's writer, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
