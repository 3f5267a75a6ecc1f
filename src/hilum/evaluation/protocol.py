"""Others' protocols, by their own definitions: ChexFract's table and ReXrank's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hilum.data.rows import Reference
from hilum.evaluation.case import Column, Floats, System
from hilum.evaluation.weighted import counts, interval, ranking, rates
from hilum.findings import FindingName

# The table of the released models' cards (arXiv 2511.07983; Hugging Face AIRI-Institute).
# Other films, other references: to be seen beside, never ranked with.
PUBLISHED: dict[str, tuple[float, float, float, float, float]] = {
    "MAIRA-2, general (published)": (0.518, 0.085, 0.645, 0.777, 0.045),
    "ChexFract-MAIRA-2 (published)": (0.713, 0.629, 0.748, 0.682, 0.584),
    "CheXagent, general (published)": (0.604, 0.376, 0.700, 0.791, 0.246),
    "ChexFract-CheXagent (published)": (0.697, 0.591, 0.752, 0.750, 0.487),
}
METRICS = ("one_point_auc", "f1", "accuracy", "precision", "recall")


def chexfract(by: Mapping[str, Mapping[FindingName, Column]], weights: Floats) -> dict[str, Any]:
    """ChexFract's five figures of a system, and the real AUC beside.

    Theirs come from hard labels that are read off the text; what their table calls ROC-AUC
    equals (recall + specificity) / 2 in every row, the area under a curve of one point.
    ``auc`` ranks probabilities, and is None where there are none. A system without a text is
    judged by its hard answers.
    """
    name = FindingName.FRACTURE
    columns = by.get("words", by["likelihood"])
    hard = {m: v[:, 0] for m, v in rates(counts([columns[name]], weights), 0.5).items()}
    hard["one_point_auc"] = hard["balanced_accuracy"]
    soft = by["likelihood"][name]
    ranked = ranking([soft], weights)["auc"] if soft.scored else None
    return {
        **{metric: interval(hard[metric]) for metric in METRICS},
        "auc": None if ranked is None else interval(ranked),
    }


def rexrank(references: Sequence[Reference], system: System) -> dict[str, dict[str, Any]]:
    """A system's drafts as ReXrank's JSON: study to reference and ``model_prediction``.

    A study without a draft has an empty one, so that it is scored all the same.
    """
    return {
        r.study_id: {
            "section_findings": r.text,
            "section_impression": "",
            "context": {"age": r.context.age, "gender": r.context.sex},
            "model_prediction": p.text or "",
        }
        for r, p in zip(references, system.predictions, strict=True)
    }
