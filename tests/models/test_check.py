"""Checks of a folder: each says its own word, and one failure hides no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from hilum.codes import Code, HilumError
from hilum.models import check as checking
from hilum.models.check import Item, cache_bytes, check, parts_of
from hilum.models.twins import make_twin


@pytest.fixture
def twin(tmp_path: Path) -> Path:
    return make_twin("maira2", tmp_path / "twin")


def verdicts(items: list[Item]) -> dict[str, str]:
    return {item.name: item.verdict for item in items}


def test_a_whole_model_passes_and_answers(twin: Path) -> None:
    items = check(twin)
    assert {v for n, v in verdicts(items).items() if n != "hashes"} == {"ok"}
    said = {item.name: item.detail for item in items}
    assert "Maira2ForConditionalGeneration in float32" in said["loads"]
    assert said["answers"].split()[0] in map(str, range(1, 9))
    weights = load_file(twin / "model.safetensors").values()
    assert f"{sum(w.numel() for w in weights):,} parameters" in said["memory"]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_fails_and_stops_the_loading(name: str, twin: Path) -> None:
    (twin / name).unlink()
    items = check(twin)
    assert verdicts(items)["files"] == "failed"
    assert verdicts(items)["loads"] == verdicts(items)["answers"] == "skipped"
    assert {item.code for item in items if item.name == "files"} == {Code.MODEL_INCOMPLETE}


def test_weights_that_do_not_fit_fail_to_load(twin: Path) -> None:
    weights = load_file(twin / "model.safetensors")
    weights.pop("language_model.model.norm.weight")
    save_file(weights, twin / "model.safetensors", {"format": "pt"})
    items = check(twin)
    assert verdicts(items)["files"] == "ok"
    assert verdicts(items)["loads"] == "failed"
    assert "norm.weight" in next(i.detail for i in items if i.name == "loads")


def test_another_layout_points_at_convert(twin: Path) -> None:
    (twin / "config.json").write_text('{"model_type": "phi3_dino"}')
    loads = next(i for i in check(twin) if i.name == "loads")
    assert loads.verdict == "failed"
    assert "hilum models convert" in loads.detail


def test_program_code_fails_without_a_word(twin: Path) -> None:
    config = json.loads((twin / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "them/theirs--modeling.X"}
    (twin / "config.json").write_text(json.dumps(config))
    code = next(i for i in check(twin) if i.name == "program code")
    assert (code.verdict, code.code) == ("failed", Code.REMOTE_CODE_REFUSED)
    assert "them/theirs" in code.detail


def test_a_model_larger_than_the_memory_is_not_opened(
    twin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "free_memory", lambda: 1000)
    loads = next(i for i in check(twin) if i.name == "loads")
    assert loads.verdict == "skipped"
    assert "are free" in loads.detail


@pytest.mark.parametrize(
    ("card", "licence", "sold"),
    [
        ("---\nlicense: mit\n---\n", "mit", True),
        ("---\nlicense: CC-BY-NC-4.0\n---\n", "cc-by-nc-4.0", False),
        ("---\nlicense: other\nlicense_name: msrla\n---\n", "msrla", False),
        ("license: other\nlicense_name: health-ai-developer-foundations", "hai-def", True),
        ("license: other\nlicense_link: https://example.org", "other", False),
        ("license: 'gemma'", "gemma", True),
        ("no front matter", "unknown", False),
        (None, "unknown", False),
    ],
)
def test_the_licence_is_read_off_the_card(
    card: str | None, licence: str, sold: bool, twin: Path
) -> None:
    if card is not None:
        (twin / "README.md").write_text(card)
    assert parts_of(twin)[0].licence == licence
    item = next(i for i in check(twin, commercial=True, load=False) if i.name == "licence")
    assert (item.verdict == "ok") is sold


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as caught:
        check(tmp_path / "none")
    assert caught.value.code is Code.FILE_NOT_FOUND


@pytest.mark.parametrize(
    ("config", "count"),
    [
        # Phi-3.5 mini: 2 x 2 bytes x 32 layers x 32 heads x 96
        ({"num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 3072}, 393_216),
        (
            {
                "text_config": {
                    "num_hidden_layers": 34,
                    "num_attention_heads": 8,
                    "num_key_value_heads": 4,
                    "head_dim": 256,
                }
            },
            139_264,
        ),
        ({}, 0),
        ({"num_hidden_layers": 2, "num_attention_heads": 0}, 0),
    ],
)
def test_bytes_of_context(config: dict[str, object], count: int) -> None:
    assert cache_bytes(config) == count
