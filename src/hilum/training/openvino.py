"""A model's weights in fewer bits, for OpenVINO: exported, checked against the original.

The exporter (optimum-intel) wants transformers 4.57, which clashes with the rest of Hilum: it
runs in a virtual environment of its own, as a program, offline.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.engines.openvino import EXPORT, OpenVinoEngine, need_openvino
from hilum.models.frame import frame_of, told
from hilum.models.older import image_settings, older_config, write_older
from hilum.models.safety import read_json
from hilum.training.environment import Environment, run
from hilum.training.parity import (
    Quantised,
    compare,
    refuse,
    require_parity,
    weight_bytes,
    write_card,
)

# The exporter's name of each format, and its bits a weight.
FORMATS = {
    "openvino-fp16": ("fp16", 16),
    "openvino-int8": ("int8", 8),
    "openvino-int4": ("int4", 4),
}
# torch must be built for the processor: a torchvision or torch for CUDA breaks the exporter.
PINS = ("optimum-intel==2.2.0", "transformers==4.57.6", "torch==2.13.0", "nncf==3.4.0")
EXPORTER = Environment((*PINS, "openvino-genai"), "optimum-cli", unwanted=("torchvision",))
IMAGE_TOKENS = 576  # of a LLaVA that does not say: LLaVA-1.5's, the default of transformers
# Families whose films GenAI would resize in another way than their processor does.
FRAMED = ("llava", "qwen2_5_vl", "qwen3_vl")
ANY_SIZE = 2**31 - 1  # pixels


def quantize(folder: Path, to: str, out: Path, env: Path) -> Quantised:
    """Export ``folder`` to ``out`` and compare; ``out`` must be new.

    ``to``: a key of ``FORMATS``. Raises ``option_invalid``, ``output_exists``, ``extra_missing``
    (without openvino-genai here, or with the commands that make ``env``), ``export_failed``, and
    ``parity_failed`` where the export says something else; it is then kept for a look.
    """
    refuse(folder, to, FORMATS, out)
    EXPORTER.require(env)
    need_openvino()  # to compare with; refused before minutes of exporting
    from hilum.engines.local.vlm import VlmEngine

    original = VlmEngine(folder, "float32")  # refused here, before minutes of exporting
    weights, bits = FORMATS[to]
    export(folder, weights, out, env)
    describe(folder, to, out, original)
    parity = compare(original, OpenVinoEngine(out, exact=True))
    done = Quantised(to, weight_bytes(folder, ".safetensors"), weight_bytes(out, ".bin"), parity)
    said = json.loads((out / EXPORT).read_text(encoding="utf-8"))
    (out / EXPORT).write_text(json.dumps({**said, **asdict(done)}, indent=1), encoding="utf-8")
    require_parity(out, bits, parity)
    return done


def export(folder: Path, weights: str, out: Path, env: Path) -> None:
    """Run the exporter of ``env``; raises ``export_failed`` with its last line."""
    with tempfile.TemporaryDirectory() as work:
        source = write_older(folder, Path(work) / folder.name)
        target = Path(work) / "export"
        exporter = str(env.absolute() / "bin" / "optimum-cli")
        command = [
            *(exporter, "export", "openvino", "--model", str(source)),
            *("--task", "image-text-to-text", "--weight-format", weights, str(target)),
        ]
        failed = run(command, Path(work))
        if failed or not (target / "openvino_language_model.xml").is_file():
            raise HilumError(Code.EXPORT_FAILED, folder, failed or "no model was written")
        shutil.move(target, out)


def describe(folder: Path, to: str, out: Path, original: object = None) -> None:
    """Write what Hilum wants to know of an export: its card without a calibration, its stops."""
    write_card(folder, out, answers=1)  # each wording costs the encoding of a film there
    stops = getattr(original, "stops", [])
    said = {"format": to, "source": getattr(original, "weights_sha256", ""), "stops": stops}
    said |= _geometry(folder)
    if "frame" in said:
        _take_any_size(out)
    (out / EXPORT).write_text(json.dumps(said, indent=1), encoding="utf-8")


def _take_any_size(out: Path) -> None:
    """Let the runtime take a film's frame as it is.

    A frame is rounded up from the fewest pixels: where these are near the most, the runtime would
    make it smaller once more.
    """
    path = out / "preprocessor_config.json"
    settings = read_json(path) if path.is_file() else {}
    if "min_pixels" in settings:
        settings |= {"min_pixels": 1, "max_pixels": ANY_SIZE}
        settings["size"] = {"shortest_edge": 1, "longest_edge": ANY_SIZE}
        path.write_text(json.dumps(settings, indent=1), encoding="utf-8")


def _geometry(folder: Path) -> dict[str, Any]:
    """What the engine must know to give a model its pixels, and to keep to a LLaVA's context."""
    config = older_config(folder)
    if config.get("model_type") not in FRAMED:
        return {}
    frame = {"frame": told(frame_of(image_settings(folder)))}
    if config["model_type"] != "llava":
        return frame
    return frame | {
        "image_tokens": config.get("image_seq_length", IMAGE_TOKENS),
        "positions": (config.get("text_config") or {}).get("max_position_embeddings") or 0,
    }
