"""Which patient goes where: by a hash, so that more data moves nobody."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from hilum.codes import Code, HilumError
from hilum.data.pair import Pair
from hilum.data.schema import SPLITS

Fractions = tuple[float, float, float]


def check_fractions(fractions: Fractions) -> None:
    """Raises ``option_invalid`` unless there are three shares from 0 to 1 that add up to 1."""
    if len(fractions) != len(SPLITS) or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise HilumError(
            Code.OPTION_INVALID, "--split", "three shares that add up to 1: 0.8,0.1,0.1"
        )


def draw(patient: str, fractions: Fractions, seed: int) -> str:
    """The split of a patient: train, validation or test, always the same for one seed."""
    at = fraction_of(f"{seed}:{patient}")
    edges = (fractions[0], fractions[0] + fractions[1])
    return SPLITS[sum(at >= edge for edge in edges)]


def fraction_of(name: str) -> float:
    """A number in 0..1 that is as good as random, and fixed by the name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big") / (1 << 56)


@dataclass
class Census:
    """One pass over the pairs before anything is opened: how many, whose, and which are official.

    ``digest`` tells two states of a source apart. A patient that the source puts into two
    splits raises ``split_leak`` here, before hours of work.
    """

    studies: int = 0
    films: int = 0
    official: int = 0
    _splits: dict[str, str] = field(default_factory=dict)
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def count(self, pairs: Iterable[Pair]) -> Iterable[Pair]:
        """Count pairs as they pass."""
        for pair in pairs:
            self.studies += 1
            self.films += len(pair.films)
            parts = (
                pair.study_id,
                pair.patient_id,
                len(pair.films),
                pair.findings,
                pair.impression,
            )
            self._hash.update(repr(parts).encode())
            if pair.split is not None:
                self.official += 1
                if self._splits.setdefault(pair.patient_id, pair.split) != pair.split:
                    detail = f"{pair.where}: the source has this patient in another split as well"
                    raise HilumError(Code.SPLIT_LEAK, pair.study_id, detail)
            yield pair

    def split_of(
        self, pair_split: str | None, patient: str, fractions: Fractions, seed: int
    ) -> str:
        """The official split of the study or of its patient, else a drawn one."""
        return pair_split or self._splits.get(patient) or draw(patient, fractions, seed)

    @property
    def digest(self) -> str:
        """Hex digits that change with any study, patient, text or number of films."""
        return self._hash.hexdigest()
