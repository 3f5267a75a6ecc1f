"""Metrics of other projects: what each lacks, word by word, and how each is called."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hilum.codes import HilumError
from hilum.evaluation import optional
from hilum.evaluation.optional import OPTIONAL, optional_scores
from tests.evaluation.conftest import A, failed, fracture, reference, said, system

ROWS = [
    reference(0, fracture()),
    reference(1, fracture(A)),
    reference(2, fracture(), language="zh"),
]
ANSWERS = [system([said(ROWS[0], fracture()), failed(ROWS[1]), said(ROWS[2], fracture())])]


@pytest.fixture
def at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """All weights, a GPU and every package are there."""
    monkeypatch.setattr(optional.Optional, "lacks", lambda self: [])


def module(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    made = ModuleType(name)
    vars(made).update(content)
    monkeypatch.setitem(sys.modules, name, made)


def test_each_says_exactly_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(optional, "find_spec", lambda name: None)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    lacks = {name: told["lacks"] for name, told in optional_scores(ROWS, ANSWERS, []).items()}
    assert lacks["f1chexbert"] == [
        "the package: pip install f1chexbert",
        "the weights StanfordAIMI/RRG_scorers (chexbert.pth) in ~/.cache/chexbert",
        "the weights bert-base-uncased (vocab.txt) in ~/.cache/chexbert",
    ]
    assert lacks["green"] == [
        "the package: pip install green-score",
        "the weights StanfordAIMI/GREEN-radllama2-7b (config.json)",
        "a GPU with 16 GB",
    ]
    assert set(lacks) == {"f1chexbert", "radgraph", "ratescore", "green", "radeval"}
    assert all(lacks.values())


def test_weights_in_a_cache_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def find(repo: str, file: str, cache: Any = None) -> Any:
        asked.append((repo, file, cache))
        return str(tmp_path) if cache is None else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", find)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    lacks = OPTIONAL["radgraph"].lacks()
    assert lacks == ["the package: pip install radgraph"]
    own = tmp_path / ".cache" / "radgraph"
    assert asked == [
        ("StanfordAIMI/RRG_scorers", "radgraph-xl.tar.gz", own),
        ("StanfordAIMI/RRG_scorers", "radgraph-xl.tar.gz", None),
    ]


def test_what_was_wanted_and_lacks_something_stops_before_anything_is_scored() -> None:
    with pytest.raises(HilumError, match=r"extra_missing"):
        optional_scores(ROWS, ANSWERS, ["green"])
    with pytest.raises(HilumError, match=r"option_invalid"):
        optional_scores(ROWS, ANSWERS, ["bertscore"])


@pytest.mark.usefixtures("at_hand")
def test_what_was_not_named_does_not_run() -> None:
    told = optional_scores(ROWS, ANSWERS, [])
    assert told["green"] == {"lacks": ["--optional green"]}


@pytest.mark.usefixtures("at_hand")
def test_chinese_alone_is_nothing_for_them() -> None:
    with pytest.raises(HilumError, match="language_unsupported"):
        optional_scores(ROWS[2:], [system(ANSWERS[0].predictions[2:])], ["radgraph"])


class Spy:
    """Notes what a metric was given, and that no network may be used meanwhile."""

    given: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        import os

        Spy.made = (args, kwargs)
        assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.usefixtures("at_hand")
@pytest.mark.parametrize("name", list(OPTIONAL))
def test_each_is_called_as_its_project_says(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    refs, drafts = [ROWS[0].text, ROWS[1].text], [ROWS[0].text, ""]

    class F1CheXbert(Spy):
        def __call__(self, hyps: Any, refs: Any) -> Any:
            Spy.given = (refs, hyps)
            report = {f"{kind} avg": {"f1-score": 0.5} for kind in ("micro", "macro")}
            return 0.1, [0, 1], report, report, [], []

    class F1RadGraph(Spy):
        def __call__(self, hyps: Any, refs: Any) -> Any:
            Spy.given = (refs, hyps)
            assert Spy.made[1] == {"reward_level": "all", "model_type": "radgraph-xl"}
            return (0.1, 0.2, 0.3), [[], [], []], [], []

    class RaTEScore(Spy):
        def compute_score(self, drafts: Any, references: Any) -> Any:
            Spy.given = (references, drafts)
            return [0.2, 0.4]

    class GREEN(Spy):
        def __call__(self, refs: Any, hyps: Any) -> Any:
            Spy.given = (refs, hyps)
            return 0.5, 0.1, [], "", None

    class RadEval(Spy):
        def __call__(self, refs: Any, hyps: Any) -> Any:
            Spy.given = (refs, hyps)
            return {"radgraph_simple": 0.5, "note": "text"}

    module(monkeypatch, "f1chexbert", F1CheXbert=F1CheXbert)
    module(monkeypatch, "radgraph", F1RadGraph=F1RadGraph)
    module(monkeypatch, "RaTEScore", RaTEScore=RaTEScore)
    module(monkeypatch, "green_score", GREEN=GREEN)
    module(monkeypatch, "RadEval", RadEval=RadEval)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    told = optional_scores(ROWS, ANSWERS, [name])[name]
    assert Spy.given == (refs, drafts)  # English alone, and the failed study has an empty draft
    assert told["lacks"] is None
    assert told["n"] == 2
    expected = {
        "f1chexbert": {"micro14": 0.5, "macro14": 0.5, "micro5": 0.5, "macro5": 0.5},
        "radgraph": {"simple": 0.1, "partial": 0.2, "complete": 0.3},
        "ratescore": {"mean": pytest.approx(0.3)},
        "green": {"mean": 0.5, "std": 0.1},
        "radeval": {"radgraph_simple": 0.5},
    }
    assert told["scores"] == {"one": expected[name]}
    import os

    assert "HF_HUB_OFFLINE" not in os.environ
