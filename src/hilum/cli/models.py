"""``hilum models``: what models there are, and getting, checking, converting and sharing them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import hilum
from hilum.codes import Code, HilumError

if TYPE_CHECKING:
    from hilum.engines import Engine
    from hilum.models.check import Item, Verdict
    from hilum.models.presets import Preset

models = typer.Typer(
    name="models",
    no_args_is_help=True,
    help="List, get, check, convert and share models.",
    rich_markup_mode="rich",
)

AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Commercial = Annotated[
    bool, typer.Option("--commercial", help="Refuse what may not be used commercially.")
]
RemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run program code that comes with the model.")
]


class Fit(StrEnum):
    """How a film is fitted into the encoder's square."""

    CROP = "crop"
    PAD = "pad"
    STRETCH = "stretch"


@models.command("list")
def list_(
    commercial: Commercial = False,
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
    from hilum.models.processing import kept

    licence = strictest(preset.parts)
    bound = {"licence": licence.id, "commercial": licence.commercial, "licence_url": licence.url}
    seen = {"kept_of_a_4_to_5_film": kept(preset.image, 5, 4)}
    return {**preset.model_dump(mode="json"), **bound, **seen}


def _number(parameters: int | None) -> str:
    return "-" if parameters is None else f"{parameters:,}"


def _difference(preset: Preset, counted: int) -> str:
    return f"{counted / preset.parameters - 1:+.3%}" if preset.parameters else ""


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, ensure_ascii=False))


@models.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A preset, or owner/name on the hub.")],
    folder: Annotated[Path, typer.Argument(help="Where to.")],
    revision: Annotated[str, typer.Option("--revision", help="Branch, tag or commit.")] = "main",
    commercial: Commercial = False,
    trust_remote_code: RemoteCode = False,
) -> None:
    """Fetch a model; run it again and it goes on where it stopped.

    HF_ENDPOINT=https://hf-mirror.com asks a mirror, HF_HUB_OFFLINE=1 forbids the network.

    Example: HF_ENDPOINT=https://hf-mirror.com hilum models fetch smolvlm2-256m smol
    """
    from hilum.models import hub
    from hilum.models.safety import refuse_remote_code

    record = hub.fetch(name, folder, revision, commercial, trust_remote_code)
    size = sum(file.bytes for file in record.files.values())
    print(f"{record.hub} {record.revision[:12]}: {len(record.files)} files, {size / 1e9:.2f} GB")
    print(f"licence: {record.licence}; hashes in {folder / hub.RECORD}")
    if trust_remote_code and (warning := refuse_remote_code(folder, allowed=True)):
        typer.echo(f"{record.hub}: {warning}", err=True)


@models.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A model's folder, or embedded.")],
    commercial: Commercial = False,
    load: Annotated[
        bool, typer.Option("--load/--no-load", help="Open it and let it answer.")
    ] = True,
    trust_remote_code: RemoteCode = False,
    json: AsJson = False,
) -> int:
    """Check a model's folder: files, hashes, licence, memory, whether it loads and answers.

    A model that answers is also run by Hilum's engine: what it can do of generate, choose,
    several images, batch and stream. What hilum quantize wrote is only run.

    Exit code: 0 nothing failed, 4 something did.

    Example: hilum models check smol --no-load
    """
    from dataclasses import asdict

    from hilum.engines.open import OPENVINO
    from hilum.models.check import check as check_folder
    from hilum.models.safety import refuse_remote_code

    if str(folder) == "embedded":
        folder = Path(hilum.__file__).parent / "models" / "embedded" / "weights"
    if trust_remote_code and (warning := refuse_remote_code(folder, allowed=True)):
        typer.echo(f"{folder}: {warning}", err=True)
    if (folder / OPENVINO).is_file():
        items = _abilities(folder, trust_remote_code)
    else:
        items = check_folder(folder, commercial, load, trust_remote_code)
    if any(item.name == "answers" and item.verdict == "ok" for item in items):
        items += _abilities(folder, trust_remote_code)
    if json:
        _print_json([asdict(item) for item in items])
    else:
        for item in items:
            print(f"{item.verdict:8}{item.name:16}{item.detail}")
    return 4 if any(item.verdict == "failed" for item in items) else 0


