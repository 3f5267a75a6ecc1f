"""Films as the encoder sees them, kept for the stages that follow it.

Encoding is nearly all of their work, so every film is encoded once, before they begin.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.models.embedded import FilmEncoder
from hilum.models.embedded.configuration import CLASSES
from hilum.models.embedded.processing import normalise
from hilum.training.embedded.batches import augment, moved, whole
from hilum.training.embedded.shards import Shards
from hilum.training.embedded.words import NEAR, match


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
    film: list[int]
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


@torch.no_grad()
def encode(
    encoder: FilmEncoder,
    shards: Shards,
    rounds: int,
    seed: int,
    progress: Callable[[], None],
    most: int = sys.maxsize,
) -> Encodings:
    """Every film ``rounds`` times, once as it is, then augmented; ``most`` films at most."""
    encoder.eval()
    size, looks = encoder.config.image_size, encoder.config.looks
    count = min(len(shards) * rounds, most)
    parts, slots = [], []
    pieces: dict[str, list[Tensor]] = {name: [] for name in looks}
    heat: dict[str, list[Tensor]] = {name: [] for name in looks}
    there: dict[str, list[Tensor]] = {name: [] for name in looks}
    for start in range(0, count, 16):
        rows = [_variant(shards, k, seed, size) for k in range(start, min(start + 16, count))]
        grey = torch.from_numpy(np.stack([r[0] for r in rows]))[:, None]
        batch = normalise(grey).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            out = encoder(batch, second_look=False)
        parts.append(out.seen.half())
        found = out.boxes.float().numpy()
        for name in looks:
            of_class, kind = encoder.slots[name], list(CLASSES).index(name)
            near = [_near(r, b[of_class], kind) for r, b in zip(rows, found, strict=True)]
            pieces[name].append(encoder.pieces(name, grey, out))
            heat[name].append(out.scores[:, of_class].float())
            there[name].append(torch.from_numpy(np.stack(near)))
        for (_, boxes, kinds), b in zip(rows, found, strict=True):
            slots.append(match(boxes, kinds, b, size))
            progress()
    film = [k % len(shards) for k in range(count)]
    joined = ({name: torch.cat(p) for name, p in of.items()} for of in (pieces, heat, there))
    return Encodings(torch.cat(parts), film, slots, *joined)


def _near(
    row: tuple[NDArray[np.uint8], list[NDArray[np.float32]], list[int]],
    found: NDArray[np.float32],
    kind: int,
) -> NDArray[np.bool_]:
    """Which of the boxes found (P, 4) have the centre of a true one of a class within 15 mm."""
    film, boxes, kinds = row
    true = [(b[:2] + b[2:]) / 2 for b, k in zip(boxes, kinds, strict=True) if k == kind]
    near = np.zeros(len(found), bool)
    for centre in true:
        near |= np.hypot(*((found[:, :2] + found[:, 2:]) / 2 - centre).T) < NEAR * len(film)
    return near


def _variant(
    shards: Shards, k: int, seed: int, size: int
) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]], list[int]]:
    """Film number ``k``, its true boxes and their classes; past the first round, augmented."""
    film, _, entry = shards[k % len(shards)]
    if k < len(shards):
        film, turn = whole(film, size)
    else:
        film, turn = augment(film, size, np.random.default_rng([seed, k]))
    boxes = [moved(np.array(r[1:5], np.float32), turn) for r in entry["instances"]]
    return film, boxes, [int(r[0]) for r in entry["instances"]]
