"""Metrics of other projects, where they are installed: each says exactly what it lacks.

Their weights must lie in the local cache already; nothing is fetched. They read English.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from hilum.codes import Code, HilumError
from hilum.data.rows import Reference
from hilum.evaluation.case import System

Score = Callable[[list[str], list[str]], dict[str, float]]


@dataclass(frozen=True)
class Optional:
    """One metric: its package, the weights it needs, and how it is called.

    ``weights``: (Hugging Face id, file). ``cache``: where its own cache lies, if not in Hugging
    Face's. ``gpu``: memory of a GPU in GB that it needs.
    """

    package: str
    module: str
    weights: tuple[tuple[str, str], ...]
    score: Score
    cache: str | None = None
    gpu: int = 0

    def lacks(self) -> list[str]:
        """Everything that is missing, one entry a thing; empty where it can run."""
        out = [] if find_spec(self.module) else [f"the package: pip install {self.package}"]
        for repo, file in self.weights:
            if not self._cached(repo, file):
                where = f" in ~/.cache/{self.cache}" if self.cache else ""
                out.append(f"the weights {repo} ({file}){where}")
        if self.gpu and not _gpu(self.gpu):
            out.append(f"a GPU with {self.gpu} GB")
        return out

    def _cached(self, repo: str, file: str) -> bool:
        if find_spec("huggingface_hub") is None:
            return False
        from huggingface_hub import try_to_load_from_cache

        own = Path.home() / ".cache" / self.cache if self.cache else None
        places = [own, None] if own else [None]
        return any(isinstance(try_to_load_from_cache(repo, file, p), str) for p in places)


def _gpu(needed: int) -> bool:
    if find_spec("torch") is None:
        return False
    import torch

    if not torch.cuda.is_available():
        return False
    return bool(torch.cuda.get_device_properties(0).total_memory >= needed * 1e9)


def _chexbert(references: list[str], drafts: list[str]) -> dict[str, float]:
    from f1chexbert import F1CheXbert  # type: ignore[import-not-found]

    _, _, all_, five = F1CheXbert()(hyps=drafts, refs=references)[:4]
    return {
        f"{kind}{n}": float(report[f"{kind} avg"]["f1-score"])
        for n, report in ((14, all_), (5, five))
        for kind in ("micro", "macro")
    }


def _radgraph(references: list[str], drafts: list[str]) -> dict[str, float]:
    from radgraph import F1RadGraph  # type: ignore[import-not-found]

    means = F1RadGraph(reward_level="all", model_type="radgraph-xl")(hyps=drafts, refs=references)
    names = ("simple", "partial", "complete")
    return {name: float(value) for name, value in zip(names, means[0], strict=True)}


def _rate(references: list[str], drafts: list[str]) -> dict[str, float]:
    from RaTEScore import RaTEScore  # type: ignore[import-not-found]

    return {"mean": float(np.mean(RaTEScore().compute_score(drafts, references)))}


def _green(references: list[str], drafts: list[str]) -> dict[str, float]:
    from green_score import GREEN  # type: ignore[import-not-found]

    mean, std, *_ = GREEN("StanfordAIMI/GREEN-radllama2-7b", output_dir=".")(references, drafts)
    return {"mean": float(mean), "std": float(std)}


def _radeval(references: list[str], drafts: list[str]) -> dict[str, float]:
    from RadEval import RadEval  # type: ignore[import-not-found]

    found: dict[str, Any] = RadEval(do_radgraph=True, do_chexbert=True)(
        refs=references, hyps=drafts
    )
    return {name: float(v) for name, v in found.items() if isinstance(v, int | float)}


_CHEXBERT = (("StanfordAIMI/RRG_scorers", "chexbert.pth"), ("bert-base-uncased", "vocab.txt"))
_RADGRAPH = (("StanfordAIMI/RRG_scorers", "radgraph-xl.tar.gz"),)
OPTIONAL: dict[str, Optional] = {
    "f1chexbert": Optional("f1chexbert", "f1chexbert", _CHEXBERT, _chexbert, "chexbert"),
    "radgraph": Optional("radgraph", "radgraph", _RADGRAPH, _radgraph, "radgraph"),
    "ratescore": Optional(
        "RaTEScore",
        "RaTEScore",
        (
            ("Angelakeke/RaTE-NER-Deberta", "config.json"),
            ("FremyCompany/BioLORD-2023-C", "config.json"),
        ),
        _rate,
    ),
    "green": Optional(
        "green-score",
        "green_score",
        (("StanfordAIMI/GREEN-radllama2-7b", "config.json"),),
        _green,
        gpu=16,
    ),
    "radeval": Optional("RadEval", "RadEval", (*_RADGRAPH, *_CHEXBERT), _radeval, "chexbert"),
}


def optional_scores(
    references: Sequence[Reference], systems: Sequence[System], wanted: Sequence[str]
) -> dict[str, Any]:
    """What each metric lacks; and the scores of the wanted ones that lack nothing.

    A wanted metric that lacks something is ``extra_missing`` before anything is scored, an
    unknown one ``option_invalid``. Only English pairs are scored, and a study without a draft
    has an empty one. Two of them load weights with pickle: they run only where they are named.
    """
    unknown = set(wanted) - OPTIONAL.keys()
    if unknown:
        detail = f"{min(unknown)}; choose from {', '.join(OPTIONAL)}"
        raise HilumError(Code.OPTION_INVALID, "--optional", detail)
    lacking = {name: metric.lacks() for name, metric in OPTIONAL.items()}
    for name in wanted:
        if lacking[name]:
            raise HilumError(Code.EXTRA_MISSING, name, "; ".join(lacking[name]))
    rows = [k for k, r in enumerate(references) if r.language == "en"]
    if wanted and not rows:
        raise HilumError(Code.LANGUAGE_UNSUPPORTED, wanted[0], "it reads English alone")
    out: dict[str, Any] = {}
    for name, metric in OPTIONAL.items():
        out[name] = {"lacks": lacking[name] or (None if name in wanted else ["--optional " + name])}
        if name in wanted:
            out[name]["n"] = len(rows)
            out[name]["scores"] = {
                s.name: _offline(metric.score, references, s, rows)
                for s in systems
                if s.has_words()
            }
    return out


def _offline(
    score: Score, references: Sequence[Reference], system: System, rows: Sequence[int]
) -> dict[str, float]:
    before = {k: os.environ.get(k) for k in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    os.environ.update(dict.fromkeys(before, "1"))
    try:
        return score(
            [references[k].text for k in rows], [system.predictions[k].text or "" for k in rows]
        )
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
