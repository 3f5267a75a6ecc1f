"""Sources: each data set in the layout it is published in, read as pairs.

A layout is a module with ``recognise(path)`` and ``pairs(path, given)``; :data:`LAYOUTS` says
what each one reads, its licence, and where it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from hilum.codes import Code, HilumError
from hilum.data.pair import Pair


class Layout(NamedTuple):
    """What a layout reads; ``licence`` holds unless the caller names another."""

    title: str
    licence: str
    url: str


LAYOUTS: dict[str, Layout] = {
    "phantom": Layout("films of `hilum phantom`", "Apache-2.0", ""),
    "openi": Layout(
        "Indiana University chest X-rays (Open-i)",
        "CC-BY-NC-ND-4.0",
        "https://openi.nlm.nih.gov/faq",
    ),
    "xrayglm": Layout(
        "XrayGLM's captions (OpenI-zh)",
        "CC-BY-NC-SA-4.0",
        "https://github.com/WangRongsheng/XrayGLM",
    ),
    "mimic-cxr": Layout(
        "MIMIC-CXR and MIMIC-CXR-JPG",
        "PhysioNet-1.5.0",
        "https://physionet.org/content/mimic-cxr-jpg/",
    ),
    "padchest": Layout(
        "PadChest", "CC-BY-SA-4.0", "https://bimcv.cipf.es/bimcv-projects/padchest/"
    ),
    "chexpert-plus": Layout(
        "CheXpert Plus", "Stanford-RUA", "https://github.com/Stanford-AIMI/chexpert-plus"
    ),
    "hub": Layout("a Hugging Face data set", "unknown", "https://huggingface.co/datasets"),
    "table": Layout("a CSV, JSONL or Excel table of your own", "unknown", ""),
    "dicom": Layout("DICOM studies with text reports", "unknown", ""),
}


@dataclass(frozen=True)
class Given:
    """What the caller says of a source: every layout reads what concerns it.

    ``columns`` maps a role (image, report, ...) to a column of a table, ``notes`` collects
    sentences on what was guessed, for the caller to see.
    """

    images: Path | None = None
    columns: dict[str, str] = field(default_factory=dict)
    language: str | None = None
    licence: str | None = None
    domain: str = "chest"
    text_only: bool = False
    keep_ids: bool = False
    notes: list[str] = field(default_factory=list, compare=False)


@dataclass(frozen=True)
class Source:
    """A layout at a place. ``pairs`` may be called again and gives the same pairs in order."""

    layout: str
    path: Path
    given: Given

    def pairs(self) -> Iterator[Pair]:
        """The studies, in a fixed order. Raises ``source_invalid`` where the layout is broken."""
        licence = self.given.licence or LAYOUTS[self.layout].licence
        for pair in _module(self.layout).pairs(self.path, self.given):
            yield _signed(pair, self.layout, licence)


def open_source(path: Path, layout: str | None, given: Given) -> Source:
    """The source at ``path``, its layout recognised where none is named.

    Raises ``option_invalid`` for a layout of another name, ``file_not_found``, and
    ``layout_unknown`` where no layout fits.
    """
    if layout is not None and layout not in LAYOUTS:
        raise HilumError(Code.OPTION_INVALID, "--layout", f"one of {', '.join(LAYOUTS)}")
    if not path.exists() and not (layout == "hub" and re.fullmatch(r"[\w.-]+/[\w.-]+", str(path))):
        raise HilumError(Code.FILE_NOT_FOUND, path)
    if layout is None:
        layout = next((name for name in LAYOUTS if _module(name).recognise(path)), None)
    if layout is None:
        raise HilumError(Code.LAYOUT_UNKNOWN, path, f"name one with --layout: {', '.join(LAYOUTS)}")
    return Source(layout, path, given)


def _module(layout: str) -> Any:
    return import_module(f"hilum.data.sources.{layout.replace('-', '_')}")


def _signed(pair: Pair, layout: str, licence: str) -> Pair:
    """The pair with its source and licence, unless it brings its own."""
    if pair.source and pair.licence:
        return pair
    from dataclasses import replace

    return replace(pair, source=pair.source or layout, licence=pair.licence or licence)
