"""The parts of a model: which tensor is whose, what is trained of each, and whether it moves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.training.recipe import PARTS, Part, PartName, Recipe

# Where each part lies in transformers' classes, tried in this order: what stands inside a vision
# tower (Qwen-VL's merger) may be the projector.
PLACES: tuple[tuple[PartName, re.Pattern[str]], ...] = (
    ("projector", re.compile(r"\b(multi_modal_projector|connector)\.")),
    ("projector", re.compile(r"\bvisual\.(merger|deepstack_merger_list|downsample)\.")),
    ("projector", re.compile(r"\bvisual\.post_conv_layernorm\.")),
    ("vision", re.compile(r"\b(vision_tower|vision_model|visual)\.")),
    ("language", re.compile(r"\b(language_model|text_model)\.|(^|\.)lm_head\b")),
)
# Steps after which every part that is trained must have moved; adapters begin at zero and a warm-up
# at a rate of zero, so the first step may move nothing.
WATCHED_STEPS = 5


def part_of(name: str) -> PartName:
    """The part that a tensor or module belongs to; raises ``part_unknown`` for a strange one."""
    for part, place in PLACES:
        if place.search(name + "."):
            return part
    raise HilumError(Code.PART_UNKNOWN, name, "neither vision, projector nor language")


def linear_layers(model: Any, part: PartName) -> list[str]:
    """Names of a part's linear layers, quantised ones too; never the head that gives the words."""
    import torch

    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and module is not head
        and name
        and part_of(name) == part
    ]


def modules_of(model: Any, parts: set[PartName]) -> list[str]:
    """Names of the outermost modules whose tensors all belong to ``parts``."""
    found: list[str] = []
    for name, module in model.named_modules():
        if not name or any(name.startswith(f"{outer}.") for outer in found):
            continue
        names = [f"{name}.{n}" for n, _ in module.named_parameters()]
        if names and {part_of(n) for n in names} <= parts:
            found.append(name)
    return found


def kept_whole(folder: Path, parts: set[PartName]) -> list[str]:
    """Modules of a folder's model that stay as they are when the others are quantised.

    The head, and the outermost modules of ``parts``.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    import hilum.models.maira2  # architectures of ours that a folder may name
    import hilum.models.tower  # noqa: F401

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with torch.device("meta"):
        shapes = AutoModelForImageTextToText.from_config(config)
    return ["lm_head", *modules_of(shapes, parts)]


def prepare(model: Any, recipe: Recipe) -> Any:
    """The model with adapters and with exactly the recipe's parts trainable, in float32.

    What is trained is held in float32 whatever the model computes in: a step of 2e-6 is lost in
    bfloat16's eight bits. Raises ``part_unknown`` where adapters find no layer to sit on.
    """
    model.requires_grad_(False)
    adapted = {name: _adapted(model, name, part) for name, part in recipe.parts.items()}
    model = _with_adapters(model, recipe, {n: some for n, some in adapted.items() if some})
    full = {name for name, part in recipe.parts.items() if part.train == "full"}
    for name, parameter in model.named_parameters():
        if part_of(name) in full:
            if not parameter.dtype.is_floating_point:
                raise HilumError(Code.PART_UNKNOWN, name, "quantised: it cannot be trained in full")
            parameter.requires_grad_(True)
    to_float32(model)
    return model


def to_float32(model: Any) -> None:
    """Hold what is trained in float32 (TRL turns it into bfloat16 beside quantised weights).

    So are the statistics of norms that are trained: they take part in the same operation.
    """
    import torch

    for module in model.modules():
        own = list(module.parameters(recurse=False))
        for parameter in own:
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.float32)
        if any(parameter.requires_grad for parameter in own):
            for buffer in module.buffers(recurse=False):
                if buffer.is_floating_point():
                    buffer.data = buffer.data.to(torch.float32)


def _adapted(model: Any, name: PartName, part: Part) -> list[str]:
    if part.train != "lora":
        return []
    layers = linear_layers(model, name)
    if part.targets != "all-linear":
        layers = [n for n in layers if n.rpartition(".")[2] in part.targets]
    if not layers:
        wanted = "linear layers" if part.targets == "all-linear" else ", ".join(part.targets)
        hint = f"lora finds none of {wanted}; take full"
        raise HilumError(Code.PART_UNKNOWN, f"parts.{name}", hint)
    return layers


def _with_adapters(model: Any, recipe: Recipe, adapted: dict[PartName, list[str]]) -> Any:
    if not adapted:
        return model
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        hint = "install it with: pip install 'hilum[train]'"
        raise HilumError(Code.EXTRA_MISSING, "peft", hint) from error
    ranks: dict[str, int] = {}
    alphas: dict[str, int] = {}
    for name, layers in adapted.items():
        part: Part = getattr(recipe.parts, name)
        pattern = _pattern(layers)
        ranks[pattern] = part.rank or recipe.lora.rank
        alphas[pattern] = part.alpha or recipe.lora.alpha
    config = LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=recipe.lora.dropout,
        use_dora=recipe.lora.dora,
        target_modules="|".join(f"({pattern})" for pattern in ranks),
        rank_pattern=ranks,
        alpha_pattern=alphas,
        bias="none",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _pattern(names: list[str]) -> str:
    """One regular expression for exactly these names, short: numbers and last words grouped."""
    stems: dict[str, set[str]] = {}
    for name in names:
        stem, _, last = name.rpartition(".")
        stems.setdefault(re.sub(r"(^|\.)\d+(?=\.|$)", r"\1#", stem), set()).add(last)
    grouped: dict[tuple[str, ...], list[str]] = {}
    for stem, ends in stems.items():
        grouped.setdefault(tuple(sorted(ends)), []).append(stem)
    pieces = [
        f"({'|'.join(re.escape(s).replace(re.escape('#'), '[0-9]+') for s in some)})"
        rf"\.({'|'.join(map(re.escape, ends_of))})"
        for ends_of, some in grouped.items()
    ]
    return "|".join(pieces)


@dataclass
class Census:
    """How many parameters a part has, and how many of them are trained."""

    total: int = 0
    trained: int = 0
    adapters: int = 0


def census(model: Any) -> dict[PartName, Census]:
    """Parameters by part; quantised weights count as what they stand for, shared ones once."""
    counts: dict[PartName, Census] = {name: Census() for name in PARTS}
    for name, parameter in model.named_parameters():
        count = counts[part_of(name)]
        number = _numbers(parameter)
        if "lora_" in name:
            count.adapters += number
        else:
            count.total += number
        count.trained += number if parameter.requires_grad else 0
    return counts


def _numbers(parameter: Any) -> int:
    state = getattr(parameter, "quant_state", None)
    return int(state.shape.numel() if state is not None else parameter.numel())


def groups(model: Any, recipe: Recipe) -> list[dict[str, Any]]:
    """The optimiser's groups: each part its own rate; norms and biases without decay."""
    chosen: dict[tuple[PartName, bool], list[Any]] = {}
    for name, parameter in trainable(model):
        chosen.setdefault((part_of(name), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": some,
            "lr": getattr(recipe.parts, part).lr or recipe.schedule.lr,
            "weight_decay": recipe.schedule.weight_decay if decays else 0.0,
        }
        for (part, decays), some in chosen.items()
    ]


