"""What a run will hold at once, before it holds it.

The model is built of fake tensors (shapes and types, no bytes), a micro-batch goes through it, and
what autograd keeps for the way back is added up: no formula for each architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hilum.training import parts
from hilum.training.device import Choice
from hilum.training.loss import TOGETHER
from hilum.training.recipe import Recipe

# Bits a weight with its scales: nf4 in blocks of 64 with one float32 (or, double, one byte) each.
BITS = {"8bit": 8.1, "nf4": 4.5, "nf4 double": 4.127}
# Bytes that a transformer layer keeps a token and channel in 16 bits (Korthikanti et al., arXiv
# 2205.05198, without the attention matrix, which sdpa does not keep).
KEPT = 34
# What a processor's kernels, their buffers and the heap's gaps take beside all tensors: measured on
# models of 30 M parameters (`python -m benchmarks.training --shapes ab`).
KERNELS = 100_000_000


@dataclass(frozen=True)
class Estimate:
    """Bytes. ``activations``: of one micro-batch; ``temporary``: logits, largest layer, kernels."""

    weights: int
    gradients: int
    optimiser: int
    activations: int
    temporary: int
    accumulates: bool

    @property
    def total(self) -> int:
        """The peak.

        Gradients stand beside activations only where steps are accumulated; else they come as
        activations go.
        """
        held = self.weights + self.optimiser + self.temporary
        both = self.gradients, self.activations
        return held + (sum(both) if self.accumulates else max(both))


@dataclass(frozen=True)
class Shapes:
    """A micro-batch: its length in tokens, learnt tokens, and the films' tensors by name."""

    rows: int
    tokens: int
    learnt: int
    films: Mapping[str, tuple[int, ...]]


def shadow(recipe: Recipe, config: Any, choice: Choice) -> tuple[Any, Any]:
    """The recipe's model in fake tensors, ready to be trained, and the mode they live in."""
    import torch
    from torch._subclasses import FakeTensorMode
    from transformers import AutoModelForImageTextToText

    import hilum.models.maira2  # registers MAIRA-2's architecture, and the tower
    import hilum.models.tower  # noqa: F401

    config._attn_implementation = recipe.model.attention
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.device("meta"):  # some constructors read a number, which a fake tensor has not
        model = AutoModelForImageTextToText.from_config(config).to(choice.dtype)
        model.tie_weights()
        model = parts.prepare(model, recipe)
    with mode:
        model.to_empty(device="cpu")
        (model.get_base_model() if hasattr(model, "peft_config") else model).tie_weights()
    return model, mode


def estimate(
    recipe: Recipe,
    shadowed: tuple[Any, Any],
    choice: Choice,
    shapes: Shapes,
    kind: Literal["cuda", "cpu"] = "cpu",
) -> Estimate:
    """The peak of a training step, over what the process holds without the model.

    ``shadowed``: what :func:`shadow` gives; ``kind``: of device.
    """
    model, mode = shadowed
    how = recipe.schedule
    weights, trained, largest = _weights(model, recipe)
    words = model.config.get_text_config().vocab_size
    # logits, their softmax and their gradient, of the positions that are held at once
    logits = 3 * 4 * words * min(TOGETHER, max(1, shapes.learnt))
    return Estimate(
        weights=weights,
        gradients=4 * trained,
        optimiser=8 * trained,
        activations=_activations(model, mode, recipe, choice, shapes),
        temporary=logits + largest + (KERNELS if kind == "cpu" else 0),
        accumulates=how.batch > how.micro_batch,
    )


def _weights(model: Any, recipe: Recipe) -> tuple[int, int, int]:
    """Bytes of all weights, number of trained parameters, bytes of the largest layer at work."""
    how = recipe.quantisation
    quantised: set[str] = set()
    if how.method != "none":
        full = {n for n, p in recipe.parts.items() if p.train == "full"}
        for part in (p for p in how.parts if p not in full):
            quantised.update(f"{n}.weight" for n in _linear(model, part))
    bits = (
        BITS["nf4 double" if how.method == "nf4" and how.double else how.method] if quantised else 0
    )
    total, trained, largest = 0.0, 0, 0
    for name, p in model.named_parameters():
        size = p.numel() * p.element_size()
        total += p.numel() * bits / 8 if name in quantised else size
        trained += p.numel() if p.requires_grad else 0
        if name in quantised or p.requires_grad:  # taken out of its bits, or cast, or stepped
            largest = max(largest, size)
    return int(total), trained, largest


def _linear(model: Any, part: Any) -> list[str]:
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    names = parts.linear_layers(base, part)
    prefix = "base_model.model." if hasattr(model, "peft_config") else ""
    return [f"{prefix}{n}" for n in names if "lora_" not in n]


def _activations(model: Any, mode: Any, recipe: Recipe, choice: Choice, shapes: Shapes) -> int:
    import torch

    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in skipped:
            kept[storage._cdata] = storage
        return tensor

    skipped = {p.untyped_storage()._cdata for p in model.parameters()}
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    model.train()
    if recipe.schedule.checkpointing:
        base.activation_checkpointing_enable()
    trained = {n for n, p in recipe.parts.items() if p.train != "frozen"}
    half = choice.precision != "fp32"
    extra = 0
    with (
        mode,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t),
        torch.autocast("cpu", choice.dtype, enabled=half),
    ):
        if shapes.films and trained & {"vision", "projector"}:
            try:
                _see(base, shapes, choice.dtype)
            except Exception:  # towers that count their films' patches want real numbers
                extra = _formula(base.config, shapes)
        width = base.config.get_text_config().hidden_size
        words = torch.zeros(shapes.rows, shapes.tokens, width, dtype=choice.dtype)
        words.requires_grad_(
            bool(trained & {"vision", "projector"}) or recipe.schedule.checkpointing
        )
        text = getattr(base.base_model, "language_model", None) or base.base_model.text_model
        where = torch.arange(shapes.tokens)[None].expand(shapes.rows, -1)
        text(inputs_embeds=words, position_ids=where, use_cache=False)
    return extra + sum(s.nbytes() for s in kept.values())


def _see(base: Any, shapes: Shapes, dtype: Any) -> None:
    import torch

    films = {k: shape for k, shape in shapes.films.items() if "pixel_values" in k}
    given = {k: torch.zeros(shape, dtype=dtype) for k, shape in films.items()}
    base.base_model.get_image_features(**given)


def _formula(config: Any, shapes: Shapes) -> int:
    vision = config.vision_config
    layers = getattr(vision, "depth", None) or vision.num_hidden_layers
    patches = shapes.films["pixel_values"][0]
    return int(patches * vision.hidden_size * layers * KEPT)
