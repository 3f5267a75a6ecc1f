"""A source to a dataset: census, chunks, card. What ``hilum prepare`` runs."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hilum import __version__
from hilum.codes import Code, HilumError
from hilum.data import card as cards
from hilum.data.build import DATA, STATE, Builder, locked, write_whole
from hilum.data.fracture import Balance, FractureTask, Rule
from hilum.data.pair import Pair
from hilum.data.run import Result, Spread, here, in_order
from hilum.data.sheet import contact_sheet
from hilum.data.sources import LAYOUTS, Source
from hilum.data.split import Census, Fractions, check_fractions
from hilum.data.work import Row, Work, work

CARD, PAGE, QUARANTINE, SHEET = "card.json", "README.md", "quarantine.jsonl", "contact_sheet.png"
_SAMPLE = 12  # studies that the estimate is measured on
_MANY = 200  # below, the work is over sooner than an estimate is read
_LIBRARIES = ("numpy", "pillow", "pyarrow", "pydicom")


@dataclass(frozen=True)
class Fractures:
    """``--task fracture``: which studies are negatives, and how many stay for each positive."""

    negatives: Rule = "any"
    balance: float | None = None


@dataclass(frozen=True)
class Settings:
    """Everything that decides the bytes of a dataset, besides its source."""

    work: Work = field(default_factory=Work)
    fractions: Fractions = (0.8, 0.1, 0.1)
    seed: int = 0
    limit: int | None = None
    max_same_text: int = 0
    chunk_size: int = 1000
    task: Fractures | None = None
    command: str = "hilum prepare"

    def plain(self) -> dict[str, Any]:
        """The settings as JSON can hold them."""
        how = {k: v for k, v in vars(self.work).items() if k not in ("gate", "task")}
        how["gate"] = self.work.gate is not None
        rest = {k: v for k, v in vars(self).items() if k not in ("work", "task", "command")}
        rest["fractions"] = list(self.fractions)
        return {**how, **rest, "task": asdict(self.task) if self.task else None}


@dataclass(frozen=True)
class Estimate:
    """What is ahead: measured on the first studies, on one core."""

    studies: int
    films: int
    seconds_per_study: float
    bytes_per_study: float


@dataclass
class Watch:
    """What a caller wants to be told on the way."""

    ahead: Callable[[Estimate], object] = lambda estimate: None
    begun: Callable[[int, int], object] = lambda studies, done: None
    result: Callable[[Result], object] = lambda result: None


def prepare(
    source: Source,
    out: Path | None,
    settings: Settings | None = None,
    spread: Spread = here,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Make the dataset of a source in the folder ``out``; returns its card, as in card.json.

    ``out`` None writes nothing. A run that was killed goes on where it was; one that was finished
    is left alone. The same source and settings give the same bytes, however often it was killed
    and whatever ``spread`` is.

    Raises ``source_invalid`` (also for a source without studies), ``split_leak``,
    ``output_exists``, ``source_changed``, ``output_busy``, ``output_unwritable``.
    """
    settings, watch = settings or Settings(), watch or Watch()
    check_fractions(settings.fractions)
    census = Census()
    settings = _counted(source, settings, census)
    plan = {
        "layout": source.layout,
        "source": census.digest,
        "settings": settings.plain(),
        "versions": {"hilum": __version__, **{name: version(name) for name in _LIBRARIES}},
    }
    if out is not None and (done := _finished(out, plan)) is not None:
        return done
    if census.studies >= _MANY:
        watch.ahead(estimate(source, settings, census))
    try:
        with locked(out) if out is not None else nullcontext():
            if out is not None:
                _agree(out / STATE / "plan.json", plan)
            card = _make(source, out, settings, spread, watch, census, plan)
        if out is not None:
            shutil.rmtree(out / STATE, ignore_errors=True)
    except OSError as error:
        detail = f"{error.strerror or type(error).__name__}; the same command goes on where it was"
        raise HilumError(Code.OUTPUT_UNWRITABLE, out or "", detail) from error
    return card


def _counted(source: Source, settings: Settings, census: Census) -> Settings:
    """Pass over all pairs once; the settings with what the task needs to know of them."""
    pairs: Iterable[Pair] = census.count(_limited(source, settings))
    balance = Balance(settings.task.negatives, settings.seed) if settings.task else None
    for _ in balance.count(pairs) if balance else pairs:
        pass
    if not census.studies:
        raise HilumError(Code.SOURCE_INVALID, source.path, "it holds no studies")
    if balance is None or settings.task is None:
        return settings
    language = source.given.language
    task = FractureTask(
        settings.task.negatives,
        balance.below(settings.task.balance),
        settings.seed,
        language if language in ("en", "zh") else None,  # type: ignore[arg-type]
    )
    return replace(settings, work=replace(settings.work, task=task))


