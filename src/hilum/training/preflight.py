"""Every film opened and every sample's length known before the first step: nothing is ever cut."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.codes import Code, HilumError
from hilum.training.collate import Chat
from hilum.training.corpus import Corpus, Sample, Task


@dataclass(frozen=True)
class LeftOut:
    """A study, or one task of it, that is not learnt from, and why."""

    study: str
    code: Code
    detail: str = ""


@dataclass
class Checked:
    """What is learnt from, an entry a task.

    ``lengths``: tokens of prompt and answer; ``prompts``: of the prompt alone;
    ``image_tokens``: of these, the films'.
    """

    tasks: list[Task] = field(default_factory=list)
    lengths: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    prompts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    image_tokens: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    left_out: list[LeftOut] = field(default_factory=list)


def check(
    corpus: Corpus,
    chat: Chat,
    longest: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Open every film and measure every sample.

    ``longest``: tokens that the model or the recipe allows. A sample whose answer runs over is
    left out; one whose films' tokens would not fit means that the limit is wrong for the data:
    ``image_tokens_cut``. A damaged film leaves its study out. Raises ``nothing_to_learn`` where
    nothing is left.
    """
    measure = _Prompts(chat)
    sizes: dict[int, tuple[tuple[int, int], ...] | HilumError] = {}
    rows: list[tuple[Task, int, int, int]] = []
    left_out: list[LeftOut] = []
    for done, task in enumerate(corpus.tasks):
        if progress is not None:
            progress(done, len(corpus.tasks))
        if task.row not in sizes:
            sizes[task.row] = seen = _film_sizes(corpus, task.row)
            if isinstance(seen, HilumError):
                left_out.append(LeftOut(corpus.study(task.row), seen.code, seen.detail))
        shown = sizes[task.row]
        if isinstance(shown, HilumError):
            continue
        sample = Sample(
            corpus.study(task.row), task.language, corpus.prompt(task), corpus.answer(task),
            (b"",) * len(shown), corpus.how.system,
        )  # fmt: skip
        prompt, films = measure(sample, shown)
        length = prompt + len(chat.answer_ids(sample))
        if longest is not None and films and prompt > longest:
            detail = f"{prompt} tokens before the answer ({films} of films), limit {longest}"
            raise HilumError(Code.IMAGE_TOKENS_CUT, sample.study, detail)
        if longest is not None and length > longest:
            detail = f"{length} tokens, limit {longest}"
            left_out.append(LeftOut(sample.study, Code.SAMPLE_TOO_LONG, detail))
            continue
        rows.append((task, length, prompt, films))
    if not rows:
        raise HilumError(Code.NOTHING_TO_LEARN, corpus.how.path, f"{len(left_out)} left out")
    numbers = np.array([row[1:] for row in rows], np.int64)
    return Checked([r[0] for r in rows], numbers[:, 0], numbers[:, 1], numbers[:, 2], left_out)


def longest_allowed(wanted: int | None, config: Any) -> int | None:
    """The recipe's limit or the model's positions, whichever is less."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    known = [n for n in (wanted, positions) if n]
    return min(known) if known else None


def _film_sizes(corpus: Corpus, row: int) -> tuple[tuple[int, int], ...] | HilumError:
    from PIL import Image

    sizes = []
    for film in corpus.rows[row]["images"][: corpus.how.views]:
        try:
            with Image.open(io.BytesIO(film["bytes"])) as image:
                sizes.append(image.size)
                image.verify()  # every chunk's checksum, without inflating the pixels
        except Exception as error:  # Pillow raises what its formats raise
            return HilumError(Code.FILE_DAMAGED, "", type(error).__name__)
    return tuple(sizes)


class _Prompts:
    """Tokens of a prompt and of its films; the same words on films of the same sizes once."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.known: dict[Any, tuple[int, int]] = {}

    def __call__(self, sample: Sample, sizes: tuple[tuple[int, int], ...]) -> tuple[int, int]:
        from PIL import Image

        key = (sample.prompt, sample.system, sizes)
        if key not in self.known:
            ids = self.chat.begin([sample], [[Image.new("RGB", s) for s in sizes]])["input_ids"][0]
            films = int((ids == self.chat.image_id).sum())
            if sizes and not films:
                raise HilumError(Code.MODEL_INVALID, "chat template", "has no place for a film")
            self.known[key] = len(ids), films
        return self.known[key]
