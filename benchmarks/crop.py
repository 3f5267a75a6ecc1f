"""How much of each film a published centre crop shows: ``python -m benchmarks.crop FOLDER``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hilum import imaging
from hilum.codes import HilumError
from hilum.models.presets import find
from hilum.models.processing import kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", default="chexfract-maira2")
    options = parser.parse_args()
    image = find(options.preset).image
    shares = []
    for files in imaging.scan([options.folder]):
        try:
            shares += [kept(image, *view.pixels.shape) for view in imaging.load(files).views]
        except HilumError:
            continue
    if not shares:
        raise SystemExit(f"{options.folder}: no film")
    cut = [share for share in shares if share < 1]
    print(f"{len(shares)} films, {image.fit} {image.side} px: {len(cut)} lose a margin")
    print(
        f"share of the film that is seen: median {np.median(shares):.3f}, least {min(shares):.3f}"
    )


if __name__ == "__main__":
    main()
