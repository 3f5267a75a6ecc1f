"""The ChexFract paper's experiment in small: which of encoder, text and scope helps?

    python -m benchmarks.two_by_two recipes/phantom/chexfract-2x2.yaml model.path=M data.path=D

Frozen or unfrozen encoder x paraphrased or templated text x fractures or everything, several
seeds each, four runs at once on the machine's processors; the same command goes on in --out. The
table has the mean over the seeds and the 95 % interval of Student's t; the last line is JSON. The
paper's order (templated above free, unfrozen above frozen, everywhere) holds only where the
interval of the paired difference excludes zero, in the AUC of the answers and in the F1 of the
reports.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import torch
import typer
from scipy.stats import t as student

METRICS = ("eval_fracture_auc", "eval_fracture_f1", "eval_loss")
CELLS = list(
    itertools.product(("frozen", "full"), ("paraphrased", "templated"), ("fracture", "all"))
)
# What the paper finds to be better, and where a cell says which it is.
ORDERS = {
    "unfrozen above frozen": (0, "full", "frozen"),
    "templated above free": (1, "templated", "paraphrased"),
    "fracture above all": (2, "fracture", "all"),
}
Cell = tuple[str, str, str]
Found = dict[Cell, dict[str, list[float]]]


def overrides(encoder: str, text: str, about: str, seed: int) -> list[str]:
    """A cell in a recipe's words."""
    return [
        f"parts.vision.train={encoder}",
        f"data.text={text}",
        f"data.about={'[fracture]' if about == 'fracture' else 'null'}",
        f"seed={seed}",
    ]


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval (Student's t); nan where fewer than two values are known."""
    known = [v for v in values if not math.isnan(v)]
    if len(known) < 2:
        return (known[0] if known else math.nan), math.nan, math.nan
    mean = float(np.mean(known))
    half = float(student.ppf(0.975, len(known) - 1) * np.std(known, ddof=1) / np.sqrt(len(known)))
    return mean, mean - half, mean + half


def verdict(differences: list[float]) -> str:
    """What the paired differences (the paper's better minus its worse) say."""
    mean, low, high = interval(differences)
    if math.isnan(low):
        return f"{mean:+.3f}: not measured"
    holds = "holds" if low > 0 else "reversed" if high < 0 else "not shown"
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]: {holds}"


def run(recipe: Path, given: list[str], cell: Cell, seed: int, root: Path) -> dict[str, float]:
    """What one run comes to; one that is finished is not run again."""
    from hilum.training.recipe import load
    from hilum.training.sft import train

    output = f"output={root / '-'.join([*cell, str(seed)])}"
    return dict(train(load(recipe, [*given, *overrides(*cell, seed), output])).numbers)


def main(
    recipe: Path,
    given: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE")] = None,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    out: Annotated[Path | None, typer.Option(help="Keep the runs here.")] = None,
    at_once: Annotated[int, typer.Option(min=1, help="Runs at once.")] = 4,
) -> None:
    """Run every cell and print the table."""
    found: Found = {cell: {metric: [] for metric in METRICS} for cell in CELLS}
    threads = max(1, (os.cpu_count() or 1) // at_once)
    spawn = get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as made,
        ProcessPoolExecutor(at_once, spawn, torch.set_num_threads, (threads,)) as pool,
    ):
        jobs = [
            (cell, pool.submit(run, recipe, given or [], cell, seed, out or Path(made)))
            for seed in range(seeds)
            for cell in CELLS
        ]
        for cell, job in jobs:
            for metric in METRICS:
                found[cell][metric].append(job.result().get(metric, math.nan))
    show(found)


def show(found: Found) -> None:
    """Print the table, what it says of the paper's order, and a line of JSON."""
    print(
        "| encoder | text | about | fracture AUC | fracture F1 | loss |\n|---|---|---|---|---|---|"
    )
    for cell, numbers in found.items():
        told = [_words(interval(numbers[metric])) for metric in METRICS]
        print(f"| {' | '.join([*cell, *told])} |")
    said = {
        f"{order}, {metric.removeprefix('eval_')}": verdict(_paired(found, metric, *places))
        for metric in METRICS[:2]
        for order, places in ORDERS.items()
    }
    for order, words in said.items():
        print(f"{order}: {words}")
    best = max((interval(n["eval_fracture_auc"])[1] for n in found.values()), default=math.nan)
    if not best > 0.5:
        print("not learnt: no cell's interval is above an AUC of 0.5, so no order is concluded")
    print(json.dumps({**said, "learnt": bool(best > 0.5)}))


def _words(value: tuple[float, float, float]) -> str:
    mean, low, high = value
    return "-" if math.isnan(mean) else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def _paired(found: Found, metric: str, place: int, better: str, worse: str) -> list[float]:
    """Differences between cells that are alike but for one thing, seed by seed."""
    pairs = []
    for cell in found:
        if cell[place] == better:
            other = cast(Cell, (*cell[:place], worse, *cell[place + 1 :]))
            pairs += [a - b for a, b in zip(found[cell][metric], found[other][metric], strict=True)]
    return pairs


if __name__ == "__main__":
    typer.run(main)
