"""What was trained is in the merged model, all of it, and nothing else has changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hilum.codes import Code, HilumError
from hilum.models.check import check
from hilum.reading.reader import CARD, Card
from hilum.training import checkpoint
from hilum.training.merge import merge
from hilum.training.recipe import Recipe
from hilum.training.sft import train
from tests.training.conftest import FAMILIES, MakeRecipe


def names(folder: Path) -> set[str]:
    found: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as shard:
            found.update(shard.keys())
    return found


def open_model(folder: Path) -> Any:
    from transformers import AutoModelForImageTextToText

    import hilum.models.maira2  # noqa: F401

    return AutoModelForImageTextToText.from_pretrained(folder, dtype="auto").eval()


# Which parts a family can give adapters to; Gemma 3's projector is a bare parameter.
MODES = {
    "lora": {"vision": "lora", "projector": "full", "language": "lora"},
    "mixed": {"vision": "full", "projector": "full", "language": "lora"},
    "full": {"vision": "full", "projector": "full", "language": "full"},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
def test_every_family_merges_what_it_learnt(
    family: str, mode: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    how = {part: {"train": train} for part, train in MODES[mode].items()}
    recipe = make_recipe(family, parts=how, schedule__steps=3)
    train(recipe)
    done = merge(recipe.folder, tmp_path / "merged")
    assert done.logits < 1e-5
    assert done.rounded < 1e-5
    assert done.parts == MODES[mode]
    base, merged = open_model(Path(recipe.model.path)), open_model(tmp_path / "merged")
    before, after = base.state_dict(), merged.state_dict()
    assert before.keys() == after.keys()
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    state = load_file(checkpoint.checkpoints(recipe.folder)[-1] / checkpoint.TRAINED)
    full = {n.removeprefix("base_model.model.") for n in state if "lora_" not in n}
    # what lies behind the features that are read (LLaVA takes the last layer but one) stays zero
    adapted = {
        n.removeprefix("base_model.model.").replace(".lora_B.default", "")
        for n, tensor in state.items()
        if "lora_B" in n and tensor.any()
    }
    assert len(adapted) >= done.adapted / 2
    moved = {n for n in full if not torch.equal(before[n], state_of(state, n))}
    tied = {"lm_head.weight"} if merged.config.tie_word_embeddings else set()
    assert changed - tied == moved | adapted
    for name in full:
        assert torch.equal(after[name], state_of(state, name))
    assert {i.name for i in check(tmp_path / "merged") if i.verdict == "failed"} == set()


def state_of(state: dict[str, Any], name: str) -> Any:
    return state[name] if name in state else state[f"base_model.model.{name}"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Recipe], Recipe]:
    """Train a recipe once for several tests."""
    done: dict[str, Recipe] = {}

    def once(recipe: Recipe) -> Recipe:
        key = recipe.model.path
        if key not in done:
            folder = tmp_path_factory.mktemp("run")
            done[key] = recipe.model_copy(update={"output": str(folder / "run")})
            train(done[key])
        return done[key]

    return once


def test_tied_embeddings_stay_tied_and_are_written_once(
    trained: Callable[[Recipe], Recipe], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = trained(make_recipe("gemma3"))
    assert merge(recipe.folder, tmp_path / "merged").tied
    model = open_model(tmp_path / "merged")
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert not any("lm_head" in name for name in names(tmp_path / "merged"))


@pytest.mark.parametrize("family", ["gemma3", "llava-siglip"])
def test_vision_tensors_have_the_names_that_vllm_loads(
    family: str, trained: Callable[[Recipe], Recipe], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = trained(make_recipe(family))
    done = merge(recipe.folder, tmp_path / "merged")
    vision = {n for n in names(tmp_path / "merged") if n.startswith("vision_tower.")}
    assert vision
    assert done.renamed in (0, len(vision))  # models may be saved under these names already
    assert all(n.startswith("vision_tower.vision_model.") for n in vision)


def test_a_dinov2_tower_keeps_its_names(
    trained: Callable[[Recipe], Recipe], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = trained(make_recipe("llava-dinov2"))
    assert merge(recipe.folder, tmp_path / "merged").renamed == 0
    assert names(tmp_path / "merged") == names(Path(recipe.model.path))


def test_all_that_a_reader_needs_is_there(
    trained: Callable[[Recipe], Recipe], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = trained(make_recipe("gemma3"))
    target = tmp_path / "merged"
    merge(recipe.folder, target)
    card = Card.model_validate_json((target / CARD).read_text(encoding="utf-8"))
    assert card.architecture == "gemma3"
    assert card.domain == "phantom"
    assert card.questions == {"fracture": "Is there a fracture?"}
    assert card.answers == ("yes", "no")
    there = {p.name for p in target.iterdir()}
    assert {"chat_template.jinja", "generation_config.json", "tokenizer.json"} <= there
    page = (target / "README.md").read_text(encoding="utf-8")
    for said in ("# try", "license_name: unknown", "fingerprint", "sha256", "rank: 4", "Research"):
        assert said in page
    assert str(tmp_path.parent) not in page
    stops = json.loads((target / "generation_config.json").read_text())["eos_token_id"]
    assert stops == open_model(Path(recipe.model.path)).generation_config.eos_token_id


def test_half_precision_says_what_rounding_costs(
    trained: Callable[[Recipe], Recipe], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = trained(make_recipe("gemma3"))
    done = merge(recipe.folder, tmp_path / "merged", dtype="bfloat16")
    assert done.logits < 1e-5 < done.rounded < 0.1
    assert open_model(tmp_path / "merged").dtype is torch.bfloat16


@pytest.mark.parametrize("wrong", ["dropped", "changed", "strange"])
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(
    wrong: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(schedule__steps=3)
    train(recipe)
    path = recipe.folder / "checkpoint-3" / checkpoint.TRAINED
    state = load_file(path)
    name = next(n for n in sorted(state) if "vision_tower" in n)
    if wrong == "dropped":
        del state[name]
    elif wrong == "changed":
        state[name] = state[name][:1].clone()
    else:
        state["strange.weight"] = torch.zeros(1)
    save_file(state, path)
    (path.parent / checkpoint.WHOLE).write_text("{}")
    with pytest.raises(HilumError) as failed:
        merge(recipe.folder, tmp_path / "merged")
    assert failed.value.code is Code.MODEL_INVALID
    assert (name if wrong != "strange" else "strange.weight") in str(failed.value)
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("lost", ["tensor", "value"])
def test_what_is_lost_in_saving_is_listed_and_nothing_kept(
    lost: str,
    trained: Callable[[Recipe], Recipe],
    make_recipe: MakeRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import hilum.training.merge as module

    recipe = trained(make_recipe("gemma3"))
    plain = module._untied

    def lossy(model: Any) -> dict[str, Any]:
        state = plain(model)
        name = next(n for n in sorted(state) if "vision_tower.encoder" in n)
        if lost == "tensor":
            del state[name]
        else:
            state[name] = state[name] + 1
        return state

    monkeypatch.setattr(module, "_untied", lossy)
    with pytest.raises(HilumError, match=r"vision_tower\.encoder.*merge_differs"):
        merge(recipe.folder, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_an_adapter_that_is_no_number_is_refused(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(schedule__steps=3)
    train(recipe)
    path = recipe.folder / "checkpoint-3" / checkpoint.TRAINED
    state = load_file(path)
    name = next(n for n in sorted(state) if "lora_B" in n)
    state[name][0, 0] = float("nan")
    save_file(state, path)
    (path.parent / checkpoint.WHOLE).write_text("{}")
    with pytest.raises(HilumError, match="merge_differs"):
        merge(recipe.folder, tmp_path / "merged")


def test_the_target_must_be_empty_and_the_run_there(
    trained: Callable[[Recipe], Recipe], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = trained(make_recipe("gemma3"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").write_text("x")
    with pytest.raises(HilumError, match="output_exists"):
        merge(recipe.folder, tmp_path / "full")
    assert (tmp_path / "full" / "kept.txt").exists()
    with pytest.raises(HilumError, match="run_not_found"):
        merge(tmp_path / "nothing", tmp_path / "merged")
    with pytest.raises(HilumError, match=r"checkpoint-9.*checkpoint-3, checkpoint-6.*"):
        merge(recipe.folder, tmp_path / "merged", "checkpoint-9")


def test_the_run_merges_after_its_data_are_gone(
    make_recipe: MakeRecipe, tmp_path: Path, dataset: Path
) -> None:
    import shutil

    shutil.copytree(dataset, tmp_path / "data")
    recipe = make_recipe(schedule__steps=3, data__path=str(tmp_path / "data"))
    train(recipe)
    shutil.rmtree(tmp_path / "data")
    assert merge(recipe.folder, tmp_path / "merged").logits < 1e-5
    card = Card.model_validate_json((tmp_path / "merged" / CARD).read_text(encoding="utf-8"))
    assert card.domain == "phantom"  # not known: the narrower one
