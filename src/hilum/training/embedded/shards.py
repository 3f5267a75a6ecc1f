"""Training films on disk: simulated once, in shards, read by memory map.

The encoder learns from ``crowded`` and ``single`` films, the decoder from ``standard`` ones, which
the encoder has not seen: what it reads is then what it will read. ``held_out`` films check and
calibrate. A shard is ``NAME.npy`` (n, S, S) uint8 and ``NAME.json`` with one entry a film. The
.json is written last, so a shard with one is whole, and an interrupted simulation goes on where it
was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.findings import Instance
from hilum.language.template import sentence
from hilum.models.embedded.attributes import BONES, KINDS, REGIONS, SIDES, ZONES
from hilum.models.embedded.configuration import CLASSES
from hilum.phantom.chance import CROWDED, STANDARD
from hilum.phantom.corpus import begin_simulating
from hilum.phantom.film import Film, simulate
from hilum.phantom.findings import REGION_BORDERS
from hilum.processes import processors
from hilum.report import LANGUAGES

PER_SHARD = 200
MIXES = {"standard": STANDARD, "crowded": CROWDED, "held_out": STANDARD, "single": STANDARD}


def entry(film: Film) -> dict[str, Any]:
    """What training needs to know of a film.

    ``instances``: class, box, then what :data:`~hilum.models.embedded.attributes.ATTRIBUTES`
    lists (-1 where it has none). ``sentences``: per language, (text, number of the instance it
    describes or -1).
    """
    names = list(CLASSES)
    instances: list[list[float]] = []
    sentences: dict[str, list[tuple[str, int]]] = {language: [] for language in LANGUAGES}
    for finding in film.findings:
        if finding.name not in CLASSES:
            continue
        first = len(instances)
        instances += [_row(names.index(finding.name), i) for i in finding.instances]
        for language in LANGUAGES:
            for k, text in enumerate(sentence(finding, language)):
                sentences[language].append((text, first + k if finding.instances else -1))
    return {
        "instances": instances,
        "sentences": sentences,
        "present": [int(any(f.name == n and f.present for f in film.findings)) for n in names],
    }


def _row(kind: int, instance: Instance) -> list[float]:
    box = list(instance.box.xyxy) if instance.box else [-1.0] * 4
    rib = instance.ribs[0] - 1 if instance.ribs else -1
    region = _number(REGIONS, instance.region)
    appearance = _number(KINDS, (instance.displacement, instance.stage))
    return [
        kind,
        *box,
        rib,
        region,
        appearance,
        _number(SIDES, instance.side),
        _number(ZONES, instance.region),
        _number(BONES, instance.bone),
    ]


def _number(answers: Sequence[object], answer: object) -> int:
    return answers.index(answer) if answer in answers else -1


def tracks(film: Film) -> NDArray[np.float16]:
    """Every rib's axis on the film, (24, T, 4): x, y, number - 1, region."""
    rows = []
    for (_, number), track in film.tracks.items():
        region = np.digitize(track[:, 2], REGION_BORDERS)
        number_of_rib = np.full(len(track), number - 1)
        rows.append(np.stack([track[:, 0], track[:, 1], number_of_rib, region], 1))
    return np.stack(rows).astype(np.float16)


def _side(number: int, size: int) -> int:
    """Films arrive larger and smaller than the encoder's input: every other shard is coarser."""
    return size if number % 2 else size * 4 // 5


def _simulate_shard(folder: Path, mix: str, number: int, seed: int, size: int) -> None:
    name = folder / f"{mix}-{number:03d}"
    films = np.empty((PER_SHARD, size, size), np.uint8)
    entries, lines = [], []
    for i in range(PER_SHARD):
        film = simulate(seed, number * PER_SHARD + i, size, MIXES[mix])
        films[i] = film.pixels >> 4
        entries.append(entry(film))
        lines.append(tracks(film))
    np.save(name.with_suffix(".npy"), films)
    np.save(folder / f"{name.name}-tracks.npy", np.stack(lines))
    part = name.with_suffix(".part")
    part.write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
    part.replace(name.with_suffix(".json"))


def simulate_shards(
    folder: Path,
    shards: dict[str, int],
    seed: int,
    size: int,
    processes: int | None = None,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Simulate the shards that are missing: ``shards`` is how many of each mix."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = [
        (mix, number)
        for number in range(max(shards.values()))
        for mix, count in shards.items()
        if number < count and not (folder / f"{mix}-{number:03d}.json").exists()
    ]
    with ProcessPoolExecutor(
        processes or processors(),
        mp_context=get_context("spawn"),
        initializer=begin_simulating,
    ) as pool:
        # the mixes draw from seeds of their own, so no film is in both
        seeds = {mix: seed + k for k, mix in enumerate(MIXES)}
        jobs = ((folder, mix, n, seeds[mix], _side(n, size)) for mix, n in todo)
        for _ in pool.map(_simulate_shard, *zip(*jobs, strict=True)):
            progress()


class Shards:
    """The films of one mix, opened by memory map."""

    def __init__(self, folder: Path, mix: str) -> None:
        self.entries: list[dict[str, Any]] = []
        self._films: list[NDArray[np.uint8]] = []
        self._tracks: list[NDArray[np.float16]] = []
        for path in sorted(folder.glob(f"{mix}-*.json")):
            self.entries += json.loads(path.read_text(encoding="utf-8"))
            self._films.append(np.load(path.with_suffix(".npy"), mmap_mode="r"))
            self._tracks.append(np.load(path.parent / f"{path.stem}-tracks.npy", mmap_mode="r"))

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, i: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], dict[str, Any]]:
        shard, row = divmod(i, PER_SHARD)
        return self._films[shard][row], self._tracks[shard][row].astype(np.float32), self.entries[i]
