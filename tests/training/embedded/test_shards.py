"""Training films on disk: whole or made again, the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.findings import FindingName, Region, Side
from hilum.language import write
from hilum.models.embedded.configuration import CLASSES
from hilum.phantom.chance import CROWDED
from hilum.phantom.film import simulate
from hilum.training.embedded import shards
from hilum.training.embedded.shards import Shards, entry, simulate_shards, tracks

# As in conftest.py, which makes them.
COUNTS, SEED, SIZE = {"standard": 2, "crowded": 2, "single": 2, "held_out": 3}, 77, 64


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.fixture
def made(films: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(films, tmp_path / "films"))


# -- going on ---------------------------------------------------------------------------------


def test_only_a_missing_shard_is_made_again_and_of_the_same_bytes(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(made)
    (made / "standard-001.json").unlink()
    (made / "standard-001.npy").write_bytes(b"half of it")
    real, calls = shards._simulate_shard, []
    monkeypatch.setattr(shards, "_simulate_shard", lambda *a: (calls.append(a[1:3]), real(*a)))
    ticks: list[int] = []
    simulate_shards(made, COUNTS, SEED, SIZE, progress=lambda: ticks.append(1))
    assert calls == [("standard", 1)]
    assert len(ticks) == 1
    assert digests(made) == before
    simulate_shards(made, COUNTS, SEED, SIZE)
    assert len(calls) == 1


@pytest.mark.parametrize("after", [0, 8, 11])
def test_an_interruption_leaves_no_half_shard(
    after: int, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0
    real = shards.simulate

    def power_cut(*arguments: Any) -> Any:
        nonlocal count
        if count == after:
            raise RuntimeError("power cut")
        count += 1
        return real(*arguments)

    monkeypatch.setattr(shards, "simulate", power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        simulate_shards(tmp_path, {"standard": 2}, SEED, SIZE)
    whole = [p.stem for p in tmp_path.glob("*.json")]
    assert whole == (["standard-000"] if after >= 8 else [])
    monkeypatch.setattr(shards, "simulate", real)
    simulate_shards(tmp_path, {"standard": 2}, SEED, SIZE)
    once = digests(films)
    assert digests(tmp_path) == {n: once[n] for n in once if n.startswith("standard")}


def test_more_shards_keep_those_that_are_there(made: Path) -> None:
    before = digests(made)
    simulate_shards(made, {**COUNTS, "crowded": 3}, SEED, SIZE)
    after = digests(made)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {
        "crowded-002.json",
        "crowded-002.npy",
        "crowded-002-tracks.npy",
    }


def test_no_film_is_in_two_shards(films: Path) -> None:
    """Least of all one that is trained on and one that is held out."""
    seen = [
        hashlib.sha256(np.ascontiguousarray(Shards(films, mix)[i][0])).hexdigest()
        for mix in COUNTS
        for i in range(len(Shards(films, mix)))
    ]
    assert len(seen) == 72 == len(set(seen))


# -- reading ----------------------------------------------------------------------------------


def test_a_film_comes_with_its_own_tracks_and_entry(films: Path) -> None:
    standard = Shards(films, "standard")
    assert len(standard) == 16
    for i in (0, 7, 8, 15):  # the first and last of each shard
        film = simulate(SEED, i, 51 if i < 8 else SIZE)  # every other shard is coarser
        pixels, lines, row = standard[i]
        assert np.array_equal(pixels, film.pixels >> 4)
        assert np.array_equal(lines, tracks(film).astype(np.float32))
        assert row == json.loads(json.dumps(entry(film)))
    with pytest.raises(IndexError):
        standard[16]


def test_a_shard_without_its_json_is_not_there(made: Path) -> None:
    (made / "standard-001.json").unlink()
    assert len(Shards(made, "standard")) == 8
    assert len(Shards(made, "no such mix")) == 0


def test_mixes_do_not_take_each_others_shards(films: Path) -> None:
    assert len(Shards(films, "crowded")) == 16
    assert len(Shards(films, "held_out")) == 24
    instances = [len(e["instances"]) for e in Shards(films, "crowded").entries]
    assert np.mean(instances) > 2


# -- what training knows of a film ------------------------------------------------------------


@pytest.mark.parametrize("index", range(12))
def test_an_entry_says_what_the_film_says(index: int) -> None:
    film = simulate(3, index, SIZE, CROWDED if index % 3 == 0 else shards.STANDARD)
    row = entry(film)
    names = list(CLASSES)
    assert " ".join(text for text, _ in row["sentences"]["en"]) == write(film.findings, "en")
    assert "".join(text for text, _ in row["sentences"]["zh"]) == write(film.findings, "zh")
    present = {f.name for f in film.findings if f.present}
    assert [bool(p) for p in row["present"]] == [FindingName(n) in present for n in names]
    truth = [(f.name, i) for f in film.findings if f.name in CLASSES for i in f.instances]
    assert len(row["instances"]) == len(truth)
    for found, (name, instance) in zip(row["instances"], truth, strict=True):
        kind, *box, rib, region, break_kind, side, zone, bone = found
        assert names[int(kind)] == name
        assert instance.box is not None
        assert tuple(box) == instance.box.xyxy
        assert side == (-1 if instance.side is None else shards.SIDES.index(instance.side))
        if name in ("nodule", "lung_opacity", "atelectasis"):
            assert shards.ZONES[int(zone)] is instance.region
        else:
            assert zone == -1
        if name == "fracture":
            assert shards.BONES[int(bone)] is instance.bone
            assert ([rib + 1] if rib >= 0 else []) == instance.ribs
            assert (shards.REGIONS[int(region)] if region >= 0 else None) is instance.region
            assert shards.KINDS[int(break_kind)] == (instance.displacement, instance.stage)
        else:
            assert (rib, region, break_kind, bone) == (-1, -1, -1, -1)
    for language in ("en", "zh"):
        told = [k for _, k in row["sentences"][language] if k >= 0]
        assert told == list(range(len(truth)))  # every instance has one sentence, in order


def test_tracks_name_ribs_and_regions() -> None:
    film = simulate(3, 0, 128)
    lines = tracks(film)
    assert lines.shape[0] == 24
    assert lines.shape[2] == 4
    assert lines.dtype == np.float16
    assert set(np.unique(lines[..., 2])) == set(range(12))
    assert set(np.unique(lines[..., 3])) == {0, 1, 2}
    order = [shards.REGIONS[int(k)] for k in (lines[3, 0, 3], lines[3, -1, 3])]
    assert order == [Region.POSTERIOR, Region.ANTERIOR]
    left, right = film.tracks[Side.LEFT, 4][:, 0].mean(), film.tracks[Side.RIGHT, 4][:, 0].mean()
    assert left > right  # the patient's left is on the film's right
