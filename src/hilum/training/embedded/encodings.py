"""Films as the encoder sees them, kept for the stages that follow it.

Encoding is much of their work, so every film is encoded once, before they begin, and what is seen
is kept in files.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.models.embedded import FilmEncoder
from hilum.models.embedded.configuration import CLASSES
from hilum.models.embedded.processing import normalise
from hilum.training.embedded.batches import moved
from hilum.training.embedded.looking import by_parts, look_at
from hilum.training.embedded.shards import Shards
from hilum.training.embedded.words import NEAR, match

Located = tuple[int, NDArray[np.float32]]  # a class, and a box (xyxy) of it


class Places(NamedTuple):
    """Places where the encoder sees a finding: what it learns to tell apart here."""

    pieces: NDArray[np.uint8]  # (n, side, side)
    scores: NDArray[np.float32]  # (n,), the heatmap's logits
    there: NDArray[np.bool_]  # (n,), whether a true one lies there


@dataclass
class Encodings:
    """Films as the encoder sees them: features of the proposals, and which box is whose.

    Of the places of each class that is looked at once more: pieces of the film, the heatmap's
    logits, whether a true one lies there, and, once :meth:`look_again` was called, what the second
    look gives.
    """

    seen: Tensor  # (n, proposals, features), half precision
    slots: list[list[int]]
    pieces: dict[str, Tensor]  # (n, places, 1, side, side), uint8
    heat: dict[str, Tensor]  # (n, places)
    there: dict[str, Tensor]  # (n, places), bool
    glimpses: dict[str, Tensor] = field(default_factory=dict)
    logits: dict[str, Tensor] = field(default_factory=dict)

    def places(self, name: str) -> Places:
        """Every place of a class on its own."""
        return Places(
            self.pieces[name].flatten(0, 2).numpy(),
            self.heat[name].flatten().numpy(),
            self.there[name].flatten().numpy(),
        )

    @torch.no_grad()
    def look_again(self, encoder: FilmEncoder) -> None:
        """Look at every place with the trained second looks."""
        for name, pieces in self.pieces.items():
            seen, logits = [], []
            for k in range(0, len(pieces), 64):
                with torch.autocast("cpu", torch.bfloat16):
                    one, other = encoder.look_again(
                        name, normalise(pieces[k : k + 64]), self.heat[name][k : k + 64]
                    )
                seen.append(one.half())
                logits.append(other.float())
            self.glimpses[name], self.logits[name] = torch.cat(seen), torch.cat(logits)

    def tokens(self, encoder: FilmEncoder, rows: list[int]) -> Tensor:
        """The proposals' tokens (len(rows), proposals, hidden), as the encoder would give them.

        After :meth:`look_again`.
        """
        hidden = encoder.proposals(self.seen[rows].float())
        for name in self.pieces:
            seen, logits = self.glimpses[name][rows].float(), self.logits[name][rows]
            hidden = encoder.told(name, hidden, seen, logits)
        return torch.as_tensor(hidden)


def encode(
    encoder: FilmEncoder,
    films: Shards,
    kept: Path,
    progress: Callable[[], None],
    most: int = sys.maxsize,
) -> Encodings:
    """Every film once, or the first ``most``; parts of it are kept as files ``kept``-NNN."""
    count = min(len(films), most)
    parts = by_parts(encoder, films, count, kept, _encode, progress)
    tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    lengths = [len(films.entries[k]["instances"]) for k in range(count)]
    slots = [row.tolist() for row in tensors["slots"].split(lengths)]
    of_looks = (
        {name: tensors[f"{field}.{name}"] for name in encoder.config.looks}
        for field in ("pieces", "heat", "there")
    )
    return Encodings(tensors["seen"], slots, *of_looks)


def _encode(encoder: FilmEncoder, films: Shards, numbers: range) -> dict[str, Tensor]:
    """The tensors of :class:`Encodings` by name; ``slots`` one film's after the other's."""
    rows: dict[str, list[Tensor]] = defaultdict(list)
    for seen in look_at(encoder, films, numbers):
        rows["seen"].append(seen.out.seen.half())
        boxes = seen.out.boxes.float().numpy()
        true = [
            _true(films.entries[k], turn) for k, turn in zip(seen.numbers, seen.turns, strict=True)
        ]
        for name in encoder.config.looks:
            of_class, kind = encoder.slots[name], list(CLASSES).index(name)
            near = [
                _near(some, found[of_class], kind, seen.side)
                for some, found in zip(true, boxes, strict=True)
            ]
            rows[f"pieces.{name}"].append(encoder.pieces(name, seen.films, seen.out))
            rows[f"heat.{name}"].append(seen.out.scores[:, of_class].float())
            rows[f"there.{name}"].append(torch.from_numpy(np.stack(near)))
        for some, found in zip(true, boxes, strict=True):
            slots = match((b for _, b in some), [kind for kind, _ in some], found, seen.side)
            rows["slots"].append(torch.tensor(slots, dtype=torch.int64))
    return {name: torch.cat(parts) for name, parts in rows.items()}


def _true(entry: dict[str, Any], turn: NDArray[np.float32]) -> list[Located]:
    """What a film shows, on the encoder's input."""
    return [(int(r[0]), moved(np.array(r[1:5], np.float32), turn)) for r in entry["instances"]]


def _near(
    true: list[Located], found: NDArray[np.float32], kind: int, side: int
) -> NDArray[np.bool_]:
    """Which of the boxes found (P, 4) have the centre of a true one of a class within 15 mm."""
    near = np.zeros(len(found), bool)
    for centre in ((box[:2] + box[2:]) / 2 for of, box in true if of == kind):
        near |= np.hypot(*((found[:, :2] + found[:, 2:]) / 2 - centre).T) < NEAR * side
    return near
