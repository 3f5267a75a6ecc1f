"""Curves and bars as inline SVG: plain shapes, words in both languages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from hilum.evaluation.page.words import GROUPS, LEVELS, Pair

INKS = ("#1d5fbf", "#c2590c", "#1a7f4b", "#8a3ffc", "#b02a63", "#0f766e")
FAINT = "#8b95a1"
SIDE, LEFT, TOP, RIGHT, BOTTOM = 300, 46, 14, 14, 44

Told = dict[str, Any]
Point = Sequence[float]


def ink(systems: Sequence[Told], k: int) -> str:
    """The colour of a system; baselines are grey."""
    if systems[k]["kind"] == "baseline":
        return FAINT
    return INKS[sum(s["kind"] != "baseline" for s in systems[:k]) % len(INKS)]


def roc(systems: Sequence[Told]) -> str:
    """ROC curves, and the point that each system's thresholds have chosen."""
    parts = [_line([(0, 0), (1, 1)], FAINT, dashed=True)]
    for k, system in _drawn(systems):
        colour, c = ink(systems, k), system["curves"]
        if c["roc"]:
            parts.append(_line(c["roc"], colour))
        parts.append(_dot(c["point"][0], c["point"][1], colour))
    return _plot(parts, ("1 - specificity", "1 - 特异度"), ("sensitivity", "敏感度"), "ROC")


def pr(systems: Sequence[Told]) -> str:
    """Precision-recall curves, and the prevalence that a coin would have."""
    parts: list[str] = []
    for k, system in _drawn(systems):
        colour, c = ink(systems, k), system["curves"]
        if c.get("prevalence") is not None and not parts:
            parts.append(_line([(0, c["prevalence"]), (1, c["prevalence"])], FAINT, dashed=True))
        if c["pr"]:
            parts.append(_line([(0, c["pr"][0][1]), *c["pr"]], colour))
        if c["point"][2] is not None:
            parts.append(_dot(c["point"][1], c["point"][2], colour))
    return _plot(parts, ("sensitivity", "敏感度"), ("precision", "精确率"), "precision-recall")


def reliability(systems: Sequence[Told]) -> str:
    """Share of positives against mean probability, with Wilson intervals."""
    parts = [_line([(0, 0), (1, 1)], FAINT, dashed=True)]
    for k, system in _drawn(systems):
        bins, colour = system["curves"]["reliability"], ink(systems, k)
        if not bins:
            continue
        for p, _, low, high, n in bins:
            parts.append(
                f'<line x1="{_x(p)}" x2="{_x(p)}" y1="{_y(low)}" y2="{_y(high)}" '
                f'stroke="{colour}" stroke-opacity=".45"><title>n = {n:.0f}</title></line>'
            )
        parts.append(_line([(b[0], b[1]) for b in bins], colour))
        parts += [_dot(b[0], b[1], colour, radius=3) for b in bins]
    return _plot(
        parts, ("stated probability", "给出的概率"), ("share present", "实际比例"), "reliability"
    )


def _drawn(systems: Sequence[Told]) -> list[tuple[int, Told]]:
    """Systems with curves, the first on top; a baseline is the dashed line already."""
    own = [(k, s) for k, s in enumerate(systems) if s["curves"] and s["kind"] != "baseline"]
    return own[::-1]


def legend(systems: Sequence[Told]) -> str:
    """Colours of the systems."""
    items = []
    for k, system in enumerate(systems):
        if system["kind"] == "baseline":
            continue
        items.append(
            f'<span class="key"><i style="background:{ink(systems, k)}"></i>'
            f"{escape(system['name'])}</span>"
        )
    dashed = (
        '<span class="key"><i class="dash"></i><span class="en">no skill, or perfect calibration'
        '</span><span class="zh">无判别力；完全校准</span></span>'
        '<span class="key"><b>&#9679;</b><span class="en">operating point</span>'
        '<span class="zh">工作点</span></span>'
    )
    return f'<p class="legend">{"".join(items)}{dashed}</p>'


def _x(value: float) -> float:
    return round(LEFT + value * (SIDE - LEFT - RIGHT), 1)


def _y(value: float) -> float:
    return round(TOP + (1 - value) * (SIDE - TOP - BOTTOM), 1)


