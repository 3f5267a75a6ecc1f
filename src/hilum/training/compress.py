"""A model's language part in four bits for vLLM: GPTQ or AWQ by llm-compressor, W4A16.

llm-compressor wants an older transformers, so it runs in a virtual environment of its own. What it
calibrates on are films of a dataset's training split with the words that the reader is asked with.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hilum.codes import Code, HilumError
from hilum.training.compressor import BITS, JOB, SAMPLES
from hilum.training.environment import Environment, run
from hilum.training.parity import Quantised, card_of, judged, refuse, written
from hilum.training.parts import kept_whole

METHODS = ("gptq", "awq")
COMPRESSOR = Environment(
    ("llmcompressor==0.14.0.1", "transformers==5.17.0", "torch==2.13.0"), "llmcompressor.trace"
)
MOST = 256  # samples; the methods' papers take 128


def quantize(
    folder: Path, to: str, out: Path, env: Path, data: Path, samples: int = MOST
) -> Quantised:
    """Write ``folder`` to ``out`` in four bits, calibrated on ``data``; ``out`` must be new.

    ``to``: one of ``METHODS``. ``data``: a folder of ``hilum prepare``. Raises ``option_invalid``,
    ``output_exists``, ``extra_missing`` (with the commands that make ``env``), ``export_failed``,
    ``nothing_to_learn``, what opening the model and the dataset raise, and ``parity_failed`` where
    the result says something else; it is then kept for a look.
    """
    refuse(folder, to, METHODS, out)
    COMPRESSOR.require(env)
    from hilum.engines.local.vlm import VlmEngine

    original = VlmEngine(folder, "float32")  # refused here, before minutes of work
    with written(folder, out) as part, tempfile.TemporaryDirectory() as work:
        write_samples(folder, data, Path(work) / SAMPLES, samples)
        _compress(folder, to, part, env, Path(work))
    return judged(folder, to, BITS, out, original)


def write_samples(folder: Path, data: Path, out: Path, most: int) -> None:
    """Prompts, films and reports of a dataset's training split, as the model takes them."""
    from safetensors.torch import save_file

    from hilum.models.processing import open_processor
    from hilum.training.collate import Chat, Collator
    from hilum.training.corpus import Corpus

    collator = Collator(Chat(open_processor(folder), [], 0))
    corpus = Corpus(_asked(folder, data), "train")
    tasks = corpus.tasks
    if not tasks:
        raise HilumError(Code.NOTHING_TO_LEARN, data, "no study of its training split has a report")
    out.mkdir()
    for number, i in enumerate(np.random.default_rng(0).permutation(len(tasks))[:most]):
        batch = collator([corpus.sample(tasks[i])])
        tensors = {k: v.contiguous() for k, v in batch.items() if k != "labels"}
        save_file(tensors, out / f"{number:05d}.safetensors")


def _asked(folder: Path, data: Path) -> Any:
    """The dataset with the words of the reader's card."""
    from hilum.training.recipe import Data

    card = card_of(folder)
    return Data(
        path=str(data),
        languages=list(card.prompts),
        prompts=card.prompts,
        views=card.max_views,
        text="templated",
    )


def _compress(folder: Path, method: str, out: Path, env: Path, work: Path) -> None:
    import hilum

    job: dict[str, Any] = {"model": str(folder.absolute()), "out": str(out), "method": method}
    job["kept"] = kept_whole(folder, {"vision", "projector"})
    (work / JOB).write_text(json.dumps(job), encoding="utf-8")
    modules = work / "modules"  # this package alone, not what it is installed beside
    modules.mkdir()
    (modules / "hilum").symlink_to(Path(hilum.__file__).parent)
    python = str(env.absolute() / "bin" / "python")
    failed = run([python, "-m", "hilum.training.compressor", str(work)], work, modules)
    if failed or not list(out.glob("*.safetensors")):
        raise HilumError(Code.EXPORT_FAILED, folder, failed or "no weights were written")
