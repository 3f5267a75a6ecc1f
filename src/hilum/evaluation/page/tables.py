"""The page's tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from hilum.codes import Code
from hilum.evaluation.page.words import (
    LANGUAGES,
    METRICS,
    OUTCOMES,
    both,
    cell,
    digits_of,
    say,
    system_name,
    term,
)
from hilum.evaluation.protocol import METRICS as CHEXFRACT
from hilum.evaluation.protocol import PUBLISHED
from hilum.evaluation.texts import METRICS as TEXTS
from hilum.findings import FINDINGS, FindingName

Told = dict[str, Any]
SOFT = ("auc", "average_precision", "brier", "ece")
HARD = ("f1", "recall", "specificity", "precision", "ppv_at", "npv_at")
WORDS = ("f1", "recall", "specificity")


def table(heads: str, rows: Iterable[str], kind: str = "") -> str:
    """A table that scrolls sideways where the screen is narrow."""
    body = "".join(f"<tr{' class=base' if 'data-base' in r else ''}>{r}</tr>" for r in rows)
    return f'<div class="scroll"><table class="{kind}"><thead>{heads}</thead>{body}</table></div>'


def head(cells: Iterable[str]) -> str:
    """A row of column heads."""
    return f"<tr>{''.join(f'<th>{c}</th>' for c in cells)}</tr>"


def _name(system: Told) -> str:
    base = " data-base" if system["kind"] == "baseline" else ""
    return f"<td class='name'{base}>{both(*system_name(system))}</td>"


def summary(told: Told) -> str:
    """Every system with the figures that matter first."""
    focus = told["focus"]
    en, zh = term(focus)
    heads = head(
        [
            both("system", "系统"),
            both("read", "已阅片"),
            both(f"{en}: AUC", f"{zh}：AUC"),
            both(f"{en}: sensitivity", f"{zh}：敏感度"),
            both(f"{en}: specificity", f"{zh}：特异度"),
            both("AUC macro 14", "AUC 宏平均 14"),
            both("F1 macro 14", "F1 宏平均 14"),
            both("F1 micro 14", "F1 微平均 14"),
            both("F1 micro 5", "F1 微平均 5"),
            both("exact sentences", "逐字相同的句子"),
            "BLEU-4",
        ]
    )
    rows = []
    for s in told["systems"]:
        one, groups = s["likelihood"]["findings"][focus], s["likelihood"]["groups"]
        report: Told = next(iter(s["reports"].values()), {})
        read, all_ = s["outcomes"].get("read", 0), told["references"]["studies"]
        warn = " warn" if read < all_ else ""
        figures = [one.get("auc"), one["recall"], one["specificity"]]
        figures += [groups["14"]["macro"].get("auc"), groups["14"]["macro"]["f1"]]
        figures += [groups["14"]["micro"]["f1"], groups["5"]["micro"]["f1"]]
        figures.append(report.get("exact_sentences"))
        rows.append(
            f'{_name(s)}<td class="n{warn}">{read}<small>/ {all_}</small></td>'
            + "".join(map(cell, figures))
            + cell(report.get("bleu"), 1)
        )
    return table(heads, rows)


def findings(told: Told, system: Told) -> str:
    """Per finding: likelihood and text-parsed labels side by side; micro and macro below."""
    prevalence = f"{told['settings']['prevalence']:g}"
    at = both(f" at {prevalence}", f"（患病率 {prevalence}）")
    top = (
        f"<tr><th rowspan=2>{both('finding', '征象')}</th>"
        f"<th rowspan=2 class=n>{both('positive', '阳性')}</th>"
        f"<th colspan={len(SOFT)} class=group>{both('probabilities', '概率')}</th>"
        f"<th colspan={len(HARD)} class=group>"
        f"{both('status by threshold', '按界值判定')}</th>"
        f"<th colspan={len(WORDS)} class=group>{both('read off the text', '由文字判读')}</th></tr>"
    )
    names = [say(METRICS, m) + (at if m.endswith("_at") else "") for m in (*SOFT, *HARD)]
    heads = top + head([*names, *(say(METRICS, m) for m in WORDS)])
    words = system.get("words", {"findings": {}, "groups": {}})
    rows = []
    for name in _ordered(told["findings"]):
        rows.append(
            _finding(name, system["likelihood"]["findings"][name], words["findings"].get(name, {}))
        )
        if name == FindingName.FRACTURE:
            rows += [_finding(side, one, {}, 1) for side, one in system["sides"].items()]
    rows = [row for row in rows if row]
    for group in ("14", "5"):
        for kind, en, zh in (("micro", "micro", "微平均"), ("macro", "macro", "宏平均")):
            one = system["likelihood"]["groups"][group][kind]
            over = len(system["likelihood"]["groups"][group]["macro_over"])
            note = f" ({over})" if kind == "macro" else ""
            label = (
                f"<td class='name sum'>{both(f'{en} {group}{note}', f'{zh} {group}{note}')}</td>"
            )
            other = words["groups"].get(group, {}).get(kind, {})
            rows.append(label + _figures(None, one, other))
    absent = [n for n in told["findings"] if not told["references"]["positives"][n]]
    note = ""
    if absent:
        en = ", ".join(term(n)[0] for n in absent)
        zh = "、".join(term(n)[1] for n in absent)
        note = f'<p class="note">{both(f"No study has: {en}.", f"所有检查均无：{zh}。")}</p>'
    return table(heads, rows, "dense") + note


def _ordered(names: Sequence[str]) -> list[str]:
    """Children after their parents."""
    parents = {n: FINDINGS[FindingName(n)].parent for n in names}
    tops = [n for n in names if parents[n] not in names]
    return [m for n in tops for m in (n, *(c for c in names if parents[c] == n))]


def _finding(name: str, one: Told, words: Told, indent: int = 0) -> str:
    """A row; empty where no study has the finding."""
    if not one["positives"]:
        return ""
    child = indent or (name in set(FindingName) and FINDINGS[FindingName(name)].parent)
    label = f"<td class='name{' indent' if child else ''}'>{both(*term(name))}</td>"
    return label + _figures(one["positives"], one, words)


def _figures(positives: int | None, one: Told, words: Told) -> str:
    count = "" if positives is None else str(positives)
    return f'<td class="n">{count}</td>' + "".join(
        [cell(one.get(m)) for m in (*SOFT, *HARD)] + [cell(words.get(m)) for m in WORDS]
    )


def chexfract(told: Told) -> str:
    """The table by ChexFract's definitions, with the real AUC beside and theirs below."""
    heads = head(
        [
            both("system", "系统"),
            *(say(METRICS, m) for m in CHEXFRACT),
            both("real AUC, of probabilities", "真实 AUC（按概率）"),
        ]
    )
    rows = [
        _name(s) + "".join(cell(s["chexfract"][m]) for m in (*CHEXFRACT, "auc"))
        for s in told["systems"]
    ]
    for name, figures in PUBLISHED.items():
        cells = "".join(f'<td class="n">{x:.3f}</td>' for x in figures)
        rows.append(
            f"<td class='name' data-base>{escape(name)}</td>{cells}"
            f"<td class='n none'>{both('not published', '未发表')}</td>"
        )
    return table(heads, rows)


