"""QLoRA on this machine: frozen weights in fewer bits, adapters and whole parts in float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.training import parts
from hilum.training.build import build
from hilum.training.merge import merge
from hilum.training.sft import train
from tests.training.conftest import MakeRecipe

pytest.importorskip("bitsandbytes")


@pytest.mark.parametrize("method", ["nf4", "8bit"])
def test_a_quantised_run_evaluates_goes_on_and_merges_into_the_base(
    method: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(
        quantisation={"method": method},
        evaluation={"every": 2, "rows": 2, "reports": 1, "max_new_tokens": 3},
    )
    assert train(recipe).steps == 6  # it writes reports after steps 2 and 4, and trains on
    lines = (recipe.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum("loss" in json.loads(line) for line in lines) == 6
    assert merge(recipe.folder, tmp_path / "merged").logits < 1e-5


def test_only_the_named_parts_are_quantised(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(quantisation={"method": "nf4"})
    model = build(recipe).model
    kinds: dict[str, set[str]] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "lora_" not in name:
            kinds.setdefault(parts.part_of(name), set()).add(type(module).__name__)
    assert kinds["vision"] == {"Linear"}
    assert kinds["language"] == {"Linear4bit", "Linear"}  # the head stays as it is
    assert all(p.dtype is torch.float32 for _, p in parts.trainable(model))


def test_the_census_counts_what_four_bits_stand_for(make_recipe: MakeRecipe) -> None:
    plain: Any = parts.census(build(make_recipe()).model)
    packed: Any = parts.census(build(make_recipe(quantisation={"method": "nf4"})).model)
    assert plain == packed


def test_what_is_trained_stays_float32_beside_quantised_weights(make_recipe: MakeRecipe) -> None:
    """TRL makes bfloat16 of it, in which a step of 2e-6 moves nothing: the run would be dead."""
    recipe = make_recipe(
        quantisation={"method": "nf4"}, parts__vision={"train": "full", "lr": 2e-6}
    )
    train(recipe)
