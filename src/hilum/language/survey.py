"""An audit of many pairs: counts, worst terms, examples, and what the pairs are worth."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape

from hilum.findings import FindingName, Status
from hilum.language.audit import audit
from hilum.language.explain import STYLE
from hilum.language.label import label
from hilum.language.verdict import Audit, Error, Kind
from hilum.language.words import fold
from hilum.report import Language

EXAMPLES = 6
_PRIORS = re.compile(
    r"\b(?:prior|previous(?:ly)?|compar(?:ed|ison)|interval|unchanged|no change|since the last)\b"
    r"|较前|与前片|以前|先前|之前|没有变化|无变化|复查"
)
_NO_ABNORMALITY = (FindingName.NO_FINDING, FindingName.SUPPORT_DEVICES)


@dataclass(slots=True)
class Pair:
    """A source, its translation, and the verdict."""

    id: str
    source: str
    target: str
    audit: Audit

    @property
    def clean(self) -> bool:
        """Fit to train on: faithful and without residue of a chat."""
        return self.audit.faithful and not self.audit.errors


@dataclass(slots=True)
class Survey:
    """The verdicts on all pairs, counted."""

    pairs: list[Pair]
    kinds: Counter[str] = field(default_factory=Counter)
    terms: Counter[tuple[str, str]] = field(default_factory=Counter)  # word, rendering
    examples: dict[str, list[tuple[Pair, Error]]] = field(default_factory=dict)
    sources: int = 0
    translated_differently: int = 0
    priors: int = 0
    normal: int = 0

    def figures(self) -> dict[str, int]:
        """The counts, by name."""
        return {
            "pairs": len(self.pairs),
            "faithful": sum(p.audit.faithful for p in self.pairs),
            "clean": sum(p.clean for p in self.pairs),
            "unreadable": sum(p.audit.reason is not None for p in self.pairs),
            "distinct_sources": self.sources,
            "translated_differently": self.translated_differently,
            "priors": self.priors,
            "all_normal": self.normal,
            **{f"kind_{kind}": self.kinds[kind] for kind in Kind},
        }


def survey(
    rows: Iterable[tuple[str, str, str]],
    source_language: Language | None = None,
    target_language: Language | None = None,
) -> Survey:
    """Audits every (id, source, target), each distinct pair once."""
    known: dict[tuple[str, str], Audit] = {}
    pairs = []
    for name, source, target in rows:
        if (source, target) not in known:
            known[source, target] = audit(source, target, source_language, target_language)
        pairs.append(Pair(name, source, target, known[source, target]))
    found = Survey(pairs)
    for pair in pairs:
        for kind in {e.kind.value for e in pair.audit.errors}:
            found.kinds[kind] += 1
        for error in pair.audit.errors:
            if error.kind is not Kind.CHAT_RESIDUE and not isinstance(error.about, FindingName):
                found.terms[error.about, _words(pair.target, error.target)] += 1
            shown = found.examples.setdefault(error.kind.value, [])
            if len(shown) < EXAMPLES and all(p.source != pair.source for p, _ in shown):
                shown.append((pair, error))
    _worth(found, source_language)
    return found


def _worth(found: Survey, language: Language | None) -> None:
    """Sources translated in several ways, priors one image cannot show, normal reports."""
    targets = defaultdict(set)
    for pair in found.pairs:
        targets[pair.source].add(pair.target)
    found.sources = len(targets)
    found.translated_differently = sum(len(t) > 1 for t in targets.values())
    normal = {source: _normal(source, language) for source in targets}
    found.normal = sum(normal[p.source] for p in found.pairs)
    found.priors = sum(_PRIORS.search(fold(p.source)) is not None for p in found.pairs)


def _normal(text: str, language: Language | None) -> bool:
    """Something is said, and nothing of it is present or uncertain but devices."""
    findings = label(text, language)
    return bool(findings) and all(
        f.status is Status.ABSENT or f.name in _NO_ABNORMALITY for f in findings
    )


def _words(text: str, span: tuple[int, int] | None) -> str:
    """A rendering short enough to name; a whole sentence is not one."""
    words = text[slice(*span)] if span else ""
    return words if len(words) <= 14 else ""


MORE = """.two{display:grid;grid-template-columns:1fr 1fr;gap:0 3rem;align-items:start}
table.counts{width:100%}table.counts .n{text-align:right;font-variant-numeric:tabular-nums;
padding-right:0;width:4rem}table.counts td,table.counts th{border-bottom:1px solid #eef1f4}
table.counts th{color:#5c6672;font-weight:400}small{color:#5c6672;margin-left:.5em}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:2rem;padding:0 0 .8rem}
.pair p{margin:0;font-size:.9rem}mark.error{background:#ffc9c2}
article{border-top:1px solid #e3e7ec;padding-top:.4rem}
@media(max-width:44rem){.pair,.two{grid-template-columns:1fr}}"""
# What each count is called, in the page's two languages.
_VERDICT = {
    "faithful": ("faithful", "忠实"),
    "clean": ("clean: fit to train on", "可用于训练"),
    "quarantined": ("set apart, with their errors", "已隔离"),
    "unreadable": ("not readable", "无法读取"),
    "distinct_sources": ("distinct originals", "不同原文"),
    "translated_differently": ("originals translated in several ways", "同文异译"),
    "priors": ("speak of a prior film", "提及既往影像"),
    "all_normal": ("nothing abnormal", "全部正常"),
}
_KINDS = {
    Kind.FINDING: "所见",
    Kind.NEGATION: "否定",
    Kind.CERTAINTY: "确定性",
    Kind.SIDE: "左右",
    Kind.ANATOMY: "解剖",
    Kind.STAGE: "新旧",
    Kind.SEVERITY: "程度",
    Kind.DEVICE: "器械",
    Kind.OMISSION: "遗漏",
    Kind.ADDITION: "增添",
    Kind.CHAT_RESIDUE: "对话残留",
}


def page(found: Survey, title: str) -> Iterator[str]:
    """The survey as one HTML page, piece by piece; nothing is loaded from a network."""
    total = len(found.pairs)
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}{MORE}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="note">{total} pairs 对; an original and its '
        'translation 原文与译文</p><div class="two"><section><h2>Pairs 译文</h2>'
    )
    figures = found.figures() | {"quarantined": sum(not p.clean for p in found.pairs)}
    yield _table([(*names, figures[key], total) for key, names in _VERDICT.items()])
    yield "</section><section><h2>Errors: pairs with at least one 错误</h2>"
    kinds = sorted(Kind, key=lambda kind: -found.kinds[kind])
    yield _table([(_said(kind), _KINDS[kind], found.kinds[kind], total) for kind in kinds])
    yield '</section></div><h2>Worst terms 最常见的误译</h2><div class="two">'
    worst = [(about, words, n) for (about, words), n in found.terms.most_common(24)]
    for rows in (worst[:12], worst[12:]):
        yield _table([(_said(about), words or "(lost 丢失)", n, 0) for about, words, n in rows])
    yield "</div>"
    for kind in kinds:
        shown = found.examples.get(kind, [])
        if shown:
            yield f"<h2>{_said(kind)} {_KINDS[kind]}: {found.kinds[kind]}</h2>"
        for pair, error in shown:
            yield _example(pair, error)
    yield "</body></html>\n"


def _said(name: str) -> str:
    return name.replace("_", " ")


def _table(rows: Iterable[tuple[str, str, int, int]]) -> str:
    """Rows of a name, a smaller word beside it, a count, and what it is a share of (0: none)."""
    lines = []
    for name, beside, count, total in rows:
        share = f'<td class="n">{count / total:.1%}</td>' if total else ""
        lines.append(
            f"<tr><td>{escape(name)}<small>{escape(beside)}</small></td>"
            f'<td class="n">{count}</td>{share}</tr>'
        )
    return f'<table class="counts">{"".join(lines)}</table>'


def _example(pair: Pair, error: Error) -> str:
    advice = f" &rarr; <b>{escape(error.suggestion)}</b>" if error.suggestion else ""
    source, target = _marked(pair.source, error.source), _marked(pair.target, error.target)
    return (
        f'<article><p class="note">{escape(pair.id)}: {escape(_said(error.about))}{advice}</p>'
        f'<div class="pair"><p>{source}</p><p>{target}</p></div></article>'
    )


def _marked(text: str, span: tuple[int, int] | None) -> str:
    if span is None:
        return escape(text)
    start, end = span
    inside = f'<mark class="error">{escape(text[start:end])}</mark>'
    return f"{escape(text[:start])}{inside}{escape(text[end:])}"
