"""A model's folder in the layout of transformers 4.57, which exporters still want.

transformers 5 writes rope settings, processors and tokenizers in files and under names that 4.57
does not read, or reads without a word as something else. Weights are the same; a LLaVA's Phi-3 is
written as the Llama that it is, and its image processor as one that takes films already square,
since the exporter and its runtime know no others.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from hilum.models.frame import as_is, square_of
from hilum.models.llama import llama_config, split_names, split_weights
from hilum.models.safety import read_json

INDEX = "model.safetensors.index.json"
NAMED_TOKENS = ("image_token", "video_token", "boi_token", "eoi_token")


def write_older(folder: Path, target: Path) -> Path:
    """Write ``folder`` into the new folder ``target`` for transformers 4.57; weights are linked.

    Raises ``model_invalid`` for a settings file that is no JSON object, ``model_unsupported`` for
    a LLaVA whose decoder or image processor has no such form.
    """
    config, phi3 = _decoded(folder)
    target.mkdir(parents=True)
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in (".json", ".jinja", ".txt", ".model"):
            shutil.copyfile(path, target / path.name)
    _weights(folder, target, phi3)
    _write(target / "config.json", config)
    if (folder / "processor_config.json").is_file():
        processor = read_json(folder / "processor_config.json")
        images = processor.pop("image_processor", None)
        if images is not None:
            images["processor_class"] = processor.get("processor_class")
            _write(target / "preprocessor_config.json", _images(images))
        videos = processor.pop("video_processor", None)
        if videos is not None:
            _write(target / "video_preprocessor_config.json", videos)
        _write(target / "processor_config.json", processor)
    if (folder / "tokenizer_config.json").is_file():
        tokenizer = _tokenizer(read_json(folder / "tokenizer_config.json"))
        template = folder / "chat_template.jinja"
        if template.is_file():
            tokenizer["chat_template"] = template.read_text(encoding="utf-8")
        _write(target / "tokenizer_config.json", tokenizer)
    if config.get("model_type") == "llava":
        images = image_settings(folder)
        name = {"processor_class": images.get("processor_class") or "LlavaProcessor"}
        settings = as_is(images, square_of(images)) | name
        _write(target / "preprocessor_config.json", settings)
    return target


def image_settings(folder: Path) -> dict[str, Any]:
    """The image processor's settings, wherever a folder has them; empty where it has none."""
    for name, inside in (("processor_config.json", True), ("preprocessor_config.json", False)):
        if (folder / name).is_file():
            found = read_json(folder / name)
            found = found.get("image_processor") or {} if inside else found
            if found:
                return dict(found)
    return {}


def older_config(folder: Path) -> dict[str, Any]:
    """The configuration as ``write_older`` writes it; raises what that raises of it."""
    return _decoded(folder)[0]


def _decoded(folder: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The configuration, and the Phi-3's that it had where there was one."""
    config = _config(read_json(folder / "config.json"))
    text = config.get("text_config") or {}
    if config.get("model_type") != "llava" or text.get("model_type") != "phi3":
        return config, None
    return {**config, "text_config": llama_config(text)}, text


def _weights(folder: Path, target: Path, phi3: dict[str, Any] | None) -> None:
    """Link the weights; a Phi-3's are copied, since their headers change."""
    for path in sorted(folder.glob("*.safetensors")):
        if phi3 is None:
            _link(path, target / path.name)
        else:
            split_weights(path, target / path.name, phi3)
    if phi3 is not None and (folder / INDEX).is_file():
        index = read_json(folder / INDEX)
        files = index.get("weight_map", {})
        named = {part: file for name, file in files.items() for part in split_names(name, phi3)}
        _write(target / INDEX, {**index, "weight_map": named})


def _config(config: dict[str, Any]) -> dict[str, Any]:
    """Rope settings and the data type by their old names, at every depth."""
    out = {k: _config(v) if isinstance(v, dict) else v for k, v in config.items()}
    if "dtype" in out:
        out["torch_dtype"] = out.pop("dtype")
    rope = out.pop("rope_parameters", None)
    if isinstance(rope, dict):
        out |= _rope(rope)
    return out


def _rope(rope: dict[str, Any]) -> dict[str, Any]:
    if "full_attention" in rope:  # Gemma 3 has one for each kind of layer
        local = rope["sliding_attention"]["rope_theta"]
        return {**_rope(rope["full_attention"]), "rope_local_base_freq": local}
    apart = ("rope_theta", "partial_rotary_factor")
    rest = {k: v for k, v in rope.items() if k not in (*apart, "rope_type")}
    kind = rope.get("rope_type", "default")
    out = {name: rope[name] for name in apart if name in rope}
    plain = kind == "default" and not rest
    return {**out, "rope_scaling": None if plain else {"rope_type": kind, "type": kind, **rest}}


def _images(settings: dict[str, Any]) -> dict[str, Any]:
    """Qwen-VL's sizes are also wanted as numbers of pixels."""
    size = settings.get("size") or {}
    if "longest_edge" in size and "shortest_edge" in size and "patch_size" in settings:
        settings["min_pixels"], settings["max_pixels"] = size["shortest_edge"], size["longest_edge"]
    return settings


def _tokenizer(settings: dict[str, Any]) -> dict[str, Any]:
    settings = dict(settings, tokenizer_class="PreTrainedTokenizerFast")
    settings.pop("backend", None)
    named = {name: settings[name] for name in NAMED_TOKENS if name in settings}
    settings["extra_special_tokens"] = named
    return settings


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
