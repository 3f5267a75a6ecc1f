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
    BITS8 = "8bit"
    NF4 = "nf4"


def quantize(
    model: Annotated[Path, typer.Argument(help="A model's folder.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    to: Annotated[Format, typer.Option("--to", help="The weights' format.")] = Format.INT8,
    env: Annotated[
        Path, typer.Option("--env", help="OpenVINO's exporter's own virtual environment.")
    ] = Path(".venv-openvino"),
    install: Annotated[
        bool, typer.Option("--install", help="Make that environment first (asks the network).")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Make a model smaller, for OpenVINO or by bitsandbytes, and check that it answers as it did.

    Example: hilum quantize qwen qwen-int8 --to openvino-int8 --env .venv-openvino --install

    Example: hilum quantize chexfract chexfract-4bit --to nf4
    """
    from dataclasses import asdict
    from json import dumps

    if to in (Format.BITS8, Format.NF4):
        from hilum.training import bits

        done = bits.quantize(model, to.value, out)
    else:
        from hilum.training import quantize as openvino

        if install:
            openvino.install(env)
        done = openvino.quantize(model, to.value, out, env)
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
