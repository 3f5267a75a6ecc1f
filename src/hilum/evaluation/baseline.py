"""Systems that look at no film. Whoever is not better than these has learnt nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hilum.data.rows import Reference
from hilum.evaluation.case import BESIDE, CHEXPERT14, Prediction, System, statuses
from hilum.findings import Finding, FindingName, Status
from hilum.language import write
from hilum.report import Language

NORMAL, MAJORITY = "all normal", "majority"


def baselines(references: Sequence[Reference]) -> list[System]:
    """All normal, and the majority."""
    return [_normal(references), _majority(references)]


def _normal(references: Sequence[Reference]) -> System:
    """Denies every finding that any reference has, with probability 0, in each language."""
    names = _names(references)
    findings = [Finding(name=n, status=Status.ABSENT, probability=0.0) for n in names]
    told = [f for f in findings if f.name not in BESIDE]
    texts: dict[Language, str] = {
        language: write(told, language) for language in {r.language for r in references}
    }
    return _same(NORMAL, references, findings, texts)


def _majority(references: Sequence[Reference]) -> System:
    """Says of each finding what most references say, and the commonest report.

    It knows what no reader does: the share of each finding in these very references, which it
    gives as its probability.
    """
    known = [statuses(r.findings) for r in references]
    findings = []
    for name in _names(references):
        share = sum(k.get(name) is Status.PRESENT for k in known) / len(references)
        status = Status.PRESENT if share >= 0.5 else Status.ABSENT
        findings.append(Finding(name=name, status=status, probability=share))
    texts: dict[Language, str] = {}
    for language in {r.language for r in references}:
        counted = Counter(r.text for r in references if r.language == language)
        texts[language] = max(counted.items(), key=lambda item: (item[1], item[0]))[0]
    return _same(MAJORITY, references, findings, texts)


def _names(references: Sequence[Reference]) -> list[FindingName]:
    said = {f.name for r in references for f in r.findings}
    return [name for name in FindingName if name in said or name in CHEXPERT14]


def _same(
    name: str,
    references: Sequence[Reference],
    findings: list[Finding],
    texts: dict[Language, str],
) -> System:
    predictions = [
        Prediction(
            study_id=r.study_id, findings=findings, text=texts[r.language], language=r.language
        )
        for r in references
    ]
    return System(name, "baseline", predictions)
