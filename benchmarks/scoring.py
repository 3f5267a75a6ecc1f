"""Fourteen questions on a film of 1369 image tokens: one pass against one question at a time.

    python -m benchmarks.scoring --threads 2

One pass is `Engine.choose` with all questions: the film is encoded once, the words before the
questions are run once, and their keys and values are shared. One at a time is what a caller
without it does: for each question the film is encoded and the whole prompt run, with the plain
processor and transformers' forward, on the same weights, threads and precision (float32). Last
line: JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.engines import Question
from hilum.findings import FINDINGS
from hilum.models.processing import open_processor
from hilum.models.twins import make_shape

SHAPE = "llava-dinov2-1369"
ASKED = "Does this chest X-ray show {}? Answer yes or no."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--films", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/shapes"))
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    folder = args.folder / SHAPE
    if not (folder / "config.json").is_file():
        make_shape(SHAPE, folder)
    from hilum.engines.local.vlm import VlmEngine

    engine = VlmEngine(folder, "float32")
    questions = [
        Question(ASKED.format(f.en), ("Yes", "No"), "first") for f in list(FINDINGS.values())[:14]
    ]
    films = [np.random.default_rng(i).integers(0, 256, (640, 512), np.uint8) for i in range(3)]
    tokens = engine.films.prepare(films[0]).tokens
    engine.choose([(films[2],)], "", questions[:2])  # warm-up
    plain = Plain(engine.model, open_processor(folder))
    plain.ask(films[2], questions[0])
    once, slow, apart = [], [], []
    for film in films[: args.films]:
        engine.forget()
        start = time.perf_counter()
        (together,) = engine.choose([(film,)], "", questions)
        once.append(time.perf_counter() - start)
        start = time.perf_counter()
        alone = np.array([plain.ask(film, q) for q in questions])
        slow.append(time.perf_counter() - start)
        apart.append(float(np.abs(together - alone).max()))
    spread = float(np.ptp(together[:, 0]))
    print(f"{len(questions)} questions, {tokens} image tokens, {args.threads} threads, float32")
    print(f"one pass            {np.median(once):8.2f} s a film")
    print(f"one at a time       {np.median(slow):8.2f} s a film")
    print(f"ratio               {np.median(slow) / np.median(once):8.2f}")
    print(f"largest difference  {max(apart):.2e} of a probability (answers spread {spread:.2e})")
    figures = {
        "questions": len(questions),
        "image_tokens": tokens,
        "threads": args.threads,
        "one_pass_s": round(float(np.median(once)), 3),
        "one_at_a_time_s": round(float(np.median(slow)), 3),
        "ratio": round(float(np.median(slow) / np.median(once)), 2),
        "largest_difference": max(apart),
    }
    print(json.dumps(figures))


class Plain:
    """A question without sharing: processor and forward, the film every time."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor

    def ask(self, film: NDArray[np.uint8], question: Question) -> NDArray[np.float64]:
        """Probability of each answer by its first token."""
        import torch
        from PIL import Image

        content = [{"type": "image"}, {"type": "text", "text": question.prompt}]
        turn = [{"role": "user", "content": content}]
        text = self.processor.apply_chat_template(turn, add_generation_prompt=True)
        picture = Image.fromarray(film).convert("RGB")
        inputs = self.processor(text=[text], images=[[picture]], return_tensors="pt")
        tokenizer = self.processor.tokenizer
        first = [tokenizer.encode(a, add_special_tokens=False)[0] for (a,) in question.wordings()]
        with torch.inference_mode():
            logits = self.model(**inputs, logits_to_keep=1).logits[0, -1].double()
        return logits.log_softmax(-1)[first].softmax(0).numpy()


if __name__ == "__main__":
    main()
