"""What an engine can do with a model, found by doing it on films of noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hilum.codes import HilumError
from hilum.engines.base import Engine, Question, Request, Sampling

TOKENS = Sampling(8)
WORDS = "Describe bones on this chest X-ray."
QUESTION = Question("Is there a fracture? Answer yes or no.", ("Yes", "No"), "first")


def try_abilities(engine: Engine) -> dict[str, str]:
    """Each ability with "yes", or with what is wrong: a code, or what came out.

    generate, choose, several images, batch (the same text as one at a time), stream (joined, the
    same text).
    """
    rng = np.random.default_rng(0)
    films = [rng.integers(0, 256, (80, 64), dtype=np.uint8) for _ in range(3)]
    requests = [Request((f,), WORDS) for f in films]

    def text(request: Request) -> str:
        return engine.generate([request], TOKENS)[0].text

    def generate() -> str:
        return "yes" if text(requests[0]) else "no text"

    def choose() -> str:
        odds = [p[0] for p in engine.choose([(f,) for f in films], "", [QUESTION])]
        whole = all(abs(float(np.sum(p)) - 1) < 1e-6 for p in odds)
        return "yes" if whole and np.ptp([p[0] for p in odds]) > 0 else "the same for every film"

    def several() -> str:
        two = text(Request((films[0], films[1]), WORDS))
        apart = {text(requests[0]), two, text(Request((films[1], films[0]), WORDS))}
        return "yes" if len(apart) > 1 else "the same as one film"

    def batch() -> str:
        together = [d.text for d in engine.generate(requests, TOKENS)]
        return "yes" if together == [text(r) for r in requests] else "not as one at a time"

    def stream() -> str:
        pieces = list(engine.stream(requests[0], TOKENS))
        return "yes" if "".join(pieces).strip() == text(requests[0]) else "not the draft"

    tries: dict[str, Callable[[], str]] = {
        "generate": generate,
        "choose": choose,
        "several images": several,
        "batch": batch,
        "stream": stream,
    }
    return {name: _tried(one) for name, one in tries.items()}


def leading_text(one: str, two: str) -> float:
    """Share of the longer text that both begin with; 1 for two empty texts."""
    longest = max(len(one), len(two))
    pairs = enumerate(zip(one, two, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), min(len(one), len(two)))
    return same / longest if longest else 1.0


def _tried(one: Callable[[], str]) -> str:
    try:
        return one()
    except HilumError as error:
        return error.code.value
    except Exception as error:  # whatever a library makes of a model it does not know
        return type(error).__name__
