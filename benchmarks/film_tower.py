"""A LLaVA with a film tower for OpenVINO, whose exporter does not know that tower.

The exporter writes the model with a small SigLIP in the tower's place. Then tower and projector are
converted here, compressed as the exporter compresses all that is no language model, and take the
SigLIP's place.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hilum.models.safety import read_json

VISION = "openvino_vision_embeddings_model"
# Run in the exporter's environment: nncf is there.
COMPRESS = """
import sys, nncf, openvino
source, target = sys.argv[1:]
model = openvino.Core().read_model(source)
openvino.save_model(nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM), target)
"""


def is_one(folder: Path) -> bool:
    """Whether the folder's model is a LLaVA with a film tower; others are not replaced here."""
    config = read_json(folder / "config.json")
    vision = config.get("vision_config") or {}
    return (config.get("model_type"), vision.get("model_type")) == ("llava", "hilum_film_tower")


def quantize(folder: Path, to: str, out: Path, env: Path) -> None:
    """As ``hilum.training.openvino.quantize``, whose parity is that of the SigLIP's model."""
    from hilum.models.load import load_model
    from hilum.training import openvino

    model = load_model(folder, torch.float32)
    with tempfile.TemporaryDirectory() as work:
        replaced = _with_siglip(folder, model, Path(work) / folder.name)
        openvino.quantize(replaced, to, out, env)
        _convert(model, out, Path(work), env, bits=openvino.FORMATS[to][1])


def _with_siglip(folder: Path, model: Any, target: Path) -> Path:
    """The model with a small random SigLIP that has the tower's tokens and width."""
    from transformers import LlavaForConditionalGeneration, SiglipVisionConfig

    from hilum.models.compose import Composed
    from hilum.models.processing import open_processor

    config, tower = type(model.config)(**model.config.to_dict()), model.config.vision_config
    config.vision_config = SiglipVisionConfig(
        hidden_size=tower.hidden_size,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=tower.image_size,
        patch_size=tower.patch_size,
        vision_use_head=False,
    )
    small = LlavaForConditionalGeneration(config)
    kept = {k: v for k, v in model.state_dict().items() if "vision_tower" not in k}
    small.load_state_dict(kept, strict=False)
    small.generation_config = model.generation_config
    Composed(small.eval(), open_processor(folder)).save(target)
    if (folder / "reader.json").is_file():
        (target / "reader.json").write_bytes((folder / "reader.json").read_bytes())
    return target


class _Seen(nn.Module):
    """Films (B, 3, S, S) to what the language model gets of them."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projector = model.model.vision_tower, model.model.multi_modal_projector

    def forward(self, pixel_values: Tensor) -> Tensor:
        return torch.as_tensor(self.projector(self.tower(pixel_values).last_hidden_state))


def _convert(model: Any, out: Path, work: Path, env: Path, bits: int) -> None:
    import openvino

    side = model.config.vision_config.image_size
    torch.backends.mha.set_fastpath_enabled(False)  # one operation, which no converter knows
    films = torch.rand(1, 3, side, side)  # the runtime encodes one at a time
    converted = openvino.convert_model(_Seen(model).eval(), example_input=films)
    theirs = openvino.Core().read_model(out / f"{VISION}.xml")
    converted.input().set_names(theirs.input().get_names())
    converted.output().set_names(theirs.output().get_names())
    del theirs
    target = out / f"{VISION}.xml"
    for path in (target, target.with_suffix(".bin")):
        path.unlink()
    if bits == 16:
        openvino.save_model(converted, target)
        return
    whole, python = work / "whole.xml", env.absolute() / "bin" / "python"
    openvino.save_model(converted, whole, compress_to_fp16=False)
    subprocess.run([str(python), "-c", COMPRESS, str(whole), str(target)], check=True)
