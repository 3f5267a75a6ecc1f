"""A prepared dataset as what is learnt: prompts, answers and images, read when they are needed.

Films stay in the memory-mapped table: no list of images is ever held.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from hilum.codes import Code, HilumError
from hilum.data.rows import Reference
from hilum.data.schema import SPLITS
from hilum.findings import Finding, FindingName, Status
from hilum.language import write
from hilum.report import Language
from hilum.training.recipe import Data

Split = Literal["train", "validation", "test"]
REPORT = "report"
# Batches that are sorted together by length; more would make the order less random.
GROUPED = 16


@dataclass(frozen=True)
class Task:
    """One thing to answer about one study: its report, or the question of a finding."""

    row: int
    language: Language
    about: str = REPORT


@dataclass(frozen=True)
class Sample:
    """One task in words. ``images``: encoded films, in the order the prompt shows them."""

    study: str
    language: Language
    prompt: str
    answer: str
    images: tuple[bytes, ...] = ()
    system: str = ""


class Corpus:
    """One split of a dataset, and the tasks that a recipe makes of it."""

    def __init__(self, data: Data, split: Split, seed: int = 0) -> None:
        """Open a split; raises ``file_not_found`` or ``nothing_to_learn``."""
        self.how, self.split, self.seed = data, split, seed
        self.rows = _open(Path(data.path), split)
        if data.limit and split == "train":
            self.rows = self.rows.select(range(min(data.limit, len(self.rows))))

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _words(self) -> Any:
        """The table without its films: quick to go through."""
        return self.rows.remove_columns("images")

    @cached_property
    def tasks(self) -> list[Task]:
        """Every task that has an answer, in the order of the rows."""
        return [t for i in range(len(self)) for t in self._tasks(i) if self.answer(t)]

    def _tasks(self, index: int) -> Iterator[Task]:
        row = self._words[index]
        spoken = row["report"]["language"]
        for language in self.how.languages:
            if self.how.text != "free" or spoken in (language, None):
                yield Task(index, language)
            for name in self.how.questions:
                yield Task(index, language, name)

    def answer(self, task: Task, epoch: int = 0) -> str:
        """What is to be learnt for a task; empty where the study does not say."""
        row = self._words[task.row]
        known = findings(row)
        if task.about != REPORT:
            asked = next((f for f in known if f.name == task.about), None)
            if asked is None or asked.status is Status.UNCERTAIN:
                return ""
            return self.how.answers[task.language][0 if asked.present else 1]
        if self.how.text == "free":
            said = row["report"]
            return "\n".join(filter(None, (said["findings"], said["impression"]))).strip()
        about = self.how.about
        told = [f for f in known if about is None or f.name in about]
        if not told:
            return ""
        if self.how.text == "templated":
            return write(told, task.language, "canonical")
        mixed = hashlib.sha256(f"{self.seed} {epoch} {row['study_id']}".encode()).digest()
        return write(told, task.language, "paraphrase", int.from_bytes(mixed[:4], "big"))

    def prompt(self, task: Task) -> str:
        """The words that a task is asked with."""
        if task.about == REPORT:
            return self.how.prompts[task.language]
        return self.how.questions[FindingName(task.about)][task.language]

    def sample(self, task: Task, epoch: int = 0) -> Sample:
        """A task with its words and its films."""
        row = self.rows[task.row]
        return Sample(
            study=row["study_id"],
            language=task.language,
            prompt=self.prompt(task),
            answer=self.answer(task, epoch),
            images=tuple(film["bytes"] for film in row["images"][: self.how.views]),
            system=self.how.system,
        )

    def study(self, index: int) -> str:
        """The study id of a row."""
        return str(self._words[index]["study_id"])

    def reference(self, index: int, language: Language) -> Reference:
        """What is known of a row, as evaluation wants it: the findings that are asked about."""
        row = self._words[index]
        about = {*(self.how.about or ()), *self.how.questions} if self.how.about else None
        said = row["report"]
        return Reference(
            study_id=row["study_id"],
            patient_id=row["patient_id"],
            findings=[f for f in findings(row) if about is None or f.name in about],
            source=row["findings_source"],
            text=said["findings"] if said["language"] == language else "",
            language=language,
        )


def findings(row: dict[str, Any]) -> list[Finding]:
    """The findings of a row of a dataset."""
    return [
        Finding.model_validate({k: v for k, v in f.items() if v is not None or k != "instances"})
        for f in row["findings"]
    ]


def open_image(content: bytes) -> Any:
    """A film as RGB; raises ``file_damaged`` where it cannot be decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise HilumError(Code.FILE_DAMAGED, "", type(error).__name__) from None


def order(
    lengths: NDArray[np.int64], batch: int, steps: int, seed: int, grouped: bool
) -> NDArray[np.int64]:
    """Which task each place of each step takes and in which epoch: (steps * batch, 2).

    A function of its arguments alone, and the beginning of a longer run's order: a run that is
    resumed or made longer, on any number of devices, sees the same samples in the same steps.
    ``grouped``: tasks of like length share a batch, so that little is padded.
    """
    pieces: list[NDArray[np.int64]] = []
    needed, epoch = steps * batch, 0
    while sum(map(len, pieces)) < needed:
        rng = np.random.default_rng([seed, epoch])
        places = rng.permutation(len(lengths))
        if grouped:
            places = _by_length(places, lengths, batch, rng)
        pieces.append(np.stack([places, np.full(len(places), epoch)], 1))
        epoch += 1
    return np.concatenate(pieces)[:needed]


def _by_length(
    places: NDArray[np.int64], lengths: NDArray[np.int64], batch: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    together = GROUPED * batch
    chunks = [places[i : i + together] for i in range(0, len(places), together)]
    placed = np.concatenate([c[np.argsort(-lengths[c], kind="stable")] for c in chunks])
    whole = len(placed) // batch * batch
    batches = placed[:whole].reshape(-1, batch)
    return np.concatenate([batches[rng.permutation(len(batches))].ravel(), placed[whole:]])


def _open(folder: Path, split: Split) -> Any:
    """The split's table, memory-mapped, its films left encoded."""
    files = sorted(str(p) for p in (folder / "data").glob(f"{split}-*.parquet"))
    if not files:
        there = [s for s in SPLITS if any((folder / "data").glob(f"{s}-*.parquet"))]
        if not there:
            hint = "no dataset; hilum prepare makes one"
            raise HilumError(Code.FILE_NOT_FOUND, folder, hint)
        raise HilumError(Code.NOTHING_TO_LEARN, folder, f"no split {split}, only {there}")
    try:
        from datasets import Image, List, disable_progress_bars, load_dataset
    except ImportError as error:
        hint = "install it with: pip install 'hilum[train]'"
        raise HilumError(Code.EXTRA_MISSING, "datasets", hint) from error
    disable_progress_bars()
    try:
        table = load_dataset("parquet", data_files=files, split="train")
    except Exception as error:  # whatever the library makes of files that anyone may write
        raise HilumError(Code.SOURCE_INVALID, folder, type(error).__name__) from error
    return cast(Any, table).cast_column("images", List(Image(decode=False)))
