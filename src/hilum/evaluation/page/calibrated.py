"""The page of a calibration: reliability before and after, and what the points reach."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from hilum.evaluation.page.charts import reliability
from hilum.evaluation.page.notes import note
from hilum.evaluation.page.style import SCRIPT, STYLE
from hilum.evaluation.page.tables import head, table
from hilum.evaluation.page.words import both, cell, say, term
from hilum.reading.calibration import CalibrationFile

METHODS = {
    "kept": ("as it was", "保留原校准"),
    "none": ("none", "不校准"),
    "temperature": ("temperature", "温度缩放"),
    "platt": ("Platt", "Platt 缩放"),
    "isotonic": ("isotonic", "保序回归"),
}


def page(file: CalibrationFile) -> str:
    """One HTML file in both languages, without a network."""
    return "".join(_parts(file))


def _parts(file: CalibrationFile) -> Iterator[str]:
    told = file.fitted
    title = both(f"Calibration: {told['reader']}", f"校准：{told['reader']}")
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Hilum: {escape(file.site)}</title><style>{STYLE}</style></head><body>"
        '<button id="speak" type="button"><span class="en">中文</span>'
        '<span class="zh">English</span></button>'
        f"<header><h1>{title}</h1><p class='lead'>"
        f"{both('Site: ', '机构：')}{escape(file.site)}. "
        f"{both('Fitted on: ', '拟合数据：')}{escape(told['dataset']['name'])}, "
        f"{escape(told['dataset']['split'])}. "
        f"{both('Weights', '权重')} <code>{file.weights_sha256[:12]}</code>, "
        f"{both('questions', '提问')} <code>{file.prompt_sha256[:12]}</code></p></header>"
    )
    fitted = {k: v for k, v in told["findings"].items() if not isinstance(v, str)}
    yield _table(file, fitted)
    left = [k for k, v in told["findings"].items() if isinstance(v, str)]
    if left:
        en = ", ".join(term(n)[0] for n in left)
        zh = "、".join(term(n)[1] for n in left)
        words = (f"Too few cases, left as it was: {en}.", f"病例过少，保持原状：{zh}。")
        yield f'<p class="note">{both(*words)}</p>'
    yield note("calibrated")
    yield '<div class="three">'
    for name, one in fitted.items():
        drawn = [_as_system(*pair) for pair in (("after", one["after"]), ("before", one["before"]))]
        en, zh = term(name)
        yield f"<figure><figcaption>{both(en, zh)}</figcaption>{reliability(drawn)}</figure>"
    yield "</div>"
    yield f"<footer>{note('footer')}</footer><script>{SCRIPT}</script></body></html>\n"


def _as_system(name: str, one: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "kind": "reader", "curves": {"reliability": one["reliability"]}}


def _table(file: CalibrationFile, fitted: dict[str, Any]) -> str:
    heads = head(
        [
            both("finding", "征象"),
            both("positive", "阳性"),
            both("method", "方法"),
            both("ECE before", "校准误差（前）"),
            both("after", "后"),
            both("Brier before", "Brier 分（前）"),
            both("after", "后"),
            both("doubt", "存疑界值"),
            both("threshold", "界值"),
            both("sensitivity", "敏感度"),
            both("specificity", "特异度"),
        ]
    )
    doubts = {k.value: v for k, v in file.calibration.doubts.items()}
    certain = {k.value: v for k, v in file.calibration.thresholds.items()}
    rows = []
    for name, one in fitted.items():
        reached = one["threshold"] or {"sensitivity": None, "specificity": None}
        numbers = [one[when][m] for m in ("ece", "brier") for when in ("before", "after")]
        points = [doubts.get(name), certain.get(name, file.calibration.default_threshold)]
        rows.append(
            f"<td class='name'>{both(*term(name))}</td>"
            f"<td class='n'>{one['positives']}<small>/ {one['cases']}</small></td>"
            f"<td class='n'>{say(METHODS, one['method'])}</td>"
            + "".join(f"<td class='n'>{x:.4f}</td>" for x in numbers)
            + "".join(f"<td class='n'>{'–' if x is None else f'{x:.4f}'}</td>" for x in points)
            + cell(reached["sensitivity"])
            + cell(reached["specificity"])
        )
    return table(heads, rows)
