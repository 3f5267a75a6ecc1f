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
    from hilum.data import Estimate, Settings
    from hilum.data import Source as Opened

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


def _option(name: str, *, help: str, min: int | None = None, max: int | None = None) -> Any:
    return typer.Option(name, help=help, min=min, max=max)


Source = Annotated[Path, typer.Argument(help="Folder or file of a data set, or a hub id.")]
Out = Annotated[Path, typer.Argument(help="Folder for the dataset; new, or of a stopped run.")]
Layout = Annotated[
    str | None, _option("--layout", help="How the source is laid out; guessed where it is plain.")
]
Images = Annotated[Path | None, _option("--images", help="Where the images are, if elsewhere.")]
Columns = Annotated[
    list[str] | None,
    _option("--columns", help="ROLE=COLUMN of a table, e.g. report=所见; repeatable."),
]
Language = Annotated[str | None, _option("--language", help="en or zh; else each report's own.")]
Licence = Annotated[str | None, _option("--licence", help="Of the source, if not the known one.")]
Domains = Annotated[
    Domain, _option("--domain", help="any: captions of any picture, no gate, no findings.")
]
Size = Annotated[int, _option("--size", help="Longest side, px.", min=64, max=8192)]
TextOnly = Annotated[bool, _option("--text-only", help="Reports without images.")]
NoPriors = Annotated[
    bool, _option("--no-priors", help="Take out sentences that compare with older films.")
]
Redacted = Annotated[
    Redactions, _option("--redactions", help="Mark redacted words, or drop the sentence.")
]
Audit = Annotated[
    bool, _option("--audit/--no-audit", help="Refuse translations that change the medicine.")
]
MaxSameText = Annotated[
    int, _option("--max-same-text", help="Studies of one text at most; 0: all.", min=0)
]
Split = Annotated[str, _option("--split", help="Shares of train, validation, test.")]
Seed = Annotated[int, _option("--seed", help="Of the split.")]
Tasks = Annotated[Task, _option("--task", help="fracture: canonical fracture sentences.")]
Without = Annotated[Negatives, _option("--negatives", help="Task fracture: studies without one.")]
Ratio = Annotated[
    float | None, _option("--balance", help="Task fracture: negatives for each positive.", min=0)
]
Limit = Annotated[int | None, _option("--limit", help="Only the first studies.", min=1)]
Chunk = Annotated[
    int, _option("--chunk", help="Studies a file; a stop loses less than one.", min=1)
]
KeepIds = Annotated[bool, _option("--keep-ids", help="Keep a table's own patient and study ids.")]
Workers = Annotated[int, _option("--workers", help="Processes; 0: one a core.", min=0)]
Ray = Annotated[str | None, _option("--ray", help="Work on a Ray cluster: auto, or host:port.")]
DryRun = Annotated[bool, _option("--dry-run", help="Print the card, write nothing.")]
AsJson = Annotated[bool, _option("--json", help="The card as one JSON line.")]


def prepare(
    source: Source,
    out: Out,
    layout: Layout = None,
    images: Images = None,
    columns: Columns = None,
    language: Language = None,
    licence: Licence = None,
    domain: Domains = Domain.CHEST,
    size: Size = 1024,
    text_only: TextOnly = False,
    no_priors: NoPriors = False,
    redactions: Redacted = Redactions.MARK,
    audit: Audit = True,
    max_same_text: MaxSameText = 0,
    split: Split = "0.8,0.1,0.1",
    seed: Seed = 0,
    task: Tasks = Task.REPORT,
    negatives: Without = Negatives.ANY,
    balance: Ratio = None,
    limit: Limit = None,
    chunk: Chunk = 1000,
    keep_ids: KeepIds = False,
    workers: Workers = 0,
    ray: Ray = None,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> int:
    """Make a clean, split, documented dataset of image-report pairs.

    Opened by datasets.load_dataset(OUT). Refused studies are in OUT/quarantine.jsonl, each with
    a code. A stopped run goes on with the same command. Exit code: 0 done, 4 no study was usable.

    Example: hilum prepare reports.csv mydata --images films --columns report=检查所见
    """
    from hilum import data
    from hilum.processes import processors
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
    settings = data.Settings(
        work=data.Work(
            size=size,
            domain=domain.value,
            no_priors=no_priors,
            redactions=redactions.value,
            text_only=text_only,
            audit=audit,
            gate=judge if domain is Domain.CHEST else None,
        ),
        fractions=_fractions(split),
        seed=seed,
        limit=limit,
        max_same_text=max_same_text,
        chunk_size=chunk,
        task=data.Fractures(negatives.value, balance) if task is Task.FRACTURE else None,
        command=_command(source, opened.layout),
    )
    card = _run(opened, out, settings, workers or processors(), ray, dry_run)
    _print(card, out, as_json=json, dry=dry_run)
    return 0 if card["facts"]["rows"] else NOTHING


def _run(
    opened: Opened, out: Path, settings: Settings, workers: int, ray: str | None, dry: bool
) -> dict[str, Any]:
    """The work, with its progress and what the source's reader had to say."""
    from hilum import data

    spread = data.cluster(ray) if ray else data.processes(workers)
    with _Progress(opened.layout, None if ray else workers, out) as progress:
        card = data.prepare(opened, None if dry else out, settings, spread, progress.watch())
    for note in dict.fromkeys(opened.given.notes):
        print(note, file=sys.stderr)
    return card


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


def _print(card: dict[str, Any], out: Path, *, as_json: bool, dry: bool) -> None:
    from hilum.data.card import page

    if as_json:
        print(jsonlib.dumps(card, ensure_ascii=False))
    elif dry:
        print(page(card))
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

    def __init__(self, layout: str, workers: int | None, out: Path) -> None:
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
        hours = ahead.studies * ahead.seconds_per_study / (self.workers or 1) / 3600
        by = f"workers: {self.workers}" if self.workers else "of one processor"
        size = ahead.studies * ahead.bytes_per_study / 1e9
        self.bar.console.print(
            f"{ahead.studies:,} studies, {ahead.films:,} images: about {size:.1f} GB and "
            f"{hours:.1f} hours, {by}; {_free(self.out):.1f} GB free",
            highlight=False,
            soft_wrap=True,
        )

    def _begun(self, studies: int, done: int) -> None:
        self.bar.update(self.task, total=studies, completed=done)

    def _result(self, result: object) -> None:
        from hilum.data import Refusal

        self.refused += isinstance(result, Refusal)
        self.bar.update(self.task, advance=1, refused=self.refused)
