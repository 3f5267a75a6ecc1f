"""Memory is told before a model is loaded, and a refusal names what fits."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hilum.codes import Code, HilumError
from hilum.engines.local.vlm import VlmEngine
from hilum.models import memory
from hilum.models.memory import cache_bytes, estimate, require
from hilum.models.twins import make_twin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_twin("llava-siglip", tmp_path_factory.mktemp("twin"))


def have(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr(memory, "PROGRAM", 0)
    monkeypatch.setattr(memory, "free_memory", lambda device="cpu": free)


def test_weights_are_counted_to_the_byte(folder: Path) -> None:
    numbers = sum(t.numel() for t in load_file(folder / "model.safetensors").values())
    assert estimate(folder, "float32").weights == 4 * numbers
    assert estimate(folder, "bfloat16").weights == 2 * numbers
    assert estimate(folder, "int4").weights == pytest.approx(numbers * 4.5 / 8)


def test_a_requests_keys_and_values(folder: Path) -> None:
    text = json.loads((folder / "config.json").read_text())["text_config"]
    layers, heads = text["num_hidden_layers"], text["num_key_value_heads"]
    width = text["hidden_size"] // text["num_attention_heads"]
    config = {"text_config": text}
    assert cache_bytes(config) == 2 * 2 * layers * heads * width  # keys, values; two bytes each
    one, two = (estimate(folder, "bfloat16", n).request for n in (1000, 2000))
    assert two == 2 * one > 1000 * cache_bytes(config)


def test_the_batch_shrinks_before_anything_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = estimate(folder, "bfloat16")
    have(monkeypatch, counted.weights + 5 * counted.request)
    assert require(folder, "bfloat16", 16) == 4
    have(monkeypatch, math.inf)
    assert require(folder, "bfloat16", 16) == 16


@pytest.mark.parametrize(
    ("device", "fits", "named"),
    [
        ("cpu", "bfloat16", "--precision bfloat16"),
        ("cpu", "int8", "--to openvino-int8"),
        ("cpu", "int4", "--to openvino-int4"),
        ("cuda:0", "int8", "--to 8bit"),
        ("cuda", "int4", "--to nf4"),
    ],
)
def test_a_refusal_names_the_nearest_option_that_fits(
    device: str, fits: str, named: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = estimate(folder, fits)
    have(monkeypatch, counted.weights + counted.request + 1)
    with pytest.raises(HilumError) as caught:
        require(folder, "float32", 16, device)
    assert caught.value.code is Code.MEMORY_SHORT
    assert named in caught.value.line()


def test_where_nothing_fits_it_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, 10.0)
    with pytest.raises(HilumError) as caught:
        VlmEngine(folder, "float32")
    assert caught.value.code is Code.MEMORY_SHORT
    assert "even int4 needs" in caught.value.line()


def test_this_machine_has_memory() -> None:
    assert 0 < memory.free_memory() < 1e14
