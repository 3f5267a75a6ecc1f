"""The vLLM command of each family."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from hilum.codes import Code, HilumError
from hilum.engines.vllm import serve_command
from hilum.models.presets import presets
from hilum.models.twins import families, make_twin

# What vLLM has no class for.
REFUSED = ("maira2", "embedded")


@pytest.mark.parametrize("name", presets())
def test_every_preset_has_a_command_or_a_reason(name: str) -> None:
    preset = presets()[name]
    if preset.family in REFUSED:
        with pytest.raises(HilumError) as caught:
            serve_command(name)
        assert caught.value.code is Code.MODEL_UNSUPPORTED
        return
    command = serve_command(name, port=8123, length=4096)
    words = command.arguments
    assert words[:3] == ["vllm", "serve", preset.hub]
    assert words[words.index("--port") + 1] == "8123"
    assert words[words.index("--max-model-len") + 1] == "4096"
    assert "disable_any_whitespace" in words[words.index("--structured-outputs-config") + 1]
    dinov2 = preset.family == "llava-dinov2"
    assert ("--model-impl" in words) == dinov2
    assert bool(command.warnings) == preset.remote_code


@pytest.mark.parametrize("family", [f for f in families() if f not in REFUSED])
def test_a_folder_has_the_command_of_its_family(family: str, tmp_path: Path) -> None:
    words = serve_command(str(make_twin(family, tmp_path / "twin"))).arguments
    assert words[2] == str(tmp_path / "twin")
    assert ("transformers" in words) == (family == "llava-dinov2")


def test_tower_names_that_vllm_does_not_find_are_named(tmp_path: Path) -> None:
    folder = make_twin("gemma3", tmp_path)
    path = folder / "model.safetensors"
    weights = {
        n.replace("vision_tower.vision_model.", "vision_tower."): t
        for n, t in load_file(path).items()
    }
    save_file(weights, path, {"format": "pt"})
    assert any("vision_tower.encoder." in n for n in weights)
    (warning,) = serve_command(str(folder)).warnings
    assert "rename" in warning
    right = {
        n.replace("vision_tower.", "vision_tower.vision_model."): t for n, t in weights.items()
    }
    save_file(right, path, {"format": "pt"})
    assert serve_command(str(folder)).warnings == []


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(HilumError) as caught:
        serve_command("no-such-model")
    assert caught.value.code is Code.PRESET_UNKNOWN
