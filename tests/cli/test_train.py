"""``hilum train`` and ``hilum merge`` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hilum.cli.main import run
from hilum.models.twins import make_twin
from tests.training.conftest import study, write_dataset

RECIPE = """
name: typed
about: what a user types
model: {{path: {twin}}}
data: {{path: {data}, text: templated}}
precision: fp32
schedule: {{steps: 2, batch: 2, micro_batch: 2, warmup: 0.0}}
evaluation: {{every: 2, rows: 0}}
output: {out}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    data = write_dataset(tmp_path / "data", [study(n, "train") for n in range(4)])
    twin = make_twin("gemma3", tmp_path / "twin")
    path = tmp_path / "typed.yaml"
    path.write_text(RECIPE.format(twin=twin, data=data, out=tmp_path / "run"))
    return path


def test_train_then_merge(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(recipe), "schedule.lr=1e-3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 2
    assert told["best"] == "checkpoint-2"
    assert run(["merge", str(tmp_path / "run"), str(tmp_path / "merged"), "--json"]) == 0
    merged = json.loads(capsys.readouterr().out)
    assert merged["logits"] < 1e-5
    assert (tmp_path / "merged" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (["train", "none.yaml"], "file_not_found", 4),
        (["train", "{recipe}", "schedule.stps=1"], "recipe_invalid", 4),
        (["train", "{recipe}", "model.path=nowhere"], "file_not_found", 4),
        (["train", "{recipe}", "model.path=gemma-3-4b-pt"], "model_incomplete", 4),
        (["train", "{recipe}", "model.path=xrayglm"], "model_gone", 4),
        (["train", "{recipe}", "data.path=nowhere"], "file_not_found", 4),
        (["train", "{recipe}", "schedule"], "option_invalid", 2),
        (["merge", "nowhere", "out"], "run_not_found", 4),
    ],
)
def test_a_mistake_is_one_line_with_its_code(
    words: list[str], code: str, status: int, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([w.format(recipe=recipe) for w in words]) == status
    said = capsys.readouterr().err.splitlines()
    assert said[-1].endswith(f"[{code}]")
