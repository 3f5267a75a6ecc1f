"""How fast phantoms are simulated, and what they look like beside real films.

    python -m benchmarks.phantom --n 60
    python -m benchmarks.phantom --sheet sheet.png --beside FOLDER_OF_REAL_FILMS

Speed is of one process with one thread, in processor time, the best of five rounds: other work on
the machine counts as little as it can. The last line is one line of JSON with every figure.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.phantom.film import simulate

TILE = 384


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--n", type=int, default=60)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--sheet", type=Path, help="picture of twenty phantoms to write")
    parser.add_argument("--beside", type=Path, help="folder of real films to show beneath them")
    args = parser.parse_args()
    figures: dict[str, Any] = {}
    for size, position in ((512, "PA"), (512, "LL"), (640, "PA"), (1024, "PA")):
        rate = speed(args.seed, max(5, args.n // 5), size, position)
        figures[f"films_per_s_{size}_{position.lower()}"] = round(rate, 1)
        print(f"{size} px, {position}: {rate:.1f} films a second and core")
    if args.sheet:
        tiles = [phantom(args.seed, i) for i in range(20)]
        if args.beside:
            tiles += real(args.beside, 10)
        rows = [np.hstack(tiles[k : k + 5]) for k in range(0, len(tiles), 5)]
        cv2.imwrite(str(args.sheet), np.vstack(rows))
        print(f"{args.sheet}: {len(tiles)} films, the phantoms first")
    print(json.dumps(figures))


def speed(seed: int, n: int, size: int, position: Any) -> float:
    cv2.setNumThreads(1)
    simulate(seed, 0, size, position=position)  # compiles
    best = 0.0
    for _ in range(5):
        begun = time.process_time()
        for i in range(n):
            simulate(seed, i, size, position=position)
        best = max(best, n / (time.process_time() - begun))
    return best


def phantom(seed: int, index: int) -> NDArray[np.uint8]:
    return np.asarray(simulate(seed, index, TILE).pixels >> 4, np.uint8)


def real(folder: Path, most: int) -> list[NDArray[np.uint8]]:
    """Real films as they are displayed, whole, each in a square."""
    from hilum import imaging
    from hilum.models.embedded.processing import fit

    tiles: list[NDArray[np.uint8]] = []
    for files in imaging.scan([folder]):
        if len(tiles) == most:
            break
        study = imaging.load(files)
        tiles += [fit(view.display(), TILE)[0] for view in study.views[:1]]
    while len(tiles) % 5:
        tiles.append(np.zeros((TILE, TILE), np.uint8))
    return tiles


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