def trainable(model: Any) -> Iterator[tuple[str, Any]]:
    """Names and tensors that are trained, a shared one once."""
    return ((n, p) for n, p in model.named_parameters() if p.requires_grad)


@dataclass
class Watch:
    """Looks on during the first optimiser steps: what has a gradient, and what moves.

    Of each tensor the place of its largest gradient is compared before and after a step: exact,
    and as cheap as reading the gradients once.
    """

    graded: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    before: dict[str, tuple[int, float]] = field(default_factory=dict)
    steps: int = 0

    def look(self, model: Any) -> None:
        """Before an optimiser step, the gradients being there."""
        self.before = {}
        for name, parameter in trainable(model):
            if parameter.grad is None:
                continue
            grad = _local(parameter.grad).flatten()
            place = int(grad.abs().argmax()) if len(grad) else -1
            if place < 0 or not float(grad[place]):
                continue
            self.graded.add(name)
            self.before[name] = (place, float(_local(parameter.data).flatten()[place]))

    def compare(self, model: Any) -> None:
        """After the step."""
        for name, parameter in trainable(model):
            if name in self.before:
                place, value = self.before[name]
                if float(_local(parameter.data).flatten()[place]) != value:
                    self.moved.add(name)
        self.before = {}
        self.steps += 1

    def judge(self, model: Any, recipe: Recipe) -> list[str]:
        """Names of single tensors that stood still, though their part moves.

        Raises ``part_dead`` with the name of a part that is declared trainable and of which
        nothing has a gradient, or nothing moved.
        """
        names: dict[PartName, list[str]] = {name: [] for name in PARTS}
        for name, _ in trainable(model):
            names[part_of(name)].append(name)
        for part, how in recipe.parts.items():
            if how.train == "frozen":
                continue
            for seen, wrong in ((self.graded, "no gradient"), (self.moved, "weights unmoved")):
                if not seen.intersection(names[part]):
                    detail = f"{how.train}, {wrong} in the first {self.steps} steps"
                    raise HilumError(Code.PART_DEAD, f"parts.{part}", detail)
        return sorted(n for some in names.values() for n in some if n not in self.moved)


def _local(tensor: Any) -> Any:
    """A device's own share of a tensor that is spread over several."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor
