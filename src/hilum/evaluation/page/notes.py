"""The page's longer sentences, from ``notes.yaml``."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from hilum.evaluation.page.words import Pair, both

UNCERTAIN: dict[str, Pair] = {
    "present": ("counts as present", "计为有"),
    "absent": ("counts as absent", "计为无"),
    "out": ("is left out of the reference", "不计入参考标准"),
}


def note(key: str, en: dict[str, str] | None = None, zh: dict[str, str] | None = None) -> str:
    """A note as a paragraph, with what stands in braces filled in."""
    words = _notes()[key]
    told = both(words["en"].format(**(en or {})), words["zh"].format(**(zh or {})))
    return f'<p class="note">{told}</p>'


@cache
def _notes() -> dict[str, dict[str, str]]:
    text = Path(__file__).with_name("notes.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))
