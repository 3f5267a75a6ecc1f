"""Train the embedded reader from phantoms: simulate, find, write, calibrate, export.

    python -m hilum.training.embedded --out runs/embedded

Each part goes on where it was interrupted. Nothing but phantoms is used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Far from any seed a person would type, so that no film of a demo or a test was trained on.
FIRST_SEED = 10**9
SHARDS = {"crowded": 100, "single": 40, "standard": 237, "held_out": 6}


def main(
    out: Annotated[
        Path, typer.Option(help="folder of the run: films, checkpoints, logs, reader")
    ] = Path("runs/embedded"),
    encoder_steps: Annotated[int, typer.Option(help="steps of the encoder")] = 4_000,
    glimpse_steps: Annotated[int, typer.Option(help="steps of each second look")] = 3_000,
    decoder_steps: Annotated[int, typer.Option(help="steps of the decoder")] = 3_000,
    size: Annotated[int, typer.Option(help="side of the films in pixels, a multiple of 32")] = 640,
    seed: Annotated[int, typer.Option(help="seed of the weights and of the films' order")] = 0,
    scale: Annotated[float, typer.Option(help="share of the films to simulate, for a trial")] = 1.0,
    threads: Annotated[int, typer.Option(help="processor threads; 0 is all")] = 0,
    films: Annotated[
        Path | None, typer.Option(help="folder of the films, if not OUT/films")
    ] = None,
) -> None:
    """Train the embedded reader from phantoms alone; run it again to go on where it stopped.

    OUT takes some 30 GB, most of it films.
    """
    import torch

    from hilum.processes import processors
    from hilum.training.embedded.shards import simulate_shards

    threads = threads or processors()
    torch.set_num_threads(threads)
    films = films or out / "films"
    out.mkdir(parents=True, exist_ok=True)
    shards = {mix: max(1, round(count * scale)) for mix, count in SHARDS.items()}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        one = _bars(bar, "simulate (shards of 200 films)", sum(shards.values()))[0]
        simulate_shards(films, shards, FIRST_SEED, size, threads, one)
        _train(out, films, encoder_steps, glimpse_steps, decoder_steps, size, seed, threads, bar)


def _bars(bar: Progress, name: str, total: int) -> tuple[Callable[[], None], Callable[[int], None]]:
    """A bar of its own for a part: how to say that one more is done, or how many are."""
    task = bar.add_task(name, total=total)
    return lambda: bar.advance(task), lambda k: bar.update(task, completed=k)


def _train(
    out: Path,
    films: Path,
    encoder_steps: int,
    glimpse_steps: int,
    decoder_steps: int,
    size: int,
    seed: int,
    threads: int,
    bar: Progress,
) -> None:
    """From films to a reader, part by part."""
    from hilum.training.embedded.decoder_stage import train_decoder
    from hilum.training.embedded.encoder_stage import train_encoder
    from hilum.training.embedded.encodings import encode
    from hilum.training.embedded.export import export
    from hilum.training.embedded.glimpse_stage import mistakes, train_glimpse
    from hilum.training.embedded.shards import Shards
    from hilum.training.embedded.words import make_tokenizer

    say = bar.console.print
    crowded, single, standard, held_out = (Shards(films, mix) for mix in SHARDS)
    steps = _bars(bar, "encoder (steps)", encoder_steps)[1]
    encoder = train_encoder(out, films, encoder_steps, seed, size, threads, say, steps)
    checked = min(len(held_out), len(single))
    kept = out / "seen"
    kept.mkdir(exist_ok=True)
    one = _bars(bar, "encode (films)", len(standard) + len(held_out) + checked)[0]
    encodings = encode(encoder, standard, kept / "standard", one)
    unseen = encode(encoder, held_out, kept / "held_out", one)
    known = encode(encoder, single, kept / "single", one, checked)
    one = _bars(bar, "look for mistakes (films)", len(single) + len(crowded))[0]
    mistaken = mistakes(encoder, single, kept / "mistakes-single", one)
    # on a crowded film most places of fractures are true
    mistaken["nodule"] += mistakes(encoder, crowded, kept / "mistakes-crowded", one)["nodule"]
    for name in encoder.config.looks:
        steps = _bars(bar, f"second look, {name} (steps)", glimpse_steps)[1]
        learnt = (crowded, mistaken[name])
        places = (encodings.places(name), unseen.places(name), known.places(name))
        train_glimpse(out, encoder, name, *learnt, *places, glimpse_steps, seed, say, steps)
    for seen in (encodings, unseen):
        seen.look_again(encoder)
    tokenizer = make_tokenizer(standard.entries + crowded.entries)
    steps = _bars(bar, "decoder (steps)", decoder_steps)[1]
    read = (standard, encodings, held_out, unseen)
    model = train_decoder(out, encoder, *read, tokenizer, decoder_steps, seed, say, steps)
    export(model, tokenizer, held_out, out / "reader", say)


if __name__ == "__main__":
    typer.run(main)