def _abilities(folder: Path, trust_remote_code: bool) -> list[Item]:
    """What its engine can do with it; only a model that cannot even write has failed."""
    from hilum.engines.abilities import try_abilities
    from hilum.models.check import Item

    try:
        engine, line = _engine(folder, trust_remote_code)
    except HilumError as error:
        return [Item("engine", "failed", error.line(), error.code)]
    items = [Item("engine", "ok", line)]
    for name, said in try_abilities(engine).items():
        bad: Verdict = "failed" if name == "generate" else "skipped"
        items.append(Item(name, "ok" if said == "yes" else bad, said))
    return items


def _engine(folder: Path, trust_remote_code: bool) -> tuple[Engine, str]:
    """The engine of a folder, and what it says of itself."""
    from hilum.engines.open import OPENVINO

    if (folder / OPENVINO).is_file():
        from hilum.engines.openvino import OpenVinoEngine

        export = OpenVinoEngine(folder)
        return export, f"openvino, {export.versions['precision']}"
    from hilum.engines.local.vlm import VlmEngine

    local = VlmEngine(folder, trust_remote_code=trust_remote_code)
    return local, f"local, {local.place.line()}"


@models.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A published ChexFract checkpoint's folder.")],
    target: Annotated[Path, typer.Argument(help="Where to.")],
    fit: Annotated[
        Fit | None, typer.Option("--fit", help="crop: as published; pad: whole film.")
    ] = None,
    heads: Annotated[
        int | None, typer.Option("--heads", min=1, help="Of the encoder; width / 64 by default.")
    ] = None,
) -> None:
    """Convert the phi3_dino layout into transformers' LLaVA classes; no remote code.

    Example: hilum models convert chexfract-maira2-release chexfract-maira2
    """
    from hilum.models.convert import convert as convert_folder

    done = convert_folder(source, target, fit.value if fit else None, heads)
    print(f"{done.tensors} tensors, {done.encoder}, {done.side} px, {done.tokens} image tokens")
    print(f"stop ids {done.stop_ids_before} -> {done.stop_ids}; geometry: {done.fit}")
    print(f"left out: {', '.join(done.dropped) or 'nothing'}")


@models.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A model's folder.")],
    repository: Annotated[str, typer.Argument(help="owner/name on the hub.")],
    public: Annotated[bool, typer.Option("--public", help="For all to see.")] = False,
) -> None:
    """Upload a model; private unless --public. Pickles and program code stay behind.

    Example: hilum models push runs/rib-1 hospital/rib-1
    """
    from hilum.models import hub

    print(hub.push(folder, repository, public))


@models.command()
def twin(
    family: Annotated[str, typer.Argument(help="A family; hilum models show names it.")],
    folder: Annotated[Path, typer.Argument(help="Where to.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same weights.")] = 0,
    seeing: Annotated[
        bool, typer.Option("--seeing", help="With the embedded reader's encoder as vision tower.")
    ] = False,
    width: Annotated[
        int, typer.Option("--width", help="Of a seeing twin's language model, n times 64.")
    ] = 64,
) -> None:
    """Make a family's twin: real classes, tiny random weights, for trying things out.

    Example: hilum models twin gemma3 twin && hilum models check twin

    Example: hilum models twin llava-dinov2 twin --seeing --width 512
    """
    from hilum.models.twins import WIDTH, make_seeing_twin, make_twin

    if seeing:
        print(make_seeing_twin(family, folder, seed, width=width))
    elif width != WIDTH:
        raise HilumError(Code.OPTION_INVALID, "--width", "it is a seeing twin's; add --seeing")
    else:
        print(make_twin(family, folder, seed))
