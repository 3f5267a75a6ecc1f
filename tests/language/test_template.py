"""The template: the sentences that weights were trained on, letter by letter, and odd ones."""

from __future__ import annotations

from typing import Any

import pytest

from hilum.codes import Code, HilumError
from hilum.findings import (
    Bone,
    Displacement,
    Finding,
    FindingName,
    Instance,
    Region,
    Side,
    Stage,
    Status,
)
from hilum.language import write
from hilum.language.template import FIXED, ordinal, sentence
from hilum.report import LANGUAGES

N, P, A, U = FindingName, Status.PRESENT, Status.ABSENT, Status.UNCERTAIN
NODULE = Instance(side=Side.LEFT, region=Region.UPPER)
BROKEN = Instance(bone=Bone.RIB, side=Side.RIGHT, ribs=[7], region=Region.LATERAL)
DISPLACED = BROKEN.model_copy(update={"displacement": Displacement.DISPLACED, "stage": Stage.ACUTE})
STABLE = BROKEN.model_copy(update={"displacement": Displacement.NONDISPLACED, "stage": Stage.ACUTE})
HEALING = BROKEN.model_copy(update={"stage": Stage.HEALING})


# Rewording one of these means training the embedded reader again.
@pytest.mark.parametrize(
    ("finding", "en", "zh"),
    [
        (Finding(name=N.CARDIOMEGALY, status=P), "The heart is enlarged.", "心影增大。"),
        (Finding(name=N.CARDIOMEGALY, status=A), "Heart size is normal.", "心影大小正常。"),
        (
            Finding(name=N.PLEURAL_EFFUSION, status=P, instances=[Instance(side=Side.LEFT)]),
            "Left pleural effusion.",
            "左侧胸腔积液。",
        ),
        (Finding(name=N.PLEURAL_EFFUSION, status=A), "No pleural effusion.", "未见胸腔积液。"),
        (
            Finding(name=N.PNEUMOTHORAX, status=P, instances=[Instance(side=Side.RIGHT)]),
            "Right pneumothorax.",
            "右侧气胸。",
        ),
        (Finding(name=N.PNEUMOTHORAX, status=A), "No pneumothorax.", "未见气胸。"),
        (
            Finding(name=N.NODULE, status=P, instances=[NODULE]),
            "Nodule in the left upper lung zone.",
            "左肺上野结节。",
        ),
        (Finding(name=N.NODULE, status=A), "No pulmonary nodule.", "未见肺结节。"),
        (
            Finding(name=N.FRACTURE, status=P, instances=[DISPLACED]),
            "Acute displaced fracture of the lateral right 7th rib.",
            "右侧第7肋骨腋段新鲜骨折，断端移位。",
        ),
        (
            Finding(name=N.FRACTURE, status=P, instances=[STABLE]),
            "Acute nondisplaced fracture of the lateral right 7th rib.",
            "右侧第7肋骨腋段新鲜骨折，断端无明显移位。",
        ),
        (
            Finding(name=N.FRACTURE, status=P, instances=[HEALING]),
            "Healing fracture of the lateral right 7th rib.",
            "右侧第7肋骨腋段骨折愈合期。",
        ),
        (Finding(name=N.FRACTURE, status=A), "No fracture.", "未见骨折。"),
    ],
)
def test_the_trained_sentences_letter_by_letter(finding: Finding, en: str, zh: str) -> None:
    assert sentence(finding, "en") == [en]
    assert sentence(finding, "zh") == [zh]


@pytest.mark.parametrize(
    ("instance", "en", "zh"),
    [
        (Instance(), "Possible fracture.", "骨折可能。"),
        (Instance(side=Side.BILATERAL), "Possible bilateral fracture.", "双侧骨折可能。"),
        (Instance(ribs=[1, 12]), "Possible fracture, 1st, 12th.", "第1、12骨折可能。"),
        (
            Instance(side=Side.LEFT, region=Region.POSTERIOR, stage=Stage.OLD),
            "Possible old fracture, posterior left.",
            "左侧后段陈旧性骨折可能。",
        ),
        (
            Instance(bone=Bone.RIB, ribs=[2, 3]),
            "Possible fracture of the 2nd, 3rd rib.",
            "第2、3肋骨骨折可能。",
        ),
        (
            Instance(bone=Bone.CLAVICLE, side=Side.LEFT, region=Region.MID),
            "Possible fracture of the mid left clavicle.",
            "左侧锁骨中骨折可能。",
        ),
    ],
)
def test_fractures_of_which_little_is_known(instance: Instance, en: str, zh: str) -> None:
    finding = Finding(name=N.FRACTURE, status=U, instances=[instance])
    assert (sentence(finding, "en"), sentence(finding, "zh")) == ([en], [zh])


