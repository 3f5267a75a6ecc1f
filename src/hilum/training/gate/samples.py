"""Pictures to learn from: a store of simulated scenes, and endless samples drawn from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.phantom.physics import Array
from hilum.reading.pose import contrast
from hilum.training.gate import chests, distort, others

Rng = np.random.Generator
Store = dict[str, NDArray[np.uint8]]
SHARES = {
    "frontal": 0.40,
    "posed": 0.15,
    "lateral": 0.17,
    "part": 0.08,
    "body": 0.15,
    "picture": 0.05,
}


def _frontal(rng: Rng) -> Array:
    return distort.develop(chests.frontal(rng, distort.WORK), rng)


def _lateral(rng: Rng) -> Array:
    return distort.develop(chests.lateral(rng, distort.WORK), rng)


def _body(rng: Rng) -> Array:
    canvas = others.BODIES[rng.integers(len(others.BODIES))](rng, distort.WORK)
    canvas.water *= np.float32(rng.uniform(0.15, 0.9))  # soft X-rays show bone, hard ones flesh
    return distort.develop(canvas, rng)


def _picture(rng: Rng) -> Array:
    return others.picture(rng, distort.WORK)


SCENES: dict[str, tuple[Callable[[Rng], Array], float]] = {
    "frontal": (_frontal, 0.42),
    "lateral": (_lateral, 0.2),
    "body": (_body, 0.3),
    "picture": (_picture, 0.08),
}


def scenes(count: int, seed: int, tick: Callable[[], None] = lambda: None) -> Store:
    """``count`` scenes by kind, each (n, 128, 128), 0..255."""
    store: Store = {}
    for k, (kind, (make, share)) in enumerate(SCENES.items()):
        made = []
        for i in range(max(1, round(count * share))):
            scene = make(np.random.default_rng([seed, k, i]))
            made.append(np.rint(np.clip(scene, 0, 1) * 255).astype(np.uint8))
            tick()
        store[kind] = np.stack(made)
    return store


def sample(store: Store, rng: Rng) -> tuple[NDArray[np.uint8], str]:
    """One picture of SIDE x SIDE as it may come in, and its kind, a key of ``SHARES``."""
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    source = {"posed": "frontal", "part": "frontal"}.get(kind, kind)
    scene = store[source][rng.integers(len(store[source]))] / np.float32(255)
    if rng.random() < 0.5:  # a chest is a chest with the heart on the other side
        scene = scene[:, ::-1]
    if kind in ("frontal", "posed"):
        seen = distort.finish(distort.whole(scene, rng), rng)
    elif kind == "lateral":
        seen = distort.finish(distort.aside(scene, rng), rng)
    elif kind == "part":
        seen = distort.finish(distort.part(scene, rng), rng)
    else:
        seen = distort.finish(distort.anyhow(scene, rng), rng)
    if kind == "frontal":
        return seen, kind
    turns, negative = int(rng.integers(4)), bool(rng.random() < 0.5)
    if kind == "posed" and not turns:
        negative = True
    if kind == "lateral" and rng.random() < 0.6:
        turns, negative = 0, False
    turned = np.rot90(seen, turns)
    return (255 - turned if negative else turned), kind


def batch(store: Store, count: int, rng: Rng) -> tuple[Array, list[str]]:
    """What the network sees (n, 2, SIDE, SIDE), and of which kind each is."""
    drawn = [sample(store, rng) for _ in range(count)]
    return np.stack([contrast(picture) for picture, _ in drawn]), [kind for _, kind in drawn]


def kept(folder: Path, count: int, seed: int, tick: Callable[[], None]) -> Store:
    """The scenes of a run, made on first use."""
    path = folder / f"scenes-{seed}-{count}.npz"
    if not path.exists():
        np.savez(path, **scenes(count, seed, tick))  # type: ignore[arg-type]
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
