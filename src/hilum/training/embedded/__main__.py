"""Train the embedded reader from phantoms: simulate, find, write, calibrate, export.

    python -m hilum.training.embedded --out runs/embedded

Each part goes on where it was interrupted. Nothing but phantoms is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Far from any seed a person would type, so that no film of a demo or a test was trained on.
FIRST_SEED = 10**9
SHARDS = {"crowded": 100, "single": 40, "standard": 177, "held_out": 6}
ROUNDS = 1  # how often each standard film is encoded for the decoder; past the first, augmented


def main(
    out: Annotated[
        Path, typer.Option(help="folder of the run: films, checkpoints, logs, reader")
    ] = Path("runs/embedded"),
    encoder_steps: Annotated[int, typer.Option(help="steps of the encoder")] = 9_000,
    glimpse_steps: Annotated[int, typer.Option(help="steps of the second look")] = 6_000,
    decoder_steps: Annotated[int, typer.Option(help="steps of the decoder")] = 6_000,
    size: Annotated[int, typer.Option(help="side of the films in pixels, a multiple of 32")] = 640,
    seed: Annotated[int, typer.Option(help="seed of the weights and of the films' order")] = 0,
    scale: Annotated[float, typer.Option(help="share of the films to simulate, for a trial")] = 1.0,
    threads: Annotated[int, typer.Option(help="processor threads; 0 is all")] = 0,
    films: Annotated[
        Path | None, typer.Option(help="folder of the films, if not OUT/films")
    ] = None,
) -> None:
    """Train the embedded reader from phantoms alone; run it again to go on where it stopped."""
    import torch

    from hilum.processes import processors
    from hilum.training.embedded.decoder_stage import encode, train_decoder
    from hilum.training.embedded.encoder_stage import train_encoder
    from hilum.training.embedded.export import export
    from hilum.training.embedded.glimpse_stage import mistakes, train_glimpse
    from hilum.training.embedded.shards import Shards, simulate_shards
    from hilum.training.embedded.words import make_tokenizer

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
        say = bar.console.print
        task = bar.add_task("simulate (shards of 200 films)", total=sum(shards.values()))
        simulate_shards(films, shards, FIRST_SEED, size, threads, lambda: bar.advance(task))
        task = bar.add_task("encoder (steps)", total=encoder_steps)
        encoder = train_encoder(
            out,
            films,
            encoder_steps,
            seed,
            size,
            threads,
            say,
            lambda k: bar.update(task, completed=k),
        )
        standard = Shards(films, "standard")
        task = bar.add_task("encode (films)", total=ROUNDS * len(standard))
        encodings = encode(encoder, standard, ROUNDS, seed, lambda: bar.advance(task))
        held_out = Shards(films, "held_out")
        unseen = encode(encoder, held_out, 1, seed, lambda: None)
        single = Shards(films, "single")
        task = bar.add_task("look for mistakes (films)", total=len(single))
        mistaken = mistakes(encoder, single, lambda: bar.advance(task))
        task = bar.add_task("second look (steps)", total=glimpse_steps)
        train_glimpse(
            out,
            encoder,
            Shards(films, "crowded"),
            single,
            mistaken,
            encodings.places(),
            unseen.places(),
            glimpse_steps,
            seed,
            say,
            lambda k: bar.update(task, completed=k),
        )
        for seen in (encodings, unseen):
            seen.look_again(encoder)
        tokenizer = make_tokenizer(standard.entries + Shards(films, "crowded").entries)
        task = bar.add_task("decoder (steps)", total=decoder_steps)
        model = train_decoder(
            out,
            encoder,
            standard,
            encodings,
            held_out,
            unseen,
            tokenizer,
            decoder_steps,
            seed,
            say,
            lambda k: bar.update(task, completed=k),
        )
        export(model, tokenizer, held_out, out / "reader", say)


if __name__ == "__main__":
    typer.run(main)
