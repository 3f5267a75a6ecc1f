"""What a recipe would do, before it does it: what is learnt, by which part, in how much memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.training import parts
from hilum.training.build import image_token, model_folder
from hilum.training.collate import IGNORED, Chat, Collator
from hilum.training.corpus import Corpus
from hilum.training.device import Choice, Device, choose
from hilum.training.memory import Estimate, Shapes, estimate, shadow
from hilum.training.preflight import Checked, check, longest_allowed
from hilum.training.recipe import PartName, Recipe


@dataclass(frozen=True)
class Piece:
    """A run of tokens of one kind: prompt, film or learnt."""

    kind: str
    text: str
    tokens: int


@dataclass(frozen=True)
class Row:
    """One sample of the batch, piece by piece."""

    study: str
    pieces: list[Piece]


@dataclass
class Preview:
    """All that ``hilum preview`` prints. ``notes``: what it stands on where weights are missing."""

    recipe: Recipe
    choice: Choice
    parts: dict[PartName, parts.Census]
    rows: list[Row]
    checked: Checked
    steps: int
    memory: Estimate
    notes: list[str] = field(default_factory=list)


def preview(recipe: Recipe, rows: int = 2, device: Device | None = None) -> Preview:
    """Look at a recipe without its weights: configuration, processor and data are enough.

    Where the model's folder is not at hand but its preset is known, the preset's configuration
    gives parameters and memory, and a twin's processor shows the words; ``notes`` say so.
    Raises what :func:`hilum.training.sft.train` would raise before its first step.
    """
    from hilum.models.processing import quiet
    from hilum.training.sft import planned_steps

    quiet()
    device = device or Device.here()
    choice = choose(recipe.precision, device)
    config, chat, notes = _opened(recipe)
    corpus = Corpus(recipe.data, "train", recipe.seed)
    checked = check(corpus, chat, longest_allowed(recipe.data.max_length, config))
    shown = [corpus.sample(t) for t in checked.tasks[:rows]]
    shadowed = shadow(recipe, config, choice)
    shapes = _shapes(recipe, corpus, checked, chat, config, standin=bool(notes))
    return Preview(
        recipe=recipe,
        choice=choice,
        parts=parts.census(shadowed[0]),
        rows=_rows(chat, shown),
        checked=checked,
        steps=planned_steps(recipe, len(checked.tasks)),
        memory=estimate(recipe, shadowed, choice, shapes, device.kind),
        notes=notes,
    )


def _opened(recipe: Recipe) -> tuple[Any, Chat, list[str]]:
    from transformers import AutoConfig, GenerationConfig

    import hilum.models.maira2  # registers MAIRA-2's architecture, and the tower
    import hilum.models.tower  # noqa: F401
    from hilum.models.processing import open_processor

    try:
        folder = model_folder(recipe.model.path)
    except HilumError as error:
        if error.code is not Code.MODEL_INCOMPLETE:
            raise
        return _standin(recipe)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    try:
        ends = GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id
    except OSError:
        ends = None
    stops = ends if isinstance(ends, list) else [] if ends is None else [ends]
    processor = open_processor(Path(recipe.model.processor or folder))
    return config, Chat(processor, stops, image_token(config)), []


def _standin(recipe: Recipe) -> tuple[Any, Chat, list[str]]:
    """A preset's configuration, and its family's twin for the words."""
    import tempfile

    from transformers import AutoConfig, AutoModelForImageTextToText

    from hilum.models.presets import find
    from hilum.models.processing import open_processor
    from hilum.models.twins import make_twin

    preset = find(recipe.model.path)
    settings = dict(preset.config)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    with tempfile.TemporaryDirectory() as made:
        folder = make_twin(preset.family, Path(made))
        processor = open_processor(folder)
        twin = AutoModelForImageTextToText.from_pretrained(folder)
        ends, image = twin.generation_config.eos_token_id, image_token(twin.config)
    stops = ends if isinstance(ends, list) else [ends]
    note = (
        f"{preset.hub} is not at hand: parameters and memory are of its configuration, "
        f"the words of its family's twin, whose tokens are shorter; a film takes "
        f"{preset.image.tokens or 'a varying number of'} tokens, not the twin's"
    )
    return config, Chat(processor, stops, image), [note]


def _shapes(
    recipe: Recipe, corpus: Corpus, checked: Checked, chat: Chat, config: Any, standin: bool
) -> Shapes:
    """The longest micro-batch: what memory must hold."""
    n = recipe.schedule.micro_batch
    longest = checked.lengths.argsort()[::-1][:n]
    samples = [corpus.sample(checked.tasks[int(i)]) for i in longest]
    batch = Collator(chat)(samples)
    films = {k: tuple(v.shape) for k, v in batch.items() if "pixel" in k}
    tokens = int(batch["input_ids"].shape[1])
    if standin:
        from hilum.models.presets import find

        image = find(recipe.model.path).image
        count = sum(len(s.images) for s in samples)
        if image.side and image.tokens:
            films = {"pixel_values": (count, 3, image.side, image.side)}
            tokens += max(len(s.images) for s in samples) * image.tokens
            tokens -= int(checked.image_tokens.max())
    learnt = int((batch["labels"] != IGNORED).sum())
    return Shapes(len(samples), tokens, learnt, films)


def _rows(chat: Chat, samples: Sequence[Any]) -> list[Row]:
    """Each sample's tokens in pieces: what is prompt, what film, what is learnt."""
    shown = []
    for sample in samples:
        batch = Collator(chat)([sample])
        there = batch["attention_mask"][0].bool()
        ids, labels = batch["input_ids"][0][there], batch["labels"][0][there]
        pieces: list[Piece] = []
        run: list[int] = []
        kind = ""
        for i, label in zip(ids.tolist(), labels.tolist(), strict=True):
            now = "learnt" if label != IGNORED else "film" if i == chat.image_id else "prompt"
            if now != kind and run:
                pieces.append(_piece(chat, kind, run))
                run = []
            kind = now
            run.append(i)
        pieces.append(_piece(chat, kind, run))
        shown.append(Row(sample.study, pieces))
    return shown


def _piece(chat: Chat, kind: str, ids: list[int]) -> Piece:
    text = "" if kind == "film" else str(chat.tokenizer.decode(ids))
    return Piece(kind, text, len(ids))
