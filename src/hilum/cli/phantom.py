"""``hilum phantom``: simulated chests with known truth."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hilum.codes import Code, HilumError


class FilmFormat(StrEnum):
    """How the films are written."""

    DICOM = "dicom"
    PNG = "png"


def phantom(
    folder: Annotated[Path, typer.Argument(help="Folder for the films and truth.jsonl.")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many films.")] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same films.")] = 0,
    size: Annotated[int, typer.Option("--size", min=128, max=4096, help="Side in pixels.")] = 1024,
    format: Annotated[FilmFormat, typer.Option("--format", help="File format.")] = FilmFormat.DICOM,
    lateral: Annotated[
        bool, typer.Option("--lateral", help="Each chest from the side too.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes; 0: one a core.")] = 0,
) -> None:
    """Simulate chest radiographs with known findings, as DICOM or PNG, with their truth.

    Example: hilum phantom films --n 20 --seed 7 --format png
    """
    try:
        from hilum.phantom.corpus import make_corpus
    except ImportError as error:
        raise HilumError(
            Code.EXTRA_MISSING, "phantom", "install it with: pip install 'hilum[phantom]'"
        ) from error
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    steps = iter(track(range(n), "simulating", console=console, transient=True))
    truth = make_corpus(
        folder,
        n,
        seed,
        size,
        format.value,
        workers or None,
        progress=lambda: next(steps, None),
        lateral=lateral,
    )
    print(f"{2 * n if lateral else n} films and {truth}")
