"""``hilum preview``: what a recipe would learn, before it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.train import Overrides, RecipeFile, need_extra

if TYPE_CHECKING:
    from hilum.training.preview import Preview


def preview(
    recipe: RecipeFile,
    overrides: Overrides = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Samples to show.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="As one JSON line.")] = False,
) -> None:
    """Show what a recipe learns, token by token, by which parts, and in how much memory.

    Green tokens are learnt, grey ones are only read. Every film is opened and every sample
    measured; films' tokens that would be cut are refused. No weights are needed, nothing is
    written.

    Example: hilum preview recipes/gemma3-radiology.yaml data.path=mydata
    """
    from hilum.training.preview import preview as look
    from hilum.training.recipe import load

    given = load(recipe, overrides or [])
    need_extra()
    seen = look(given, rows)
    if json:
        import json as jsonlib

        print(jsonlib.dumps(_plain(seen), ensure_ascii=False))
    else:
        _print(seen)


def _plain(seen: Preview) -> dict[str, Any]:
    from dataclasses import asdict

    lengths = seen.checked.lengths
    return {
        "precision": seen.choice.precision,
        "reason": seen.choice.reason,
        "parts": {name: asdict(count) for name, count in seen.parts.items()},
        "rows": [asdict(row) for row in seen.rows],
        "samples": len(lengths),
        "left_out": [asdict(out) for out in seen.checked.left_out],
        "lengths": {"min": int(lengths.min()), "max": int(lengths.max())},
        "image_tokens": {
            "min": int(seen.checked.image_tokens.min()),
            "max": int(seen.checked.image_tokens.max()),
        },
        "steps": seen.steps,
        "memory": {**asdict(seen.memory), "total": seen.memory.total},
        "notes": seen.notes,
    }


def _print(seen: Preview) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    for row in seen.rows:
        line = Text(f"{row.study}: ", style="bold")
        for piece in row.pieces:
            if piece.kind == "film":
                line.append(f"[film: {piece.tokens} tokens]", style="cyan")
            else:
                style = "bold green" if piece.kind == "learnt" else "bright_black"
                text = piece.text.replace("\n", "\u21b5")
                line.append(f"\u27e6{text}\u27e7" if piece.kind == "learnt" else text, style=style)
        learnt = sum(p.tokens for p in row.pieces if p.kind == "learnt")
        line.append(f"  {learnt} of {sum(p.tokens for p in row.pieces)} tokens are learnt")
        console.print(line)
    table = Table(box=None, pad_edge=False)
    for title in ("part", "train", "lr", "parameters", "trained", "share"):
        table.add_column(title, justify="left" if title in ("part", "train") else "right")
    for name, how in seen.recipe.parts.items():
        count = seen.parts[name]
        rate = "" if how.train == "frozen" else f"{how.lr or seen.recipe.schedule.lr:g}"
        share = f"{count.trained / max(1, count.total):.2%}"
        table.add_row(name, how.train, rate, f"{count.total:,}", f"{count.trained:,}", share)
    console.print(table)
    checked = seen.checked
    console.print(
        f"{len(checked.tasks)} samples, left out {len(checked.left_out)}; "
        f"{checked.lengths.min()} to {checked.lengths.max()} tokens, "
        f"films {checked.image_tokens.min()} to {checked.image_tokens.max()}; "
        f"{seen.steps} steps of {seen.recipe.schedule.batch}"
    )
    for out in checked.left_out[:5]:
        console.print(f"  {out.study}: {out.code.en} ({out.detail}) [{out.code}]", markup=False)
    console.print(f"{seen.choice.precision}: {seen.choice.reason}")
    m = seen.memory
    console.print(
        f"memory: {_gb(m.total)} = weights {_gb(m.weights)}, Adam {_gb(m.optimiser)}, gradients "
        f"{_gb(m.gradients)}, activations {_gb(m.activations)}, logits and work {_gb(m.temporary)}"
    )
    for note in seen.notes:
        console.print(f"note: {note}")


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
