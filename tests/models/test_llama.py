"""A Phi-3 written as Llama is the same model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hilum.codes import Code, HilumError
from hilum.models.llama import llama_config, split_names, split_weights
from hilum.models.older import INDEX, write_older
from hilum.models.safety import weight_files
from hilum.models.twins import make_twin

SHORT = [1.0, 1.1, 1.3, 1.6]
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
    "short_factor": SHORT,
    "long_factor": [1.5, 2.0, 4.0, 9.0],
    "original_max_position_embeddings": 128,
}
PHI3 = {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32}


def change(folder: Path, **settings: Any) -> Path:
    """Other settings of the language model."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["text_config"] |= settings
    path.write_text(json.dumps(config))
    return folder


def grouped(folder: Path) -> None:
    """Half as many heads of keys and values: their rows left out."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name in [n for n in tensors if n.endswith("qkv_proj.weight")]:
        q, k, v = tensors[name].split(32)
        tensors[name] = torch.cat((q, k[:16], v[16:]))
    save_file(tensors, path, {"format": "pt"})
    change(folder, num_key_value_heads=2)


def logits(folder: Path, tokens: int = 60) -> torch.Tensor:
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(1, 3, 56, 56, generator=generator)
    ids = torch.randint(6, 300, (1, tokens), generator=generator)
    ids[0, 2:18] = model.config.image_token_id
    with torch.inference_mode():
        return model(input_ids=ids, pixel_values=image).logits[0]


def kind(folder: Path) -> str:
    return str(json.loads((folder / "config.json").read_text())["text_config"]["model_type"])


@pytest.mark.parametrize("rope", ["default", "longrope", "longrope with a factor"])
@pytest.mark.parametrize("groups", [4, 2])
def test_its_logits_are_the_same(rope: str, groups: int, tmp_path: Path) -> None:
    folder = make_twin("llava-dinov2", tmp_path / "twin")
    if groups == 2:
        grouped(folder)
    plain = logits(folder)
    if rope != "default":
        own = {"attention_factor": 1.19} if "with" in rope else {}
        change(folder, rope_parameters=LONG | own, original_max_position_embeddings=128)
        assert (logits(folder) - plain).abs().max() > 1e-2  # or its factors were not looked at
    llama = write_older(folder, tmp_path / "llama")
    assert (kind(folder), kind(llama)) == ("phi3", "llama")
    assert (logits(llama) - logits(folder)).abs().max() < 1e-5


def test_beyond_a_long_ropes_first_range_it_is_another_model(tmp_path: Path) -> None:
    folder = make_twin("llava-dinov2", tmp_path / "twin")
    change(folder, rope_parameters=LONG, original_max_position_embeddings=128)
    llama = write_older(folder, tmp_path / "llama")
    positions = json.loads((llama / "config.json").read_text())["text_config"]
    assert positions["max_position_embeddings"] == 128
    assert (logits(llama, 128) - logits(folder, 128)).abs().max() < 1e-5
    assert (logits(llama, 129) - logits(folder, 129)).abs().max() > 1e-2


def test_an_index_names_the_split_tensors(tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText

    folder = make_twin("llava-siglip", tmp_path / "twin")
    whole = AutoModelForImageTextToText.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    whole.save_pretrained(folder, max_shard_size="20KB")
    llama = write_older(folder, tmp_path / "llama")
    files = weight_files(llama)
    assert len(files) > 1
    named = json.loads((llama / INDEX).read_text())["weight_map"]
    held = {name: path.name for path in files for name in load_file(path)}
    assert named == held
    assert any(name.endswith("up_proj.weight") for name in held)
    assert not any("qkv_proj" in name or "gate_up" in name for name in held)


def test_a_file_keeps_its_bytes_and_its_other_tensors(tmp_path: Path) -> None:
    before = {
        "language_model.layers.0.self_attn.qkv_proj.weight": torch.randn(64, 32).bfloat16(),
        "language_model.layers.0.mlp.gate_up_proj.weight": torch.randn(96, 32).half(),
        "vision_tower.layers.0.qkv_proj.weight": torch.randn(3, 2),
        "language_model.norm.weight": torch.randn(5),
    }
    save_file(before, tmp_path / "a.safetensors", {"format": "pt"})
    phi3 = {**PHI3, "intermediate_size": 48}
    split_weights(tmp_path / "a.safetensors", tmp_path / "b.safetensors", phi3)
    after = load_file(tmp_path / "b.safetensors")
    attention, mlp, *_ = before.values()
    stem = "language_model.layers.0."
    parts = [after.pop(f"{stem}self_attn.{n}_proj.weight") for n in "qkv"]
    assert [len(p) for p in parts] == [32, 16, 16]
    assert torch.equal(torch.cat(parts), attention)
    parts = [after.pop(f"{stem}mlp.{n}_proj.weight") for n in ("gate", "up")]
    assert torch.equal(torch.cat(parts), mlp)
    assert set(after) == set(list(before)[2:])
    assert all(torch.equal(after[n], before[n]) for n in after)


@pytest.mark.parametrize(
    ("settings", "context"),
    [
        ({}, 4096),
        ({"max_position_embeddings": 512}, 512),
        ({"sliding_window": 2047}, 2047),  # Phi-3-mini-4k
        ({"sliding_window": 262144, "max_position_embeddings": 4096}, 4096),
        ({"sliding_window": None}, 4096),
        ({"rope_scaling": LONG, "max_position_embeddings": 131072}, 128),
        ({"rope_scaling": {"type": "su", "short_factor": SHORT}}, 4096),
        ({"rope_scaling": LONG, "sliding_window": 100}, 100),
    ],
)
def test_the_context_ends_where_both_differ(settings: dict[str, Any], context: int) -> None:
    llama = llama_config({**PHI3, **settings})
    assert llama["max_position_embeddings"] == context
    assert llama["model_type"] == "llama"
    assert llama["head_dim"] == 8
    assert llama["rms_norm_eps"] == 1e-5  # a Llama's own default is 1e-6
    assert "sliding_window" not in llama


@pytest.mark.parametrize(
    "settings",
    [
        {"partial_rotary_factor": 0.75},
        {"rope_scaling": {"rope_type": "default", "partial_rotary_factor": 0.5}},
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        {"rope_scaling": {"rope_type": "longrope", "long_factor": SHORT}},
    ],
)
def test_a_rope_that_no_llama_has_is_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(HilumError) as caught:
        llama_config({**PHI3, **settings})
    assert caught.value.code is Code.MODEL_UNSUPPORTED
    assert "phi3 " in caught.value.line()


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    name = "model.language_model.layers.0.self_attn.qkv_proj.weight"
    path = tmp_path / "a.safetensors"
    save_file({name: torch.zeros(63, 32)}, path)
    with pytest.raises(HilumError) as caught:
        split_weights(path, tmp_path / "b.safetensors", PHI3)
    assert caught.value.code is Code.MODEL_INVALID
    assert "63 rows" in caught.value.line()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(HilumError) as caught:
        split_weights(path, tmp_path / "c.safetensors", PHI3)
    assert caught.value.code is Code.MODEL_INVALID


@pytest.mark.parametrize(
    "name", ["lm_head.weight", "qkv_proj", "vision_tower.0.self_attn.qkv_proj.weight"]
)
def test_other_tensors_keep_their_names(name: str) -> None:
    assert split_names(name, PHI3) == [name]
