"""Presets: complete cards, real configurations of the published size, published tensor names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.codes import Code, HilumError
from hilum.models import presets as book
from hilum.models.compose import template
from hilum.models.licence import licences
from hilum.models.presets import Preset, count_parameters, find, meta_model, presets, read_index

EVERY = list(presets().values())
# one of each shape: a pre-trained model and its tuned twin are built once
SHAPES = list({str(p.config): p for p in reversed(EVERY) if p.config}.values())


@pytest.mark.parametrize("preset", EVERY, ids=lambda p: p.id)
def test_a_card_is_complete_and_says_where_it_has_it_from(preset: Preset) -> None:
    assert preset.hub.count("/") == (0 if preset.family == "embedded" else 1)
    assert all(part.licence in licences() for part in preset.parts)
    sources = (preset.config_source, preset.parameters_source, preset.stop_source)
    assert all(sources)
    assert preset.image.source
    assert all(prompt.text and prompt.source for prompt in preset.prompts)
    assert {prompt.language for prompt in preset.prompts} <= set(preset.languages)
    assert len(set(preset.abilities)) == len(preset.abilities) > 0
    assert preset.chat_template.startswith("none") or template(preset.chat_template)
    if preset.image.tokens and preset.image.fit in ("crop", "pad", "stretch"):
        side = preset.config.get("vision_config", {}).get("image_size")
        assert side == preset.image.side
    if preset.config.get("image_seq_length") and preset.image.fit == "crop":
        assert preset.image.side
        assert preset.image.patch
        assert (preset.image.side // preset.image.patch) ** 2 == preset.image.tokens


@pytest.mark.parametrize("preset", SHAPES, ids=lambda p: p.id)
def test_the_real_configuration_has_the_published_size(preset: Preset) -> None:
    counted = count_parameters(preset)
    assert counted > 2e8
    if preset.parameters is None:
        pytest.skip(f"no published figure: {preset.parameters_source}")
    assert abs(counted / preset.parameters - 1) < 0.01


def test_the_list_of_what_has_no_published_figure_does_not_grow() -> None:
    without = {p.id for p in EVERY if p.parameters is None}
    assert without == {"chexfract-chexagent", "glm-4.1v-9b", "embedded"}


@pytest.mark.parametrize("name", ["gemma3", "qwen3-vl"])
def test_tensor_names_and_bytes_are_those_of_a_published_index(name: str) -> None:
    index = read_index(name)
    model = meta_model(find(index.preset))
    tied = set(model.all_tied_weights_keys)
    assert set(model.state_dict()) - tied == index.native()
    assert len(index.native()) == len(index.published())
    stored = sum(math.prod(v.shape) for k, v in model.state_dict().items() if k not in tied)
    assert stored * index.bytes_a_parameter == index.total_size


def test_maira_2_has_the_published_number_of_tensors() -> None:
    assert len(meta_model(find("maira-2")).state_dict()) == 522


@pytest.mark.parametrize(
    "name", ["gemma-3-4b-it", "GEMMA-3-4B-IT", "google/gemma-3-4b-it", " Google/Gemma-3-4B-it\n"]
)
def test_a_preset_is_found_by_its_id_or_hub_id(name: str) -> None:
    assert find(name).id == "gemma-3-4b-it"


@pytest.mark.parametrize("name", ["xrayglm", "VisualGLM-6B", "wangrongsheng/XrayGLM"])
def test_a_model_that_is_gone_names_what_to_take(name: str) -> None:
    with pytest.raises(HilumError) as caught:
        find(name)
    assert caught.value.code is Code.MODEL_GONE
    assert "glm-4.1v-9b" in caught.value.detail
    assert "VisualGLM-6B" in caught.value.detail


def test_what_replaces_a_model_is_itself_there() -> None:
    assert all(entry.instead in presets() for entry in book.gone())
    assert not {alias for e in book.gone() for alias in (e.id, *e.aliases)} & set(presets())


@pytest.mark.parametrize("name", ["", "gemma", "gemma-3-4b", "../gemma-3-4b-it", "google/"])
def test_an_unknown_name_is_one_line(name: str) -> None:
    with pytest.raises(HilumError) as caught:
        find(name)
    assert caught.value.code is Code.PRESET_UNKNOWN


def test_a_like_card_changes_only_what_it_says() -> None:
    base, over = find("gemma-3-4b-it"), find("medgemma-4b-it")
    assert over.config == base.config
    assert over.image == base.image
    assert [p.licence for p in over.parts] == ["hai-def"]
    assert over.prompts[0].system == "You are an expert radiologist."


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        ({"a": {"x": 1}}, {"a": {"model_type": "t"}}, {"a": {"model_type": "t"}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"x": 1}}, {"a": None}, {"a": None}),
        ({}, {"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 1}}}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_cards_are_laid_on_each_other(base: object, over: object, merged: object) -> None:
    before = str(base)
    assert book._merge(base, over) == merged
    assert str(base) == before, "the card that is built on stays as it was"


@pytest.mark.parametrize(
    ("pattern", "count", "names"),
    [
        ("a", 1, ["a"]),
        ("a.{}.b", 2, ["a.0.b", "a.1.b"]),
        ("a.(x|y)", 1, ["a.x", "a.y"]),
        ("a.{}.(x|y).(w|b)", 1, ["a.0.x.w", "a.0.x.b", "a.0.y.w", "a.0.y.b"]),
    ],
)
def test_patterns_of_names(pattern: str, count: int, names: list[str]) -> None:
    assert book._expand(pattern, count) == names


@given(st.lists(st.integers(1, 4), max_size=3), st.integers(1, 5))
def test_a_pattern_stands_for_all_its_combinations(groups: list[int], layers: int) -> None:
    alternatives = (
        "(" + "|".join(f"g{i}{k}" for k in range(n)) + ")" for i, n in enumerate(groups)
    )
    names = book._expand("p.{}." + ".".join(alternatives), layers)
    assert len(set(names)) == len(names) == layers * math.prod(groups)


@pytest.fixture
def fresh() -> Iterator[None]:
    presets.cache_clear()
    yield
    presets.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_a_card_with_an_unknown_key_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.yaml").write_text("- {id: x, colour: red}\n", encoding="utf-8")
    monkeypatch.setattr(book, "CARDS", tmp_path)
    with pytest.raises(HilumError) as caught:
        presets()
    assert caught.value.code is Code.PRESET_UNKNOWN
