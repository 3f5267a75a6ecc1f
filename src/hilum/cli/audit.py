"""``hilum audit``: where a translation changed the medicine."""

from __future__ import annotations

import json as jsons
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.codes import Code, HilumError

if TYPE_CHECKING:
    from hilum.language.survey import Pair, Survey
    from hilum.language.texts import Row


def audit(
    source: Annotated[Path, typer.Argument(help="Originals: csv, tsv, jsonl or json.")],
    target: Annotated[Path, typer.Argument(help="Translations, with the same ids or order.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the page and both jsonl.")] = Path(
        "audit"
    ),
    text_column: Annotated[
        str | None, typer.Option("--text-column", help="Column or key of the text, in both.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The counts as one JSON line.")] = False,
) -> None:
    """Compare translations with their originals and set the unfaithful ones apart.

    Writes index.html, clean.jsonl and quarantine.jsonl into --out.

    Example: hilum audit reports_en.json reports_zh.json --out audit
    """
    from hilum.language.survey import page, survey
    from hilum.language.texts import load

    pairs = _paired(load(source, text_column), load(target, text_column), target)
    found = survey(pairs)
    _write(out, found, page(found, f"hilum audit: {source.name}, {target.name}"))
    figures = found.figures()
    if json:
        print(jsons.dumps(figures))
        return
    for name, count in figures.items():
        print(f"{name.replace('_', ' '):26} {count:7} {count / max(1, len(found.pairs)):7.1%}")
    print(f"page: {out / 'index.html'}")


def _paired(source: list[Row], target: list[Row], path: Path) -> list[tuple[str, str, str]]:
    """Rows of the same id; where ids are not unique or not shared, rows of the same place."""
    ids, theirs = [r.id for r in source], {r.id: r for r in target}
    if len(set(ids)) == len(ids) and len(theirs) == len(target) and set(ids) & set(theirs):
        empty = next(iter(target))._replace(text="")
        return [(r.id, r.text, theirs.get(r.id, empty).text) for r in source]
    if len(source) != len(target):
        detail = f"{len(target)} rows for {len(source)}, and no shared ids"
        raise HilumError(Code.OPTION_INVALID, path.name, detail)
    return [(a.id, a.text, b.text) for a, b in zip(source, target, strict=True)]


def _write(out: Path, found: Survey, page: Iterable[str]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (out / "index.html").open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(page)
        for name, wanted in (("clean.jsonl", True), ("quarantine.jsonl", False)):
            with (out / name).open("w", encoding="utf-8", errors="backslashreplace") as file:
                file.writelines(_line(p) for p in found.pairs if p.clean is wanted)
    except OSError as error:
        raise HilumError(Code.OUTPUT_UNWRITABLE, out, error.strerror or "") from error


def _line(pair: Pair) -> str:
    row: dict[str, object] = {"id": pair.id, "source": pair.source, "target": pair.target}
    if not pair.clean:
        row["reason"] = pair.audit.reason
        row["errors"] = [
            {
                "kind": e.kind,
                "about": e.about,
                "source": e.source,
                "target": e.target,
                "suggestion": e.suggestion,
            }
            for e in pair.audit.errors
        ]
    return jsons.dumps(row, ensure_ascii=False) + "\n"