def test_a_zone_without_a_side() -> None:
    finding = Finding(name=N.PNEUMONIA, status=P, instances=[Instance(region=Region.LOWER)])
    assert sentence(finding, "en") == ["Pneumonia in the lower lung zone."]
    assert sentence(finding, "zh") == ["肺下野肺炎。"]


def test_no_finding_is_never_negated_twice() -> None:
    for status, en, zh in (
        (P, "No abnormality is seen.", "未见异常。"),
        (A, "The film is not normal.", "影像有异常。"),
        (U, "No definite abnormality is seen.", "未见明确异常。"),
    ):
        finding = Finding(name=N.NO_FINDING, status=status)
        assert (write([finding], "en"), write([finding], "zh")) == (en, zh)


def test_one_sentence_an_instance_in_the_findings_order() -> None:
    findings = [
        Finding(name=N.FRACTURE, status=P, instances=[DISPLACED, HEALING]),
        Finding(name=N.CARDIOMEGALY, status=A),
    ]
    assert write(findings, "en") == (
        "Acute displaced fracture of the lateral right 7th rib. "
        "Healing fracture of the lateral right 7th rib. Heart size is normal."
    )
    assert write(findings, "zh") == (
        "右侧第7肋骨腋段新鲜骨折，断端移位。右侧第7肋骨腋段骨折愈合期。心影大小正常。"
    )


def test_a_parent_is_said_only_where_it_adds_something() -> None:
    nodule = Finding(name=N.NODULE, status=P, instances=[NODULE])
    parent = Finding(name=N.LUNG_LESION, status=P)
    assert write([parent, nodule], "en") == "Nodule in the left upper lung zone."
    assert write([parent], "en") == "Lung lesion."
    placed = Finding(name=N.LUNG_LESION, status=P, instances=[Instance(side=Side.RIGHT)])
    assert write([placed, nodule], "en") == "Right lung lesion. Nodule in the left upper lung zone."
    perhaps = Finding(name=N.NODULE, status=U)
    assert write([parent, perhaps], "en") == "Lung lesion. Possible nodule."


def test_nothing_found_is_nothing_said() -> None:
    assert write([], "en") == write([], "zh") == ""


def test_what_is_absent_has_no_places() -> None:
    finding = Finding(name=N.FRACTURE, status=A, instances=[DISPLACED, HEALING])
    assert write([finding], "en") == "No fracture."


def test_probabilities_boxes_and_spans_are_no_words() -> None:
    more = NODULE.model_copy(update={"probability": 0.5, "span": (0, 1)})
    one = Finding(name=N.NODULE, status=P, probability=0.9, instances=[more])
    other = Finding(name=N.NODULE, status=P, instances=[NODULE])
    for language in LANGUAGES:
        assert write([one], language) == write([other], language)


@pytest.mark.parametrize("language", ["fr", "", "EN", "zh_CN", None])
def test_an_unknown_language_is_refused_even_with_nothing_to_say(language: Any) -> None:
    with pytest.raises(HilumError) as caught:
        write([], language)
    assert caught.value.code is Code.LANGUAGE_UNSUPPORTED


def test_ordinals() -> None:
    assert [ordinal(n) for n in range(1, 13)] == (
        "1st 2nd 3rd 4th 5th 6th 7th 8th 9th 10th 11th 12th".split()
    )


def test_both_languages_have_the_same_fixed_sentences_and_each_ends() -> None:
    assert set(FIXED["en"]) == set(FIXED["zh"])
    assert all(text.endswith(".") for text in FIXED["en"].values())
    assert all(text.endswith("。") for text in FIXED["zh"].values())


@pytest.mark.parametrize("name", FindingName)
@pytest.mark.parametrize("status", Status)
def test_a_sentence_has_one_full_stop_and_begins_large(name: FindingName, status: Status) -> None:
    (en,), (zh,) = (sentence(Finding(name=name, status=status), lang) for lang in LANGUAGES)
    assert en[0].isupper()
    assert en.count(".") == 1 == zh.count("。")
    assert en.endswith(".")
    assert zh.endswith("。")
