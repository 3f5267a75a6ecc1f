"""An evaluation from a dataset to its files: JSON, Markdown, one page, ReXrank's JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import hilum
from hilum.codes import Code, HilumError
from hilum.data.build import write_whole
from hilum.data.rows import Dataset, Reference
from hilum.evaluation.baseline import baselines
from hilum.evaluation.case import System
from hilum.evaluation.gallery import worst
from hilum.evaluation.judge import Settings, judge
from hilum.evaluation.markdown import markdown
from hilum.evaluation.optional import optional_scores
from hilum.evaluation.page import page
from hilum.evaluation.page.cards import cards
from hilum.evaluation.protocol import rexrank
from hilum.evaluation.run import slug

JSON, MARKDOWN, PAGE = "evaluation.json", "evaluation.md", "page.html"
_LIBRARIES = ("numpy", "scipy", "sacrebleu", "rouge-score")


@dataclass(frozen=True)
class Wanted:
    """What is written, besides the figures. ``gallery``: studies shown of each system."""

    gallery: int = 8
    optional: tuple[str, ...] = ()
    command: str = ""
    progress: Callable[[str], object] = field(default=lambda what: None)


def evaluate(
    dataset: Dataset,
    references: Sequence[Reference],
    systems: Sequence[System],
    out: Path,
    settings: Settings | None = None,
    wanted: Wanted | None = None,
) -> dict[str, Any]:
    """Judge the systems beside the baselines and write every file; returns what is in the JSON.

    Raises ``option_invalid`` for two systems of one name and ``output_unwritable``.
    """
    settings, wanted = settings or Settings(), wanted or Wanted()
    slugs = [slug(s.name) for s in systems]
    if len(set(slugs)) < len(slugs):
        raise HilumError(Code.OPTION_INVALID, "--reader", "two systems of one name")
    told = judge(references, [*systems, *baselines(references)], settings, wanted.progress)
    told |= {
        "command": wanted.command,
        "dataset": {
            "name": dataset.name,
            "split": dataset.split,
            "sha256": dataset.sha256,
            "licence": dataset.licence,
        },
        "versions": versions(),
        "optional": optional_scores(references, systems, wanted.optional),
    }
    wanted.progress("page")
    galleries = {}
    for system in systems:
        chosen = worst(references, system, settings.uncertain, wanted.gallery)
        shown = "".join(cards(dataset, references, system, chosen, settings.uncertain))
        if shown:
            galleries[system.name] = shown
    try:
        for system in systems:
            if system.has_words():
                entries = rexrank(references, system)
                _write(out / f"rexrank-{slug(system.name)}.json", _json(entries))
        _write(out / JSON, _json(told))
        _write(out / MARKDOWN, markdown(told))
        _write(out / PAGE, page(told, galleries))
    except OSError as error:
        raise HilumError(Code.OUTPUT_UNWRITABLE, out, error.strerror or "") from error
    return told


def versions() -> dict[str, str]:
    """Of everything that a figure may depend on."""
    found = {"hilum": hilum.__version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _write(path: Path, text: str) -> None:
    write_whole(path, text.encode("utf-8", "backslashreplace"))
