"""The model, processor and parts of a recipe, opened from a folder; nothing is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.training import parts
from hilum.training.collate import Chat
from hilum.training.device import Choice, Device, choose, give_back_memory, quantisation_config
from hilum.training.recipe import PARTS, Recipe


@dataclass
class Built:
    """What a run works on. ``model`` has its adapters and its trainable parts."""

    model: Any
    chat: Chat
    choice: Choice
    device: Device
    folder: Path


def model_folder(path: str) -> Path:
    """The folder of the weights; raises ``model_incomplete`` where only a preset is known."""
    from hilum.models.presets import find

    folder = Path(path)
    if (folder / "config.json").is_file():
        return folder
    try:
        hub = find(path).hub
    except HilumError as error:
        if error.code is Code.MODEL_GONE:
            raise
        raise HilumError(Code.FILE_NOT_FOUND, path, "no model's folder, and no preset") from None
    hint = f"fetch it first: hilum models fetch {path} FOLDER, then model.path=FOLDER"
    raise HilumError(Code.MODEL_INCOMPLETE, hub, hint)


def build(recipe: Recipe, device: Device | None = None) -> Built:
    """Open a recipe's model and processor, quantise, add adapters, set what is trained.

    Raises ``model_incomplete``, ``model_invalid``, ``out_of_memory``, ``extra_missing``,
    ``part_unknown``.
    """
    from transformers import set_seed

    from hilum.models.processing import quiet

    quiet()
    device = device or Device.here()
    if device.kind == "cpu":
        give_back_memory()
    choice = choose(recipe.precision, device)
    folder = model_folder(recipe.model.path)
    model = open_base(folder, recipe, choice, device)
    set_seed(recipe.seed)  # adapters begin at random
    model = parts.prepare(model, recipe)
    return Built(model, open_chat(recipe, model), choice, device, folder)


def open_base(folder: Path, recipe: Recipe, choice: Choice, device: Device) -> Any:
    """The weights as they are computed with, quantised where the recipe says so."""
    from transformers import AutoModelForImageTextToText

    import hilum.models.maira2  # registers MAIRA-2's architecture, and the tower
    import hilum.models.tower  # noqa: F401
    from hilum.models.safety import refuse_remote_code, weight_files

    weight_files(folder)  # no pickle, nothing missing
    if recipe.model.path and not _ours(folder):
        refuse_remote_code(folder, allowed=False)
    given: dict[str, Any] = {"device_map": {"": 0}} if device.kind == "cuda" else {}
    config = quantisation_config(recipe, choice, _unquantised(folder, recipe))
    if config is not None:
        given["quantization_config"] = config
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=choice.dtype,
            attn_implementation=recipe.model.attention,
            **given,
        )
    except MemoryError as error:
        raise HilumError(Code.OUT_OF_MEMORY, folder, "while the weights were opened") from error
    except Exception as error:  # whatever the libraries make of files that anyone may write
        raise HilumError(Code.MODEL_INVALID, folder, type(error).__name__) from error
    if config is not None and device.kind == "cpu":
        _let_train_on_cpu(model)
    return model


def _ours(folder: Path) -> bool:
    from hilum.models.processing import OUR_CODE
    from hilum.models.safety import read_json

    return read_json(folder / "config.json").get("model_type") in OUR_CODE


def _unquantised(folder: Path, recipe: Recipe) -> list[str]:
    """Modules that keep their precision: other parts, parts trained in full, the head."""
    if recipe.quantisation.method == "none":
        return []
    full = {name for name, part in recipe.parts.items() if part.train == "full"}
    kept = {p for p in PARTS if p not in recipe.quantisation.parts or p in full}
    return parts.kept_whole(folder, kept)


def _let_train_on_cpu(model: Any) -> None:
    """bitsandbytes repacks 4-bit weights when it first generates, and they cannot train then."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def open_chat(recipe: Recipe, model: Any) -> Chat:
    """The recipe's processor and template, and the ids at which this model stops."""
    from hilum.models.processing import open_processor

    processor = open_processor(Path(recipe.model.processor or recipe.model.path))
    ends = model.generation_config.eos_token_id
    stops = ends if isinstance(ends, list) else [] if ends is None else [ends]
    return Chat(processor, stops, image_token(model.config))


def image_token(config: Any) -> int:
    """The id that stands for a film's tokens in a prompt."""
    for key in ("image_token_id", "image_token_index"):
        if getattr(config, key, None) is not None:
            return int(getattr(config, key))
    raise HilumError(Code.MODEL_INVALID, "config.json", "names no image token")