def _limited(source: Source, settings: Settings) -> Iterator[Pair]:
    return itertools.islice(source.pairs(), settings.limit)


def estimate(source: Source, settings: Settings, census: Census) -> Estimate:
    """Work on the first studies to see what one costs."""
    started, size, seen = time.perf_counter(), 0, 0
    for pair in itertools.islice(_limited(source, settings), _SAMPLE):
        result = work(pair, settings.work)
        seen += 1
        if isinstance(result, Row):
            size += sum(len(image["bytes"]) for image in result.values["images"])
    seconds = (time.perf_counter() - started) / max(1, seen)
    return Estimate(census.studies, census.films, seconds, size / max(1, seen))


def _finished(out: Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """The card of a finished run of the same plan; None where there is work to do."""
    if (out / CARD).is_file():
        try:
            card: dict[str, Any] = json.loads((out / CARD).read_text(encoding="utf-8"))
        except ValueError:
            card = {}
        if card.get("plan") == plan:
            shutil.rmtree(out / STATE, ignore_errors=True)
            return card
        raise HilumError(Code.OUTPUT_EXISTS, out, "a dataset of another source or other settings")
    if out.is_dir() and any(out.iterdir()) and not (out / STATE).is_dir():
        raise HilumError(Code.OUTPUT_EXISTS, out, "choose a new folder")
    if out.exists() and not out.is_dir():
        raise HilumError(Code.OUTPUT_EXISTS, out, "a file")
    return None


def _agree(path: Path, plan: dict[str, Any]) -> None:
    """Write the plan, or check that it is the one a stopped run followed."""
    if not path.is_file():
        write_whole(path, json.dumps(plan).encode())
    elif json.loads(path.read_text(encoding="utf-8")) != plan:
        detail = "give what was given then, or remove the folder and start anew"
        raise HilumError(Code.SOURCE_CHANGED, path.parents[1], detail)


def _make(
    source: Source,
    out: Path | None,
    settings: Settings,
    spread: Spread,
    watch: Watch,
    census: Census,
    plan: dict[str, Any],
) -> dict[str, Any]:
    def split_of(values: dict[str, Any]) -> str:
        patient = values["patient_id"]
        return census.split_of(values["split"], patient, settings.fractions, settings.seed)

    builder = Builder(
        out, split_of, chunk_size=settings.chunk_size, max_same_text=settings.max_same_text
    )
    done = builder.resume()
    watch.begun(census.studies, min(done, census.studies))
    left = itertools.islice(_limited(source, settings), done, None)
    builder.add(in_order(left, settings.work, spread), watch.result)
    return _finish(builder, out, settings, source, census, plan)


def _finish(
    builder: Builder,
    out: Path | None,
    settings: Settings,
    source: Source,
    census: Census,
    plan: dict[str, Any],
) -> dict[str, Any]:
    refused = [line for chunk in builder.chunks for line in chunk.refused]
    files = {
        name: {"rows": chunk.rows[name], "sha256": digest}
        for chunk in builder.chunks
        for name, digest in sorted(chunk.files.items())
    }
    sheet = contact_sheet([out / DATA / name for name in files]) if out is not None else None
    counts = Counter(line["code"] for line in refused)
    unfaithful = [line for line in refused if line["code"] == Code.TRANSLATION_UNFAITHFUL]
    errors = Counter(kind for line in unfaithful for kind in line["detail"].split(", "))
    facts = cards.facts(builder.total(), counts, Counter(builder.seen.patients.values()), errors)
    rule = f"by patient, by hash, seed {settings.seed}, shares {settings.plain()['fractions']}"
    if census.official:
        rule = f"as the source says for {census.official} of {census.studies} studies, else {rule}"
    card = {
        "title": LAYOUTS[source.layout].title,
        "url": LAYOUTS[source.layout].url,
        "facts": facts,
        "split": {"rule": rule},
        "command": settings.command,
        "settings": plan["settings"],
        "versions": plan["versions"],
        "sheet": sheet is not None,
        "files": files,
        "plan": plan,
    }
    if out is not None:
        lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in refused)
        write_whole(out / QUARANTINE, lines.encode())
        if sheet is not None:
            write_whole(out / SHEET, sheet)
        write_whole(out / PAGE, cards.page(card).encode())
        write_whole(out / CARD, json.dumps(card, ensure_ascii=False, indent=1).encode())
    return card
