"""What `benchmarks.service` puts beside hilum serve, and the reader it gives to it.

python -m benchmarks.others seed|batched MODEL TOKENS
python -m benchmarks.others worker TOKENS
"""

from __future__ import annotations

import asyncio
import io
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, File, UploadFile
from PIL import Image

from hilum.codes import Code, HilumError
from hilum.engines import Draft, Request, Sampling

PROMPT = "请详细描述这张胸部X光片中的骨折情况，包括位置、类型和严重程度"
GATHER_SECONDS = 0.01
LARGEST = 16


class Model:
    """transformers, with exactly so many greedy tokens a film."""

    def __init__(self, folder: str, tokens: int, half: bool) -> None:
        import torch
        from transformers import AutoModelForImageTextToText

        from hilum.models.processing import open_processor

        self.torch, self.tokens = torch, tokens
        self.processor = open_processor(Path(folder))
        self.processor.tokenizer.padding_side = "left"
        dtype = torch.bfloat16 if half else torch.float32
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).eval()
        self.text = self.processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}],
            add_generation_prompt=True,
            tokenize=False,
        )

    def write(self, films: Sequence[Image.Image]) -> list[str]:
        squares = [film.convert("RGB").resize((224, 224)) for film in films]
        inputs = self.processor(
            text=[self.text] * len(films), images=squares, return_tensors="pt", padding=True
        ).to(dtype=self.model.dtype)
        with self.torch.inference_mode():
            ids = self.model.generate(
                **inputs,
                max_new_tokens=self.tokens,
                min_new_tokens=self.tokens,
                do_sample=False,
            )
        new = ids[:, inputs["input_ids"].shape[1] :]
        return list(self.processor.tokenizer.batch_decode(new, skip_special_tokens=True))


def seed(folder: str, tokens: int) -> Any:
    """The article's server: the model runs inside `async def`, one request after the other."""
    app, model = FastAPI(), Model(folder, tokens, half=False)

    @app.post("/analyze-fracture")
    async def analyze_fracture(file: UploadFile = File(...)) -> dict[str, str]:  # noqa: B008
        image = Image.open(io.BytesIO(await file.read()))
        (description,) = model.write([image])
        return {"status": "success", "fracture_description": description, "model_version": "x"}

    return app


def batched(folder: str, tokens: int) -> Any:
    """The strongest simple alternative: bf16, and what waits goes into one batch."""
    app, model = FastAPI(), Model(folder, tokens, half=True)
    waiting: asyncio.Queue[tuple[Image.Image, asyncio.Future[str]]] = asyncio.Queue()
    tasks: set[asyncio.Task[None]] = set()

    async def work() -> None:
        while True:
            batch = [await waiting.get()]
            await asyncio.sleep(GATHER_SECONDS)
            while len(batch) < LARGEST and not waiting.empty():
                batch.append(waiting.get_nowait())
            texts = await asyncio.to_thread(model.write, [film for film, _ in batch])
            for (_, answer), text in zip(batch, texts, strict=True):
                answer.set_result(text)

    @app.post("/analyze-fracture")
    async def analyze_fracture(file: UploadFile = File(...)) -> dict[str, str]:  # noqa: B008
        if not tasks:
            tasks.add(asyncio.create_task(work()))
        image = Image.open(io.BytesIO(await file.read()))
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        await waiting.put((image, answer))
        return {
            "status": "success",
            "fracture_description": await answer,
            "model_version": "x",
        }

    return app


class BatchedEngine:
    """The same model as an engine of hilum's."""

    weights_sha256 = "0" * 64
    versions: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, folder: str, tokens: int) -> None:
        self.model = Model(folder, tokens, half=True)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Draft]:
        films = [Image.fromarray(np.asarray(request.images[0])) for request in requests]
        return [Draft(text) for text in self.model.write(films)]

    def stream(self, request: Request, sampling: Sampling) -> Iterator[str]:
        yield self.generate([request], sampling)[0].text

    def choose(self, images: Any, context: str, questions: Any) -> list[Any]:
        raise HilumError(Code.NO_PROBABILITY, "batched")


def worker(tokens: int, load: bool) -> int:
    """A worker of hilum serve with that engine, or with the one that a folder is loaded by."""
    from hilum.reading.reader import Card, Reader
    from hilum.service.worker import main as work

    prompts: Any = {"en": PROMPT, "zh": PROMPT}

    def reader(folder: str) -> Reader:
        if load:
            loaded = Reader.load(folder)
            changes = {"max_new_tokens": tokens, "prompts": prompts, "questions": {}}
            return Reader(loaded.card.model_copy(update=changes), loaded.engine)
        card = Card(name="batched", architecture="qwen2.5-vl", licence="none", prompts=prompts)
        return Reader(card, BatchedEngine(folder, tokens))

    return work(reader)


def main() -> int:
    if sys.argv[1] == "worker":
        return worker(int(sys.argv[2]), "load" in sys.argv)
    import uvicorn

    make = {"seed": seed, "batched": batched}[sys.argv[1]]
    app = make(sys.argv[2], int(sys.argv[3]))
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])
    return 0


if __name__ == "__main__":
    sys.exit(main())