def _line(points: Sequence[Point], colour: str, *, dashed: bool = False) -> str:
    path = " ".join(f"{_x(p[0])},{_y(p[1])}" for p in points)
    style = 'stroke-dasharray="4 4"' if dashed else 'stroke-width="2"'
    return f'<polyline points="{path}" fill="none" stroke="{colour}" {style}/>'


def _dot(x: float, y: float, colour: str, radius: float = 4.5) -> str:
    return (
        f'<circle cx="{_x(x)}" cy="{_y(y)}" r="{radius}" fill="{colour}" stroke="#fff" '
        f'stroke-width="1.2"/>'
    )


def _plot(parts: Sequence[str], across: Pair, up: Pair, name: str) -> str:
    ticks = []
    for v in (0, 0.25, 0.5, 0.75, 1):
        ticks.append(
            f'<line x1="{_x(0)}" x2="{_x(1)}" y1="{_y(v)}" y2="{_y(v)}" class="grid"/>'
            f'<line x1="{_x(v)}" x2="{_x(v)}" y1="{_y(0)}" y2="{_y(1)}" class="grid"/>'
            f'<text x="{_x(v)}" y="{_y(0) + 15}" text-anchor="middle">{v:g}</text>'
            f'<text x="{_x(0) - 6}" y="{_y(v) + 4}" text-anchor="end">{v:g}</text>'
        )
    middle = (SIDE - TOP - BOTTOM) / 2 + TOP
    labels = words(across, _x(0.5), SIDE - 8, "middle") + "".join(
        f'<text class="{c}" transform="translate(12 {middle}) rotate(-90)" '
        f'text-anchor="middle">{escape(w)}</text>'
        for c, w in zip(("en", "zh"), up, strict=True)
    )
    return (
        f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="{name}">'
        f"{''.join(ticks)}{''.join(parts)}{labels}</svg>"
    )


def words(pair: Pair, x: float, y: float, anchor: str, more: str = "") -> str:
    """A text in both languages at one place."""
    return "".join(
        f'<text class="{c}{more}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(w)}</text>'
        for c, w in zip(("en", "zh"), pair, strict=True)
    )


ROW, NAME, BAR, WIDE = 15, 84, 130, 345


def subgroup_bars(systems: Sequence[Told], group: str, metric: str = "recall") -> str:
    """One group's levels: a bar a system with its interval, and the number of positives."""
    shown = [
        (k, s) for k, s in enumerate(systems) if s["kind"] != "baseline" and group in s["subgroups"]
    ]
    levels = list(dict.fromkeys(level for _, s in shown for level in s["subgroups"][group]))
    parts, y = [], 36.0
    scale: Callable[[float], float] = lambda v: round(NAME + v * BAR, 1)  # noqa: E731
    for level in levels:
        first = y
        for k, system in shown:
            told = system["subgroups"][group].get(level, {})
            figure, colour = told.get(metric), ink(systems, k)
            if figure is None:
                y += ROW
                continue
            value, low, high = figure
            parts.append(
                f'<rect x="{NAME}" y="{y}" width="{scale(value) - NAME}" height="{ROW - 4}" '
                f'fill="{colour}" fill-opacity=".75"/>'
                f'<line x1="{scale(low)}" x2="{scale(high)}" y1="{y + 5.5}" y2="{y + 5.5}" '
                f'stroke="#1c2530" stroke-width="1.2"/>'
                f'<text x="{NAME + BAR + 8}" y="{y + 9.5}">{value:.2f}'
                f"<tspan class='faint'> {low:.2f}–{high:.2f}  n={told['positives']}</tspan></text>"
            )
            y += ROW
        middle = (first + y) / 2 + 2
        parts.append(words(LEVELS.get(level, (level, level)), NAME - 6, middle, "end"))
        y += 7
    height = round(y + 2)
    grid = "".join(
        f'<line x1="{scale(v)}" x2="{scale(v)}" y1="31" y2="{height}" class="grid"/>'
        f'<text x="{scale(v)}" y="27" text-anchor="middle" class="faint">{v:g}</text>'
        for v in (0, 0.5, 1)
    )
    title = words(GROUPS.get(group, (group, group)), 0, 11, "start", " title")
    return (
        f'<svg viewBox="0 0 {WIDE} {height}" role="img" aria-label="{escape(group)}">'
        f"{grid}{''.join(parts)}{title}</svg>"
    )
