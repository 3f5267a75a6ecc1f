"""The tables as Markdown, for a model card or a paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hilum.evaluation.protocol import METRICS as CHEXFRACT
from hilum.evaluation.texts import METRICS as _TEXTS
from hilum.findings import FINDINGS, FindingName

Told = dict[str, Any]
_HARD = ("f1", "accuracy", "precision", "recall", "specificity", "npv", "ppv_at", "npv_at")
_SOFT = ("auc", "average_precision", "brier", "ece")


def markdown(told: Told) -> str:
    """Every table of the page but the subgroups and the gallery, in English."""
    data, about = told["dataset"], told["references"]
    settings = told["settings"]
    about_it = (
        f"{about['studies']} studies of {about['patients']} patients, split {data['split']}, "
        f"sha256 `{data['sha256'][:16]}`. 95 % intervals over {settings['rounds']} resamples of "
        f"patients; ppv_at and npv_at are for a prevalence of {settings['prevalence']:g}; "
        f"“possible” counts as {settings['uncertain']}. A study that was not read is wrong "
        "whatever the truth."
    )
    parts = [
        f"# Evaluation on {data['name']}",
        about_it,
        "## Systems",
        _systems(told),
    ]
    for system in told["systems"]:
        for source in ("likelihood", "words"):
            if source in system and system["kind"] != "baseline":
                title = "status by probability" if source == "likelihood" else "read off the text"
                parts += [f"## {system['name']}: {title}", _findings(told, system[source])]
    for language in about["languages"]:
        rows = [
            [s["name"], *(_figure(s["reports"][language].get(m)) for m in _TEXTS)]
            for s in told["systems"]
            if language in s["reports"]
        ]
        parts += [f"## Reports ({language})", _table(["system", *_TEXTS], rows)]
        flipped = told["flipped"][language]
        if flipped:
            row = ["one negation turned over", *(_plain(flipped[m]) for m in _TEXTS)]
            parts[-1] += "\n" + _row(row)
    if told["focus"] == "fracture":
        rows = [
            [s["name"], *(_figure(s["chexfract"][m]) for m in (*CHEXFRACT, "auc"))]
            for s in told["systems"]
        ]
        head = ["system", *CHEXFRACT, "real AUC"]
        parts += ["## Fracture by ChexFract's definitions", _table(head, rows)]
    return "\n\n".join(parts) + "\n"


def _systems(told: Told) -> str:
    focus = told["focus"]
    rows = []
    for s in told["systems"]:
        one, groups = s["likelihood"]["findings"][focus], s["likelihood"]["groups"]["14"]
        outcomes = ", ".join(f"{n} {name}" for name, n in s["outcomes"].items())
        figures = [one.get("auc"), one["f1"], groups["macro"].get("auc"), groups["macro"]["f1"]]
        figures.append(groups["micro"]["f1"])
        rows.append([s["name"], outcomes, *map(_figure, figures)])
    head = ["system", "studies", f"{focus} AUC", f"{focus} F1", "AUC macro 14"]
    return _table([*head, "F1 macro 14", "F1 micro 14"], rows)


def _findings(told: Told, source: Told) -> str:
    metrics = [*_SOFT, *_HARD]
    rows = []
    for name, one in source["findings"].items():
        if one["positives"]:
            label = FINDINGS[FindingName(name)].en
            figures = [_figure(one.get(m)) for m in metrics]
            rows.append([label, f"{one['positives']}/{one['n']}", *figures])
    for group, kinds in source["groups"].items():
        for kind in ("micro", "macro"):
            over = f" over {len(kinds['macro_over'])}" if kind == "macro" else ""
            figures = [_figure(kinds[kind].get(m)) for m in metrics]
            rows.append([f"{kind} {group}{over}", "", *figures])
    return _table(["finding", "positive", *metrics], rows)


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _figure(figure: Sequence[float] | None) -> str:
    if figure is None:
        return "-"
    value, low, high = figure
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"
