"""``hilum merge``: a run becomes a model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Weights(StrEnum):
    """The type that weights are saved in."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def merge(
    run: Annotated[Path, typer.Argument(help="A folder of hilum train.")],
    out: Annotated[Path, typer.Argument(help="Folder for the model; new or empty.")],
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", help="best, last, or checkpoint-N.")
    ] = "best",
    dtype: Annotated[
        Weights | None, typer.Option("--dtype", help="Of the weights; else the base's own.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="What was done, as one JSON line.")] = False,
) -> None:
    """Merge a run into its full-precision base, and prove it: every tensor, and the answers.

    OUT is a whole model: weights, processor, chat template, generation settings, reader.json and
    a card. It opens in plain transformers and, by its tensor names, in vLLM's own classes. Where
    adapters and merged model answer differently, or a tensor is missing, nothing is kept.

    Example: hilum merge runs/gemma3-twin-lora merged
    """
    from dataclasses import asdict

    from hilum.cli.train import need_extra
    from hilum.training.merge import merge as merge_run

    need_extra()
    merged = merge_run(run, out, checkpoint, dtype.value if dtype else None)
    if json:
        import json as jsonlib

        print(jsonlib.dumps(asdict(merged)))
        return
    trained = ", ".join(f"{name} {how}" for name, how in merged.parts.items())
    print(f"{out}: {merged.tensors} tensors in {merged.dtype} from {merged.checkpoint}: {trained}")
    print(f"{merged.adapted} with adapters merged in, {merged.full} trained in full")
    print(
        f"logits differ by {merged.logits:.1e} of the largest, after saving by {merged.rounded:.1e}"
    )
