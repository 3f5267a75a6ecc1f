"""``hilum models``: what models there are, and getting, checking, converting and sharing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hilum.codes import HilumError

if TYPE_CHECKING:
    from hilum.models.presets import Preset

models = typer.Typer(
    name="models",
    no_args_is_help=True,
    help="List, get, check, convert and share models.",
    rich_markup_mode="rich",
)

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@models.command("list")
def list_(
    commercial: Annotated[
        bool, typer.Option("--commercial", help="Only what may be used commercially.")
    ] = False,
    count: Annotated[
        bool, typer.Option("--count", help="Build each on the meta device and count (needs torch).")
    ] = False,
    json: AsJson = False,
) -> None:
    """List the presets: size, licence, languages, what they can do.

    Example: hilum models list --commercial
    """
    from hilum.models.licence import strictest
    from hilum.models.presets import count_parameters, presets

    chosen = [p for p in presets().values() if not commercial or _sold(p)]
    counted = {p.id: count_parameters(p) for p in chosen} if count else {}
    if json:
        _print_json([{**_row(p), "counted": counted.get(p.id)} for p in chosen])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    numbers = ("published", "built", "difference") if count else ("published",)
    for title in ("preset", *numbers, "licence", "languages", "can do"):
        table.add_column(title, justify="right" if title in numbers else "left")
    for preset in chosen:
        row = [preset.id, _number(preset.parameters)]
        if count:
            row += [_number(counted[preset.id]), _difference(preset, counted[preset.id])]
        row += [strictest(preset.parts).id, " ".join(preset.languages), " ".join(preset.abilities)]
        table.add_row(*row)
    Console(width=None if Console().is_terminal else 160).print(table)


@models.command()
def show(
    name: Annotated[str, typer.Argument(help="A preset or a hub id.")],
    json: AsJson = False,
) -> None:
    """Show all that is known of one preset, with the source of each value.

    Example: hilum models show chexfract-maira2
    """
    from hilum.models.presets import find

    preset = find(name)
    if json:
        _print_json(_row(preset))
        return
    import yaml

    print(yaml.safe_dump(_row(preset), sort_keys=False, allow_unicode=True, width=100), end="")


def _sold(preset: Preset) -> bool:
    from hilum.models.licence import require_commercial

    try:
        require_commercial(preset.id, preset.parts)
    except HilumError:
        return False
    return True


def _row(preset: Preset) -> dict[str, object]:
    from hilum.models.licence import strictest

    licence = strictest(preset.parts)
    bound = {"licence": licence.id, "commercial": licence.commercial, "licence_url": licence.url}
    return {**preset.model_dump(mode="json"), **bound}


def _number(parameters: int | None) -> str:
    return "-" if parameters is None else f"{parameters:,}"


def _difference(preset: Preset, counted: int) -> str:
    return f"{counted / preset.parameters - 1:+.3%}" if preset.parameters else ""


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, ensure_ascii=False))
