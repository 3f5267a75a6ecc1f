"""Folders in the layout of transformers 4.57."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hilum.models.older import write_older
from hilum.models.twins import families, make_twin


def tensors(file: bytes) -> bytes:
    return file[8 + int.from_bytes(file[:8], "little") :]


@pytest.mark.parametrize("family", families())
def test_no_word_that_the_older_one_does_not_read_is_left(family: str, tmp_path: Path) -> None:
    folder = make_twin(family, tmp_path / "twin")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    older = write_older(folder, tmp_path / "older")
    text = (older / "config.json").read_text()
    assert "rope_parameters" not in text
    assert '"dtype"' not in text
    after = (older / "model.safetensors").read_bytes()
    if "phi3" in (folder / "config.json").read_text():  # other names, the same weights
        assert after != before["model.safetensors"]
        assert tensors(after) == tensors(before["model.safetensors"])
    else:
        assert after == before["model.safetensors"]
    images = json.loads((older / "preprocessor_config.json").read_text())
    assert images["image_processor_type"]
    assert "image_processor" not in json.loads((older / "processor_config.json").read_text())
    tokenizer = json.loads((older / "tokenizer_config.json").read_text())
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert tokenizer["chat_template"] == (folder / "chat_template.jinja").read_text()
    assert isinstance(tokenizer["extra_special_tokens"], dict)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_rope_settings_keep_their_values(tmp_path: Path) -> None:
    def text_config(family: str) -> dict[str, object]:
        folder = make_twin(family, tmp_path / family)
        write_older(folder, tmp_path / f"{family}-older")
        config = json.loads((tmp_path / f"{family}-older" / "config.json").read_text())
        return dict(config["text_config"])

    qwen = text_config("qwen2.5-vl")
    assert qwen["rope_theta"] == 10000.0
    assert qwen["rope_scaling"] == {
        "rope_type": "default",
        "type": "default",
        "mrope_section": [2, 3, 3],
    }
    gemma = text_config("gemma3")
    assert (gemma["rope_theta"], gemma["rope_local_base_freq"]) == (1000000.0, 10000.0)
    assert gemma["rope_scaling"] is None
    glm = text_config("glm-4.1v")
    assert glm["partial_rotary_factor"] == 0.5
    assert "partial_rotary_factor" not in glm["rope_scaling"]  # type: ignore[operator]
    maira = text_config("maira2")
    assert maira["rope_scaling"]["factor"] == 1.5  # type: ignore[index]
