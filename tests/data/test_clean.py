from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.codes import Code
from hilum.data.clean import MARK, clean, leans_on_prior, tidy


@pytest.mark.parametrize(
    "sentence",
    [
        "The heart is unchanged in size.",
        "No significant interval change.",
        "Stable cardiomegaly.",
        "Compared to the prior study, the effusion is larger.",
        "The line is again seen.",
        "Nodule as previously described.",
        "The effusion has resolved.",
        "Persistent right basilar opacity.",
        "与前片比较，右肺病灶缩小。",
        "左侧胸腔积液较前增多。",
        "两肺纹理同前。",
        "右下肺新发结节。",
        "较2019年片无明显变化。",
        "仍可见右侧胸腔积液。",
    ],
)
def test_a_sentence_that_compares_leans_on_a_prior(sentence: str) -> None:
    assert leans_on_prior(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "Status post prior median sternotomy.",
        "Evidence of prior granulomatous disease.",
        "Previous CABG.",
        "Old rib fracture.",
        "No degenerative changes.",
        "No acute changes.",
        "两肺看起来比较清晰。",
        "建议三个月后复查。",
        "胸廓无明显变形。",
        "There is increased density over the left base.",
        "The heart is normal in size.",
        "左肺较右肺透亮度增高。",
        "既往胸部手术后改变。",
        "右侧第5肋骨陈旧性骨折。",
        "心影增大。",
    ],
)
def test_a_history_is_no_comparison(sentence: str) -> None:
    assert not leans_on_prior(sentence)


def test_sentences_on_priors_go_only_when_asked() -> None:
    text = "The heart is enlarged. No change since the prior study. No effusion."
    kept = clean(text)
    assert kept.text == text
    assert kept.flags == (Code.LEANS_ON_PRIOR,)
    assert not kept.shortened
    gone = clean(text, no_priors=True)
    assert gone.text == "The heart is enlarged. No effusion."
    assert gone.flags == (Code.LEANS_ON_PRIOR,)
    assert gone.shortened


def test_nothing_may_be_left() -> None:
    assert clean("No interval change.", no_priors=True).text == ""
    assert clean("与前片比较无明显变化。", no_priors=True).text == ""


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("Midline sternotomy XXXX.", f"Midline sternotomy {MARK}."),
        ("xxxx and XXXXX", f"{MARK} and {MARK}"),
        ("Dr. ___ was told at __.", f"Dr. {MARK} was told at {MARK}."),
        ("Seen by [**Name 12**] today.", f"Seen by {MARK} today."),
        ("XXL hernia mesh.", "XXL hernia mesh."),
    ],
)
def test_every_redaction_becomes_one_mark(text: str, marked: str) -> None:
    assert clean(text).text == marked


def test_a_redacted_sentence_goes_with_its_opening() -> None:
    text = "Heart is normal. XXXX XXXX catheter tip in the SVC. No effusion."
    gone = clean(text, redactions="drop")
    assert gone.text == "Heart is normal. No effusion."
    assert gone.flags == (Code.REDACTED,)


def test_a_decimal_number_ends_no_sentence() -> None:
    text = "A 1.5 cm nodule is unchanged. Lungs are clear."
    assert clean(text, no_priors=True).text == "Lungs are clear."


def test_a_numbered_list_loses_its_empty_number() -> None:
    text = "1. No acute disease.\n2. Stable nodule.\n3. Rib fracture."
    assert clean(text, no_priors=True).text.split("\n")[0] == "1. No acute disease."
    assert "nodule" not in clean(text, no_priors=True).text
    assert "Rib fracture." in clean(text, no_priors=True).text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (
            "The lungs are clear. Do you have any questions or concerns about this x-ray?",
            "The lungs are clear.",
        ),
        ("两肺清晰。你对这个X射线结果有什么问题或担忧吗？", "两肺清晰。"),
        ("As an AI language model I cannot diagnose. Heart is normal.", "Heart is normal."),
    ],
)
def test_a_language_models_chat_always_goes(text: str, kept: str) -> None:
    cleaned = clean(text)
    assert cleaned.text == kept
    assert cleaned.flags == (Code.CHAT_RESIDUE,)


def test_tidy_joins_wrapped_lines_and_keeps_lists() -> None:
    assert tidy("The heart is\n normal in size.\n\nNo  effusion.") == (
        "The heart is normal in size.\nNo effusion."
    )
    assert tidy("1.两肺清晰\n2.心影增大") == "1.两肺清晰\n2.心影增大"
    assert tidy("a\x00b\u200bc\r\nd") == "a b c d"
    assert tidy(" \n\t\r\n ") == ""


@given(st.text(max_size=300))
def test_cleaning_any_text_is_settled_after_one_pass(text: str) -> None:
    once = tidy(text)
    assert tidy(once) == once
    cleaned = clean(text, no_priors=True, redactions="drop")
    assert len(cleaned.text) <= len(once) + 3 * len(MARK) * (1 + once.count("__") + once.count("*"))


@given(st.lists(st.sampled_from(["Heart is normal.", "No change.", "XXXX seen.", "两肺清晰。"])))
def test_what_is_kept_is_what_was_not_struck(parts: list[str]) -> None:
    kept = clean(" ".join(parts), no_priors=True, redactions="drop").text
    assert "change" not in kept
    assert "seen" not in kept
    assert kept.count("Heart is normal.") == parts.count("Heart is normal.")
    assert kept.count("两肺清晰。") == parts.count("两肺清晰。")
