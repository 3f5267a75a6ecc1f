from __future__ import annotations

from pathlib import Path

import pytest

from hilum.data import Fractures, Given, Settings, Work, open_source, prepare
from tests.data.conftest import read_jsonl, write_csv
from tests.data.test_prepare import rows

REPORTS = (
    ["Displaced fracture of the left 5th rib, unchanged. No effusion. Study A."]
    + ["左侧锁骨陈旧性骨折。两肺清晰。"]
    + ["Possible fracture of the right 7th rib."]
    + [f"No fracture. Study {n}." for n in range(10)]
    + [f"The lungs are clear. Study {n}." for n in range(20)]
)


def made(tmp_path: Path, task: Fractures) -> tuple[dict[str, int], list[str], dict[str, int]]:
    """Counts of texts, texts that are present, and reasons for what was left out."""
    write_csv(tmp_path / "t.csv", [{"report": report} for report in REPORTS])
    source = open_source(tmp_path / "t.csv", None, Given(text_only=True))
    card = prepare(source, tmp_path / "out", Settings(work=Work(text_only=True), task=task))
    texts = [r["report"]["findings"] for r in rows(tmp_path / "out")]
    reasons: dict[str, int] = {}
    for line in read_jsonl(tmp_path / "out" / "quarantine.jsonl"):
        assert line["code"] == "left_out"
        reasons[line["detail"]] = reasons.get(line["detail"], 0) + 1
    assert sum(card["facts"]["rows"].values()) + sum(reasons.values()) == len(REPORTS)
    negatives = sum(t in ("No fracture.", "未见骨折。") for t in texts)
    return {"negatives": negatives, "all": len(texts)}, sorted(texts), reasons


def test_descriptions_are_canonical_in_their_language(tmp_path: Path) -> None:
    counts, texts, reasons = made(tmp_path, Fractures())
    assert counts == {"negatives": 30, "all": 32}
    assert "Displaced fracture of the left 5th rib." in texts
    assert "左侧锁骨陈旧性骨折。" in texts
    assert reasons == {"uncertain fracture": 1}


@pytest.mark.parametrize(("rule", "negatives"), [("stated", 10), ("unmentioned", 20), ("any", 30)])
def test_negatives_follow_the_rule(tmp_path: Path, rule: str, negatives: int) -> None:
    counts, _, _ = made(tmp_path, Fractures(rule))  # type: ignore[arg-type]
    assert counts["negatives"] == negatives


@pytest.mark.parametrize(("balance", "negatives"), [(0.0, 0), (1.0, 2), (3.5, 7), (99.0, 30)])
def test_negatives_are_as_many_as_the_balance_says(
    tmp_path: Path, balance: float, negatives: int
) -> None:
    counts, _, reasons = made(tmp_path, Fractures(balance=balance))
    assert counts["negatives"] == negatives
    assert reasons.get("negative beyond the balance", 0) == 30 - negatives


def test_the_card_counts_bones_sides_and_stages(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"report": report} for report in REPORTS])
    source = open_source(tmp_path / "t.csv", None, Given(text_only=True, language=None))
    settings = Settings(work=Work(text_only=True), task=Fractures(balance=1))
    facts = prepare(source, None, settings)["facts"]
    assert facts["fractures"]["bone"] == {"clavicle": 1, "rib": 1}
    assert facts["fractures"]["side"] == {"left": 2}
    assert facts["fractures"]["stage"] == {"old": 1, "unknown": 1}
    assert set(facts["findings"]) == {"fracture"}
