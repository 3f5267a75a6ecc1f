"""``hilum prepare``: any source of image-report pairs to one dataset."""

from __future__ import annotations

import json as jsonlib
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.codes import Code, HilumError

if TYPE_CHECKING:
    from hilum.data import Estimate

NOTHING = 4


class Domain(StrEnum):
    """What the films are."""

    CHEST = "chest"
    ANY = "any"


class Redactions(StrEnum):
    """What becomes of redacted words."""

    MARK = "mark"
    DROP = "drop"


class Task(StrEnum):
    """What the dataset is for."""

    REPORT = "report"
    FRACTURE = "fracture"


class Negatives(StrEnum):
    """Which studies count as without fracture."""

    STATED = "stated"
    UNMENTIONED = "unmentioned"
    ANY = "any"


def prepare(
    source: Annotated[Path, typer.Argument(help="Folder or file of a data set, or a hub id.")],
    out: Annotated[Path, typer.Argument(help="Folder for the dataset; new, or of a stopped run.")],
    layout: Annotated[
        str | None,
        typer.Option("--layout", help="How the source is laid out; guessed where it is plain."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Where the images are, if elsewhere.")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", help="ROLE=COLUMN of a table, e.g. report=所见; repeatable."),
    ] = None,
    language: Annotated[
        str | None, typer.Option("--language", help="en or zh; else each report's own.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Of the source, if not the known one.")
    ] = None,
    domain: Annotated[
        Domain, typer.Option("--domain", help="any: captions of any picture, no gate, no findings.")
    ] = Domain.CHEST,
    size: Annotated[int, typer.Option("--size", min=64, max=8192, help="Longest side, px.")] = 1024,
    text_only: Annotated[bool, typer.Option("--text-only", help="Reports without images.")] = False,
    no_priors: Annotated[
        bool, typer.Option("--no-priors", help="Take out sentences that compare with older films.")
    ] = False,
    redactions: Annotated[
        Redactions, typer.Option("--redactions", help="Mark redacted words, or drop the sentence.")
    ] = Redactions.MARK,
    audit: Annotated[
        bool,
        typer.Option("--audit/--no-audit", help="Refuse translations that change the medicine."),
    ] = True,
    max_same_text: Annotated[
        int, typer.Option("--max-same-text", min=0, help="Studies of one text at most; 0: all.")
    ] = 0,
    split: Annotated[
        str, typer.Option("--split", help="Shares of train, validation, test.")
    ] = "0.8,0.1,0.1",
    seed: Annotated[int, typer.Option("--seed", help="Of the split.")] = 0,
    task: Annotated[
        Task, typer.Option("--task", help="fracture: canonical fracture sentences.")
    ] = Task.REPORT,
    negatives: Annotated[
        Negatives, typer.Option("--negatives", help="Task fracture: studies without one.")
    ] = Negatives.ANY,
    balance: Annotated[
        float | None,
        typer.Option("--balance", min=0, help="Task fracture: negatives for each positive."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only the first studies.")
    ] = None,
    chunk: Annotated[
        int, typer.Option("--chunk", min=1, help="Studies a file; a stop loses less than one.")
    ] = 1000,
    keep_ids: Annotated[
        bool, typer.Option("--keep-ids", help="Keep a table's own patient and study ids.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes; 0: one a core.")] = 0,
    ray: Annotated[
        str | None, typer.Option("--ray", help="Work on a Ray cluster: auto, or host:port.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the card, write nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The card as one JSON line.")] = False,
) -> int:
    """Make a clean, split, documented dataset of image-report pairs.

    Opened by datasets.load_dataset(OUT). Refused studies are in OUT/quarantine.jsonl, each with
    a code. A stopped run goes on with the same command. Exit code: 0 done, 4 no study was usable.

    Example: hilum prepare reports.csv mydata --images films --columns report=检查所见
    """
    from hilum import data
    from hilum.data.card import page
    from hilum.reading.gate import judge

    given = data.Given(
        images=images,
        columns=_columns(columns or []),
        language=language,
        licence=licence,
        domain=domain.value,
        text_only=text_only,
        keep_ids=keep_ids,
    )
    opened = data.open_source(source, layout, given)
    how = data.Work(
        size=size,
        domain=domain.value,
        no_priors=no_priors,
        redactions=redactions.value,
        text_only=text_only,
        audit=audit,
        gate=judge if domain is Domain.CHEST else None,
    )
    settings = data.Settings(
        work=how,
        fractions=_fractions(split),
        seed=seed,
        limit=limit,
        max_same_text=max_same_text,
        chunk_size=chunk,
        task=data.Fractures(negatives.value, balance) if task is Task.FRACTURE else None,
        command=_command(source, opened.layout),
    )
    with _Progress(opened.layout, workers or _cores(), out) as progress:
        card = data.prepare(
            opened,
            None if dry_run else out,
            settings,
            data.cluster(ray) if ray else data.processes(workers or _cores()),
            progress.watch(),
        )
    _say_notes(given.notes)
    _print(card, out, as_json=json, dry=page(card) if dry_run else None)
    return 0 if card["facts"]["rows"] else NOTHING


def _columns(pairs: list[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if not all(sign and column for _, sign, column in split):
        raise HilumError(Code.OPTION_INVALID, "--columns", "ROLE=COLUMN, such as report=findings")
    return {role: column for role, _, column in split}


def _fractions(text: str) -> tuple[float, float, float]:
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError:
        train, validation, test = -1.0, 0.0, 0.0  # refused with the option's name
    return train, validation, test


def _command(source: Path, layout: str) -> str:
    """The command as typed, with the folders' names alone: a card says nothing of the machine."""
    words = sys.argv[1:] if sys.argv[1:2] == ["prepare"] else ["prepare", str(source), "OUT"]
    kept = [word if word.startswith("-") else Path(word).name or word for word in words]
    kept += [] if "--layout" in words else ["--layout", layout]
    return shlex.join(["hilum", *kept])


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _say_notes(notes: list[str]) -> None:
    for note in dict.fromkeys(notes):
        print(note, file=sys.stderr)


def _print(card: dict[str, Any], out: Path, *, as_json: bool, dry: str | None) -> None:
    if as_json:
        print(jsonlib.dumps(card, ensure_ascii=False))
    elif dry is not None:
        print(dry)
    else:
        facts = card["facts"]
        rows = ", ".join(f"{split} {n}" for split, n in facts["rows"].items()) or "none"
        print(f"{out}: {rows}; quarantined {sum(facts['quarantined'].values())}")
        for code, n in facts["quarantined"].items():
            print(f"  {n:7d} {code}: {Code(code).en}")
        print(f"card: {out / 'README.md'}")


def _free(folder: Path) -> float:
    """Free space in GB where a folder lies, or will."""
    import shutil

    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free / 1e9


class _Progress:
    """A line on what is ahead, and a bar: studies done, of which quarantined."""

    def __init__(self, layout: str, workers: int, out: Path) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self.workers = workers
        self.out = out
        self.console = Console(stderr=True)
        self.refused = 0
        self.bar = Progress(
            TextColumn(layout),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("quarantined {task.fields[refused]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self.task = self.bar.add_task("", total=None, refused=0)

    def __enter__(self) -> _Progress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def watch(self) -> Any:
        from hilum.data import Watch

        return Watch(ahead=self._ahead, begun=self._begun, result=self._result)

    def _ahead(self, ahead: Estimate) -> None:
        hours = ahead.studies * ahead.seconds_per_study / self.workers / 3600
        size = ahead.studies * ahead.bytes_per_study / 1e9
        self.bar.console.print(
            f"{ahead.studies:,} studies, {ahead.films:,} images: about {size:.1f} GB and "
            f"{hours:.1f} hours, workers: {self.workers}; {_free(self.out):.1f} GB free",
            highlight=False,
            soft_wrap=True,
        )

    def _begun(self, studies: int, done: int) -> None:
        self.bar.update(self.task, total=studies, completed=done)

    def _result(self, result: object) -> None:
        from hilum.data import Refusal

        self.refused += isinstance(result, Refusal)
        self.bar.update(self.task, advance=1, refused=self.refused)
