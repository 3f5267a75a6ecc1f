"""``hilum train``: a recipe becomes a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.codes import Code, HilumError

if TYPE_CHECKING:
    from hilum.training.sft import Ears

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file; see recipes/.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Over the recipe's own, e.g. schedule.steps=100."),
]


def train(
    recipe: RecipeFile,
    overrides: Overrides = None,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Train on so many GPUs, or CPU processes.")
    ] = 1,
    ray: Annotated[
        str | None, typer.Option("--ray", help="Train on a Ray cluster: auto, local, or host:port.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The result as one JSON line.")] = False,
) -> None:
    """Train a model on a prepared dataset; run it again and it goes on where it stopped.

    The run's folder holds recipe.yaml, log.jsonl, left_out.jsonl, tensorboard/ and the
    checkpoints; hilum merge makes a model of it. hilum preview shows beforehand what is learnt.

    Example: hilum train recipes/phantom/gemma3-twin-lora.yaml schedule.steps=50
    """
    from hilum.training.recipe import load

    given = load(recipe, overrides or [])
    need_extra()
    if ray:
        from hilum.training.cluster import train_on_ray

        done = train_on_ray(given, ray, processes)
    elif processes > 1 and not _started_by_torchrun():
        _torchrun(processes)
        return
    else:
        from hilum.training.sft import train as run

        with _Shown(given.name) as shown:
            done = run(given, shown.ears())
    if not _is_main():
        return
    if json:
        import json as jsonlib

        print(jsonlib.dumps({"run": str(done.folder), "steps": done.steps, "best": done.best,
                             "numbers": done.numbers}))  # fmt: skip
    else:
        print(f"{done.folder}: {done.steps} steps, best {done.best}; hilum merge {done.folder} OUT")


def need_extra() -> None:
    """Raise ``extra_missing`` before anything long begins; hush the libraries' advice."""
    import importlib.util
    import logging
    import warnings

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|peft|bitsandbytes)\b")

    missing = [
        name
        for name in ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        hint = "install it with: pip install 'hilum[local,train]'"
        raise HilumError(Code.EXTRA_MISSING, ", ".join(missing), hint)


def _started_by_torchrun() -> bool:
    import os

    return "RANK" in os.environ


def _is_main() -> bool:
    import os

    return os.environ.get("RANK", "0") == "0"


def _torchrun(processes: int) -> None:
    """This very command, once a process, on this machine."""
    import subprocess

    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               f"--nproc-per-node={processes}", "-m", "hilum.cli.main", *sys.argv[1:]]  # fmt: skip
    code = subprocess.run(command, check=False).returncode
    if code:
        raise HilumError(Code.WORKER_LOST, "train", f"exit code {code}; run the same again")


class _Shown:
    """Lines, and one bar: studies looked at, then steps."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"),
            console=self.console,
            transient=True,
            disable=not _is_main(),
        )
        self.name = name
        self.task = self.bar.add_task(f"{name}: films", total=None, words="")

    def __enter__(self) -> _Shown:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def ears(self) -> Ears:
        """What a run tells, shown here."""
        from hilum.training.sft import Ears

        return Ears(self._say, self._tick, self._checked)

    def _say(self, line: str) -> None:
        if _is_main():
            self.console.print(line, highlight=False, soft_wrap=True)

    def _tick(self, step: int, steps: int, words: str) -> None:
        self.bar.update(
            self.task, description=f"{self.name}: steps", completed=step, total=steps, words=words
        )
        if not self.console.is_terminal and (step == steps or step % 10 == 0):
            self._say(f"step {step}/{steps}: {words}")

    def _checked(self, done: int, total: int) -> None:
        self.bar.update(self.task, completed=done + 1, total=total)
