"""What a recipe would do, shown before it does it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hilum.cli.main import run
from hilum.training.device import Device
from hilum.training.memory import KERNELS
from hilum.training.preview import preview
from hilum.training.recipe import save
from tests.training.conftest import FAMILIES, MakeRecipe


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_shown_piece_by_piece(family: str, make_recipe: MakeRecipe) -> None:
    seen = preview(make_recipe(family), rows=2)
    for row, answer in zip(seen.rows, ("No fracture. No pneumothorax.", "no"), strict=True):
        assert row.pieces[-1].kind == "learnt"
        assert row.pieces[-1].text.startswith(answer)
        assert [p.kind for p in row.pieces].count("learnt") == 1
        assert sum(p.tokens for p in row.pieces if p.kind == "film") >= 4
    assert seen.parts["vision"].trained == seen.parts["vision"].total > 0
    assert 0 < seen.parts["language"].trained < seen.parts["language"].total
    assert seen.memory.total > seen.memory.weights > 0
    assert seen.memory.activations > 0
    assert not seen.notes


def test_the_census_is_the_model_s(make_recipe: MakeRecipe) -> None:
    from hilum.training.build import build
    from hilum.training.parts import census

    recipe = make_recipe()
    assert preview(recipe).parts == census(build(recipe).model)


def test_a_preset_without_weights_is_shown_by_its_configuration(make_recipe: MakeRecipe) -> None:
    seen = preview(make_recipe(model={"path": "gemma-3-4b-pt"}, precision="bf16"))
    total = sum(count.total for count in seen.parts.values())
    assert total == 4_300_079_472
    assert "not at hand" in seen.notes[0]
    assert seen.memory.weights > 2 * total


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"schedule__checkpointing": True}, {}),
        ({"schedule__micro_batch": 1}, {"schedule__micro_batch": 4}),
        ({"parts__vision": {"train": "frozen"}}, {}),
        ({"quantisation": {"method": "nf4"}}, {}),
    ],
)
def test_what_saves_memory_is_estimated_to_save_it(
    less: dict[str, Any], more: dict[str, Any], make_recipe: MakeRecipe
) -> None:
    one = preview(make_recipe(**less), 1).memory.total
    other = preview(make_recipe(**more), 1).memory.total
    assert one < other


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_estimate_is_near_the_measured_peak(precision: str, tmp_path: Path) -> None:
    """30 M parameters, three steps in a process of their own, over what it held before."""
    import subprocess
    import sys

    from benchmarks.training import make_data, make_model

    make_model("b", tmp_path / "b")
    data = make_data(tmp_path, 20)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.training", "--which", "ours",
               "--model", str(tmp_path / "b"), "--data", str(data), "--steps", "3",
               "--threads", "1", "--precision", precision]  # fmt: skip
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, cwd=root, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["estimated_bytes"] == pytest.approx(told["peak_bytes"], rel=0.2)


def test_a_gpus_kernels_are_not_counted(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe()
    here = preview(recipe, 1, Device("cpu", "cpu", False)).memory
    there = preview(recipe, 1, Device("cuda", "a GPU", True)).memory
    assert here.temporary - there.temporary == KERNELS


def test_on_the_command_line(
    make_recipe: MakeRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = make_recipe()
    save(recipe, tmp_path / "r.yaml")
    assert run(["preview", str(tmp_path / "r.yaml"), "--rows", "1"]) == 0
    said = capsys.readouterr().out
    assert "\u27e6No fracture. No pneumothorax.<end_of_turn>\u27e7" in said.replace("\n", " ")
    assert "[film: 4 tokens]" in said
    assert "memory: " in said
    assert run(["preview", str(tmp_path / "r.yaml"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["samples"] == 32
    assert told["memory"]["total"] > 0
    assert not recipe.folder.exists()


def test_a_wrong_key_is_one_line(
    make_recipe: MakeRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(make_recipe(), tmp_path / "r.yaml")
    assert run(["preview", str(tmp_path / "r.yaml"), "schedule.stepps=3"]) == 4
    said = capsys.readouterr().err
    assert "the nearest is schedule.steps" in said
    assert said.count("\n") == 1
