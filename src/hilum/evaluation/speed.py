"""How fast engines write, beside the seed's way and the strongest simple alternative.

Every engine runs in a process of its own with the same weights, threads, prompts, films and number
of tokens. ``seed``: one float32 ``transformers.generate`` a request. ``transformers``: the
requests in one padded batch, in bfloat16. ``local`` and ``openvino``: Hilum's engines.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.codes import Code, HilumError
from hilum.engines import Request, Sampling
from hilum.engines.abilities import leading_text

PROMPT = "Describe the findings in this chest X-ray."
ENGINES = ("seed", "transformers", "local", "openvino")
Film = NDArray[np.uint8]
Write = Callable[[Sequence[Film], int], list[str]]


@dataclass(frozen=True)
class Task:
    """What one process measures: an engine on a folder.

    ``busy``: count the process's own processor time, for a machine that others use; a fair
    measure with one thread only.
    """

    engine: str
    folder: str
    threads: int
    tokens: int
    side: int
    requests: tuple[int, ...]
    singles: int
    busy: bool = False


@dataclass(frozen=True)
class Speed:
    """What was measured with so many requests at once; seconds, tokens, bytes."""

    engine: str
    requests: int
    tokens_per_s: float
    films_per_s: float
    p50_s: float
    p99_s: float
    peak_bytes: int
    texts: list[str]
    operations: int = 0  # of one request, of the seed's way: additions and multiplications


def measure(task: Task) -> list[Speed]:
    """Run a task in a fresh process; raises ``internal_error`` with its last line if it dies."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(task.threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        [sys.executable, "-m", "hilum.evaluation.speed", json.dumps(asdict(task))],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
        raise HilumError(Code.INTERNAL_ERROR, task.engine, last)
    return [Speed(**row) for row in json.loads(done.stdout.splitlines()[-1])]


def agreement(texts: Sequence[str], others: Sequence[str]) -> float:
    """Mean share of the longer text that both begin with."""
    return float(np.mean([leading_text(a, b) for a, b in zip(texts, others, strict=True)]))


def read_bandwidth(threads: int, busy: bool = False, size: int = 1 << 28, rounds: int = 5) -> float:
    """Bytes a second that ``threads`` threads read, the best of some rounds over ``size`` bytes."""
    import torch

    torch.set_num_threads(threads)
    block = torch.ones(size // 4)
    best, now = 0.0, time.process_time if busy else time.perf_counter
    for _ in range(rounds):
        start = now()
        block.sum()
        best = max(best, size / (now() - start))
    return best


def multiplied(threads: int, dtype: str, side: int = 2048, rounds: int = 5) -> float:
    """Operations a second of ``threads`` threads that multiply square matrices, the best round."""
    import torch

    torch.set_num_threads(threads)
    a = torch.ones(side, side, dtype=getattr(torch, dtype))
    best = 0.0
    for _ in range(rounds):
        start = time.perf_counter()
        a @ a
        best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


def weights_a_token(folder: Path) -> int:
    """Parameters that every written token reads: all but the vision tower's."""
    from hilum.models.safety import header, weight_files

    shapes = {n: e["shape"] for path in weight_files(folder) for n, e in header(path).items()}
    read = [s for n, s in shapes.items() if "vision" not in n and "visual" not in n]
    embeddings = [s for n, s in shapes.items() if "embed_tokens" in n]
    untied = any("lm_head" in n for n in shapes)  # then only one row of the embeddings is read
    return sum(int(np.prod(s)) for s in read) - untied * sum(int(np.prod(s)) for s in embeddings)


def _measure(task: Task) -> list[Speed]:
    write = _OPEN[task.engine](Path(task.folder))
    rng = np.random.default_rng(0)
    most = max(task.requests)
    films = [rng.integers(0, 256, (task.side, task.side), dtype=np.uint8) for _ in range(most + 1)]
    write(films[-1:], 4)  # warm-up
    now = time.process_time if task.busy else time.perf_counter
    out = []
    for count in task.requests:
        one_by_one = count == 1 or task.engine == "seed"
        some = films[: max(count, task.singles if count == 1 else count)]
        groups = [[f] for f in some] if one_by_one else [some]
        texts, ends = [], []
        start = now()
        for group in groups:
            begun = now()
            texts += write(group, task.tokens)
            # requests that came together wait for each other; those of count 1 came in turn
            since = begun if count == 1 else start
            ends += [now() - since] * len(group)
        took = now() - start
        counted = task.engine == "seed" and count == 1
        out.append(
            Speed(
                engine=task.engine,
                requests=count,
                tokens_per_s=len(some) * task.tokens / took,
                films_per_s=len(some) / took,
                p50_s=float(np.percentile(ends, 50)),
                p99_s=float(np.percentile(ends, 99)),
                peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                texts=texts,
                operations=_operations(write, films[:1], task.tokens) if counted else 0,
            )
        )
    return out


def _operations(write: Write, films: Sequence[Film], tokens: int) -> int:
    """Additions and multiplications of matrix products, attention included."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        films, heads, places, width = query  # shapes
        return int(2 * films * heads * places * key[2] * (width + value[3]))

    # the counter of torch 2.13 knows attention on GPUs alone
    ours = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    with FlopCounterMode(display=False, custom_mapping=ours) as counter:
        write(films, tokens)
    return int(counter.get_total_flops())


def _plain(folder: Path, dtype: str) -> Write:
    """transformers without Hilum: the processor, and ``generate``."""
    import torch
    from PIL import Image

    from hilum.models.load import load_model
    from hilum.models.processing import open_processor

    model = load_model(folder, getattr(torch, dtype))
    processor = open_processor(folder)
    content = [{"type": "image"}, {"type": "text", "text": PROMPT}]
    turn = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(turn, add_generation_prompt=True)

    def write(films: Sequence[Film], tokens: int) -> list[str]:
        pictures = [[Image.fromarray(f).convert("RGB")] for f in films]
        inputs = processor(
            text=[text] * len(films), images=pictures, padding=True, return_tensors="pt"
        )
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        with torch.inference_mode():
            out = model.generate(
                **inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False
            )
        new = out[:, inputs["input_ids"].shape[1] :]
        return [str(t) for t in processor.tokenizer.batch_decode(new, skip_special_tokens=True)]

    return write


def _local(folder: Path) -> Write:
    from hilum.engines.local.vlm import VlmEngine

    return _engine(VlmEngine(folder))


def _openvino(folder: Path) -> Write:
    from hilum.engines.openvino import OpenVinoEngine

    return _engine(OpenVinoEngine(folder))


def _engine(engine: Any) -> Write:
    def write(films: Sequence[Film], tokens: int) -> list[str]:
        if hasattr(engine, "forget"):
            engine.forget()  # every film is new
        asked = [Request((f,), PROMPT) for f in films]
        return [d.text for d in engine.generate(asked, Sampling(tokens, ignore_stops=True))]

    return write


_OPEN: dict[str, Callable[[Path], Write]] = {
    "seed": lambda folder: _plain(folder, "float32"),
    "transformers": lambda folder: _plain(folder, "bfloat16"),
    "local": _local,
    "openvino": _openvino,
}


if __name__ == "__main__":
    import torch

    given = json.loads(sys.argv[1])
    given["requests"] = tuple(given["requests"])
    task = Task(**given)
    torch.set_num_threads(task.threads)
    print(json.dumps([asdict(speed) for speed in _measure(task)]))  # noqa: T201
