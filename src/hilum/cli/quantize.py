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
    GPTQ = "gptq"
    AWQ = "awq"


def quantize(
    model: Annotated[Path, typer.Argument(help="A model's folder.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    to: Annotated[Format, typer.Option("--to", help="The weights' format.")] = Format.INT8,
    data: Annotated[
        Path | None, typer.Option("--data", help="gptq, awq: a dataset to calibrate on.")
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="gptq, awq: how many of its samples.")
    ] = 256,
    env: Annotated[
        Path | None,
        typer.Option(
            "--env",
            help="The tool's own environment: .venv-openvino; gptq, awq: .venv-compressor.",
        ),
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Make that environment first (asks the network).")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Make a model smaller, and check that it answers as it did.

    For OpenVINO; by bitsandbytes (8bit, nf4); for vLLM by llm-compressor (gptq, awq: W4A16).

    Example: hilum quantize qwen qwen-int8 --to openvino-int8 --install

    Example: hilum quantize chexfract chexfract-4bit --to nf4

    Example: hilum quantize chexfract chexfract-w4a16 --to gptq --data our-films --install
    """
    from dataclasses import asdict
    from json import dumps

    from hilum.codes import Code, HilumError

    if to in (Format.BITS8, Format.NF4):
        from hilum.training import bits

        done = bits.quantize(model, to.value, out)
    elif to in (Format.GPTQ, Format.AWQ):
        from hilum.training import compress

        env = env or Path(".venv-compressor")
        if data is None:
            raise HilumError(Code.OPTION_INVALID, "--data", "name a folder of hilum prepare")
        if install:
            compress.COMPRESSOR.install(env)
        done = compress.quantize(model, to.value, out, env, data, samples)
    else:
        from hilum.training import openvino

        env = env or Path(".venv-openvino")
        if install:
            openvino.EXPORTER.install(env)
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
