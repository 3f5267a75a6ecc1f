"""The engine for a folder of weights: which one its files are made for."""

from __future__ import annotations

from pathlib import Path

from hilum.engines.base import Engine
from hilum.engines.local.place import Precision

EMBEDDED = "vision-encoder-decoder"
OPENVINO = "openvino_language_model.xml"


def open_url(url: str) -> tuple[Engine, str]:
    """The engine behind ``URL`` or ``URL#MODEL``, and the model's name.

    Asks the server for its model where none is named. Raises as :mod:`hilum.engines.served` does.
    """
    from hilum.engines.served import ServedEngine, served_model

    place, _, model = url.partition("#")
    model = model or served_model(place)
    return ServedEngine(place, model), model


def open_engine(folder: Path, precision: Precision = "auto") -> Engine:
    """The engine that runs a folder's weights; what it raises is said by each engine.

    OpenVINO's export, the embedded architecture, or any vision-language model of transformers.
    """
    if (folder / OPENVINO).is_file():
        from hilum.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(folder)
    if not (folder / "config.json").is_file() or is_embedded(folder):
        from hilum.engines.local import LocalEngine

        return LocalEngine(folder)
    from hilum.engines.local.vlm import VlmEngine

    return VlmEngine(folder, precision)


def is_embedded(folder: Path) -> bool:
    """Whether a folder's config names the embedded architecture; raises what reading it raises."""
    from hilum.models.safety import read_json

    config = folder / "config.json"
    return config.is_file() and read_json(config).get("model_type") == EMBEDDED
