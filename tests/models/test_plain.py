"""Folders that Hilum writes open in plain transformers, in an interpreter that has no Hilum."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hilum.models.twins import make_twin

# AutoProcessor opens these without torchvision; the others' asks for it before anything else.
WHOLE = ("llava-dinov2", "llava-siglip", "gemma3", "smolvlm")
PARTS = ("qwen2.5-vl", "qwen3-vl", "glm-4.1v", "internvl")

PLAIN = """
import importlib.abc, json, sys
class NoHilum(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hilum":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoHilum())
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
assert not [m for m in sys.modules if m.split(".")[0] == "hilum"]
print(json.dumps(said))
"""


@pytest.mark.slow
def test_twins_open_where_hilum_is_not(tmp_path: Path) -> None:
    film = tmp_path / "film.png"
    levels = np.random.default_rng(0).integers(0, 256, (80, 64), dtype=np.uint8)
    Image.fromarray(levels).convert("RGB").save(film)
    whole = {f: str(make_twin(f, tmp_path / f)) for f in WHOLE}
    parts = {f: str(make_twin(f, tmp_path / f)) for f in PARTS}
    done = subprocess.run(
        # -S: no .pth file is read, so an editable Hilum is not on the path either
        [sys.executable, "-S", "-c", PLAIN, json.dumps([whole, parts, str(film)])],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
            "PYTHONPATH": sysconfig.get_path("purelib"),
            "HF_HUB_OFFLINE": "1",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert set(said) == {*WHOLE, *PARTS}
    assert said["llava-dinov2"][0] == "LlavaProcessor"
    assert all(len(answer) > 0 for _, answer in said.values())
