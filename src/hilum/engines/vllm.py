"""The command that serves a model with vLLM, by family; the facts are in ``vllm.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError

FACTS = Path(__file__).parent / "vllm.yaml"
VIEWS = 3


@dataclass(frozen=True)
class Command:
    """A program's arguments, and what to know before it is run."""

    arguments: list[str]
    warnings: list[str]


def serve_command(model: str, port: int = 8000, length: int | None = None) -> Command:
    """The command for a model's folder, or for a preset or hub id.

    ``length``: positions a request may take; the model's own where None. Raises
    ``model_unsupported`` where vLLM has no class for the family, ``preset_unknown``,
    ``model_invalid``.
    """
    folder = Path(model)
    warnings = []
    if folder.is_dir():
        from hilum.models.safety import read_json

        config, place = read_json(folder / "config.json"), str(folder)
    else:
        from hilum.models.presets import find

        preset = find(model)
        config, place = preset.config, preset.hub
        if preset.remote_code:
            warnings.append(f"{preset.id} runs its own code as published: convert it first")
    kind = str(config.get("model_type", "vision-encoder-decoder"))  # the embedded preset has none
    facts = _facts().get(kind, {})
    if "refused" in facts:
        raise HilumError(Code.MODEL_UNSUPPORTED, model, facts["refused"])
    if kind not in _facts():
        warnings.append(f"{kind} was never tried here: compare a few texts with transformers'")
    encoder = str((config.get("vision_config") or {}).get("model_type"))
    extra = facts.get("encoder", {}).get(encoder, [])
    if folder.is_dir() and not extra and (wrong := _misnamed(folder, facts)):
        warnings.append(wrong)
    arguments = ["vllm", "serve", place, *_facts()["all"], "--port", str(port), *extra]
    arguments += ["--limit-mm-per-prompt", f'{{"image": {VIEWS}}}']
    arguments += ["--structured-outputs-config", _facts()["structured"]]
    if length is not None:
        arguments += ["--max-model-len", str(length)]
    return Command(arguments, warnings)


def _misnamed(folder: Path, facts: dict[str, Any]) -> str:
    """What is wrong with the tower's tensor names; empty where nothing is."""
    tower = facts.get("tower")
    if not tower:
        return ""
    from hilum.models.safety import header, weight_files

    names = [n for path in weight_files(folder) for n in header(path)]
    found = [n for n in names if tower["finds"] in n]
    if not found:
        return ""
    return f"vLLM wants {tower['wants']}*, the folder has {found[0]}: rename them first"


@cache
def _facts() -> dict[str, Any]:
    from hilum.models.presets import read_yaml

    facts: dict[str, Any] = read_yaml(FACTS)
    return facts
