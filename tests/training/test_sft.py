"""Runs of a few steps: what is learnt, what is kept, and what stops them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from hilum.codes import Code, HilumError
from hilum.training import checkpoint
from hilum.training.recipe import Recipe, save
from hilum.training.sft import Ears, read_run, train
from tests.training.conftest import FAMILIES, MakeRecipe, study, write_dataset


def losses(run: Path) -> dict[int, float]:
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return {e["step"]: e["loss"] for e in entries if "loss" in e}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_all_three_parts(family: str, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(family)
    done = train(recipe)
    assert done.steps == 6
    assert [checkpoint.step_of(c) for c in checkpoint.checkpoints(recipe.folder)] == [3, 6]
    assert all(0 < loss < 50 for loss in losses(recipe.folder).values())
