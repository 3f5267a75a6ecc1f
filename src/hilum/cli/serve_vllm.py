"""``hilum serve-vllm``: the command that serves a model on a GPU."""

from __future__ import annotations

from typing import Annotated

import typer


def serve_vllm(
    model: Annotated[str, typer.Argument(help="A model's folder, a preset or a hub id.")],
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8000,
    length: Annotated[
        int | None, typer.Option("--max-length", min=1, help="Positions a request may take.")
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Start it instead of printing it.")] = False,
) -> int:
    """Print the vLLM command that is right for a model's family.

    Example: hilum serve-vllm qwen3-vl-4b

    Then: hilum read films --reader http://127.0.0.1:8000/v1
    """
    import shlex
    import subprocess

    from hilum.codes import Code, HilumError
    from hilum.engines.vllm import serve_command

    command = serve_command(model, port, length)
    for warning in command.warnings:
        typer.echo(f"{model}: {warning}", err=True)
    if not run:
        print(shlex.join(command.arguments))
        return 0
    try:
        return subprocess.run(command.arguments, check=False).returncode
    except FileNotFoundError as error:
        how = "install vLLM in an environment of its own and put it on PATH"
        raise HilumError(Code.EXTRA_MISSING, "vllm", how) from error
