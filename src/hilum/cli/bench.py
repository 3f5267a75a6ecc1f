"""``hilum bench``: the engines' speed, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hilum.evaluation.speed import Speed

# Shapes that are measured where no model is given, and what their figures in the last line begin
# with.
SHAPES = {"qwen-177m": "", "llava-dinov2-1369": "llava_dinov2_"}


def bench(
    model: Annotated[
        Path | None, typer.Argument(help="A model's folder; two shapes made on the spot if none.")
    ] = None,
    openvino: Annotated[
        Path | None, typer.Option("--openvino", help="The model's export by hilum quantize.")
    ] = None,
    env: Annotated[
        Path | None, typer.Option("--env", help="The exporter's environment: export first.")
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option("--shape", help="Only this shape; may be given again.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1)] = 2,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Written a request.")] = 64,
    requests: Annotated[int, typer.Option("--requests", min=2, help="At once.")] = 16,
    busy: Annotated[
        bool,
        typer.Option("--busy", help="Count processor time; one thread, on a machine in use."),
    ] = False,
    folder: Annotated[Path, typer.Option("--folder", help="For shapes.")] = Path("runs/shapes"),
) -> None:
    """Measure one request at a time and many at once, against the seed's way. Last line: JSON.

    Example: hilum bench --env .venv-openvino

    Example: hilum bench --env .venv-openvino --shape llava-dinov2-1369

    Example: hilum bench qwen --openvino qwen-int8 --threads 8
    """
    import json

    figures: dict[str, float | int] = {
        "threads": threads,
        "tokens": tokens,
        "requests": requests,
        "busy": busy,
    }
    if model is not None:
        figures |= _one(model, openvino, threads, tokens, requests, busy)
    else:
        from hilum.models.twins import make_shape
        from hilum.training.openvino import quantize

        for name in shape or SHAPES:
            made, export = folder / name, folder / f"{name}-int8"
            if not (made / "config.json").is_file():
                make_shape(name, made)
            if env is not None and not export.is_dir():
                quantize(made, "openvino-int8", export, env)
            found = _one(made, export, threads, tokens, requests, busy)
            figures |= _named(SHAPES.get(name, f"{name}_"), found, requests)
    print(json.dumps(figures))


def _named(start: str, found: dict[str, float], requests: int) -> dict[str, float]:
    """A shape's figures in the last line, and by how much the best of our engines is faster."""
    if not start:
        return found
    ours = [n for n in found if n.startswith(("local", "openvino"))]
    best = max(found[n] for n in ours if n.endswith(f"_{requests}"))
    return {f"{start}ratio_{requests}": best} | {f"{start}{n}": found[n] for n in ours}


def _one(
    folder: Path, export: Path | None, threads: int, tokens: int, requests: int, busy: bool
) -> dict[str, float]:
    """Print one model's table; its ratios."""
    from hilum.evaluation.speed import (
        Task,
        agreement,
        measure,
        multiplied,
        read_bandwidth,
        weights_a_token,
    )

    folders = {"seed": folder, "transformers": folder, "local": folder}
    if export is not None and export.is_dir():
        folders["openvino"] = export
    bandwidth, weights = read_bandwidth(threads, busy), weights_a_token(folder)
    print(
        f"{folder}: {threads} threads, {tokens} tokens a request, reads {bandwidth / 1e9:.1f} GB/s"
    )
    print(
        f"{'engine':14}{'at once':>8}{'tokens/s':>10}{'films/s':>9}{'p50 s':>8}{'p99 s':>8}"
        f"{'memory':>10}{'ratio':>7}{'as seed':>9}{'of limit':>9}"
    )
    rows: dict[tuple[str, int], Speed] = {}
    for engine, place in folders.items():
        task = Task(engine, str(place), threads, tokens, 224, (1, requests), 4, busy)
        for speed in measure(task):
            rows[engine, speed.requests] = speed
            seed = rows["seed", speed.requests]
            ratio = speed.tokens_per_s / seed.tokens_per_s
            limit = bandwidth / (weights * BYTES[engine])
            near = f"{speed.tokens_per_s / limit:.0%}" if speed.requests == 1 else ""
            print(
                f"{engine:14}{speed.requests:8}{speed.tokens_per_s:10.1f}{speed.films_per_s:9.2f}"
                f"{speed.p50_s:8.2f}{speed.p99_s:8.2f}{speed.peak_bytes / 1e9:7.2f} GB{ratio:7.2f}"
                f"{agreement(seed.texts, speed.texts):9.0%}{near:>9}"
            )

    operations = rows["seed", 1].operations
    rates = {kind: multiplied(threads, kind) for kind in ("float32", "bfloat16")}
    seconds = 1 / rows["seed", 1].films_per_s
    print(
        f"a request is {operations / 1e9:.0f} GFLOP; these threads multiply "
        f"{rates['float32'] / 1e9:.0f} GFLOP/s in float32 and {rates['bfloat16'] / 1e9:.0f} in "
        f"bfloat16, in which none could be {seconds * rates['bfloat16'] / operations:.1f} times as "
        "fast as the seed's way without doing less"
    )

    def against(engine: str, count: int) -> float:
        return round(rows[engine, count].tokens_per_s / rows["seed", count].tokens_per_s, 2)

    ratios = {f"transformers_bf16_ratio_{requests}": against("transformers", requests)}
    ratios |= {f"local_bf16_ratio_{requests}": against("local", requests)}
    ratios |= {"local_bf16_ratio_1": against("local", 1)}
    if "openvino" in folders:
        ratios |= {f"openvino_int8_ratio_{requests}": against("openvino", requests)}
        ratios |= {"openvino_int8_ratio_1": against("openvino", 1)}
    return ratios


# Bytes a parameter that a token reads.
BYTES = {"seed": 4, "transformers": 2, "local": 2, "openvino": 1}
