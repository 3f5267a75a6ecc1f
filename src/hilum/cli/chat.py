"""``hilum chat``: a conversation about one study."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.read import Language
from hilum.codes import Code, HilumError


def chat(
    path: Annotated[Path, typer.Argument(help="A film, or the folder or zip of one study.")],
    reader: Annotated[
        str, typer.Option("--reader", help="embedded, a folder, or a server's URL.")
    ] = "embedded",
    language: Annotated[
        Language, typer.Option("--language", help="Of the draft; answers follow the question.")
    ] = Language.EN,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, max=2, help="0: always the likeliest word.")
    ] = 0.0,
    top_p: Annotated[
        float, typer.Option("--top-p", min=0, max=1, help="Draw from the likeliest that sum to it.")
    ] = 1.0,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, max=2**32 - 1, help="Same seed, same words."),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, max=8192, help="Longest answer of a model.")
    ] = 512,
    transcript: Annotated[
        Path | None,
        typer.Option("--transcript", help="A new file to keep it in; .jsonl: JSON lines."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="The transcript's JSON lines on stdout, nothing else.")
    ] = False,
    allow_outside_domain: Annotated[
        bool,
        typer.Option("--allow-outside-domain", help="Read a film the reader was not made for."),
    ] = False,
) -> int:
    """Read one study and talk about it: on a terminal, or with questions on stdin, one a line.

    The embedded reader answers by rule from its findings, and says so where it cannot; a chat
    model answers freely, with its probabilities beside its words and a flag where they disagree.
    In the conversation: /help.

    Exit code: 0, 3 where the study was not read, 4 where an answer failed.

    Example: hilum chat film.dcm --language zh --transcript talk.txt

    Example: echo "Is there a fracture?" | hilum chat film.png
    """
    if not top_p:
        raise HilumError(Code.OPTION_INVALID, "--top-p", "above 0, to 1")
    from hilum.imaging import children

    children.start()  # it gets ready while the rest is imported
    from hilum.cli.talk import Hall, Talk
    from hilum.cli.transcript import Transcript
    from hilum.engines import Sampling

    with ExitStack() as stack:
        kept = stack.enter_context(Transcript(transcript)) if transcript else None
        hall = Hall(reader, language.value, allow_outside_domain)
        sampling = Sampling(max_tokens, temperature=temperature, top_p=top_p, seed=seed)
        return Talk(hall, sampling, kept, as_json=json).run(path)
