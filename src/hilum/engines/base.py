"""What every engine offers, and what it takes and gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hilum.findings import Instance

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Request:
    """One text to be written: displayed images (rows, columns) and the prompt."""

    images: tuple[Image, ...]
    prompt: str


@dataclass(frozen=True)
class Sampling:
    """How text is drawn; ``max_new_tokens`` bounds its length.

    Greedy at ``temperature`` 0. Above it tokens are drawn from the likeliest that together have
    ``top_p`` of the probability (nucleus sampling, Holtzman et al., ICLR 2020); the same
    ``seed`` draws the same text from the same engine, None draws another each time.
    ``ignore_stops``: no stop is ever written, so that many tokens are, for measuring speed.
    Other numbers raise ValueError.
    """

    max_new_tokens: int = 224
    ignore_stops: bool = False
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.temperature <= 2 and 0 < self.top_p <= 1):
            raise ValueError(f"a temperature from 0 to 2 and a top_p above 0, to 1: {self}")

    @property
    def greedy(self) -> bool:
        """True where always the likeliest token is taken."""
        return self.temperature == 0

    def describe(self) -> dict[str, Any]:
        """For a report's provenance."""
        if self.greedy:
            return {"do_sample": False, "max_new_tokens": self.max_new_tokens}
        drawn = {"temperature": self.temperature, "top_p": self.top_p, "seed": self.seed}
        return {"do_sample": True, **drawn, "max_new_tokens": self.max_new_tokens}


@dataclass(frozen=True)
class Located:
    """A place on an image: box xyxy in its pixels, raw score (log odds), finding name.

    ``end`` is the offset in the text right after the words it belongs to; None for a place
    the text does not speak of. ``known``: what else the engine knows of it (side, bone, ...).
    """

    finding: str
    box: tuple[float, float, float, float]
    score: float
    end: int | None = None
    known: Instance | None = None


@dataclass(frozen=True)
class Draft:
    """What ``generate`` gives for one request; ``complete`` is False where the text was cut."""

    text: str
    complete: bool = True
    places: tuple[Located, ...] = field(default=())


By = Literal["sequence", "mean", "first"]


@dataclass(frozen=True)
class Question:
    """A question put after the images, and the answers whose likelihoods are compared.

    An answer is its words, or several ways to word it (verbalisers, of either language), whose
    likelihoods add up. ``by``: how words are likely: "sequence" (the product over their tokens),
    "mean" (its geometric mean, so that long answers are not at a loss) or "first" (the first
    token alone; the whole sequence where two answers begin with the same token).
    Neither the question nor an answer nor a wording is empty.
    """

    prompt: str
    answers: tuple[str | tuple[str, ...], ...]
    by: By = "sequence"

    def __post_init__(self) -> None:
        if not self.prompt or not self.answers or not all(w and all(w) for w in self.wordings()):
            raise ValueError(f"a question without words or answers: {self}")

    def wordings(self) -> list[tuple[str, ...]]:
        """The ways to word each answer."""
        return [(a,) if isinstance(a, str) else a for a in self.answers]


class Engine(Protocol):
    """Runs one set of weights. What an engine cannot do raises HilumError, never a guess."""

    weights_sha256: str
    versions: dict[str, str]

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Draft]:
        """One draft a request, in order; the requests are batched."""
        ...

    def stream(self, request: Request, sampling: Sampling) -> Iterator[str]:
        """The pieces of one draft's text as they are written."""
        ...

    def choose(
        self, images: Sequence[tuple[Image, ...]], context: str, questions: Sequence[Question]
    ) -> list[NDArray[np.float64]]:
        """Probability of each answer, one array (questions, answers) for each entry of ``images``.

        The answers' likelihoods are compared with each other and sum to 1 a question; a question
        with fewer answers than another has NaN in the columns that it lacks. Images and the
        context before the question are encoded once. Raises ``no_probability`` where the engine
        has no likelihoods.
        """
        ...
