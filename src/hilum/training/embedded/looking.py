"""Many films as the trained encoder sees them: looked at once, and kept in files, by parts.

Looking takes a large share of an hour; an interruption costs one part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from hilum.models.embedded import FilmEncoder
from hilum.models.embedded.encoder import FilmEncoderOutput
from hilum.models.embedded.processing import normalise
from hilum.training.embedded.batches import whole
from hilum.training.embedded.shards import Shards

PART = 1000  # films
AT_ONCE = 8


class Seen(NamedTuple):
    """Some films, (n, 1, side, side) uint8 as the encoder takes them in, and what it gives.

    ``numbers`` of the films, and the (2, 3) maps ``turns`` from their pixels to the encoder's.
    """

    numbers: range
    films: Tensor
    turns: tuple[NDArray[np.float32], ...]
    out: FilmEncoderOutput

    @property
    def side(self) -> int:
        """Of the encoder's input, in pixels."""
        return self.films.shape[-1]


# What is kept of films of these numbers.
Look = Callable[[FilmEncoder, Shards, range], dict[str, Tensor]]


@torch.no_grad()
def look_at(encoder: FilmEncoder, films: Shards, numbers: range) -> Iterator[Seen]:
    """The films of these numbers, some at a time, without second looks."""
    encoder.eval()
    for start in numbers[::AT_ONCE]:
        some = range(start, min(start + AT_ONCE, numbers.stop))
        squares, turns = zip(
            *(whole(films[k][0], encoder.config.image_size) for k in some), strict=True
        )
        grey = torch.from_numpy(np.stack(squares))[:, None]
        batch = normalise(grey).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            out = encoder(batch, second_look=False)
        yield Seen(some, grey, turns, out)


def by_parts(
    encoder: FilmEncoder,
    films: Shards,
    count: int,
    kept: Path,
    look: Look,
    progress: Callable[[], None],
) -> list[dict[str, Tensor]]:
    """What ``look`` gives of each part of the first ``count`` films, from ``kept``-NNN.safetensors.

    What is not there, is of another encoder or of other films, or cannot be read is looked at.
    """
    parts, seen_by = [], fingerprint(encoder)
    for start in range(0, count, PART):
        numbers = range(start, min(start + PART, count))
        path = kept.with_name(f"{kept.name}-{start // PART:03d}.safetensors")
        truth = json.dumps(films.entries[numbers.start : numbers.stop])
        of = {"encoder": seen_by, "films": hashlib.sha256(truth.encode()).hexdigest()}
        if not _is_of(path, of):
            tensors = {name: t.contiguous() for name, t in look(encoder, films, numbers).items()}
            part = path.with_suffix(".part")
            save_file(tensors, part, metadata=of)
            part.replace(path)
        parts.append(load_file(path))
        for _ in numbers:
            progress()
    return parts


def fingerprint(encoder: FilmEncoder) -> str:
    """Of what the encoder has learnt before it looks: of all but its second looks.

    Nor of the norms' statistics, which every run settles anew, to the last bit or so.
    """
    digest = hashlib.sha256()
    for name, weight in encoder.named_parameters():
        if not name.startswith("glimpses."):
            digest.update(weight.detach().numpy().tobytes())
    return digest.hexdigest()


def _is_of(path: Path, of: dict[str, str]) -> bool:
    try:
        with safe_open(path, "pt") as file:
            return bool(file.metadata() == of)
    except (OSError, SafetensorError):
        return False
