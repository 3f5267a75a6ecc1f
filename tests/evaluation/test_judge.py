"""Whole judgements: what a perfect, a silent, a failing system gets, and the same twice."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from hilum.codes import Code
from hilum.data.rows import Reference
from hilum.evaluation.baseline import MAJORITY, NORMAL, baselines
from hilum.evaluation.case import Prediction, System
from hilum.evaluation.judge import Settings, focus_of, judge
from hilum.findings import Bone, Displacement, Finding, FindingName, Instance, Side, Stage
from hilum.study import Context
from tests.evaluation.conftest import A, N, P, failed, fracture, reference, said, system

FEW = Settings(rounds=100)


def references(n: int = 12) -> list[Reference]:
    rows = []
    for k in range(n):
        place = Instance(
            bone=Bone.RIB if k % 2 else Bone.CLAVICLE,
            side=Side.LEFT if k % 4 else Side.RIGHT,
            displacement=Displacement.DISPLACED if k % 3 else None,
            stage=Stage.ACUTE,
        )
        found = fracture(P, instances=[place]) if k % 3 == 0 else fracture(A)
        effusion = Finding(name=N.PLEURAL_EFFUSION, status=P if k % 4 == 0 else A)
        context = Context(age=10 * k % 120 if k else None, sex="F" if k % 2 else None)
        positions = ("PA" if k % 2 else "AP",)
        rows.append(reference(k, found, effusion, context=context, positions=positions))
    return rows


def sure(row: Reference, *, turned: bool = False) -> Prediction:
    """What the reference says, with probabilities; turned over: its opposite."""
    findings = []
    for f in row.findings:
        present = f.present is not turned
        kept = f.instances if present and f.present else []
        status = P if present else A
        findings.append(
            Finding(name=f.name, status=status, probability=0.9 if present else 0.1, instances=kept)
        )
    answer = said(row, *findings)
    answer.findings = findings
    return answer


def judged(rows: list[Reference], *systems: System, **more: Any) -> dict[str, Any]:
    settings = Settings(**{"rounds": 100, **more})
    return {s["name"]: s for s in judge(rows, systems, settings)["systems"]}


def value(told: dict[str, Any], name: str, metric: str, source: str = "likelihood") -> Any:
    figure = told[source]["findings"][name][metric]
    return figure and figure[0]


def test_a_perfect_system_is_perfect_everywhere() -> None:
    rows = references()
    told = judged(rows, system([sure(r) for r in rows]))["one"]
    for metric in ("auc", "average_precision", "f1", "recall", "specificity", "precision"):
        assert value(told, "fracture", metric) == 1
    assert value(told, "fracture", "f1", "words") == 1
    assert told["likelihood"]["groups"]["14"]["macro"]["f1"][0] == 1
    assert told["likelihood"]["groups"]["14"]["macro_over"] == [
        "no_finding",
        "pleural_effusion",
        "fracture",
    ]
    assert told["likelihood"]["groups"]["5"]["macro_over"] == ["pleural_effusion"]
    assert told["reports"]["en"]["bleu"][0] == pytest.approx(100)
    assert told["reports"]["en"]["exact_reports"][0] == 1
    assert told["sides"]["fracture_left"]["recall"][0] == 1


def test_a_system_that_says_the_opposite_is_wrong_everywhere() -> None:
    rows = references()
    told = judged(rows, system([sure(r, turned=True) for r in rows]))["one"]
    for metric in ("auc", "f1", "recall", "specificity", "accuracy"):
        assert value(told, "fracture", metric) == 0


def test_words_and_likelihoods_stand_side_by_side() -> None:
    rows = references()
    mixed = []
    for r in rows:
        answer = sure(r)
        answer.text = sure(r, turned=True).text
        mixed.append(answer)
    told = judged(rows, system(mixed))["one"]
    assert value(told, "fracture", "f1") == 1
    assert value(told, "fracture", "f1", "words") == 0
    assert "auc" not in told["words"]["findings"]["fracture"]
    # ChexFract reads the text; the real AUC ranks the probabilities
    assert told["chexfract"]["one_point_auc"][0] == 0
    assert told["chexfract"]["auc"][0] == 1


# -- what was not read ----------------------------------------------------------------------------


def test_a_failed_study_stays_in_the_denominator_and_is_shown() -> None:
    rows = references()
    answers = [sure(r) for r in rows]
    answers[0], answers[1] = failed(rows[0]), failed(rows[1], Code.DECODER_DIED)
    told = judged(rows, system(answers))["one"]
    one = told["likelihood"]["findings"]["fracture"]
    assert (one["n"], one["positives"], one["answered"], one["scored"]) == (12, 4, 10, 10)
    assert one["recall"][0] == pytest.approx(3 / 4)
    assert one["specificity"][0] == pytest.approx(7 / 8)
    assert one["accuracy"][0] == pytest.approx(10 / 12)
    assert one["auc"][0] == pytest.approx(3 * 7 / (4 * 8))
    assert told["outcomes"] == {"failed": 2, "read": 10}
    assert told["codes"] == {"file_damaged": 1, "decoder_died": 1}
    assert [x["study_id"] for x in told["not_read"]] == ["s0", "s1"]
    assert told["reports"]["en"]["n"] == 12
    assert told["reports"]["en"]["exact_reports"][0] == pytest.approx(10 / 12)


def test_a_system_that_reads_nothing_is_judged_all_the_same() -> None:
    rows = references()
    told = judged(rows, system([failed(r) for r in rows]))["one"]
    assert value(told, "fracture", "recall") == 0
    assert value(told, "fracture", "specificity") == 0
    assert value(told, "no_finding", "accuracy") == 0
    assert told["reports"] == {}


def test_studies_without_a_score_are_one_point_of_the_curve() -> None:
    rows = references()
    answers = [sure(r) for r in rows]
    answers[0], answers[1], answers[2] = (failed(r) for r in rows[:3])
    told = judged(rows, system(answers))["one"]["curves"]
    assert told["roc"][0] == [0, 0]
    assert told["roc"][1] == [0.25, 0]  # two negatives without a score stand above all
    assert told["roc"][-1] == [1, 1]
    assert told["point"] == [2 / 8, 3 / 4, 1]


# -- baselines ------------------------------------------------------------------------------------


def test_baselines_are_always_there_and_have_no_skill() -> None:
    rows = references()
    told = judged(rows, *baselines(rows))
    assert set(told) == {NORMAL, MAJORITY}
    for one in told.values():
        assert value(one, "fracture", "auc") == 0.5
        assert value(one, "fracture", "recall") == 0
        assert value(one, "fracture", "average_precision") == pytest.approx(4 / 12)
    normal = told[NORMAL]
    assert normal["kind"] == "baseline"
    assert value(normal, "no_finding", "recall") == 1
    assert value(told[MAJORITY], "fracture", "ece") == pytest.approx(0)
    assert value(told[MAJORITY], "fracture", "brier") == pytest.approx(1 / 3 * 2 / 3)


def test_baselines_speak_each_references_language() -> None:
    rows = [reference(0, fracture(A)), reference(1, fracture(A), language="zh")]
    for one in baselines(rows):
        told = judged(rows, one)[one.name]
        assert set(told["reports"]) == {"en", "zh"}
        assert value(told, "fracture", "specificity", "words") == 1


def test_a_reference_without_a_text_has_no_part_in_the_reports() -> None:
    rows = [reference(0, fracture()), reference(1, fracture(A))]
    rows[1] = replace(rows[1], text="")
    told = judged(rows, system([sure(r) for r in rows]))["one"]
    assert told["reports"]["en"]["n"] == 1
    assert told["reports"]["en"]["exact_reports"][0] == 1
    silent = [replace(r, text="") for r in rows]
    assert judged(silent, system([sure(r) for r in rows]))["one"]["reports"] == {}


# -- subgroups ------------------------------------------------------------------------------------


def test_subgroups_are_of_the_lesion_and_of_the_patient() -> None:
    rows = references()
    answers = [sure(r) for r in rows]
    answers[0] = sure(rows[0], turned=True)  # right clavicle, AP
    told = judged(rows, system(answers))["one"]["subgroups"]
    assert set(told) == {"bone", "stage", "displacement", "side", "region", "age", "sex", "view"}
    assert told["bone"]["clavicle"]["recall"][0] == 0.5
    assert told["bone"]["rib"]["recall"][0] == 1
    # every study without a fracture stands against each kind of fracture
    assert (told["bone"]["rib"]["n"], told["bone"]["rib"]["positives"]) == (10, 2)
    assert told["view"]["AP"]["positives"] == 2
    assert told["view"]["PA"]["recall"][0] == 1
    assert list(told["displacement"])[-1] == "unknown"
    assert next(iter(told["sex"])) == "F"
    assert sum(one["n"] for one in told["sex"].values()) == 12


def test_a_fracture_of_two_bones_is_in_both_levels() -> None:
    both = [Instance(bone=Bone.RIB), Instance(bone=Bone.CLAVICLE)]
    rows = [reference(0, fracture(instances=both)), reference(1, fracture(A))]
    told = judged(rows, system([sure(r) for r in rows]))["one"]["subgroups"]["bone"]
    assert {level: one["positives"] for level, one in told.items()} == {"clavicle": 1, "rib": 1}


def test_without_fractures_another_finding_is_in_focus() -> None:
    effusion = [Finding(name=N.PLEURAL_EFFUSION, status=s) for s in (P, A)]
    rows = [reference(k, fracture(A), f) for k, f in enumerate(effusion)]
    assert focus_of(rows, "present") is FindingName.PLEURAL_EFFUSION
    told = judged(rows, system([sure(r) for r in rows]))["one"]
    assert "bone" not in told["subgroups"]


def test_a_side_that_was_asked_for_has_an_auc_of_its_own() -> None:
    rows = references()
    answers = [sure(r) for r in rows]
    for answer in answers:
        left = any(i.side is Side.LEFT for f in answer.findings for i in f.instances)
        answer.sides = {Side.LEFT: 0.8 if left else 0.2}
    told = judged(rows, system(answers))["one"]["sides"]
    assert told["fracture_left"]["auc"][0] == 1
    assert told["fracture_right"]["recall"][0] == 1
    assert "auc" not in told["fracture_right"]


# -- pairs ----------------------------------------------------------------------------------------


def test_pairs_are_compared_and_baselines_are_not() -> None:
    rows = references(30)
    good = system([sure(r) for r in rows], "good")
    bad = system([sure(r, turned=True) for r in rows], "bad")
    told = judge(rows, [good, bad, *baselines(rows)], FEW)
    (pair,) = told["paired"]
    assert (pair["first"], pair["second"]) == ("good", "bad")
    assert pair["metrics"]["auc|fracture"]["difference"] == [1, 1, 1]
    assert pair["metrics"]["auc|fracture"]["p"] < 0.05
    assert pair["metrics"]["accuracy|fracture"]["p"] < 0.05


def test_a_system_does_not_differ_from_itself() -> None:
    rows = references(30)
    answers = [sure(r, turned=k % 5 == 0) for k, r in enumerate(rows)]
    told = judge(rows, [system(answers, "a"), system(answers, "b")], FEW)
    for one in told["paired"][0]["metrics"].values():
        assert one["difference"] == [0, 0, 0]
        assert one["p"] == 1


# -- the same twice -------------------------------------------------------------------------------


def test_the_same_input_gives_the_same_numbers_and_json_can_hold_them() -> None:
    rows = references()
    answers = [sure(r, turned=k % 5 == 0) for k, r in enumerate(rows)]
    answers[3] = failed(rows[3])
    once, twice = (
        json.dumps(judge(rows, [system(list(answers)), *baselines(rows)], FEW), allow_nan=False)
        for _ in range(2)
    )
    assert once == twice
    other = judge(rows, [system(answers)], Settings(rounds=100, seed=1))
    assert other["systems"][0]["likelihood"] != json.loads(once)["systems"][0]["likelihood"]
