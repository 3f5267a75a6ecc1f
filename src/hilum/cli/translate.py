"""``hilum translate``: reports into the other language, every answer checked."""

from __future__ import annotations

import json as jsons
import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.codes import Code, HilumError

if TYPE_CHECKING:
    from hilum.data.translate import Counts, Translated

SOME_SET_APART = 3
KEY = "HILUM_API_KEY"


class To(StrEnum):
    """Language to translate into."""

    EN = "en"
    ZH = "zh"


def translate(
    texts: Annotated[
        Path, typer.Argument(help="Reports (csv, jsonl, ...), or a prepared dataset.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the translations.")],
    to: Annotated[To, typer.Option("--to", help="Language to translate into.")],
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", help="OpenAI-compatible URL, up to /v1. Texts go there."),
    ] = None,
    model: Annotated[str, typer.Option("--model", help="As the endpoint names it.")] = "default",
    structured: Annotated[
        bool, typer.Option("--structured", help="No endpoint: findings out, template in.")
    ] = False,
    text_column: Annotated[
        str | None, typer.Option("--text-column", help="Column or key of the text.")
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=64, help="Requests at a time.")
    ] = 8,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds a request.")] = 120.0,
    json: Annotated[bool, typer.Option("--json", help="The counts as one JSON line.")] = False,
) -> int:
    """Translate reports; what changes the medicine is asked again, then set apart.

    A key for the endpoint is read from HILUM_API_KEY. Answers are kept in OUT/cache.sqlite: the
    same command after a stop asks nothing twice. Exit code: 0 all translated, 3 some set apart.

    Example: hilum translate reports.csv zh --to zh --endpoint http://localhost:8000/v1
    """
    from hilum.data.build import write_whole
    from hilum.data.translate import Counts
    from hilum.data.translated import is_dataset, texts_of, write_dataset
    from hilum.language.texts import load

    if structured == (endpoint is not None):
        raise HilumError(Code.OPTION_INVALID, "--endpoint", "give either this or --structured")
    counts = Counts()

    def ask(given: Iterable[str]) -> dict[str, Translated]:
        different = list(dict.fromkeys(given))
        return _translated(
            different, out, to, counts, endpoint, model, structured, concurrency, timeout
        )

    if is_dataset(texts):
        command = f"hilum translate {texts.name} {out.name} --to {to.value}"
        card = write_dataset(texts, out, to.value, ask(texts_of(texts)), command)
        facts = card["facts"]
        told: dict[str, object] = {**vars(counts), "rows": sum(facts["rows"].values())}
        told["rows_set_apart"] = sum(facts["quarantined"].values())
        print(jsons.dumps(told) if json else _summary(told, out / "README.md"))
        return SOME_SET_APART if facts["quarantined"] else 0
    rows = load(texts, text_column)
    done = ask(row.text for row in rows)
    kept, apart = [], []
    for row in rows:
        one = done[row.text]
        line: dict[str, object] = {"id": row.id, "source": row.text, "text": one.text}
        line["language"] = to.value
        if one.code is None:
            kept.append(line | {"status": one.status})
        else:
            apart.append(line | {"code": one.code.value, "errors": list(one.errors)})
    try:
        for name, lines in (("translated.jsonl", kept), ("quarantine.jsonl", apart)):
            content = "".join(jsons.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            write_whole(out / name, content.encode())
    except OSError as error:
        raise HilumError(Code.OUTPUT_UNWRITABLE, out, error.strerror or "") from error
    told = {"texts": len(done), **vars(counts), "rows": len(kept), "rows_set_apart": len(apart)}
    print(jsons.dumps(told) if json else _summary(told, out / "translated.jsonl"))
    return SOME_SET_APART if apart else 0


def _translated(
    different: list[str],
    out: Path,
    to: To,
    counts: Counts,
    endpoint: str | None,
    model: str,
    structured: bool,
    concurrency: int,
    timeout: float,
) -> dict[str, Translated]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from hilum.data.translate import by_template
    from hilum.data.translate import translate as by_endpoint
    from hilum.engines.remote import Patience, Remote

    bar = Progress(
        TextColumn("translating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=len(different))

        def step(one: Translated) -> None:
            counts.add(one)
            told = f"clean {counts.clean} repaired {counts.repaired} quarantined "
            bar.update(task, advance=1, description=told + str(counts.quarantined))

        if structured or endpoint is None:
            done = {}
            for text in different:
                done[text] = by_template(text, to.value)
                step(done[text])
            return done
        patience = Patience(timeout=timeout)
        with Remote(endpoint, model, os.environ.get(KEY), patience) as client:
            cache = out / "cache.sqlite"
            return by_endpoint(different, to.value, client, cache, concurrency, step)


def _summary(told: dict[str, object], place: Path) -> str:
    lines = [f"{name.replace('_', ' '):16} {value}" for name, value in told.items()]
    return "\n".join([*lines, f"translations: {place}"])
