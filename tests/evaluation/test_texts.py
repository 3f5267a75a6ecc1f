"""Words: sacrebleu's and rouge-score's own values, and what a flipped negation still gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from hilum.codes import Code
from hilum.evaluation.texts import (
    Characters,
    flip,
    flipped_figures,
    labeler_figures,
    text_figures,
    word_figures,
)
from hilum.findings import Finding
from hilum.language import label
from tests.evaluation.conftest import A, N, P, failed, fracture, reference, said, system

EN = st.lists(
    st.sampled_from("no left right rib fracture effusion . small heart is normal".split()),
    max_size=14,
).map(" ".join)
ZH = st.text("未见左右侧肋骨折积液。心影增大，正常", max_size=20)


@pytest.mark.parametrize(("language", "texts"), [("en", EN), ("zh", ZH)])
def test_words_are_judged_as_the_libraries_do(language: Any, texts: Any) -> None:
    @settings(deadline=None, max_examples=40)
    @given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5), st.integers(0, 9))
    def check(pairs: list[tuple[str, str]], seed: int) -> None:
        rng = np.random.default_rng(seed)
        weights = np.stack([np.ones(len(pairs)), rng.integers(0, 3, len(pairs))]).astype(float)
        if not weights[1].sum():
            weights[1, 0] = 1
        found = word_figures(pairs, language, weights)
        for k, w in enumerate(weights):  # a study that was drawn twice stands there twice
            drawn = [p for p, times in zip(pairs, w, strict=True) for _ in range(int(times))]
            refs, drafts = [r for r, _ in drawn], [d for _, d in drawn]
            tokens = "zh" if language == "zh" else "13a"
            bleu = sacrebleu.corpus_bleu(drafts, [refs], tokenize=tokens).score
            assert found["bleu"][k] == pytest.approx(bleu)
            assert found["chrf"][k] == pytest.approx(sacrebleu.corpus_chrf(drafts, [refs]).score)
            split = Characters() if language == "zh" else None
            rouge = RougeScorer(["rougeL"], tokenizer=split)
            mean = np.mean([rouge.score(r, d)["rougeL"].fmeasure for r, d in drawn])
            assert found["rouge_l"][k] == pytest.approx(100 * mean)
            assert found["exact_reports"][k] == pytest.approx(
                np.mean([r.strip() == d.strip() for r, d in drawn])
            )

    check()


def test_chinese_is_cut_into_characters() -> None:
    found = Characters().tokenize("左侧第5肋，CT示")
    assert found == ["左", "侧", "第", "5", "肋", "ct", "示"]


def test_exact_sentences_are_counted_once_each_and_by_the_reference() -> None:
    pairs = [
        ("No fracture. No fracture. Left effusion.", "No fracture. Right effusion. Extra."),
        ("Heart size is normal.", ""),
    ]
    found = word_figures(pairs, "en", np.ones((1, 2)))
    assert found["exact_sentences"][0] == pytest.approx(1 / 4)
    assert found["exact_reports"][0] == 0


# -- findings by the labeler ----------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
def test_chexpert_f1_reads_both_sides_in_their_language(language: Any) -> None:
    effusion = Finding(name=N.PLEURAL_EFFUSION, status=P)
    rows = [
        reference(0, fracture(), language=language),
        reference(1, effusion, fracture(A), language=language),
    ]
    other = "zh" if language == "en" else "en"
    told = system([said(rows[0], fracture(), language=other), said(rows[1], fracture(A))])
    found = {m: v[0] for m, v in labeler_figures(rows, told, "present", np.ones((1, 2))).items()}
    # of fracture and effusion one is found; "no finding" is wrongly said of the second
    assert found["chexpert_f1_micro14"] == pytest.approx(2 / 4)
    assert found["chexpert_f1_macro14"] == pytest.approx((1 + 0) / 2)
    assert found["chexpert_f1_micro5"] == 0


def test_a_study_without_a_draft_keeps_its_place_in_every_mean() -> None:
    rows = [reference(0, fracture()), reference(1, fracture())]
    told = system([said(rows[0], fracture()), failed(rows[1], Code.FILE_DAMAGED)])
    found = {m: v[0] for m, v in text_figures(rows, told, "present", np.ones((1, 2))).items()}
    assert found["exact_reports"] == 0.5
    assert found["rouge_l"] == pytest.approx(50)
    assert found["chexpert_f1_micro14"] == pytest.approx(2 / 3)


def test_a_draft_in_another_language_is_judged_by_the_labeler_alone() -> None:
    rows = [reference(0, fracture())]
    told = system([said(rows[0], fracture(), language="zh")])
    found = text_figures(rows, told, "present", np.ones((1, 1)))
    assert "bleu" not in found
    assert found["chexpert_f1_micro14"][0] == 1


# -- flipped negation -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language", "flipped"),
    [
        ("No pleural effusion.", "en", "Pleural effusion."),
        ("Heart size is normal. No fracture.", "en", "Heart size is normal. Fracture."),
        ("Lungs without consolidation.", "en", "Lungs with consolidation."),
        ("There is no evidence of pneumothorax.", "en", "There is pneumothorax."),
        ("未见骨折。", "zh", "可见骨折。"),
        ("双侧无明显胸腔积液。", "zh", "双侧有胸腔积液。"),
        ("The heart is enlarged.", "en", None),
        ("", "en", None),
        ("No comparison.", "en", None),
    ],
)
def test_one_negation_is_turned_over(text: str, language: Any, flipped: str | None) -> None:
    assert flip(text, language) == flipped
    if flipped:
        before = {f.name for f in label(text, language) if f.present}
        assert {f.name for f in label(flipped, language) if f.present} > before


def test_words_hardly_see_a_flipped_negation_and_the_labeler_does() -> None:
    absent = [Finding(name=n, status=A) for n in (N.PNEUMOTHORAX, N.PLEURAL_EFFUSION, N.NODULE)]
    rows = [reference(k, fracture(), *absent) for k in range(3)]
    found = flipped_figures(rows, "en", "present")
    assert found is not None
    assert found["reports"] == 3
    assert found["rouge_l"] > 85
    assert found["chexpert_f1_micro14"] < 0.7


def test_without_a_negation_there_is_nothing_to_flip() -> None:
    assert flipped_figures([reference(0, fracture())], "en", "present") is None
