"""What is known of each published model, read from the data files in ``cards/`` and ``indexes/``.

A card says where a value comes from. Nothing here needs torch except :func:`meta_model`.
"""

from __future__ import annotations

import itertools
import math
import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from hilum.codes import Code, HilumError
from hilum.findings import Record
from hilum.models.libraries import need_torch
from hilum.report import Language

CARDS = Path(__file__).parent / "cards"
INDEXES = Path(__file__).parent / "indexes"

Ability = Literal[
    "base",
    "boxes",
    "findings",
    "fractures",
    "prior",
    "probabilities",
    "several_turns",
    "several_views",
    "student",
    "vqa",
]


class Part(Record):
    """One piece of a model, where it came from and its licence (an id of ``licences.yaml``)."""

    part: str
    source: str
    licence: str


class Prompt(Record):
    """Words that a model is asked with; ``text`` may hold fields in braces."""

    task: str
    language: Language
    text: str
    system: str = ""
    source: str


class Geometry(Record):
    """How a film becomes the model's input.

    ``fit``: crop (shortest edge, then centre), pad (to a square), stretch, native (any size) or
    tiles. ``side`` and ``patch`` in pixels, ``tokens`` an image or tile; None where they vary.
    """

    fit: Literal["crop", "pad", "stretch", "native", "tiles"]
    side: int | None
    patch: int | None
    tokens: int | None
    mean: list[float]
    std: list[float]
    source: str


class Preset(Record):
    """One published model: all that is known of it without its weights."""

    id: str
    hub: str = ""
    gated: bool = False
    family: str
    architecture: str
    parts: Annotated[list[Part], Field(min_length=1)]
    prompts: list[Prompt]
    chat_template: str
    image: Geometry
    languages: list[Language]
    stop_ids: list[int]
    stop_source: str
    abilities: list[Ability]
    remote_code: bool = False
    config: dict[str, Any]
    config_source: str
    parameters: int | None
    parameters_source: str
    index: str = ""


class Gone(Record):
    """A model that cannot be had any more, and what to take instead."""

    id: str
    aliases: list[str]
    instead: str
    why: str
    why_zh: str


@cache
def presets() -> dict[str, Preset]:
    """Every preset by its id, in the order of the files."""
    raw: dict[str, dict[str, Any]] = {}
    for path in sorted(CARDS.glob("*.yaml")):
        if path.stem in ("gone", "licences"):
            continue
        for card in read_yaml(path):
            base = raw[card["like"]] if "like" in card else {}
            raw[card["id"]] = _merge(base, {k: v for k, v in card.items() if k != "like"})
    try:
        return {name: Preset.model_validate(card) for name, card in raw.items()}
    except ValidationError as error:
        raise HilumError(Code.PRESET_UNKNOWN, CARDS, str(error).splitlines()[0]) from error


@cache
def gone() -> list[Gone]:
    """Models that cannot be had any more."""
    return [Gone.model_validate(entry) for entry in read_yaml(CARDS / "gone.yaml")]


def find(name: str) -> Preset:
    """The preset of an id or hub id, in any case.

    Raises ``model_gone`` for a model that cannot be had any more, ``preset_unknown`` otherwise.
    """
    wanted = name.strip().lower()
    for preset in presets().values():
        if wanted and wanted in (preset.id, preset.hub.lower()):
            return preset
    for entry in gone():
        if wanted in (entry.id, *entry.aliases):
            raise HilumError(Code.MODEL_GONE, entry.id, f"{entry.why}; take {entry.instead}")
    near = get_close_matches(wanted, presets(), 1)
    hint = f"{near[0]}?" if near else "hilum models list shows them"
    raise HilumError(Code.PRESET_UNKNOWN, name, hint)


def meta_model(preset: Preset) -> Any:
    """The preset's real configuration built on the meta device: shapes and names, no memory.

    Raises ``extra_missing`` without torch; the embedded reader has no configuration here.
    """
    torch = need_torch()
    from transformers import AutoConfig, AutoModelForImageTextToText

    import hilum.models.maira2  # noqa: F401 - registers MAIRA-2's architecture

    settings = dict(preset.config)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    model.tie_weights()
    return model


def count_parameters(preset: Preset) -> int:
    """Parameters of the preset's configuration, a shared one counted once."""
    if preset.family == "embedded":
        from hilum.models.safety import header

        shapes = header(Path(__file__).parent / "embedded" / "weights" / "model.safetensors")
        return sum(math.prod(entry["shape"]) for entry in shapes.values())
    return sum(p.numel() for p in meta_model(preset).parameters())


class Index(Record):
    """The tensor names of a published checkpoint, as patterns; {} counts layers."""

    total_size: int
    bytes_a_parameter: int
    preset: str
    renames: list[tuple[str, str]]
    names: dict[str, int]

    def published(self) -> set[str]:
        """Every tensor's name as published."""
        return {name for pattern, n in self.names.items() for name in _expand(pattern, n)}

    def native(self) -> set[str]:
        """Every tensor's name as transformers has it."""
        return {self.rename(name) for name in self.published()}

    def rename(self, name: str) -> str:
        """A published name in transformers' words."""
        for old, new in self.renames:
            if name.startswith(old):
                return new + name[len(old) :]
        return name


def read_index(name: str) -> Index:
    """The published index of that name in ``indexes/``."""
    return Index.model_validate(read_yaml(INDEXES / f"{name}.yaml"))


def _expand(pattern: str, count: int) -> list[str]:
    """``a.{}.(b|c)`` with a count of 2: a.0.b, a.0.c, a.1.b, a.1.c."""
    pieces = [piece.split("|") for piece in re.split(r"[()]", pattern)]
    names = ["".join(chosen) for chosen in itertools.product(*pieces)]
    return [name.replace("{}", str(i)) for name in names for i in range(count)]


def _merge(base: Any, over: Any) -> Any:
    """``over`` laid on ``base``: mappings merge, but one that names its model_type replaces."""
    if not isinstance(base, dict) or not isinstance(over, dict) or "model_type" in over:
        return over
    return {**base, **{key: _merge(base.get(key), value) for key, value in over.items()}}


def read_yaml(path: Path) -> Any:
    """A data file of this package."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))
