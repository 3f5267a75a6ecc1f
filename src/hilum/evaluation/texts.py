"""Drafts against reference reports: words by kept libraries, findings by the labeler.

Per study only sums are kept (n-gram matches, sentences found), so that a resample of studies costs
one product of matrices; the libraries' own formulas make scores of the sums.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from hilum.codes import Code, HilumError
from hilum.data.rows import Reference
from hilum.evaluation.case import (
    CHEXPERT5,
    CHEXPERT14,
    Column,
    Floats,
    System,
    Uncertain,
    columns_of,
    statuses,
)
from hilum.evaluation.weighted import Figures, counts, mean_over, over, rates
from hilum.findings import FindingName, Status
from hilum.language import label
from hilum.language.words import fold, sentences
from hilum.report import Language

METRICS = (
    "chexpert_f1_micro14",
    "chexpert_f1_macro14",
    "chexpert_f1_micro5",
    "chexpert_f1_macro5",
    "bleu",
    "rouge_l",
    "chrf",
    "exact_sentences",
    "exact_reports",
)
TOKENS: dict[Language, str] = {"en": "13a", "zh": "zh"}
_ZH = re.compile(r"[\u3400-\u9fff]|[a-z0-9]+")
# A negation and what stands in its place once it is turned over.
_FLIPS: dict[Language, tuple[tuple[re.Pattern[str], str], ...]] = {
    "en": (
        (re.compile(r"\bNo (?:evidence of )?(\w)"), ""),
        (re.compile(r"\bno (?:evidence of )?(?=\w)"), ""),
        (re.compile(r"\bwithout (?:evidence of )?(?=\w)"), "with "),
    ),
    "zh": ((re.compile(r"未见(?:明显|明确)?"), "可见"), (re.compile(r"无(?:明显|明确)?"), "有")),
}
_TRIES = 6


def metrics_of(language: Language) -> tuple[Any, Any, Any]:
    """BLEU-4 and chrF of sacrebleu, ROUGE-L of rouge-score; Chinese by the character.

    Raises ``extra_missing``.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise HilumError(
            Code.EXTRA_MISSING, "evaluate", "install it with: pip install 'hilum[eval]'"
        ) from error
    tokens = Characters() if language == "zh" else None
    return BLEU(tokenize=TOKENS[language]), CHRF(), RougeScorer(["rougeL"], tokenizer=tokens)


class Characters:
    """rouge-score's own tokenizer drops all that is not a Latin letter."""

    def tokenize(self, text: str) -> list[str]:
        """Chinese characters, and runs of letters and digits."""
        return _ZH.findall(fold(text))


def word_figures(pairs: Sequence[tuple[str, str]], language: Language, weights: Floats) -> Figures:
    """BLEU, chrF, ROUGE-L (0 to 100) and exact sentences and reports (0 to 1), each (R,).

    ``pairs``: reference and draft; a study without a draft has an empty one.
    """
    bleu, chrf, rouge = metrics_of(language)
    references, drafts = [r for r, _ in pairs], [d for _, d in pairs]
    out: Figures = {}
    for name, metric in (("bleu", bleu), ("chrf", chrf)):
        # sacrebleu's own resampling goes through these two as well
        sums = weights @ np.array(metric._extract_corpus_statistics(drafts, [references]), float)
        scores = [metric._compute_score_from_stats(row.tolist()).score for row in sums]
        out[name] = np.array(scores, float)
    overlap = cache(lambda r, d: rouge.score(r, d)["rougeL"].fmeasure)
    rows = [(100 * overlap(r, d), *_sentences(r, d), r.strip() == d.strip(), 1) for r, d in pairs]
    sums = weights @ np.array(rows, float)
    out["rouge_l"] = over(sums[:, 0], sums[:, 4])
    out["exact_sentences"] = over(sums[:, 1], sums[:, 2])
    out["exact_reports"] = over(sums[:, 3], sums[:, 4])
    return out


