"""``hilum evaluate``: readers and other systems on a dataset with references."""

from __future__ import annotations

import json as jsonlib
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.read import Language
from hilum.codes import Code, HilumError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from hilum.data.rows import Dataset, Reference
    from hilum.evaluation.case import System

SOME_NOT_READ, NONE_READ = 3, 4


class Uncertain(StrEnum):
    """What a possible finding counts as."""

    PRESENT = "present"
    ABSENT = "absent"
    OUT = "out"


def evaluate(
    dataset: Annotated[
        Path, typer.Argument(help="Of hilum prepare or hilum phantom, or a ReXrank .json.")
    ],
    reader: Annotated[
        list[str] | None, typer.Option("--reader", help="embedded, or a folder; repeatable.")
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option("--predictions", help="Another system's .jsonl or ReXrank .json; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for page, JSON and tables.")] = Path(
        "evaluation"
    ),
    split: Annotated[str, typer.Option("--split", help="train, validation, test or all.")] = "test",
    images: Annotated[
        Path | None, typer.Option("--images", help="Where a ReXrank file's images are.")
    ] = None,
    language: Annotated[
        Language | None, typer.Option("--language", help="Of the drafts; else the reference's.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="Of hilum calibrate, for the one reader.")
    ] = None,
    site: Annotated[
        str | None, typer.Option("--site", help="Refuse a calibration of another site.")
    ] = None,
    uncertain: Annotated[
        Uncertain, typer.Option("--uncertain", help="What a possible finding counts as.")
    ] = Uncertain.PRESENT,
    prevalence: Annotated[
        float, typer.Option("--prevalence", min=0.0001, max=0.9999, help="Of PPV and NPV.")
    ] = 0.02,
    rounds: Annotated[
        int, typer.Option("--rounds", min=100, max=100_000, help="Resamples of patients.")
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same intervals.")] = 0,
    gallery: Annotated[
        int, typer.Option("--gallery", min=0, max=100, help="Worst errors shown, each system.")
    ] = 8,
    optional: Annotated[
        list[str] | None,
        typer.Option("--optional", help="f1chexbert, radgraph, ratescore, green, radeval."),
    ] = None,
    first_view: Annotated[
        bool, typer.Option("--first-view", help="Show readers the first film of each study alone.")
    ] = False,
    allow_outside_domain: Annotated[
        bool, typer.Option("--allow-outside-domain", help="Read films it was not made for.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The figures as one JSON line.")] = False,
) -> int:
    """Judge readers and other systems, with intervals, beside two baselines, on one page.

    Writes page.html, evaluation.json, evaluation.md and each system's drafts. A stopped run goes
    on with the same command. Exit code: 0 all read, 3 some studies not read, 4 none.

    Example: hilum evaluate mydata --reader embedded --predictions other.jsonl --out judged
    """
    from hilum.data.rows import open_dataset
    from hilum.evaluation.evaluate import Wanted
    from hilum.evaluation.evaluate import evaluate as run_all
    from hilum.evaluation.judge import Settings

    readers = reader or ([] if predictions else ["embedded"])
    if calibration and len(readers) != 1:
        raise HilumError(Code.OPTION_INVALID, "--calibration", "give exactly one --reader")
    opened = open_dataset(dataset, split, images)
    references = opened.references()
    settings = Settings(rounds, seed, uncertain.value, prevalence)
    with Progress(len(references) * len(readers)) as progress:
        systems = list(_other(predictions or [], references))
        for name in readers:
            systems.append(
                _answers(
                    name,
                    opened,
                    references,
                    out,
                    progress,
                    calibration=calibration,
                    site=site,
                    language=language.value if language else None,
                    first_view=first_view,
                    allow_outside_domain=allow_outside_domain,
                )
            )
        wanted = Wanted(gallery, tuple(optional or ()), command("evaluate"), progress.step)
        told = run_all(opened, references, systems, out, settings, wanted)
    if json:
        print(jsonlib.dumps(told, ensure_ascii=False))
    else:
        _print(told, out)
    read = [s["outcomes"].get("read", 0) for s in told["systems"] if s["kind"] != "baseline"]
    return NONE_READ if not all(read) else SOME_NOT_READ if min(read) < len(references) else 0


def _other(paths: list[Path], references: list[Reference]) -> Iterator[System]:
    from hilum.evaluation.predictions import load

    for path in paths:
        system = load(path, references)
        if system.about["others"]:
            others = system.about["others"]
            print(f"{path}: {others} studies that are not in the dataset", file=sys.stderr)
        yield system


def _answers(
    name: str,
    dataset: Dataset,
    references: list[Reference],
    out: Path,
    progress: Progress,
    *,
    calibration: Path | None,
    site: str | None,
    **more: Any,
) -> System:
    from hilum.evaluation.run import run
    from hilum.reading.reader import Reader

    progress.step(f"loading {name}")
    reader = Reader.load(name)
    if calibration is not None:
        reader = reader.calibrated(calibration, site)
    shown = Path(name).name or name
    progress.step(f"reading: {shown}")
    return run(reader, shown, dataset, references, out, progress=progress.advance, **more)


def command(verb: str) -> str:
    """The command as typed, with the folders' names alone: a page says nothing of the machine."""
    words = sys.argv[1:] if sys.argv[1:2] == [verb] else [verb]
    kept = [word if word.startswith("-") else Path(word).name or word for word in words]
    return shlex.join(["hilum", *kept])


def _print(told: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    focus = told["focus"]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("", "read", f"{focus} AUC", "sensitivity", "specificity", "F1 macro 14", "BLEU-4"):
        table.add_column(head, justify="left" if not head else "right")
    for s in told["systems"]:
        one = s["likelihood"]["findings"][focus]
        report: dict[str, Any] = next(iter(s["reports"].values()), {})
        figures = [one.get("auc"), one["recall"], one["specificity"]]
        figures.append(s["likelihood"]["groups"]["14"]["macro"]["f1"])
        read = f"{s['outcomes'].get('read', 0)}/{told['references']['studies']}"
        cells = [_figure(f, 3) for f in figures] + [_figure(report.get("bleu"), 1)]
        style = "dim" if s["kind"] == "baseline" else ""
        table.add_row(s["name"], read, *cells, style=style)
    console().print(table)
    print(f"page: {out / 'page.html'}")


def console() -> Console:
    """Where tables are printed: a file has no width, so a table in it is not squeezed."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 150)


def _figure(figure: list[float] | None, digits: int) -> str:
    if figure is None:
        return "-"
    value, low, high = (f"{x:.{digits}f}" for x in figure)
    return f"{value} ({low}-{high})"


class Progress:
    """Studies read, then what is being worked out."""

    def __init__(self, studies: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.task = self.bar.add_task("opening", total=studies)

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def advance(self, studies: int) -> None:
        """So many more studies are done."""
        self.bar.advance(self.task, studies)

    def step(self, what: str) -> None:
        """What is done now."""
        self.bar.update(self.task, description=what)
