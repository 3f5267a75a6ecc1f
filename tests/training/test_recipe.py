"""Recipes: every key checked, a wrong one named with the nearest right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hilum.codes import Code, HilumError
from hilum.training.recipe import Recipe, identity, load, parse, save

BASE: dict[str, Any] = {"name": "x", "model": {"path": "m"}, "data": {"path": "d"}}
RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize(
    ("key", "value", "nearest"),
    [
        ("modle", {}, "model"),
        ("schedule", {"learning_rate": 1e-4}, "schedule.lr"),
        ("schedule", {"microbatch": 1}, "schedule.micro_batch"),
        ("parts", {"vison": {}}, "parts.vision"),
        ("parts", {"vision": {"freeze": True}}, "parts.vision.train"),
        ("lora", {"r": 8}, "lora.rank"),
        ("data", {"promts": {}}, "data.prompts"),
        ("evaluation", {"eval_every": 5}, "evaluation.every"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, value: Any, nearest: str) -> None:
    with pytest.raises(HilumError) as failed:
        parse({**BASE, key: {**BASE.get(key, {}), **value} if value else value})
    assert failed.value.code is Code.RECIPE_INVALID
    assert failed.value.detail.startswith("unknown key ")
    if nearest.split(".")[-1] != "train":
        assert failed.value.detail.endswith(f"the nearest is {nearest}")


@given(st.text(min_size=1, max_size=12), st.sampled_from(["", "schedule", "parts", "data"]))
def test_no_unknown_key_is_ever_taken(key: str, inside: str) -> None:
    known = {*Recipe.model_fields, "lr", "kind", *"steps epochs batch micro_batch".split()}
    if key in known or key in ("vision", "projector", "language", "path", "text", "views", "limit"):
        return
    raw: dict[str, Any] = {**BASE, "data": dict(BASE["data"])}
    (raw.setdefault(inside, {}) if inside else raw)[key] = 1
    with pytest.raises(HilumError, match="recipe_invalid"):
        parse(raw)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parts": {"language": {"train": "frozen"}}}, "every part is frozen"),
        ({"schedule": {"batch": 3, "micro_batch": 2}}, "no multiple"),
        ({"schedule": {"lr": 2}}, "schedule.lr"),
        ({"schedule": {"lr": 0}}, "schedule.lr"),
        ({"schedule": {"steps": 0}}, "schedule.steps"),
        ({"data": {"path": "d", "languages": []}}, "data.languages"),
        ({"data": {"path": "d", "languages": ["fr"]}}, "data.languages"),
        ({"data": {"path": "d", "questions": {"fracture": {"zh": "q"}}}}, "in en"),
        ({"data": {"path": "d", "questions": {"fractrue": {"en": "q"}}}}, "data.questions"),
        ({"data": {"path": "d", "about": ["fracture"], "text": "free"}}, "templated"),
        (
            {
                "parts": {"language": {"train": "full"}},
                "quantisation": {"method": "nf4", "parts": ["language"]},
            },
            "cannot be quantised",
        ),
        ({"name": "../x"}, "name"),
        ({"seed": -1}, "seed"),
        ({"precision": "fp8"}, "precision"),
        ({"evaluation": {"keep": 1}}, "evaluation.keep"),
    ],
)
def test_values_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(HilumError) as failed:
        parse({**BASE, **changes})
    assert failed.value.code is Code.RECIPE_INVALID
    assert words in failed.value.detail
    assert "\n" not in str(failed.value)


def written(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(BASE))
    return path


def test_overrides_are_yaml_by_dotted_key(tmp_path: Path) -> None:
    recipe = load(
        written(tmp_path),
        [
            "schedule.lr=1e-4",
            "schedule.steps=7",
            "data.languages=[en, zh]",
            "parts.vision.train=full",
            "about=a text",
        ],
    )
    assert recipe.schedule.lr == 1e-4
    assert recipe.schedule.steps == 7
    assert recipe.data.languages == ["en", "zh"]
    assert recipe.parts.vision.train == "full"


@pytest.mark.parametrize("override", ["", "=1", "schedule.lr", "a=[", "schedule.lr=fast", "x.y=1"])
def test_an_override_that_is_none_is_refused(override: str, tmp_path: Path) -> None:
    with pytest.raises(HilumError):
        load(written(tmp_path), [override])


@pytest.mark.parametrize("content", ["", "[]", "a: [", "- x", "\x00"])
def test_what_is_no_recipe_is_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(content)
    with pytest.raises(HilumError, match="recipe_invalid"):
        load(path)


def test_no_file_says_where_there_are_some(tmp_path: Path) -> None:
    with pytest.raises(HilumError, match=r"recipes/.*file_not_found"):
        load(tmp_path / "none.yaml")


def test_a_recipe_reads_back_as_it_was(tmp_path: Path) -> None:
    recipe = parse({**BASE, "data": {"path": "d", "prompts": {"en": "Say", "zh": "说"}}})
    save(recipe, tmp_path / "again.yaml")
    assert load(tmp_path / "again.yaml") == recipe


def test_identity_is_what_decides_the_order_and_the_weights() -> None:
    same = [{"schedule": {"lr": 1e-5}}, {"schedule": {"micro_batch": 2}}, {"output": "o"}]
    other = [
        {"seed": 1},
        {"schedule": {"batch": 8}},
        {"lora": {"rank": 1}},
        {"data": {"path": "e"}},
    ]
    for changes in same:
        assert identity(parse({**BASE, **changes})) == identity(parse(BASE))
    for changes in other:
        assert identity(parse({**BASE, **changes})) != identity(parse(BASE))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_that_comes_with_hilum_is_valid(path: Path) -> None:
    recipe = load(path)
    assert recipe.about
    assert recipe.folder.parts[0] == "runs"


def test_there_are_the_recipes_that_are_promised() -> None:
    names = {p.stem for p in RECIPES}
    assert {"chexfract-maira2", "chexfract-chexagent", "gemma3-radiology"} <= names
    assert {"medgemma-fracture", "xrayglm-zh", "gemma3-twin-qlora", "chexfract-twin"} <= names
