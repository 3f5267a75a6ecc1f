"""Folders that Hilum writes open in plain transformers, in an environment that has no Hilum.

The environment is a real one (``python -m venv``): every installed package is linked into it, but
for Hilum. That takes a second and no network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from benchmarks.conversion import checkpoint
from hilum.models.convert import convert
from hilum.models.processing import open_processor
from hilum.models.twins import make_twin

# AutoProcessor opens these without torchvision; the others' asks for it before anything else.
WHOLE = ("llava-dinov2", "llava-siglip", "gemma3", "smolvlm")
PARTS = ("qwen2.5-vl", "qwen3-vl", "glm-4.1v", "internvl")

PLAIN = """
import importlib.metadata, importlib.util, json, sys
assert importlib.util.find_spec("hilum") is None
assert "hilum" not in {d.metadata["Name"] for d in importlib.metadata.distributions()}
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor
from transformers import AutoTokenizer, pipeline
whole, parts, film = json.loads(sys.argv[1])
said = {}
for name, folder in whole.items():
    chat = [{"role": "user", "content": [{"type": "image", "image": Image.open(film)},
                                         {"type": "text", "text": "Hi"}]}]
    ask = pipeline("image-text-to-text", model=folder, device="cpu", dtype=torch.float32)
    answer = ask(text=chat, max_new_tokens=5, do_sample=False, return_full_text=False)
    said[name] = [type(AutoProcessor.from_pretrained(folder)).__name__, answer[0]["generated_text"]]
for name, folder in parts.items():
    model, problems = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not any(problems.values()), problems
    pixels = AutoImageProcessor.from_pretrained(folder)(Image.open(film), return_tensors="pt")
    assert pixels["pixel_values"].numel()
    said[name] = [type(model).__name__, AutoTokenizer.from_pretrained(folder).decode([300])]
print(json.dumps(said))
"""


def environment(folder: Path) -> Path:
    """The interpreter of a new environment with all that is installed here, but for Hilum."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            # .pth files lead elsewhere: an editable Hilum is one of them
            if "hilum" not in entry.name.lower() and entry.suffix != ".pth":
                (packages / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
    return Path(sysconfig.get_path("scripts", "venv", vars=paths)) / "python"


def here(folder: str, film: Path) -> str:
    """What Hilum's own way of opening a folder says."""
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = open_processor(Path(folder))
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hi"}]}]
    prompt = processor.apply_chat_template(turn, add_generation_prompt=True)
    inputs = processor(text=[prompt], images=[Image.open(film)], return_tensors="pt")
    with torch.inference_mode():
        written = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    new = written[:, inputs["input_ids"].shape[1] :]
    return str(processor.batch_decode(new, skip_special_tokens=True)[0])


@pytest.mark.slow
def test_models_open_where_hilum_is_not(tmp_path: Path) -> None:
    film = tmp_path / "film.png"
    levels = np.random.default_rng(0).integers(0, 256, (80, 64), dtype=np.uint8)
    Image.fromarray(levels).convert("RGB").save(film)
    whole = {f: str(make_twin(f, tmp_path / f)) for f in WHOLE}
    for encoder in ("dinov2", "siglip"):
        target = tmp_path / f"converted-{encoder}"
        convert(checkpoint(tmp_path / f"source-{encoder}", encoder), target)
        whole[target.name] = str(target)
    parts = {f: str(make_twin(f, tmp_path / f)) for f in PARTS}
    done = subprocess.run(
        [environment(tmp_path / "venv"), "-c", PLAIN, json.dumps([whole, parts, str(film)])],
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        | {"HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert set(said) == {*whole, *parts}
    assert said["llava-dinov2"][0] == said["llava-siglip"][0] == "LlavaProcessor"
    for name, folder in whole.items():
        assert said[name][1] == here(folder, film), name


@pytest.mark.parametrize("family", ["llava-siglip", "gemma3"])
def test_encoders_have_the_names_that_vllm_and_transformers_4_know(
    family: str, tmp_path: Path
) -> None:
    folder = make_twin(family, tmp_path / family)
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        names = list(tensors.keys())
    encoder = [name for name in names if name.startswith("vision_tower.")]
    assert encoder
    assert all(name.startswith("vision_tower.vision_model.") for name in encoder)
    assert "language_model.model.embed_tokens.weight" in names
    assert "multi_modal_projector." in " ".join(names)
