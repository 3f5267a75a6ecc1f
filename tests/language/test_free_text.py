"""Free text in both languages: scopes, conflicts, sections, places, and odd input."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.codes import Code
from hilum.findings import FINDINGS, Finding, FindingName, Status
from hilum.language import assertion, label, read
from hilum.report import LANGUAGES, Language

N = FindingName
MARK = {Status.PRESENT: "+", Status.ABSENT: "-", Status.UNCERTAIN: "?"}


def said(text: str, language: Language | None = None) -> str:
    """As "fracture+ nodule-": names with their status, parents of children left out."""
    found = label(text, language)
    parents = {FINDINGS[f.name].parent for f in found}
    return " ".join(f"{f.name}{MARK[f.status]}" for f in found if f.name not in parents)


ENGLISH = [
    # an enumeration under one negation, and what ends it
    (
        "No pneumothorax, pleural effusion, or consolidation.",
        "pneumothorax- pleural_effusion- consolidation-",
    ),
    ("No pneumothorax, adenopathy, edema or pneumonia.", "pneumothorax- edema- pneumonia-"),
    (
        "No signs of consolidation, pneumothorax or large effusion present in the image.",
        "consolidation- pneumothorax- pleural_effusion-",
    ),
    ("No effusion, there is pneumonia or edema.", "pleural_effusion- pneumonia? edema?"),
    ("No pneumothorax, mild cardiomegaly.", "pneumothorax- cardiomegaly+"),
    ("No effusion is seen, and the heart is enlarged.", "pleural_effusion- cardiomegaly+"),
    ("No effusion but small pneumothorax.", "pleural_effusion- pneumothorax+"),
    ("No pneumothorax and the heart is enlarged.", "pneumothorax- cardiomegaly+"),
    ("Cardiomegaly without edema.", "cardiomegaly+ edema-"),
    ("No cardiomegaly with small bilateral effusions.", "cardiomegaly- pleural_effusion+"),
    ("Pneumothorax, effusion, and edema are all absent.", "pneumothorax- pleural_effusion- edema-"),
    ("Pleural effusion is not seen.", "pleural_effusion-"),
    ("The effusion has resolved.", "pleural_effusion-"),
    ("Neither pneumothorax nor effusion.", "pneumothorax- pleural_effusion-"),
    ("Negative for pneumothorax or effusion.", "pneumothorax- pleural_effusion-"),
    ("No change in the left pneumothorax or effusion.", "pneumothorax+ pleural_effusion+"),
    # doubt
    ("Possible pneumonia.", "pneumonia?"),
    ("This may be due to edema or atypical infection.", "edema? pneumonia?"),
    ("It could represent edema, infection, or atelectasis.", "edema? pneumonia? atelectasis?"),
    ("A small effusion cannot be excluded.", "pleural_effusion?"),
    ("Cannot exclude pneumonia.", "pneumonia?"),
    ("An opacity that is suspected to be pneumonia.", "lung_opacity+ pneumonia?"),
    ("Atelectasis or infiltrate in the left base.", "atelectasis? infiltration?"),
    ("Findings are consistent with pneumonia.", "pneumonia+"),
    ("No definite pneumonia.", "pneumonia-"),
    # what asserts nothing
    ("Fractures may not be visible on this film.", ""),
    ("CT is recommended to exclude fracture.", ""),
    ("If there is concern for fracture, CT would help.", ""),
    ("Correlate clinically for pneumonia.", ""),
    ("Bony overlap could obscure a small nodule.", ""),
    ("History of pneumonia.", ""),
    # organs and their state
    ("The heart and mediastinum are normal.", "cardiomegaly- enlarged_cardiomediastinum-"),
    ("The heart is not enlarged.", "cardiomegaly-"),
    ("Normal heart size, lungs clear.", "cardiomegaly- lung_opacity-"),
    ("Heart size is at the upper limits of normal.", "cardiomegaly-"),
    ("Stable mediastinum.", "enlarged_cardiomediastinum?"),
    ("The mediastinum is stable and normal.", "enlarged_cardiomediastinum-"),
    ("Cardiothoracic ratio 0.48.", "cardiomegaly-"),
    # look-alikes
    ("Knee joint effusion.", ""),
    ("Subcutaneous emphysema.", ""),
    ("Catheter fracture.", "support_devices+"),
    ("Soft tissue edema.", ""),
    # redactions and misspellings
    ("No XXXX pneumothorax.", "pneumothorax-"),
    ("Pneumothoracies are absent.", "pneumothorax-"),
    # the whole chest
    ("No acute cardiopulmonary abnormality.", "no_finding+"),
    ("No acute disease. Left nodule is seen.", "nodule+"),
    ("No acute disease. Pacemaker in place.", "support_devices+ no_finding+"),
]
CHINESE = [
    ("双肺未见结节、肿块及实变。", "nodule- mass- consolidation-"),
    ("未见骨折、气胸或胸腔积液征象。", "fracture- pneumothorax- pleural_effusion-"),
    ("没有发现气胸，胸腔积液或肺炎的迹象。", "pneumothorax- pleural_effusion- pneumonia-"),
    ("未见气胸，左侧胸腔积液。", "pneumothorax- pleural_effusion+"),
    ("气胸、积液都没有。", "pneumothorax- pleural_effusion-"),
    ("胸腔积液不明显。", "pleural_effusion-"),
    ("胸腔积液已完全吸收。", "pleural_effusion-"),
    ("胸腔积液较前吸收。", "pleural_effusion+"),
    ("引流管已拔除。", "support_devices-"),
    ("已除外气胸。", "pneumothorax-"),
    ("建议CT排除骨折。", ""),
    ("可能看不到骨折。", ""),
    ("肺炎可能。", "pneumonia?"),
    ("肺不张伴胸腔积液可能。", "atelectasis+ pleural_effusion?"),
    ("实变、感染不能除外。", "consolidation? pneumonia?"),
    ("不除外压缩性骨折。", "fracture?"),
    ("骨折？", "fracture?"),
    ("肺炎与肺水肿鉴别。", "pneumonia? edema?"),
    ("磨玻璃影，首先考虑肺炎。", "lung_opacity+ pneumonia?"),
    ("符合肺炎。", "pneumonia+"),
    # 合并 is "with", never consolidation
    ("骨折合并气胸。", "fracture+ pneumothorax+"),
    ("未见合并症。", ""),
    # 肋骨折 is 肋 and 骨折
    ("左第9肋骨折。", "fracture+"),
    ("左第5肋骨皮质中断。", "fracture+"),
    ("没有移位的肋骨骨折。", "fracture-"),
    ("心、肺、膈未见明显异常。", "cardiomegaly- lung_opacity-"),
    ("纵隔及心影未见异常。", "enlarged_cardiomediastinum- cardiomegaly-"),
    ("心影饱满。", "cardiomegaly?"),
    ("心胸比0.61。", "cardiomegaly+"),
    ("肋膈角锐利。", "pleural_effusion-"),
    ("肋膈角变钝。", ""),
    ("胸膜无增厚。", "pleural_thickening-"),
    ("皮下气肿。", ""),
    ("右侧液气胸。", "pneumothorax+ pleural_effusion+"),
    ("未见气胸", "pneumothorax-"),
    ("未 见 气 胸 ．", "pneumothorax-"),
]


@pytest.mark.parametrize(("text", "expected"), ENGLISH)
def test_english(text: str, expected: str) -> None:
    assert said(text) == expected
    assert said(text.upper()) == expected


@pytest.mark.parametrize(("text", "expected"), CHINESE)
def test_chinese(text: str, expected: str) -> None:
    assert said(text, "zh") == expected


def test_a_healed_fracture_beside_no_acute_one_is_present() -> None:
    for text in (
        "No acute fracture. Healed right 4th rib fracture.",
        "右第4肋陈旧骨折，未见新鲜骨折。",
    ):
        (finding,) = label(text)
        assert finding.status is Status.PRESENT
        (place,) = finding.instances
        assert (place.ribs, place.stage) == ([4], "old")


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("Fractures of the left 5th through 7th ribs.", ["rib left [5, 6, 7]"]),
        (
            "Healed right 10th and left 9th rib fractures.",
            ["rib right [10] old", "rib left [9] old"],
        ),
        ("Left clavicle and right rib fractures.", ["clavicle left []", "rib right []"]),
        ("Fracture of ribs 4-6 on the right.", ["rib right [4, 5, 6]"]),
        ("T12 compression fracture.", ["vertebra midline []"]),
        ("Rib fractures and degenerative changes in the spine.", ["rib None []"]),
        ("Right rib fractures. Fracture of the right 5th rib.", ["rib right [5]"]),
        ("An irregularity of the left 8th rib is seen. This may be a fracture.", ["rib left [8]"]),
        ("右侧第3-5，7肋骨骨折。", ["rib right [3, 4, 5, 7]"]),
        ("左第６、７肋，右第8肋骨折。", ["rib left [6, 7]", "rib right [8]"]),
        ("双侧肋骨陈旧性骨折（左第6肋，右第8肋）。", ["rib left [6] old", "rib right [8] old"]),
        ("右第五肋骨折，断端未见移位，周围未见骨痂。", ["rib right [5] nondisplaced"]),
        ("左第7前肋扭曲，骨折可能。", ["rib left [7] anterior"]),
        (
            "右第4肋骨双骨折（腋段及后段），断端错位。",
            ["rib right [4] lateral displaced", "rib right [4] posterior displaced"],
        ),
        ("胸骨体骨折。", ["sternum midline []"]),
        ("右锁骨骨折内固定术后，可见钢板，骨痂形成。", ["clavicle right [] healing"]),
    ],
)
def test_places(text: str, places: list[str]) -> None:
    found = next(f for f in label(text) if f.name is N.FRACTURE)
    told = [
        " ".join(str(x) for x in (i.bone, i.side, i.ribs, i.region, i.displacement, i.stage))
        for i in found.instances
    ]
    assert [t.replace(" None", "") for t in told] == [p.replace(" None", "") for p in places]


def test_an_indication_is_no_finding() -> None:
    text = (
        "INDICATION: pneumonia?\nFINDINGS: The lungs are clear.\nRECOMMENDATION: CT for fracture."
    )
    assert said(text) == "lung_opacity-"
    assert said("临床诊断：骨折。影像所见：未见气胸。建议：CT除外肺炎。") == "pneumothorax-"
    assert said("Indication: fracture. No pneumothorax.") == "pneumothorax-"


def test_a_report_in_two_languages_is_read_sentence_by_sentence() -> None:
    assert said("No pneumothorax. 左侧胸腔积液。") == "pneumothorax- pleural_effusion+"


@pytest.mark.parametrize(
    ("text", "language", "reason"),
    [
        ("", None, Code.TEXT_EMPTY),
        (" \n\u3000", "zh", Code.TEXT_EMPTY),
        ("x" * 500_000, None, Code.TEXT_TOO_LONG),
        ("\0\1\2" * 100, None, Code.TEXT_UNREADABLE),
        ("未见气胸。", "en", Code.LANGUAGE_MISMATCH),
        ("No pneumothorax.", "zh", Code.LANGUAGE_MISMATCH),
        ("Le patient va bien.", None, None),
    ],
)
def test_why_there_is_nothing(text: str, language: Language | None, reason: Code | None) -> None:
    reading = read(text, language)
    assert reading.findings == []
    assert reading.reason is reason


@pytest.mark.parametrize(("text", "expected"), [*ENGLISH, *CHINESE])
def test_spans_lie_in_the_text_and_cover_their_words(text: str, expected: str) -> None:
    """Shifting a text shifts every span by as much."""
    before = "The film is rotated.\n\n"
    plain, shifted = read(text), read(before + text)
    assert [(s.name, s.status) for s in plain.said] == [(s.name, s.status) for s in shifted.said]
    for a, b in zip(plain.said, shifted.said, strict=True):
        assert text[slice(*a.span)] == (before + text)[slice(*b.span)] != ""
        if a.cue:
            assert b.cue == (a.cue[0] + len(before), a.cue[1] + len(before))


PIECES = [
    word
    for text, _ in (*ENGLISH, *CHINESE)
    for word in (text.split() if text.isascii() else [text[:3], text[3:]])
]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join),
    st.sampled_from([None, *LANGUAGES]),
)
def test_any_pile_of_report_words_is_read(text: str, language: Language | None) -> None:
    reading = read(text, language)
    for one in reading.said:
        for start, end in filter(None, (one.span, one.cue)):
            assert 0 <= start < end <= len(text)
    names = [f.name for f in reading.findings]
    assert len(names) == len(set(names))
    assert all(f.status is not Status.ABSENT or f.instances == [] for f in reading.findings)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from([t for t, _ in CHINESE]))
def test_full_and_half_width_are_the_same(text: str) -> None:
    wide = text.translate({c: c + 0xFEE0 for c in range(0x21, 0x7F)})
    assert said(wide, "zh") == said(text, "zh")


def test_assertion_of_any_words() -> None:
    text = "No wheezes or rales. Possible gout. Fever."

    def at(word: str) -> tuple[int, int]:
        return text.index(word), text.index(word) + len(word)

    assert assertion(text, at("rales")) is Status.ABSENT
    assert assertion(text, at("gout")) is Status.UNCERTAIN
    assert assertion(text, at("Fever")) is Status.PRESENT


def test_findings_are_the_callers_own() -> None:
    first = label("Left nodule is seen.", "en")
    first[0].instances.clear()
    assert isinstance(first[0], Finding)
    assert len(label("Left nodule is seen.", "en")[0].instances) == 1
