"""``hilum quantize``: a model in fewer bits."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """What the weights become."""

    FP16 = "openvino-fp16"
    INT8 = "openvino-int8"
    INT4 = "openvino-int4"


def quantize(
    model: Annotated[Path, typer.Argument(help="A model's folder.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    to: Annotated[Format, typer.Option("--to", help="The weights' format.")] = Format.INT8,
    env: Annotated[
        Path, typer.Option("--env", help="The exporter's own virtual environment.")
    ] = Path(".venv-openvino"),
    install: Annotated[
        bool, typer.Option("--install", help="Make that environment first (asks the network).")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Export a model for OpenVINO and check that it still answers as it did.

    Example: hilum quantize qwen qwen-int8 --to openvino-int8 --env .venv-openvino --install
    """
    from dataclasses import asdict
    from json import dumps

    from hilum.training.quantize import install as make
    from hilum.training.quantize import quantize as export

    if install:
        make(env)
    done = export(model, to.value, out, env)
    if json:
        print(dumps(asdict(done)))
        return
    parity = done.parity
    print(
        f"{out}: {done.format}, {done.bytes_before / 1e6:.1f} MB -> {done.bytes_after / 1e6:.1f} MB"
    )
    print(f"texts equal to float32: {parity.texts_equal} of {parity.texts}")
    print(f"leading text equal:     {parity.leading_text_equal:.1%}")
    print(f"largest difference of a probability: {parity.largest_probability_difference:.2e}")
    print("the calibration was left out: fit a new one to these weights")
