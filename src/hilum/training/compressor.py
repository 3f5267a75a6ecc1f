"""The program that compresses, run by an environment that has llm-compressor.

    python -m hilum.training.compressor FOLDER

FOLDER holds ``job.json`` and the samples to calibrate on, each a safetensors file of what the model
takes. It writes the weights, in the compressed-tensors format that vLLM runs, to the job's ``out``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

JOB = "job.json"
SAMPLES = "samples"
BITS = 4
# Weights that share a scale: 128 is what kernels are best at, less where a layer's width wants it.
GROUPS = (128, 64, 32)
# Whose table of smoothed layers (AWQ, arXiv 2306.00978, section 3.2) a language part takes.
SMOOTHED_AS = {
    "gemma3_text": "Gemma3ForCausalLM",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen2_5_vl_text": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_vl_text": "Qwen3ForCausalLM",
}


def main(folder: Path) -> None:
    """Do the job of a folder; an error is the last line on stderr."""
    import torch
    from llmcompressor import oneshot
    from llmcompressor.pipelines.cache import IntermediatesCache
    from safetensors.torch import load_file
    from torch.utils.data import DataLoader
    from transformers import AutoTokenizer

    from hilum.models.load import load_model

    if not torch.accelerator.is_available():
        # 0.14 pins AWQ's samples for copies to a GPU, which torch refuses where there is none
        IntermediatesCache.pin_memory = lambda *_: None
    job = json.loads((folder / JOB).read_text(encoding="utf-8"))
    model = load_model(Path(job["model"]), "auto")
    files = sorted((folder / SAMPLES).iterdir())
    oneshot(
        model=model,
        processor=AutoTokenizer.from_pretrained(job["model"], local_files_only=True),
        dataset=DataLoader(files, batch_size=None, collate_fn=load_file),  # type: ignore[arg-type]
        num_calibration_samples=len(files),
        recipe=recipe(model, job["method"], job["kept"]),
    )
    model.save_pretrained(job["out"], save_compressed=True)


def recipe(model: Any, method: str, kept: list[str]) -> list[Any]:
    """llm-compressor's modifiers for a method: gptq (arXiv 2210.17323) or awq (arXiv 2306.00978).

    ``kept``: names of modules that stay as they are.
    """
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    size = group(model, kept)
    weights = QuantizationArgs(
        num_bits=BITS,
        type="int",
        symmetric=True,
        strategy="group" if size else "channel",
        group_size=size,
    )
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    how = {
        "config_groups": {"group_0": scheme},
        "ignore": [f"re:(^|.*\\.){name}($|\\..*)" for name in kept],
    }
    if method == "gptq":
        return [GPTQModifier(**how)]
    return [AWQModifier(mappings=smoothed(model)), QuantizationModifier(**how)]


def group(model: Any, kept: list[str]) -> int | None:
    """The largest of ``GROUPS`` that divides the width of every layer which is not kept.

    None where no one does: a row then shares one scale.
    """
    import torch

    within = tuple(f"{name}." for name in kept)
    widths = {
        module.in_features
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name not in kept and not name.startswith(within)
    }
    return next((size for size in GROUPS if all(w % size == 0 for w in widths)), None)


def smoothed(model: Any) -> list[Any]:
    """AWQ's mappings for the language part alone: towers have layers of the same names."""
    from llmcompressor.modifiers.transform.awq import AWQMapping
    from llmcompressor.modifiers.transform.awq.mappings import AWQ_MAPPING_REGISTRY

    kind = model.config.get_text_config().model_type
    if kind not in SMOOTHED_AS:
        raise ValueError(f"awq knows no layers of {kind}: take gptq")

    def within(name: str) -> str:
        return name.replace("re:.*", "re:.*(language|text)_model.*", 1)

    return [
        AWQMapping(within(m.smooth_layer), [within(b) for b in m.balance_layers])
        for m in AWQ_MAPPING_REGISTRY[SMOOTHED_AS[kind]]
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
