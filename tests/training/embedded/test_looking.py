"""Looking at many films: what is kept is used again, and only where it is of the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor

from hilum.models.embedded import FilmEncoder
from hilum.training.embedded import looking
from hilum.training.embedded.looking import by_parts, fingerprint, look_at
from hilum.training.embedded.shards import Shards
from tests.training.embedded.conftest import PER_SHARD, make_encoder

SIZE = 64


class StopHereError(Exception):
    """An interruption."""


class Looks:
    """Remembers which films were looked at, and is interrupted at one of them."""

    def __init__(self, stop: int = -1) -> None:
        self.seen: list[int] = []
        self.stop = stop

    def __call__(self, encoder: FilmEncoder, films: Shards, numbers: range) -> dict[str, Tensor]:
        for k in numbers:
            if k == self.stop:
                raise StopHereError
            self.seen.append(k)
        return {"number": torch.tensor(numbers)}


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "PART", 4)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "films"


class Told:
    """Films of which nothing but the truth is known."""

    def __init__(self, changed: int = -1) -> None:
        self.entries = [{"present": [k, k == changed]} for k in range(20)]


def look(
    kept: Path,
    films: int = 10,
    encoder: FilmEncoder | None = None,
    looks: Looks | None = None,
    told: Told | None = None,
) -> list[int]:
    """Which films had to be looked at; the answer must be of all of them, and each counted."""
    looks, done, of = looks or Looks(), [], cast(Shards, told or Told())
    count = lambda: done.append(1)  # noqa: E731
    parts = by_parts(encoder or make_encoder(SIZE), of, films, kept, looks, count)
    assert torch.cat([part["number"] for part in parts]).tolist() == [*range(films)]
    assert len(done) == films
    return looks.seen


def test_it_looks_once(kept: Path) -> None:
    assert look(kept) == [*range(10)]
    assert look(kept) == []
    assert sorted(p.name for p in kept.parent.iterdir()) == [
        f"films-00{k}.safetensors" for k in range(3)
    ]


def test_an_interruption_costs_one_part(kept: Path) -> None:
    with pytest.raises(StopHereError):
        look(kept, looks=Looks(stop=6))
    assert look(kept) == [*range(4, 10)]


def test_a_write_that_fails_leaves_nothing_that_is_taken_for_a_part(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: object, part: Path, **_: object) -> None:
        part.write_bytes(b"half of it")
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(looking, "save_file", full)
        with pytest.raises(OSError, match="no space"):
            look(kept)
    assert look(kept) == [*range(10)]
    assert not list(kept.parent.glob("*.part"))


def test_more_films_are_looked_at_from_the_part_that_grew(kept: Path) -> None:
    look(kept, 10)
    assert look(kept, 13) == [*range(8, 13)]
    assert look(kept, 10) == [8, 9]


def changed(change: Callable[[FilmEncoder], None]) -> FilmEncoder:
    encoder = make_encoder(SIZE)
    with torch.no_grad():
        change(encoder)
    return encoder


def test_another_encoder_looks_for_itself(kept: Path) -> None:
    look(kept)
    learnt = changed(lambda encoder: encoder.mix8[0].weight[0, 0, 0, 0].add_(1e-4))
    assert look(kept, encoder=learnt) == [*range(10)]
    assert look(kept, encoder=learnt) == []


def test_other_films_are_looked_at(kept: Path) -> None:
    look(kept)
    assert look(kept, told=Told(changed=5)) == [4, 5, 6, 7]


def test_second_looks_and_settled_norms_change_nothing_of_what_is_seen(kept: Path) -> None:
    look(kept)
    glimpsed = changed(lambda e: e.glimpse("fracture").there.bias.add_(1.0))
    settled = changed(lambda e: e.mix8[1].running_mean.add_(1e-3))
    assert look(kept, encoder=glimpsed) == look(kept, encoder=settled) == []


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\x10\0\0\0\0\0\0\0{not json at all}"])
def test_a_damaged_part_is_made_again(kept: Path, content: bytes) -> None:
    look(kept)
    (kept.parent / "films-001.safetensors").write_bytes(content)
    assert look(kept) == [4, 5, 6, 7]
    assert look(kept) == []


def test_a_part_cut_short_is_made_again(kept: Path) -> None:
    look(kept)
    path = kept.parent / "films-002.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    assert look(kept) == [8, 9]


def test_a_fingerprint_does_not_depend_on_how_weights_lie_in_memory() -> None:
    encoder = make_encoder(SIZE)
    before = fingerprint(encoder)
    assert fingerprint(encoder.to(memory_format=torch.channels_last)) == before  # type: ignore[call-arg]


def test_films_are_seen_in_turn_whatever_their_size(films: Path) -> None:
    single = Shards(films, "single")
    seen = list(look_at(make_encoder(SIZE), single, range(1, 2 * PER_SHARD)))
    assert [k for some in seen for k in some.numbers] == [*range(1, 2 * PER_SHARD)]
    assert all(some.side == SIZE and len(some.films) == len(some.turns) for some in seen)
    scales = {float(turn[0, 0]) for some in seen for turn in some.turns}
    sides = {len(single[k][0]) for k in range(len(single))}
    assert sorted(scales) == pytest.approx(sorted(SIZE / side for side in sides), rel=0.01)
    assert len(sides) == 2
