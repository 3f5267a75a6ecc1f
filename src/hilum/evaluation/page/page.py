"""The page of an evaluation, for a radiologist first and for whoever repeats it last."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from hilum.evaluation.page import charts, tables
from hilum.evaluation.page.notes import UNCERTAIN, note
from hilum.evaluation.page.style import SCRIPT, STYLE
from hilum.evaluation.page.words import SOURCES, both, number, say, term

Told = dict[str, Any]


def page(told: Told, galleries: Mapping[str, str]) -> str:
    """One HTML file; ``galleries``: cards of each system that has some, as HTML."""
    return "".join(_parts(told, galleries))


def _parts(told: Told, galleries: Mapping[str, str]) -> Iterator[str]:
    own = [s for s in told["systems"] if s["kind"] != "baseline"]
    title = f"Hilum: {told['dataset']['name']}"
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        '<button id="speak" type="button"><span class="en">中文</span>'
        '<span class="zh">English</span></button>'
    )
    yield _header(told, own)
    yield _section("Summary", "概要", tables.summary(told) + _how_to_read(told))
    en, zh = term(told["focus"])
    yield _section(f"{en.capitalize()}: curves", f"{zh}：曲线", _curves(told))
    yield _subgroups(told, en, zh)
    for k, system in enumerate(own):
        body = tables.findings(told, system)
        name = system["name"]
        yield _section(f"Findings: {name}", f"各征象：{name}", body, folded=k > 0)
    yield _section("Reports", "报告文字", _reports(told))
    if told["paired"]:
        yield _section(
            "Differences between systems", "系统间差异", tables.paired(told) + note("paired")
        )
    if told["focus"] == "fracture":
        yield _section(
            "By ChexFract's definitions",
            "按 ChexFract 的定义",
            tables.chexfract(told) + note("chexfract"),
        )
    left_out = tables.not_read(own)
    if left_out:
        yield _section("Not read", "未阅片的检查", note("not_read") + left_out)
    for name, cards in galleries.items():
        yield _section(f"Worst errors: {name}", f"最严重的错误：{name}", _KEY + cards)
    yield _section("How to repeat this", "如何复现", _repeat(told))
    yield f"<footer>{note('footer')}</footer><script>{SCRIPT}</script></body></html>\n"


def _section(en: str, zh: str, body: str, *, folded: bool = False) -> str:
    if folded:
        return f"<details><summary><h2>{both(en, zh)}</h2></summary>{body}</details>"
    return f"<section><h2>{both(en, zh)}</h2>{body}</section>"


def _header(told: Told, own: list[Told]) -> str:
    about, data = told["references"], told["dataset"]
    sources = ", ".join(say(SOURCES, s) for s in about["sources"])
    lines = [
        both(
            f"{about['studies']} studies of {about['patients']} patients, split {data['split']}. ",
            f"{about['patients']} 名患者的 {about['studies']} 次检查，划分：{data['split']}。",
        )
        + both("Reference: ", "参考标准：")
        + sources
        + both(".", "。")
    ]
    cards = "".join(_card(told, s) for s in own)
    name = escape(data["name"])
    return (
        f"<header><h1>{both('Evaluation', '评测')}: {name}</h1>"
        f'<p class="lead">{" ".join(lines)}</p><div class="heads">{cards}</div></header>'
    )


def _card(told: Told, system: Told) -> str:
    """One system in a sentence of figures."""
    one = system["likelihood"]["findings"][told["focus"]]
    en, zh = term(told["focus"])
    shown = [("AUC", "AUC", one.get("auc")), ("sensitivity", "敏感度", one["recall"])]
    shown.append(("specificity", "特异度", one["specificity"]))
    figures = "".join(
        f"<div><b>{number(f[0], 2)}</b><span>{both(a, b)}</span>"
        f"<small>{number(f[1], 2)}&ndash;{number(f[2], 2)}</small></div>"
        if f
        else f"<div><b>&ndash;</b><span>{both(a, b)}</span>"
        f"<small>{both('gives none', '未提供')}</small></div>"
        for a, b, f in shown
    )
    missing = told["references"]["studies"] - system["outcomes"].get("read", 0)
    warn = ""
    if missing:
        warn = (
            '<p class="warn">'
            + both(f"{missing} not read; counted as wrong", f"{missing} 例未阅片，按错误计")
            + "</p>"
        )
    n = told["references"]["positives"][told["focus"]]
    return (
        f'<div class="head"><h3>{escape(system["name"])}</h3>'
        f'<p class="note">{both(f"{en}, {n} positive", f"{zh}，阳性 {n} 例")}</p>'
        f'<div class="figures">{figures}</div>{warn}</div>'
    )


def _how_to_read(told: Told) -> str:
    settings = told["settings"]
    both_ = {"rounds": str(settings["rounds"]), "prevalence": f"{settings['prevalence']:g}"}
    en, zh = UNCERTAIN[settings["uncertain"]]
    return note("summary", both_ | {"uncertain": en}, both_ | {"uncertain": zh})


def _curves(told: Told) -> str:
    systems = told["systems"]
    if not any(s["curves"] for s in systems):
        return f"<p>{both('One of the two classes is missing.', '缺少阳性或阴性。')}</p>"
    parts = (
        (both("ROC", "ROC 曲线"), charts.roc(systems)),
        (both("Precision and sensitivity", "精确率与敏感度"), charts.pr(systems)),
        (both("Reliability", "可靠性"), charts.reliability(systems)),
    )
    drawn = "".join(f"<figure><figcaption>{t}</figcaption>{svg}</figure>" for t, svg in parts)
    return f'{charts.legend(systems)}<div class="three">{drawn}</div>'


def _subgroups(told: Told, en: str, zh: str) -> str:
    own = [s for s in told["systems"] if s["kind"] != "baseline"]
    groups = list(dict.fromkeys(g for s in own for g in s["subgroups"]))
    if not groups:
        return ""
    drawn = "".join(f"<figure>{charts.subgroup_bars(told['systems'], g)}</figure>" for g in groups)
    legend = charts.legend(told["systems"]) if len(own) > 1 else ""
    body = f'{legend}<div class="three">{drawn}</div>{note("subgroups")}'
    return _section(f"{en.capitalize()}: sensitivity by subgroup", f"{zh}：各亚组敏感度", body)


def _reports(told: Told) -> str:
    out = []
    for language in told["references"]["languages"]:
        n = told["references"]["languages"][language]
        title = f"{tables.language_name(language)} ({n})"
        out.append(f"<h3>{title}</h3>{tables.reports(told, language)}")
    out.append(note("reports"))
    optional = told.get("optional", {})
    if optional:
        items = "".join(_optional(name, one) for name, one in optional.items())
        title = both("Optional metrics", "可选指标")
        out.append(f"<details><summary>{title}</summary><ul>{items}</ul></details>")
    return "".join(out)


def _optional(name: str, one: Told) -> str:
    if one.get("lacks"):
        lacks = "; ".join(one["lacks"])
        return f"<li><b>{escape(name)}</b>: {both('lacks ', '缺少：')}{escape(lacks)}</li>"
    scores = "; ".join(
        f"{system}: " + ", ".join(f"{k} {v:.3f}" for k, v in values.items())
        for system, values in one["scores"].items()
    )
    return f"<li><b>{escape(name)}</b>: {escape(scores)}</li>"


def _repeat(told: Told) -> str:
    kept = {
        "command": told.get("command"),
        "dataset": told["dataset"],
        "settings": told["settings"],
        "versions": told["versions"],
        "systems": {s["name"]: s["about"] for s in told["systems"] if s["kind"] != "baseline"},
    }
    text = json.dumps(kept, ensure_ascii=False, indent=1)
    command = f"<pre><code>{escape(told.get('command') or '')}</code></pre>"
    return f"{command}<details><summary>JSON</summary><pre>{escape(text)}</pre></details>"


_KEY = (
    '<p class="legend"><span class="key"><i class="box truth"></i>'
    + both("reference", "参考")
    + '</span><span class="key"><i class="box answer"></i>'
    + both("answer", "答案")
    + '</span><span class="key"><mark class="wrong">'
    + both("another status", "判断不同")
    + '</mark></span><span class="key"><mark class="place">'
    + both("same finding, another place or kind", "征象相同，部位或类型不同")
    + "</mark></span></p>"
)
