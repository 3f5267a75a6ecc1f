"""Parts: every tensor has one, exactly the wanted are trained, and a dead one is found."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.codes import HilumError
from hilum.models.presets import meta_model, presets
from hilum.models.twins import make_seeing_twin
from hilum.training import parts
from hilum.training.parts import PARTS, Watch, _pattern, census, linear_layers, part_of, prepare
from tests.training.conftest import FAMILIES, MakeRecipe


def open_twin(folder: Path, dtype: Any = torch.float32) -> Any:
    from transformers import AutoModelForImageTextToText

    import hilum.models.maira2  # noqa: F401

    return AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_has_a_part_and_every_part_has_tensors(
    family: str, twin: Callable[[str], Path]
) -> None:
    model = open_twin(twin(family))
    found = {part_of(name) for name, _ in model.named_parameters()}
    assert found == set(PARTS)
    for part in PARTS:
        names = [n for n, _ in model.named_parameters() if part_of(n) == part]
        assert all("lm_head" not in n and "embed_tokens" not in n for n in names) or (
            part == "language"
        )


@pytest.mark.parametrize("name", [n for n, p in presets().items() if p.family != "embedded"])
def test_every_preset_s_real_shape_is_sorted(name: str) -> None:
    model = meta_model(presets()[name])
    sizes = dict.fromkeys(PARTS, 0)
    for key, parameter in model.named_parameters():
        sizes[part_of(key)] += parameter.numel()
    assert all(sizes.values())
    assert sizes["language"] > sizes["vision"] / 3
    assert sizes["projector"] < sizes["vision"]


def test_a_strange_tensor_is_an_error() -> None:
    with pytest.raises(HilumError, match="part_unknown"):
        part_of("model.audio_tower.weight")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("mode", ["lora", "full"])
def test_exactly_the_declared_part_is_trained(
    family: str, part: str, mode: str, make_recipe: MakeRecipe, twin: Callable[[str], Path]
) -> None:
    how = {p: {"train": "frozen"} for p in PARTS} | {part: {"train": mode}}
    recipe = make_recipe(family, parts=how)
    if family == "gemma3" and (part, mode) == ("projector", "lora"):
        with pytest.raises(HilumError, match=r"parts\.projector.*take full.*part_unknown"):
            prepare(open_twin(twin(family)), recipe)
        return
    model = prepare(open_twin(twin(family), torch.bfloat16), recipe)
    trained = dict(parts.trainable(model))
    assert trained
    assert {part_of(n) for n in trained} == {part}
    assert all(p.dtype is torch.float32 for p in trained.values())
    assert all(("lora_" in n) is (mode == "lora") for n in trained)
    counted = census(model)
    assert counted[part].trained == sum(p.numel() for p in trained.values())  # type: ignore[index]
    assert all(counted[p].trained == 0 for p in PARTS if p != part)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("part", ["vision", "language"])
def test_adapters_sit_on_exactly_the_linear_layers(
    family: str, part: Any, twin: Callable[[str], Path]
) -> None:
    model = open_twin(twin(family))
    wanted = set(linear_layers(model, part))
    matched = re.compile(_pattern(sorted(wanted)))
    assert {n for n, _ in model.named_modules() if matched.fullmatch(n)} == wanted
    assert "lm_head" not in wanted


def test_ranks_and_targets_are_by_part(
    make_recipe: MakeRecipe, twin: Callable[[str], Path]
) -> None:
    how = {
        "vision": {"train": "lora", "rank": 2, "alpha": 6, "targets": ["q_proj"]},
        "projector": {"train": "frozen"},
        "language": {"train": "lora", "targets": ["q_proj", "v_proj"]},
    }
    model = prepare(open_twin(twin("gemma3")), make_recipe(parts=how, lora__rank=5))
    ranks = {
        (part_of(n), n.split(".")[-4]): p.shape[0]
        for n, p in parts.trainable(model)
        if "lora_A" in n
    }
    assert ranks == {
        ("vision", "q_proj"): 2, ("language", "q_proj"): 5, ("language", "v_proj"): 5,
    }  # fmt: skip
    layer = model.get_submodule(
        "base_model.model.model.vision_tower.encoder.layers.0.self_attn.q_proj"
    )
    assert layer.scaling["default"] == 3


def test_targets_that_are_not_there_are_refused(
    make_recipe: MakeRecipe, twin: Callable[[str], Path]
) -> None:
    how = {"language": {"train": "lora", "targets": ["query"]}}
    with pytest.raises(HilumError, match=r"parts\.language.*query"):
        prepare(open_twin(twin("gemma3")), make_recipe(parts=how))


def test_dora_has_magnitudes(make_recipe: MakeRecipe, twin: Callable[[str], Path]) -> None:
    model = prepare(open_twin(twin("gemma3")), make_recipe(lora__dora=True))
    assert any("lora_magnitude_vector" in n for n, _ in parts.trainable(model))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_tower_with_norms_is_trained_whole_in_a_half_model(
    precision: torch.dtype, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    """Batch norms' statistics, in bfloat16 as the model, once met their weights in float32."""
    recipe = make_recipe(
        "llava-dinov2", parts__vision__train="full", parts__language__train="frozen"
    )
    model = prepare(open_twin(make_seeing_twin("llava-dinov2", tmp_path / "t"), precision), recipe)
    tower = model.model.vision_tower
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        out = tower(torch.randn(1, 3, 640, 640).to(precision))
    out.last_hidden_state.float().square().sum().backward()
    moved = [n for n, p in tower.named_parameters() if p.grad is not None and p.grad.any()]
    assert any("stride2" in name for name in moved)
    assert all(p.dtype == torch.float32 for p in tower.parameters())
    assert all(b.dtype == torch.float32 for b in tower.buffers() if b.is_floating_point())
    assert model.model.language_model.embed_tokens.weight.dtype == precision


