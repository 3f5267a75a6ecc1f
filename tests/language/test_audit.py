"""Audits of made-up pairs: every kind of error is named, and faithful renderings pass."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.codes import Code
from hilum.findings import Finding, FindingName, Instance, Side, Status
from hilum.language import audit, write
from hilum.language.lexicon import terms
from hilum.language.survey import page, survey
from hilum.language.verdict import Kind, concepts

SOURCE = (
    "Mild left pleural effusion. No pneumothorax. Healed right 5th rib fracture. Possible nodule."
)
TARGET = "左侧轻度胸腔积液。没有气胸。右侧第5肋骨骨折已愈合。可能有结节。"


def kinds(target: str, source: str = SOURCE) -> set[str]:
    return {e.kind.value for e in audit(source, target).errors}


def test_a_faithful_pair_has_no_errors() -> None:
    verdict = audit(SOURCE, TARGET)
    assert verdict.faithful
    assert verdict.errors == []


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("没有气胸", "有气胸", Kind.NEGATION),
        ("可能有结节", "有结节", Kind.CERTAINTY),
        ("骨折已愈合", "可能骨折已愈合", Kind.CERTAINTY),
        ("左侧轻度", "右侧轻度", Kind.SIDE),
        ("右侧第5", "左侧第5", Kind.SIDE),
        ("第5肋骨", "第6肋骨", Kind.ANATOMY),
        ("肋骨骨折", "锁骨骨折", Kind.ANATOMY),
        ("已愈合", "，新鲜", Kind.STAGE),
        ("轻度", "重度", Kind.SEVERITY),
        ("没有气胸。", "没有气孔。", Kind.FINDING),
        ("胸腔积液", "渗出", Kind.FINDING),
        ("可能有结节。", "", Kind.OMISSION),
        ("可能有结节。", "可能有结节。右侧肺不张。", Kind.ADDITION),
        ("可能有结节。", "可能有结节。肝脏增大。", Kind.ANATOMY),
        ("可能有结节。", "可能有结节。见起搏器。", Kind.DEVICE),
        ("可能有结节。", "可能有结节。如果您有任何问题，请联系我们。", Kind.CHAT_RESIDUE),
    ],
)
def test_each_kind_is_named(old: str, new: str, kind: Kind) -> None:
    wrong = TARGET.replace(old, new)
    assert wrong != TARGET
    verdict = audit(SOURCE, wrong)
    assert not verdict.faithful
    found = kinds(wrong)
    alike = {Kind.OMISSION: {"finding"}, Kind.ADDITION: {"finding"}, Kind.STAGE: {"stage"}}
    assert found & ({kind.value} | alike.get(kind, set()))


def test_an_error_points_at_the_words_and_says_what_to_write() -> None:
    source, target = "No consolidation is seen.", "没有看到合并症。"
    (error,) = audit(source, target).errors
    assert source[slice(*error.source)] == "consolidation"  # type: ignore[misc]
    assert target[slice(*error.target)] == "合并症"  # type: ignore[misc]
    assert (error.kind, error.suggestion) == (Kind.FINDING, "实变")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("The hilar contours are normal.", "肺门轮廓正常。"),
        ("No acute cardiopulmonary abnormality.", "没有急性心肺异常。"),
        ("Old fracture of the left clavicle.", "左锁骨陈旧性骨折。"),
        ("The lungs are clear.", "肺部清晰。"),
        ("A 4 cm mass is seen in the right upper lobe.", "右上叶可见4厘米肿块。"),
        ("A nodular density is seen in the left lung.", "左肺可见结节状密度。"),
        ("The lung bases are clear.", "肺底清晰。"),
        ("No pleural air collections.", "没有胸腔积气。"),
    ],
)
def test_faithful_renderings_pass(source: str, target: str) -> None:
    assert audit(source, target).errors == []
    assert audit(target, source).faithful


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("No pleural effusion.", "双侧肋膈角锐利。"),
        ("Healing fracture of the left clavicle.", "左锁骨骨折愈合。"),  # or healed
        ("Prior fracture of the left clavicle.", "左锁骨曾经骨折。"),
    ],
)
def test_other_words_may_keep_the_meaning(source: str, target: str) -> None:
    assert audit(source, target).errors == []


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        ("An azygos fissure is seen.", "可见颈部裂缝。", Kind.ANATOMY),
        ("No pneumomediastinum.", "没有气腹。", Kind.FINDING),
        ("No acute osseous finding.", "没有急性骨质疏松。", Kind.ADDITION),
        ("A left perihilar scar.", "左侧肝周瘢痕。", Kind.ANATOMY),
        ("Nodular density in the left lung.", "左肺没有结节状密度。", Kind.NEGATION),
    ],
)
def test_words_that_sound_alike_do_not(source: str, target: str, kind: Kind) -> None:
    verdict = audit(source, target)
    assert not verdict.faithful
    assert kind in {e.kind for e in verdict.errors}


def test_residue_that_the_source_has_too_is_named_and_no_infidelity() -> None:
    verdict = audit("No fracture. Please feel free to contact us.", "没有骨折。请随时联系我们。")
    assert verdict.faithful
    assert [e.kind for e in verdict.errors] == [Kind.CHAT_RESIDUE]


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("", TARGET, Code.TEXT_EMPTY),
        (SOURCE, "", Code.TEXT_EMPTY),
        (SOURCE, "\0\1\2\3", Code.TEXT_UNREADABLE),
        (SOURCE, "x" * 500_000, Code.TEXT_TOO_LONG),
    ],
)
def test_what_cannot_be_read_is_not_called_faithful(source: str, target: str, reason: Code) -> None:
    verdict = audit(source, target)
    assert (verdict.faithful, verdict.errors, verdict.reason) == (False, [], reason)


plain = st.lists(
    st.sampled_from(
        [FindingName.PNEUMOTHORAX, FindingName.PLEURAL_EFFUSION, FindingName.ATELECTASIS]
    ),
    unique=True,
    min_size=1,
)


@settings(deadline=None, max_examples=80)
@given(plain, st.sampled_from(Status), st.sampled_from([Side.LEFT, Side.RIGHT]))
def test_the_templates_languages_agree(
    names: list[FindingName], status: Status, side: Side
) -> None:
    places = [] if status is Status.ABSENT else [Instance(side=side)]
    findings = [Finding(name=n, status=status, instances=places) for n in names]
    assert audit(write(findings, "en"), write(findings, "zh")).faithful


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_two_texts_are_compared(source: str, target: str) -> None:
    for error in audit(source, target).errors:
        for text, span in ((source, error.source), (target, error.target)):
            assert span is None or 0 <= span[0] < span[1] <= len(text)


def test_every_concept_has_words_in_both_languages() -> None:
    known = {
        lang: {
            name
            for (kind, value), _ in terms(f"concepts_{lang}")
            for name in (kind, *value.split())
        }
        for lang in ("en", "zh")
    }
    assert set(concepts()) <= known["en"] & known["zh"]
    suspects = {n for n in known["zh"] if n.startswith("!")}
    assert {n[1:] for n in suspects} <= set(concepts())


def test_a_survey_counts_and_shows() -> None:
    rows = [
        ("1", SOURCE, TARGET),
        ("2", SOURCE, TARGET.replace("左侧", "右侧")),
        ("3", "No <b> mass.", ""),
    ]
    found = survey(rows)
    figures = found.figures()
    assert figures["pairs"] == 3
    assert figures["faithful"] == figures["clean"] == 1
    assert figures["translated_differently"] == 1
    assert figures["unreadable"] == 1
    assert figures["kind_side"] == 1
    assert figures["all_normal"] == 1
    html = "".join(page(found, "a <title>"))
    assert "a &lt;title&gt;" in html
    assert "http" not in html
    assert '<mark class="error">' in html
    assert html.count("<section>") == 2


def test_worst_terms_are_words_not_statuses() -> None:
    rows = [("1", "No consolidation.", "没有合并症。"), ("2", "No pneumothorax.", "有气胸。")]
    assert dict(survey(rows).terms) == {("consolidation", "合并症"): 1}


TWICE = (
    "There is an old fracture of the right 5th rib. There may be pneumonia. "
    "No effusion. The fracture is old. Possible pneumonia."
)
TWICE_ZH = "右侧第5肋骨陈旧性骨折。可能有肺炎。没有积液。骨折陈旧。可能有肺炎。"


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("。骨折陈旧", "。骨折急性", Kind.STAGE),
        ("。可能有肺炎。没有", "。有肺炎。没有", Kind.CERTAINTY),
        ("积液。骨折陈旧。可能有肺炎", "积液。骨折陈旧。没有肺炎", Kind.NEGATION),
        ("。骨折陈旧", "。囊肿陈旧", Kind.FINDING),
    ],
)
def test_a_changed_mention_shows_though_another_outweighs_it(
    old: str, new: str, kind: Kind
) -> None:
    assert audit(TWICE, TWICE_ZH).faithful
    wrong = TWICE_ZH.replace(old, new)
    assert wrong != TWICE_ZH
    assert kind in {e.kind for e in audit(TWICE, wrong).errors}


def test_sentences_joined_by_the_translation_are_still_compared() -> None:
    joined = TWICE_ZH.replace("。可能有肺炎。没有", "，有肺炎，没有")
    assert joined.count("。") < TWICE.count(".")
    assert not audit(TWICE, joined).faithful
    assert audit(TWICE, TWICE_ZH.replace("。没有", "，没有")).faithful


@given(st.permutations(range(5)))
def test_an_order_of_its_own_is_no_error(order: list[int]) -> None:
    parts = [
        "没有气胸。",
        "可能有肺炎。",
        "左侧胸腔积液。",
        "主动脉迂曲。",
        "锁骨陈旧性骨折。",
    ]
    source = (
        "No pneumothorax. Possible pneumonia. Left pleural effusion. Tortuous aorta. "
        "Old clavicle fracture."
    )
    assert audit(source, "".join(parts[k] for k in order)).errors == []


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("No pneumothorax.", "无气胸。"),
        ("No emphysema.", "无肺气肿。"),
        ("No pulmonary edema.", "无肺水肿。"),
        ("Left pneumonia.", "左侧炎症。"),
        ("No evidence of granuloma.", "没有证据表明存在肉芽肿。"),
    ],
)
def test_native_renderings_pass(source: str, target: str) -> None:
    assert audit(source, target).errors == []


def test_the_same_words_are_wrong_for_atelectasis() -> None:
    assert Kind.FINDING in {e.kind for e in audit("No atelectasis.", "无气胸。").errors}
