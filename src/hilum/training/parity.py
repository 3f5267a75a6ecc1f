"""Where a quantised model is written, and whether it still says what its original does."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hilum.codes import Code, HilumError
from hilum.engines import Engine, Question, Request, Sampling
from hilum.engines.abilities import leading_text
from hilum.models.safety import read_json

if TYPE_CHECKING:
    from hilum.reading.reader import Card

# A model is broken, and not only rounded, where it shares less than this part of the leading text
# with its original, by bits a weight, and its probabilities are further away than FARTHEST.
LEAST = {16: 0.9, 8: 0.5, 4: 0.25}
FARTHEST = 0.2
FILMS, TOKENS = 4, 16
QUESTION = Question("Is there a fracture? Answer yes or no.", ("Yes", "No"), "first")


@dataclass(frozen=True)
class Parity:
    """How a quantised model compares with its original in float32, on noise films."""

    texts: int
    texts_equal: int
    leading_text_equal: float
    largest_probability_difference: float


@dataclass(frozen=True)
class Quantised:
    """What became of a model: its weights' bytes before and after, and its parity."""

    format: str
    bytes_before: int
    bytes_after: int
    parity: Parity


def refuse(folder: Path, to: str, known: Iterable[str], out: Path) -> None:
    """Raises what cannot be: ``option_invalid`` for a format that is not known or a model that is
    quantised already, ``output_exists`` where ``out`` is there.
    """
    if to not in known:
        raise HilumError(Code.OPTION_INVALID, "--to", f"take one of {', '.join(known)}")
    if out.exists():
        raise HilumError(Code.OUTPUT_EXISTS, out, "name a new folder")
    if "quantization_config" in read_json(folder / "config.json"):
        raise HilumError(Code.OPTION_INVALID, folder, "it is quantised already")


@contextmanager
def written(folder: Path, out: Path) -> Iterator[Path]:
    """A folder for ``folder``'s quantised weights, which becomes ``out`` with processor and card.

    A stopped or failed run leaves neither. Raises ``output_unwritable``.
    """
    from hilum.models.processing import open_processor

    part = out.absolute().with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        yield part
        open_processor(folder).save_pretrained(part)
        write_card(folder, part)
        part.replace(out)
    except OSError as error:
        raise HilumError(Code.OUTPUT_UNWRITABLE, out, error.strerror or "") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def judged(folder: Path, to: str, bits: int, out: Path, original: Engine) -> Quantised:
    """What became of ``folder`` in ``out``; raises ``parity_failed``."""
    from hilum.engines.local.vlm import VlmEngine

    parity = compare(original, VlmEngine(out))
    suffix = ".safetensors"
    done = Quantised(to, weight_bytes(folder, suffix), weight_bytes(out, suffix), parity)
    require_parity(out, bits, parity)
    return done


def compare(original: Engine, quantised: Engine) -> Parity:
    """Texts and probabilities of two engines on the same films and words."""
    rng = np.random.default_rng(0)
    films = [rng.integers(0, 256, (80, 64), dtype=np.uint8) for _ in range(FILMS)]
    requests = [Request((film,), "Describe bones on this chest X-ray.") for film in films]
    one, two = (e.generate(requests, Sampling(TOKENS)) for e in (original, quantised))
    texts = [(_readable(a.text), _readable(b.text)) for a, b in zip(one, two, strict=True)]
    p, q = (e.choose([(f,) for f in films], "", [QUESTION]) for e in (original, quantised))
    return Parity(
        texts=len(texts),
        texts_equal=sum(a == b for a, b in texts),
        leading_text_equal=float(np.mean([leading_text(a, b) for a, b in texts])),
        largest_probability_difference=float(np.abs(np.array(p) - np.array(q)).max()),
    )


def _readable(text: str) -> str:
    """Text in which any run of broken letters is one: decoders differ in how many they print."""
    return re.sub("\ufffd+", "\ufffd", text)


def require_parity(out: Path, bits: int, parity: Parity) -> None:
    """Raises ``parity_failed`` where a model of so many bits a weight says something else."""
    apart = parity.largest_probability_difference
    if parity.leading_text_equal < LEAST[bits] and apart > FARTHEST:
        wrong = (
            f"{parity.leading_text_equal:.0%} of the leading text, probabilities {apart:.2f} off"
        )
        raise HilumError(Code.PARITY_FAILED, out, wrong)


def card_of(folder: Path) -> Card:
    """A folder's ``reader.json``, or the card of a model without one."""
    from hilum.reading.plain import plain_card
    from hilum.reading.reader import CARD, Card

    path = folder / CARD
    if not path.is_file():
        return plain_card(folder)
    return Card.model_validate_json(path.read_text(encoding="utf-8"))


def write_card(folder: Path, out: Path, answers: int | None = None) -> None:
    """The original's card without its calibration: other weights have other odds.

    ``answers``: how many wordings of each answer a model without a card is asked with.
    """
    from hilum.reading.plain import NO, YES
    from hilum.reading.reader import CARD
    from hilum.reading.score import Calibration

    changed: dict[str, object] = {"calibration": Calibration()}
    if not (folder / CARD).is_file():
        changed["answers"] = (YES[:answers], NO[:answers])
    card = card_of(folder).model_copy(update=changed)
    (out / CARD).write_text(card.model_dump_json(indent=1), encoding="utf-8")


def weight_bytes(folder: Path, suffix: str) -> int:
    """Bytes of a folder's files of weights."""
    return sum(p.stat().st_size for p in folder.iterdir() if p.suffix == suffix)
