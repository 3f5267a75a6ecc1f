"""A recipe becomes a run: begun, or gone on with where it was stopped."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hilum import __version__
from hilum.codes import Code, HilumError
from hilum.training import checkpoint
from hilum.training.build import Built, build
from hilum.training.corpus import Corpus, order
from hilum.training.preflight import Checked, LeftOut, check, longest_allowed
from hilum.training.recipe import Recipe, identity, load, save
from hilum.training.validate import Metrics, clinical

NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
RECIPE, RUN, LEFT_OUT = "recipe.yaml", "run.json", "left_out.jsonl"
Split = tuple[Corpus, Checked]


@dataclass
class Run:
    """A finished run: its folder, its steps, the last numbers, and the best checkpoint."""

    folder: Path
    steps: int
    numbers: dict[str, float] = field(default_factory=dict)
    best: str = ""


@dataclass(frozen=True)
class Ears:
    """Where a run tells what it does: lines, steps, and studies looked at beforehand."""

    say: Callable[[str], None] = lambda _: None
    tick: Callable[[int, int, str], None] = lambda *_: None
    checked: Callable[[int, int], None] = lambda *_: None


def train(recipe: Recipe, ears: Ears | None = None, metrics: Metrics = clinical) -> Run:
    """Train a recipe, or go on with it from its last whole checkpoint.

    On several devices start it by torchrun, or ``hilum train --processes``. Raises HilumError:
    one line, and the same command goes on; ``recipe_changed`` where the folder holds a run of
    other settings or of other data.
    """
    ears = ears or Ears()
    rank, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    run = recipe.folder
    main = rank == 0
    with _alone(run) if main else nullcontext():
        if main:
            _begin(recipe)
        with stopping(run):
            return _train(recipe, ears, metrics, main, processes)


def _train(recipe: Recipe, ears: Ears, metrics: Metrics, main: bool, processes: int) -> Run:
    from transformers import EarlyStoppingCallback

    from hilum.training.trainer import Tuner, arguments
    from hilum.training.validation import Validation
    from hilum.training.watching import Watching, cut_log

    run = recipe.folder
    built = build(recipe)
    training, validation = corpora(recipe, built, ears.checked)
    steps = planned_steps(recipe, len(training[1].tasks))
    if main:
        _write_left_out(run, training[1], validation)
        ears.say(f"{built.choice.precision}: {built.choice.reason}")
        ears.say(_words(training, validation, steps))
    how = recipe.schedule
    places = order(training[1].lengths, how.batch, steps, recipe.seed, how.group_by_length)
    watching = Watching(recipe, main, ears.tick, ears.say)
    callbacks: list[Any] = [watching]
    if recipe.evaluation.patience and validation is not None:
        callbacks.append(EarlyStoppingCallback(recipe.evaluation.patience))
    given = arguments(recipe, built, steps, processes, validation is not None)
    asked = None
    if validation is not None:
        asked = Validation(recipe, built.chat, validation[0], validation[1].tasks, metrics)
        asked.check_best()
    tuner = Tuner(built, recipe, training, asked, given, places, callbacks)
    watching.trainer = tuner
    tuner.pop_callback(_printer())
    whole = checkpoint.checkpoints(run)
    if main:
        checkpoint.drop_broken(run)
        cut_log(run, checkpoint.step_of(whole[-1]) if whole else 0)
    tuner.accelerator.wait_for_everyone()
    if whole:
        ears.say(f"goes on from step {checkpoint.step_of(whole[-1])}")
    tuner.train(resume_from_checkpoint=str(whole[-1]) if whole else None)
    if tuner.collate.damaged and main:
        ears.say(f"damaged and not learnt from: {', '.join(sorted(set(tuner.collate.damaged)))}")
    done = _finish(tuner, recipe, built, main)
    tuner.accelerator.end_training()
    return done


def corpora(
    recipe: Recipe, built: Built, progress: Callable[[int, int], None] | None = None
) -> tuple[Split, Split | None]:
    """Both splits, looked through; no validation where the recipe or the dataset has none."""
    longest = longest_allowed(recipe.data.max_length, built.model.config)
    train = Corpus(recipe.data, "train", recipe.seed)
    checked = check(train, built.chat, longest, progress)
    if not recipe.evaluation.rows:
        return (train, checked), None
    try:
        other = Corpus(recipe.data, "validation", recipe.seed)
    except HilumError as error:
        if error.code is not Code.NOTHING_TO_LEARN:
            raise
        return (train, checked), None
    kept = recipe.evaluation.rows
    if len(other) > kept:
        other.rows = other.rows.shuffle(seed=recipe.seed).select(range(kept))
    return (train, checked), (other, check(other, built.chat, longest))


def planned_steps(recipe: Recipe, tasks: int) -> int:
    """The recipe's steps, or those that its epochs make of so many tasks."""
    how = recipe.schedule
    return how.steps or max(1, math.ceil(how.epochs * tasks / how.batch))


