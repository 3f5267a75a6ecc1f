"""A twin of every family, and the plain way of running one: the processor and transformers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from hilum.engines import Request, Sampling
from hilum.engines.local.vlm import VlmEngine
from hilum.models.processing import open_processor
from hilum.models.twins import families, make_twin

Film = NDArray[np.uint8]


@dataclass
class Family:
    """A twin's folder, the engine on it, and the plain way in float32."""

    name: str
    folder: Path
    engine: VlmEngine

    @cached_property
    def model(self) -> Any:
        from transformers import AutoModelForImageTextToText

        opened = AutoModelForImageTextToText.from_pretrained(
            self.folder, dtype=torch.float32, local_files_only=True
        )
        return opened.eval()

    @cached_property
    def processor(self) -> Any:
        return open_processor(self.folder)

    def inputs(self, prompt: str, images: tuple[Film, ...]) -> Any:
        content = [*[{"type": "image"}] * len(images), {"type": "text", "text": prompt}]
        turn = [{"role": "user", "content": content}]
        text = str(self.processor.apply_chat_template(turn, add_generation_prompt=True))
        pictures = [Image.fromarray(i).convert("RGB") for i in images]
        inputs = self.processor(text=[text], images=[pictures] if pictures else None)
        bos = self.processor.tokenizer.bos_token_id
        if bos is not None and inputs["input_ids"][0][:2] == [bos, bos]:
            raise AssertionError("two beginnings")
        return self.processor(
            text=[text], images=[pictures] if pictures else None, return_tensors="pt"
        )

    def plain(self, request: Request, sampling: Sampling) -> str:
        """One fp32 ``generate``, nothing of the engine's."""
        inputs = self.inputs(request.prompt, request.images)
        with torch.inference_mode():
            out = self.model.generate(
                **inputs, max_new_tokens=sampling.max_new_tokens, do_sample=False
            )
        new = out[0, inputs["input_ids"].shape[1] :]
        return str(self.processor.tokenizer.decode(new, skip_special_tokens=True)).strip()


def film(seed: int, rows: int = 80, columns: int = 64) -> Film:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns), dtype=np.uint8)


@pytest.fixture(scope="session", params=families())
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    torch.set_num_threads(1)
    folder = make_twin(request.param, tmp_path_factory.mktemp(request.param))
    return Family(request.param, folder, VlmEngine(folder, "float32"))