def reports(told: Told, language: str) -> str:
    """Metrics of the texts, and what a copy with one flipped negation gets."""
    heads = head([both("system", "系统"), *(say(METRICS, m) for m in TEXTS)])
    rows = []
    for s in told["systems"]:
        one = s["reports"].get(language)
        if one:
            rows.append(_name(s) + "".join(cell(one.get(m), digits_of(m)) for m in TEXTS))
    flipped = told["flipped"][language]
    if flipped:
        label = both(
            "the reference itself, one negation turned over", "参考报告本身，仅一处否定被反转"
        )
        cells = "".join(_plain(flipped[m], digits_of(m)) for m in TEXTS)
        rows.append(f"<td class='name' data-base>{label}</td>{cells}")
    return table(heads, rows, "dense")


def _plain(value: float | None, digits: int) -> str:
    return cell(None) if value is None else f'<td class="n">{value:.{digits}f}</td>'


def paired(told: Told) -> str:
    """Differences of pairs."""
    out, to = [], both("to", "至")
    for pair in told["paired"]:
        metrics = pair["metrics"]
        heads = head(
            [both("first minus second", "前者减后者")] + [_compared(key) for key in metrics]
        )
        names = f"{escape(pair['first'])} &minus; {escape(pair['second'])}"
        cells = []
        for one in metrics.values():
            d, p = one["difference"], one["p"]
            if d is None:
                cells.append(cell(None))
                continue
            strong = " strong" if p is not None and p < 0.05 else ""
            value = "" if p is None else ("p&lt;0.001" if p < 0.001 else f"p={p:.3f}")
            cells.append(
                f'<td class="n{strong}">{d[0]:+.3f}<small>{d[1]:+.3f} {to} {d[2]:+.3f}</small>'
                f"<small>{value}</small></td>"
            )
        out.append(table(heads, [f"<td class='name'>{names}</td>{''.join(cells)}"]))
    return "".join(out)


def _compared(key: str) -> str:
    metric, _, of = key.partition("|")
    if of in ("macro14", "micro14"):
        return both(f"F1 {of[:5]} 14", f"F1 {'宏' if of[:5] == 'macro' else '微'}平均 14")
    (en, zh), (fen, fzh) = METRICS[metric], term(of)
    return both(f"{fen}: {en}", f"{fzh}：{zh}")


def not_read(systems: Sequence[Told]) -> str:
    """Every study without a draft, with the reason."""
    out = []
    for s in systems:
        if not s["not_read"]:
            continue
        rows = [
            f"<td>{escape(one['study_id'])}</td><td>{say(OUTCOMES, one['outcome'])}</td>"
            f"<td>{_code(one['code'])}</td>"
            for one in s["not_read"][:200]
        ]
        heads = head([both("study", "检查"), both("outcome", "结果"), both("reason", "原因")])
        more = len(s["not_read"]) - len(rows)
        note = f'<p class="note">+ {more}</p>' if more else ""
        title = f"{escape(s['name'])}: {len(s['not_read'])}"
        out.append(f"<details><summary>{title}</summary>{table(heads, rows)}{note}</details>")
    return "".join(out)


def _code(code: str | None) -> str:
    if code is None:
        return ""
    return f"{both(Code(code).en, Code(code).zh)} <code>{escape(code)}</code>"


def language_name(language: str) -> str:
    """A language's name in both."""
    return say(LANGUAGES, language)
