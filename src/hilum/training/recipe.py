"""Recipe: one YAML file is one reproducible training run. No torch here.

Every key has a meaning and a check; a key that is not known is refused with the nearest one.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from hilum.codes import Code, HilumError
from hilum.findings import FindingName, Record
from hilum.report import Language

PartName = Literal["vision", "projector", "language"]
PARTS: tuple[PartName, ...] = ("vision", "projector", "language")
Mode = Literal["frozen", "lora", "full"]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Words = Annotated[str, Field(min_length=1)]

_ENGLISH: list[Language] = ["en"]
_LANGUAGE: list[PartName] = ["language"]
PROMPTS: dict[Language, str] = {
    "en": "Describe the findings in this chest X-ray.",
    "zh": "请描述这张胸部X光片的所见。",
}
ANSWERS: dict[Language, tuple[str, str]] = {"en": ("yes", "no"), "zh": ("有", "无")}


class ModelPart(Record):
    """Where the weights come from: a folder, or a preset whose folder ``path`` names.

    ``processor``: folder of the processor and the chat template where the weights have none
    (a pre-trained Gemma has no turns). ``attention``: transformers' implementation; sdpa needs
    less memory than eager and gives the same answers.
    """

    path: Words
    processor: Words | None = None
    attention: Literal["sdpa", "eager"] = "sdpa"


class Data(Record):
    """What is learnt from a prepared dataset.

    ``text``: free is the dataset's report as it is, templated writes the findings in fixed
    sentences, paraphrased writes them anew in other words each epoch. ``about``: all findings,
    or only some. ``questions``: asked beside the report; the likelihood of ``answers`` (present,
    absent) is the probability. ``max_length``: in tokens; nothing is ever cut, see
    ``hilum preview``. ``views``: images a study at most.
    """

    path: Words
    languages: list[Language] = Field(default_factory=_ENGLISH.copy, min_length=1)
    text: Literal["free", "templated", "paraphrased"] = "free"
    about: Annotated[list[FindingName], Field(min_length=1)] | None = None
    system: str = ""
    prompts: dict[Language, Words] = PROMPTS
    questions: dict[FindingName, dict[Language, Words]] = Field(default_factory=dict)
    answers: dict[Language, tuple[Words, Words]] = ANSWERS
    views: Count = 4
    max_length: Count | None = None
    limit: Count | None = None

    @model_validator(mode="after")
    def _every_language_is_spoken(self) -> Data:
        for language in self.languages:
            lacking = [n for n, q in self.questions.items() if language not in q]
            if language not in self.prompts or language not in self.answers or lacking:
                raise ValueError(f"no prompt, question or answers in {language}")
        if self.about and self.text == "free":
            raise ValueError("free text keeps the report whole; take templated or paraphrased")
        return self


class Part(Record):
    """How one part is trained; ``lr``, ``rank``, ``alpha`` and ``targets`` over the common ones.

    ``targets``: names of linear layers, or all-linear.
    """

    train: Mode = "frozen"
    lr: Rate | None = None
    rank: Count | None = None
    alpha: Count | None = None
    targets: Literal["all-linear"] | list[Words] = "all-linear"


class Parts(Record):
    """The three parts of every vision-language model."""

    vision: Part = Part()
    projector: Part = Part()
    language: Part = Part(train="lora")

    def items(self) -> list[tuple[PartName, Part]]:
        """Each part by its name."""
        return [(name, getattr(self, name)) for name in PARTS]

    @model_validator(mode="after")
    def _something_is_trained(self) -> Parts:
        if all(part.train == "frozen" for _, part in self.items()):
            raise ValueError("every part is frozen: nothing would be learnt")
        return self


class Lora(Record):
    """Low-rank adapters (Hu et al., arXiv 2106.09685); ``dora``: Liu et al., arXiv 2402.09353."""

    rank: Count = 16
    alpha: Count = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    dora: bool = False


class Quantisation(Record):
    """Frozen weights in fewer bits (QLoRA: Dettmers et al., arXiv 2305.14314); needs bitsandbytes.

    ``parts``: what is quantised; a part that is trained in full never is.
    """

    method: Literal["none", "8bit", "nf4"] = "none"
    double: bool = True
    parts: list[PartName] = Field(default_factory=_LANGUAGE.copy, min_length=1)


class Schedule(Record):
    """Steps and rates. ``steps`` over ``epochs``.

    ``batch``: samples an optimiser step, on all devices together; ``micro_batch``: how many of
    them one device holds at once.
    """

    steps: Count | None = None
    epochs: Annotated[float, Field(gt=0)] = 1.0
    batch: Count = 4
    micro_batch: Count = 1
    lr: Rate = 2e-4
    kind: Literal["constant", "cosine", "linear"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.03
    clip: Annotated[float, Field(gt=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    checkpointing: bool = False
    group_by_length: bool = True


class Evaluation(Record):
    """How the run is watched. ``every``: steps between evaluations and checkpoints.

    ``rows``: validation studies for the loss and the probabilities, ``reports``: of these, how
    many are written out and labelled. ``best``: the metric whose best checkpoint is kept;
    ``patience``: evaluations without a better one before the run ends.
    """

    every: Count = 100
    rows: Annotated[int, Field(ge=0)] = 64
    reports: Annotated[int, Field(ge=0)] = 32
    max_new_tokens: Count = 160
    best: Words = "loss"
    patience: Count | None = None
    keep: Annotated[int, Field(ge=2)] = 2


class Recipe(Record):
    """One training run, from data to checkpoints, all in one file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    about: str = ""
    model: ModelPart
    data: Data
    parts: Parts = Parts()
    lora: Lora = Lora()
    quantisation: Quantisation = Quantisation()
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    schedule: Schedule = Schedule()
    evaluation: Evaluation = Evaluation()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    output: str = ""

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.schedule.batch % self.schedule.micro_batch:
            raise ValueError("schedule.batch is no multiple of schedule.micro_batch")
        trained = {n for n, p in self.parts.items() if p.train == "full"}
        if self.quantisation.method != "none" and trained.issuperset(self.quantisation.parts):
            raise ValueError("a part that is trained in full cannot be quantised")
        return self

    @property
    def folder(self) -> Path:
        """The run's folder: ``output``, or runs/NAME."""
        return Path(self.output or f"runs/{self.name}")