def _sentences(reference: str, draft: str) -> tuple[int, int]:
    """Sentences of the reference that stand in the draft word for word, and how many it has."""
    wanted, given = (Counter(_split(text)) for text in (reference, draft))
    return sum((wanted & given).values()), sum(wanted.values())


def _split(text: str) -> list[str]:
    return [text[s.start : s.end].strip() for s in sentences(text, fold(text))]


def labeler_figures(
    references: Sequence[Reference], system: System, uncertain: Uncertain, weights: Floats
) -> Figures:
    """CheXpert-F1: the labeler reads reference and draft, in their languages; each (R,).

    Macro averages run over the findings that a reference has, as scikit-learn's with labels
    that occur; F1CheXbert (Smit et al., EMNLP 2020) counts every name.
    """
    told = [replace(r, findings=label(r.text, r.language)) for r in references]
    return chexpert_f1(columns_of(told, system, CHEXPERT14, "words", uncertain), weights)


def chexpert_f1(by: dict[FindingName, Column], weights: Floats) -> Figures:
    """Micro and macro F1 over CheXpert's 14 findings and over its five, each (R,)."""
    out: Figures = {}
    for names in (CHEXPERT14, CHEXPERT5):
        some = [by[name] for name in names]
        counted = counts(some, weights)
        occur = np.array([bool((c.truth & c.known).any()) for c in some])
        micro = {name: values.sum(1) for name, values in counted.items()}
        out[f"chexpert_f1_micro{len(names)}"] = rates(micro, 0.5)["f1"]
        out[f"chexpert_f1_macro{len(names)}"] = mean_over(rates(counted, 0.5)["f1"], occur)
    return out


def flip(text: str, language: Language) -> str | None:
    """The report with one negation turned over, so that the labeler sees an absence present.

    None where no negation can be turned over.
    """
    before = statuses(label(text, language))
    absent = {name for name, status in before.items() if status is Status.ABSENT}
    for pattern, instead in _FLIPS[language]:
        for match in list(pattern.finditer(text))[:_TRIES]:
            kept = match[1].upper() if match.groups() else ""
            flipped = text[: match.start()] + instead + kept + text[match.end() :]
            after = statuses(label(flipped, language))
            if any(after.get(name) is Status.PRESENT for name in absent):
                return flipped
    return None


def flipped_figures(
    references: Sequence[Reference], language: Language, uncertain: Uncertain
) -> dict[str, float | None] | None:
    """What each metric gives a copy of the reference with one negation turned over.

    Over the reports that have a negation to turn over; None where none has. An exact copy gets
    100 or 1: what is left says how blind a metric is to the worst of errors.
    """
    from hilum.evaluation.case import Prediction

    pairs = [(r, flipped) for r in references if (flipped := flip(r.text, language)) is not None]
    if not pairs:
        return None
    kept = [r for r, _ in pairs]
    copies = [Prediction(study_id=r.study_id, text=t, language=language) for r, t in pairs]
    copier = System("flipped", "predictions", copies)
    once = np.ones((1, len(pairs)))
    found = word_figures([(r.text, t) for r, t in pairs], language, once)
    found |= labeler_figures(kept, copier, uncertain, once)
    values = {name: float(v[0]) for name, v in found.items()}
    return {"reports": len(pairs), **{n: v if np.isfinite(v) else None for n, v in values.items()}}


def text_figures(
    references: Sequence[Reference], system: System, uncertain: Uncertain, weights: Floats
) -> Figures:
    """Every metric of a system's texts on references of one language; words only in kind.

    A draft in another language than its reference is judged by the labeler alone.
    """
    language = references[0].language
    drafts = [p.text or "" if p.read else "" for p in system.predictions]
    out: Figures = {}
    if all(p.language in (None, language) for p in system.predictions if p.text):
        pairs = [(r.text, d) for r, d in zip(references, drafts, strict=True)]
        out |= word_figures(pairs, language, weights)
    return out | labeler_figures(references, system, uncertain, weights)
