"""An audit of many pairs: counts, worst terms, examples, and what the pairs are worth."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
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
    terms: Counter[tuple[str, str]] = field(default_factory=Counter)
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


MORE = """table.counts td:nth-child(2){text-align:right}.pair{display:grid;
grid-template-columns:1fr 1fr;gap:1.2rem;border-top:1px solid #e3e7ec;padding:.6rem 0}
.pair p{margin:0}mark.error{background:#ffc9c2}
@media(max-width:44rem){.pair{grid-template-columns:1fr}}"""


def page(found: Survey, title: str) -> Iterator[str]:
    """The survey as one HTML page, piece by piece; nothing is loaded from a network."""
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}{MORE}</style></head><body>"
        f"<h1>{escape(title)}</h1>"
    )
    total = max(1, len(found.pairs))
    yield _table(
        [(k.replace("_", " "), str(v), f"{v / total:.1%}") for k, v in found.figures().items()],
        ("", "pairs", "share"),
    )
    yield "<h2>Worst terms</h2>"
    rows = [(about, words or "(lost)", str(n)) for (about, words), n in found.terms.most_common(40)]
    yield _table(rows, ("about", "rendered as", "times"))
    for kind in Kind:
        shown = found.examples.get(kind, [])
        if shown:
            yield f"<h2>{kind.replace('_', ' ')}: {found.kinds[kind]} pairs</h2>"
        for pair, error in shown:
            yield _example(pair, error)
    yield "</body></html>\n"


def _table(rows: Sequence[tuple[str, ...]], head: tuple[str, ...]) -> str:
    lines = ["".join(f"<th>{escape(h)}</th>" for h in head)]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return f'<table class="counts">{"".join(f"<tr>{line}</tr>" for line in lines)}</table>'


def _example(pair: Pair, error: Error) -> str:
    advice = f" &rarr; {escape(error.suggestion)}" if error.suggestion else ""
    source, target = _marked(pair.source, error.source), _marked(pair.target, error.target)
    return (
        f'<p class="note">{escape(pair.id)}: {escape(error.about)}{advice}</p><div class="pair">'
        f"<p>{source}</p><p>{target}</p></div>"
    )


def _marked(text: str, span: tuple[int, int] | None) -> str:
    if span is None:
        return escape(text)
    start, end = span
    inside = f'<mark class="error">{escape(text[start:end])}</mark>'
    return f"{escape(text[:start])}{inside}{escape(text[end:])}"
