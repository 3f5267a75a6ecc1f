"""A model's weights in fewer bits, for OpenVINO: exported, checked against the original.

The exporter (optimum-intel) wants transformers 4.57, which clashes with the rest of Hilum: it
runs in a virtual environment of its own, as a program, offline.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilum.codes import Code, HilumError
from hilum.engines import Engine, Question, Request, Sampling
from hilum.engines.abilities import leading_text
from hilum.engines.openvino import EXPORT, OpenVinoEngine
from hilum.models.frame import frame_of, told
from hilum.models.older import image_settings, older_config, write_older
from hilum.models.safety import read_json

FORMATS = {"openvino-fp16": "fp16", "openvino-int8": "int8", "openvino-int4": "int4"}
PINS = ("optimum-intel==2.2.0", "transformers==4.57.6", "torch==2.13.0", "nncf==3.4.0")
# An export is broken, and not only rounded, where it shares less than this part of the leading
# text with its original and its probabilities are further away than FARTHEST.
LEAST = {"fp16": 0.9, "int8": 0.5, "int4": 0.25}
FARTHEST = 0.2
FILMS, TOKENS = 4, 16
IMAGE_TOKENS = 576  # of a LLaVA that does not say: LLaVA-1.5's, the default of transformers
# Families whose films GenAI would resize in another way than their processor does.
FRAMED = ("llava", "qwen2_5_vl", "qwen3_vl")
ANY_SIZE = 2**31 - 1  # pixels
QUESTION = Question("Is there a fracture? Answer yes or no.", ("Yes", "No"), "first")


@dataclass(frozen=True)
class Parity:
    """How an export compares with its original in float32, on noise films."""

    texts: int
    texts_equal: int
    leading_text_equal: float
    largest_probability_difference: float


@dataclass(frozen=True)
class Quantised:
    """What an export is: its bytes before and after, and its parity."""

    format: str
    bytes_before: int
    bytes_after: int
    parity: Parity


def install_commands(env: Path) -> list[list[str]]:
    """The commands that make the exporter's environment; they need a network or a mirror.

    torch must be built for the processor: a torchvision or torch for CUDA breaks the exporter.
    """
    python = str(env / "bin" / "python")
    packages = [*PINS, "openvino-genai"]
    return [
        [sys.executable, "-m", "venv", str(env)],
        [python, "-m", "pip", "install", *packages],
        [python, "-m", "pip", "uninstall", "-y", "torchvision"],
    ]


def install(env: Path) -> None:
    """Make the exporter's environment; raises ``extra_missing`` with the commands if it fails."""
    for command in install_commands(env):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise _missing(env)


def quantize(folder: Path, to: str, out: Path, env: Path) -> Quantised:
    """Export ``folder`` to ``out`` and compare; ``out`` must be new.

    ``to``: a key of ``FORMATS``. Raises ``option_invalid``, ``output_exists``, ``extra_missing``
    (with the commands that make ``env``), ``export_failed``, and ``parity_failed`` where the
    export says something else; it is then kept for a look.
    """
    if to not in FORMATS:
        raise HilumError(Code.OPTION_INVALID, "--to", f"take one of {', '.join(FORMATS)}")
    if out.exists():
        raise HilumError(Code.OUTPUT_EXISTS, out, "name a new folder")
    if not (env / "bin" / "optimum-cli").is_file():
        raise _missing(env)
    from hilum.engines.local.vlm import VlmEngine

    original = VlmEngine(folder, "float32")  # refused here, before minutes of exporting
    export(folder, FORMATS[to], out, env)
    describe(folder, to, out, original)
    parity = compare(original, OpenVinoEngine(out, exact=True))
    done = Quantised(to, _bytes(folder, ".safetensors"), _bytes(out, ".bin"), parity)
    said = json.loads((out / EXPORT).read_text(encoding="utf-8"))
    (out / EXPORT).write_text(json.dumps({**said, **asdict(done)}, indent=1), encoding="utf-8")
    apart = parity.largest_probability_difference
    if parity.leading_text_equal < LEAST[FORMATS[to]] and apart > FARTHEST:
        wrong = (
            f"{parity.leading_text_equal:.0%} of the leading text, probabilities {apart:.2f} off"
        )
        raise HilumError(Code.PARITY_FAILED, out, wrong)
    return done


def compare(original: Engine, export: Engine) -> Parity:
    """Texts and probabilities of two engines on the same films and words."""
    rng = np.random.default_rng(0)
    films = [rng.integers(0, 256, (80, 64), dtype=np.uint8) for _ in range(FILMS)]
    requests = [Request((film,), "Describe bones on this chest X-ray.") for film in films]
    one, two = (e.generate(requests, Sampling(TOKENS)) for e in (original, export))
    texts = [(_readable(a.text), _readable(b.text)) for a, b in zip(one, two, strict=True)]
    p, q = (e.choose([(f,) for f in films], "", [QUESTION]) for e in (original, export))
    return Parity(
        texts=len(texts),
        texts_equal=sum(a == b for a, b in texts),
        leading_text_equal=float(np.mean([leading_text(a, b) for a, b in texts])),
        largest_probability_difference=float(np.abs(np.array(p) - np.array(q)).max()),
    )


def _readable(text: str) -> str:
    """Text in which any run of broken letters is one: decoders differ in how many they print."""
    return re.sub("\ufffd+", "\ufffd", text)


def _missing(env: Path) -> HilumError:
    commands = " && ".join(" ".join(c) for c in install_commands(env))
    return HilumError(Code.EXTRA_MISSING, env, f"make the exporter's environment: {commands}")


def export(folder: Path, weights: str, out: Path, env: Path) -> None:
    """Run the exporter of ``env``; raises ``export_failed`` with its last line."""
    with tempfile.TemporaryDirectory() as work:
        source = write_older(folder, Path(work) / folder.name)
        target = Path(work) / "export"
        command = [
            *(str(env / "bin" / "optimum-cli"), "export", "openvino", "--model", str(source)),
            *("--task", "image-text-to-text", "--weight-format", weights, str(target)),
        ]
        hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        environment = {k: v for k, v in os.environ.items() if k not in hidden}
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, cwd=work
        )
        if done.returncode or not (target / "openvino_language_model.xml").is_file():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            why = (lines or ["no message"])[-1].strip()[:200]
            raise HilumError(Code.EXPORT_FAILED, folder, why)
        shutil.move(target, out)


def describe(folder: Path, to: str, out: Path, original: object = None) -> None:
    """Write what Hilum wants to know of an export: its card without a calibration, its stops."""
    from hilum.reading.reader import CARD, Card
    from hilum.reading.score import Calibration

    path = folder / CARD
    if path.is_file():
        card = Card.model_validate_json(path.read_text(encoding="utf-8"))
    else:
        from hilum.reading.plain import NO, YES, plain_card

        # each wording costs the encoding of a film there
        card = plain_card(folder).model_copy(update={"answers": (YES[:1], NO[:1])})
    card = card.model_copy(update={"calibration": Calibration()})  # other weights, other odds
    (out / CARD).write_text(card.model_dump_json(indent=1), encoding="utf-8")
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


def _bytes(folder: Path, suffix: str) -> int:
    return sum(p.stat().st_size for p in folder.iterdir() if p.suffix == suffix)