# What may change between the runs of one folder: a run that ran out of memory or diverged goes on
# with these. All else decides what is learnt in which order.
CHANGEABLE = {
    "about": True,
    "output": True,
    "precision": True,
    "model": {"attention"},
    "schedule": {"steps", "epochs", "micro_batch", "lr", "clip", "checkpointing", "kind", "warmup"},
    "evaluation": True,
}


def identity(recipe: Recipe) -> dict[str, Any]:
    """What a run cannot change on its way."""
    fixed = recipe.model_dump(mode="json")
    for key, inner in CHANGEABLE.items():
        if inner is True:
            fixed.pop(key)
        elif isinstance(inner, set):
            for name in inner:
                fixed[key].pop(name)
    for part in fixed["parts"].values():
        part.pop("lr")
    return fixed


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with ``key.inner=value`` overrides (values are YAML).

    Relative folders in it are relative to where the command runs. Raises ``file_not_found``,
    ``recipe_invalid`` (not YAML, a value out of range, or an unknown key with the nearest one).
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HilumError(Code.FILE_NOT_FOUND, path, "recipes/ holds some to start from") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise HilumError(Code.RECIPE_INVALID, path, f"not YAML: {type(error).__name__}") from None
    if not isinstance(raw, dict):
        raise HilumError(Code.RECIPE_INVALID, path, "not a mapping of keys")
    for override in overrides:
        _override(raw, override)
    return parse(raw, path)


def parse(raw: dict[str, Any], subject: object = "recipe") -> Recipe:
    """A recipe of plain values; raises ``recipe_invalid`` naming the first wrong key."""
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise HilumError(Code.RECIPE_INVALID, subject, _wrong(first)) from None


def save(recipe: Recipe, path: Path) -> None:
    """Write the recipe with every key."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def _override(raw: dict[str, Any], override: str) -> None:
    key, sign, text = override.partition("=")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        sign = ""
    if not sign or not key:
        raise HilumError(Code.OPTION_INVALID, override, "write key=value, such as schedule.lr=1e-4")
    if isinstance(value, str):  # YAML reads 1e-4 as words
        with suppress(ValueError):
            value = float(value)
    *outer, last = key.split(".")
    place = raw
    for name in outer:
        inner = place.get(name)
        if not isinstance(inner, dict):
            inner = place[name] = {}
        place = inner
    place[last] = value


def _wrong(error: Any) -> str:
    place = [str(step) for step in error["loc"]]
    key = ".".join(place)
    if error["type"] != "extra_forbidden":
        said = str(error["msg"]).removeprefix("Value error, ")
        return f"{key}: {said}" if key else said
    known = _fields(Recipe)
    near = difflib.get_close_matches(key, known, 1, 0.0)
    same_end = difflib.get_close_matches(
        place[-1], [k.split(".")[-1] for k in known if k.split(".")[:-1] == place[:-1]], 1, 0.5
    )
    nearest = ".".join([*place[:-1], same_end[0]]) if same_end else near[0]
    return f"unknown key {key}; the nearest is {nearest}"


def _fields(kind: Any, before: str = "") -> list[str]:
    """Every key of a record and of those inside it, dotted."""
    keys = []
    for name, field in kind.model_fields.items():
        keys.append(before + name)
        if (inner := _record(field.annotation)) is not None:
            keys += _fields(inner, f"{before}{name}.")
    return keys


def _record(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return next((r for a in get_args(annotation) if (r := _record(a))), None)
    return None
