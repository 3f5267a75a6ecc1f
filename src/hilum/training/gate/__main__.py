"""Train the gate's eye from simulated pictures alone.

    python -m hilum.training.gate --out runs/gate

Scenes are made once and kept in the folder; the network is written to ``OUT/pose.npz``, and with
``--install`` into the package. No real film is used.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Far from any seed a person would type, and from those of the embedded reader's films.
FIRST_SEED = 2 * 10**9


def main(
    out: Annotated[Path, typer.Option(help="folder of the run")] = Path("runs/gate"),
    count: Annotated[int, typer.Option(help="scenes to simulate")] = 6000,
    steps: Annotated[int, typer.Option(help="steps of 128 pictures")] = 5000,
    seed: Annotated[int, typer.Option(help="seed of the weights and of the pictures")] = 0,
    threads: Annotated[int, typer.Option(help="processor threads")] = 1,
    install: Annotated[bool, typer.Option("--install", help="put it into the package")] = False,
) -> None:
    """Train the gate's eye from simulated pictures alone."""
    import torch

    from hilum.reading.pose import WEIGHTS, read
    from hilum.training.gate import fit, samples

    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn()) as bar:
        task = bar.add_task("simulate (scenes)", total=count)
        store = samples.kept(out, count, FIRST_SEED, lambda: bar.advance(task))
        bar.update(task, completed=count)
        task = bar.add_task("train (steps)", total=steps)
        model = fit.fit(store, steps, seed, bar.console.print, lambda: bar.advance(task))
        unseen = samples.kept(out, max(40, count // 10), FIRST_SEED + 1, lambda: None)
    fit.save(model, out / WEIGHTS.name)
    for kind, (passed, of) in fit.accepted(read(out / WEIGHTS.name), unseen, 4000, seed).items():
        print(f"unseen {kind:8s} {passed} of {of} accepted")
    print(f"wrote {out / WEIGHTS.name}: {(out / WEIGHTS.name).stat().st_size} bytes")
    if install:
        shutil.copy(out / WEIGHTS.name, WEIGHTS)
        print(f"installed as {WEIGHTS}")


if __name__ == "__main__":
    typer.run(main)
