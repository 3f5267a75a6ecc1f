"""``hilum calibrate``: probabilities that mean what they say at one site."""

from __future__ import annotations

import json as jsonlib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.evaluate import Progress, Uncertain, console
from hilum.codes import Code, HilumError

if TYPE_CHECKING:
    from hilum.reading.calibration import CalibrationFile


class Method(StrEnum):
    """How likelihoods become probabilities."""

    AUTO = "auto"
    NONE = "none"
    TEMPERATURE = "temperature"
    PLATT = "platt"
    ISOTONIC = "isotonic"


def calibrate(
    dataset: Annotated[Path, typer.Argument(help="Of hilum prepare or hilum phantom.")],
    site: Annotated[str, typer.Option("--site", help="Name of the site that the films are of.")],
    reader: Annotated[
        str, typer.Option("--reader", help="embedded, or a reader's folder.")
    ] = "embedded",
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path(
        "calibration.json"
    ),
    split: Annotated[
        str, typer.Option("--split", help="train, validation, test or all; judge on another one.")
    ] = "validation",
    method: Annotated[
        Method, typer.Option("--method", help="auto: the best by cross-validation.")
    ] = Method.AUTO,
    sensitivity: Annotated[
        float | None, typer.Option("--sensitivity", min=0.01, max=1, help="Wanted at threshold.")
    ] = None,
    specificity: Annotated[
        float | None, typer.Option("--specificity", min=0.01, max=1, help="Wanted at threshold.")
    ] = None,
    uncertain: Annotated[
        Uncertain, typer.Option("--uncertain", help="What a possible finding counts as.")
    ] = Uncertain.PRESENT,
    allow_outside_domain: Annotated[
        bool, typer.Option("--allow-outside-domain", help="Read films it was not made for.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The file on stdout as well.")] = False,
) -> int:
    """Fit a reader's probabilities and thresholds to a site; one file and one page.

    The file holds for these weights, these questions and this site alone: other weights,
    quantised ones too, need a new one. With both --sensitivity and --specificity there are two
    points: from the one on a finding is uncertain, from the other on it is present.

    Example: hilum calibrate mydata --site our-hospital --sensitivity 0.95 --specificity 0.95
    """
    from hilum.data.build import write_whole
    from hilum.data.rows import open_dataset
    from hilum.evaluation.calibrate import Points
    from hilum.evaluation.page.calibrated import page
    from hilum.evaluation.run import run
    from hilum.evaluation.site import Wish, save
    from hilum.evaluation.site import calibrate as fit
    from hilum.reading.reader import Reader

    if not site.strip() or len(site) > 80:
        raise HilumError(Code.OPTION_INVALID, "--site", "a name of at most 80 characters")
    opened = open_dataset(dataset, split)
    references = opened.references()
    with Progress(len(references)) as progress:
        progress.step(f"loading {reader}")
        chosen = Reader.load(reader)
        progress.step("reading")
        system = run(
            chosen,
            Path(reader).name or reader,
            opened,
            references,
            out.with_suffix(".run"),
            allow_outside_domain=allow_outside_domain,
            progress=progress.advance,
        )
        progress.step("fitting")
        wish = Wish(method.value, Points(sensitivity, specificity), uncertain.value)
        file = fit(chosen, opened, references, system, site.strip(), wish)
    save(file, out)
    html = out.with_suffix(".html")
    try:
        write_whole(html, page(file).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise HilumError(Code.OUTPUT_UNWRITABLE, html, error.strerror or "") from error
    if json:
        print(jsonlib.dumps(file.model_dump(mode="json"), ensure_ascii=False))
    else:
        _print(file)
        print(f"calibration: {out}\npage: {html}")
    return 0


def _print(file: CalibrationFile) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    heads = ("", "cases", "method", "ECE before", "after", "Brier before", "after")
    for head in (*heads, "threshold", "sensitivity", "specificity"):
        table.add_column(head, justify="left" if head in ("", "method") else "right")
    for name, one in file.fitted["findings"].items():
        if isinstance(one, str):
            table.add_row(name, one, style="dim")
            continue
        before, after = one["before"], one["after"]
        cells = [f"{one['positives']}/{one['cases']}", one["method"]]
        cells += [f"{x[m]:.4f}" for m in ("ece", "brier") for x in (before, after)]
        table.add_row(name, *cells, *_points(file, name, one))
    console().print(table)


def _points(file: CalibrationFile, name: str, one: dict[str, Any]) -> list[str]:
    """Threshold, and what it reached on cases that it was not fitted on."""
    reached = one["threshold"]
    if reached is None:
        return ["-", "-", "-"]
    doubts = {k.value: v for k, v in file.calibration.doubts.items()}
    thresholds = {k.value: v for k, v in file.calibration.thresholds.items()}
    low = f"{doubts[name]:.4f} / " if name in doubts else ""
    shares = [f"{s[0]:.3f} ({s[1]:.3f}-{s[2]:.3f})" for s in reached.values()]
    return [f"{low}{thresholds.get(name, 0.5):.4f}", *shares]