def watched(recipe: Any, model: Any, spoil: Callable[[str], bool], lr: float) -> Watch:
    watch = Watch()
    optimiser = torch.optim.AdamW([p for _, p in parts.trainable(model)], lr=lr)
    for _ in range(3):
        for name, parameter in parts.trainable(model):
            parameter.grad = torch.zeros_like(parameter) if spoil(name) else parameter + 1
        watch.look(model)
        optimiser.step()
        watch.compare(model)
    return watch


def test_a_part_without_gradient_is_dead(
    make_recipe: MakeRecipe, twin: Callable[[str], Path]
) -> None:
    recipe = make_recipe()
    model = prepare(open_twin(twin("gemma3")), recipe)
    watch = watched(recipe, model, lambda n: part_of(n) == "projector", 1e-3)
    with pytest.raises(HilumError, match=r"parts\.projector.*no gradient.*part_dead"):
        watch.judge(model, recipe)


def test_weights_that_a_step_cannot_move_are_dead(
    make_recipe: MakeRecipe, twin: Callable[[str], Path]
) -> None:
    """A rate below the weights' precision: what bfloat16 weights do at 2e-6."""
    recipe = make_recipe()
    model = prepare(open_twin(twin("gemma3")), recipe)
    for name, parameter in parts.trainable(model):
        if part_of(name) == "vision":
            parameter.data = parameter.data.to(torch.bfloat16) + 1
    watch = watched(recipe, model, lambda _: False, 2e-6)
    with pytest.raises(HilumError, match=r"parts\.vision.*weights unmoved.*part_dead"):
        watch.judge(model, recipe)


def test_a_tensor_that_stands_still_is_named_and_no_failure(
    make_recipe: MakeRecipe, twin: Callable[[str], Path]
) -> None:
    recipe = make_recipe()
    model = prepare(open_twin(twin("gemma3")), recipe)
    still = next(n for n, _ in parts.trainable(model) if "vision" in n)
    watch = watched(recipe, model, lambda n: n == still, 1e-3)
    assert watch.judge(model, recipe) == [still]


def test_each_part_has_its_own_rate(make_recipe: MakeRecipe, twin: Callable[[str], Path]) -> None:
    recipe = make_recipe(parts__vision={"train": "full", "lr": 2e-6}, schedule__weight_decay=0.1)
    model = prepare(open_twin(twin("gemma3")), recipe)
    rates = {
        (part_of(n), group["lr"], group["weight_decay"])
        for group in parts.groups(model, recipe)
        for n, p in parts.trainable(model)
        if any(p is q for q in group["params"])
    }
    assert {(part, lr) for part, lr, _ in rates} == {
        ("vision", 2e-6), ("projector", 0.002), ("language", 0.002),
    }  # fmt: skip
    assert {decay for part, _, decay in rates if part == "vision"} == {0.0, 0.1}
