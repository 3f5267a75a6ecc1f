"""What every engine can do with every family, by running its twin; prints a Markdown table.

    python -m benchmarks.families [--env .venv-openvino] [--url http://127.0.0.1:8000/v1]

local and openvino run in float32, so that a batch is compared token for token, and openvino with
local: texts equal, and the largest difference of a probability. openvino needs the exporter's
environment; without it the row says "not run". Last line: JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from hilum.codes import HilumError
from hilum.engines import Engine
from hilum.engines.abilities import try_abilities
from hilum.models.twins import families, make_twin

ABILITIES = ("generate", "choose", "several images", "batch", "stream", "as local")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--env", type=Path, help="the exporter's environment")
    parser.add_argument("--url", help="a server that has a model: one more row")
    parser.add_argument("--family", nargs="*", default=families())
    args = parser.parse_args()
    print(f"| family | engine | {' | '.join(ABILITIES)} |")
    print(f"|---|---|{'---|' * len(ABILITIES)}")
    rows: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as held:
        for family in args.family:
            folder = make_twin(family, Path(held) / family)
            for engine in ("local", "openvino"):
                found = row(engine, folder, args.env)
                rows[f"{family} {engine}"] = found
                print(
                    f"| {family} | {engine} | {' | '.join(found[a] for a in ABILITIES)} |",
                    flush=True,
                )
    if args.url:
        from hilum.engines.open import open_url

        engine_there, model = open_url(args.url)
        found = try_abilities(engine_there) | {"as local": ""}
        print(f"| {model} | served | {' | '.join(found[a] for a in ABILITIES)} |")
    print(json.dumps(rows))


def row(engine: str, folder: Path, env: Path | None) -> dict[str, str]:
    """What became of each ability."""
    try:
        open_now = opened(engine, folder, env)
        return try_abilities(open_now) | {"as local": as_local(open_now, folder, engine)}
    except HilumError as error:
        return dict.fromkeys(ABILITIES, error.code.value)
    except FileNotFoundError:
        return dict.fromkeys(ABILITIES, "not run")


def as_local(other: Engine, folder: Path, engine: str) -> str:
    """Texts that are the local engine's too, and how far probabilities are from its."""
    if engine == "local":
        return ""
    from hilum.training.parity import compare

    found = compare(opened("local", folder, None), other)
    apart = found.largest_probability_difference
    return f"{found.texts_equal} of {found.texts}, {apart:.1e}"


def opened(engine: str, folder: Path, env: Path | None) -> Engine:
    if engine == "local":
        from hilum.engines.local.vlm import VlmEngine

        return VlmEngine(folder, "float32")
    if env is None:
        raise FileNotFoundError("no exporter")
    from hilum.engines.openvino import OpenVinoEngine
    from hilum.training import quantize

    out = folder.with_name(folder.name + "-openvino")
    quantize.export(folder, "fp32", out, env)
    quantize.describe(folder, "openvino-fp32", out, None)
    return OpenVinoEngine(out, exact=True)


if __name__ == "__main__":
    main()