@contextmanager
def stopping(run: Path) -> Iterator[None]:
    """Whatever stops a run is one line, and says what the same command goes on from."""
    try:
        yield
    except HilumError:
        raise
    except MemoryError as error:
        raise _out_of_memory(run) from error
    except RuntimeError as error:  # torch says it in words only
        said = str(error).lower()
        if (
            "out of memory" in said
            or "can't allocate memory" in said
            or "not enough memory" in said
        ):
            raise _out_of_memory(run) from error
        raise


def _out_of_memory(run: Path) -> HilumError:
    detail = (
        f"{_goes_on(run)}: run the same again with schedule.micro_batch=1, "
        "schedule.checkpointing=true or quantisation.method=nf4"
    )
    return HilumError(Code.OUT_OF_MEMORY, run, detail)


def _goes_on(run: Path) -> str:
    whole = checkpoint.checkpoints(run)
    return f"goes on from step {checkpoint.step_of(whole[-1])}" if whole else "begins anew"


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Hold the run's folder; raises ``output_busy``, ``output_unwritable``."""
    from hilum.data.build import locked

    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HilumError(Code.OUTPUT_UNWRITABLE, run, type(error).__name__) from error
    with locked(run):
        yield


def _begin(recipe: Recipe) -> None:
    """Note the recipe in its folder, or see that it is the one that is there."""
    run = recipe.folder
    mark = _data_mark(Path(recipe.data.path))
    if (run / RECIPE).is_file():
        before = load(run / RECIPE)
        if changed := _changed(identity(before), identity(recipe)):
            detail = f"{changed} is another; take another output, or the recipe that began it"
            raise HilumError(Code.RECIPE_CHANGED, run, detail)
        if (noted := read_run(run).get("data")) != mark:
            detail = f"the data are others: {noted} then, {mark} now"
            raise HilumError(Code.RECIPE_CHANGED, run, detail)
    save(recipe, run / RECIPE)
    write_run(run, {"data": mark, "finished": False})


def _changed(before: Any, now: Any, at: str = "") -> str:
    """The first key whose value is another; empty where all are the same."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [*before, *(k for k in now if k not in before)]
        found = (_changed(before.get(k), now.get(k), f"{at}.{k}".strip(".")) for k in keys)
        return next((f for f in found if f), "")
    return "" if before == now else at


def _data_mark(folder: Path) -> str:
    """A dataset's fingerprint: its card names every file with its hash."""
    card = folder / "card.json"
    if not card.is_file():
        names = sorted((folder / "data").glob("*.parquet"))
        listed = "".join(f"{p.name} {p.stat().st_size}\n" for p in names)
        return hashlib.sha256(listed.encode()).hexdigest()[:16]
    return hashlib.sha256(card.read_bytes()).hexdigest()[:16]


def read_run(run: Path) -> dict[str, Any]:
    """What is noted of a run; raises ``run_not_found``."""
    try:
        noted: dict[str, Any] = json.loads((run / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        hint = f"no {RUN}; hilum train makes one"
        raise HilumError(Code.RUN_NOT_FOUND, run, hint) from error
    return noted


def write_run(run: Path, noted: dict[str, Any]) -> None:
    """Add to what is noted of a run."""
    from hilum.data.build import write_whole

    path = run / RUN
    before = read_run(run) if path.is_file() else {}
    whole = json.dumps({**before, **noted}, indent=1, ensure_ascii=False)
    write_whole(path, whole.encode())


def _finish(tuner: Any, recipe: Recipe, built: Built, main: bool) -> Run:
    import peft
    import torch
    import transformers
    import trl

    run, state = recipe.folder, tuner.state
    best = Path(state.best_model_checkpoint or checkpoint.checkpoints(run)[-1])
    there = [h for h in state.log_history if h["step"] == checkpoint.step_of(best)]
    numbers = {k: v for h in there for k, v in h.items() if k == "loss" or k.startswith("eval_")}
    if main:
        versions = {m.__name__: m.__version__ for m in (torch, transformers, trl, peft)}
        write_run(
            run,
            {
                "finished": True,
                "steps": state.global_step,
                "best": best.name,
                "best_metric": state.best_metric,
                "numbers": numbers,
                "base": str(built.folder),
                "precision": built.choice.precision,
                "reason": built.choice.reason,
                "device": built.device.name,
                "versions": {"hilum": __version__, **versions},
            },
        )
    return Run(run, state.global_step, numbers, best.name)


def _printer() -> Any:
    from transformers.trainer_callback import PrinterCallback

    return PrinterCallback


def _write_left_out(run: Path, training: Checked, validation: Split | None) -> None:
    out: list[LeftOut] = [*training.left_out, *(validation[1].left_out if validation else [])]
    lines = [json.dumps({"study": o.study, "code": o.code, "detail": o.detail}) for o in out]
    (run / LEFT_OUT).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _words(training: Split, validation: Split | None, steps: int) -> str:
    checked = training[1]
    left = len(checked.left_out)
    told = f"{len(checked.tasks)} samples, {steps} steps"
    told += f", left out {left} (see {LEFT_OUT})" if left else ""
    return told + (f"; {len(validation[1].tasks)} to validate" if validation else "; no validation")
