"""``hilum label``: reports to findings."""

from __future__ import annotations

import csv as csvs
import io
import json as jsons
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.codes import Code, HilumError

if TYPE_CHECKING:
    from hilum.language import Reading
    from hilum.language.texts import Row

READ, SILENT = 0, 3
EXPLAINED = Path("explained.html")


class Language(StrEnum):
    """Language of the reports."""

    EN = "en"
    ZH = "zh"


def label(
    file: Annotated[Path, typer.Argument(help="Reports: txt, csv, tsv, jsonl or json.")],
    text_column: Annotated[
        str | None, typer.Option("--text-column", help="Column or key that holds the report.")
    ] = None,
    language: Annotated[
        Language | None, typer.Option("--language", help="Default: each sentence's own.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON line a report.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="One row a report, a column a name.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Mark spans and cues here and in --html.")
    ] = False,
    html: Annotated[Path, typer.Option("--html", help="Page that --explain writes.")] = EXPLAINED,
) -> int:
    """Read reports into findings, with status, place and the words that say so.

    Exit code: 0 all read, 3 some say nothing that can be read.

    Example: hilum label reports.csv --text-column findings --json
    """
    from hilum.language import read
    from hilum.language.texts import load

    if json and csv:
        raise HilumError(Code.OPTION_INVALID, "hilum label", "choose --json or --csv")
    rows = load(file, text_column)
    readings = [read(row.text, language.value if language else None) for row in rows]
    for row, reading in zip(rows, readings, strict=True):
        reading.reason = row.error or reading.reason
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8" if json or csv else None, errors="backslashreplace")
    if json:
        _json(rows, readings)
    elif csv:
        _csv(rows, readings)
    else:
        _terminal(rows, readings, explain)
    if explain:
        _page(rows, readings, html, file.name)
    return SILENT if any(r.reason for r in readings) else READ


def _json(rows: list[Row], readings: list[Reading]) -> None:
    for row, reading in zip(rows, readings, strict=True):
        line = {
            "id": row.id,
            "findings": [f.model_dump(mode="json") for f in reading.findings],
            "reason": reading.reason,
        }
        print(jsons.dumps(line, ensure_ascii=False))


def _csv(rows: list[Row], readings: list[Reading]) -> None:
    from hilum.findings import FindingName
    from hilum.language.explain import place

    out = csvs.writer(sys.stdout, lineterminator="\n")
    out.writerow(["id", *FindingName, "fractures", "reason"])
    for row, reading in zip(rows, readings, strict=True):
        found = {f.name: f for f in reading.findings}
        fracture = found.get(FindingName.FRACTURE)
        places = [place(i) for i in fracture.instances] if fracture else []
        status = [found[n].status if n in found else "" for n in FindingName]
        out.writerow([row.id, *status, "; ".join(filter(None, places)), reading.reason or ""])


def _terminal(rows: list[Row], readings: list[Reading], explain: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    from hilum.cli.show import STYLES
    from hilum.findings import Status
    from hilum.language.explain import NORMAL, pieces, place

    styles = {status.value: style for status, style in STYLES.items()}
    styles |= {"cue": "underline", NORMAL: STYLES[Status.ABSENT]}
    console = Console(highlight=False)
    for row, reading in zip(rows, readings, strict=True):
        line = Text()
        line.append(_plain(row.id), "bold")
        if reading.reason is not None:
            line.append(f"  {reading.reason.en} [{reading.reason}]", "yellow")
        for finding in reading.findings:
            places = [p for p in map(place, finding.instances) if p]
            where = f" ({'; '.join(places)})" if places else ""
            style = STYLES[Status(finding.status)]
            line.append(f"\n  {finding.name} {finding.status}{where}", style)
        if explain:
            line.append("\n  ")
            for piece, mark in pieces(row.text, reading):
                line.append(_plain(piece), styles[mark.kind] if mark else "")
        console.print(line, soft_wrap=not console.is_terminal)


def _plain(text: str) -> str:
    """Nothing in it moves the terminal; a line break stays one."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _page(rows: list[Row], readings: list[Reading], html: Path, name: str) -> None:
    from hilum.language.explain import page

    triples = ((row.id, row.text, r) for row, r in zip(rows, readings, strict=True))
    try:
        with html.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(page(triples, f"hilum label: {name}"))
    except OSError as error:
        raise HilumError(Code.OUTPUT_UNWRITABLE, html, error.strerror or "") from error
    print(f"page: {html}", file=sys.stderr)
