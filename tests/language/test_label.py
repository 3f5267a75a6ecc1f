"""Template sentences back to findings, whatever the rules for free text would make of them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.codes import Code, HilumError
from hilum.findings import (
    FINDINGS,
    Bone,
    Displacement,
    Finding,
    FindingName,
    Instance,
    Region,
    Side,
    Stage,
    Status,
    with_parents,
)
from hilum.language import label, write
from hilum.language.template import FIXED, sentence
from hilum.report import LANGUAGES, Language

languages = st.sampled_from(LANGUAGES)
N = FindingName


def maybe(kind: Any) -> Any:
    return st.none() | st.sampled_from(kind)


fractures = st.builds(
    Instance,
    bone=maybe(Bone),
    side=maybe(Side),
    ribs=st.lists(st.integers(1, 12), max_size=4),
    region=maybe(Region),
    displacement=maybe(Displacement),
    stage=maybe(Stage),
)
lesions = st.builds(Instance, side=maybe(Side), region=maybe(Region))


@st.composite
def findings_of(draw: st.DrawFn, name: FindingName) -> Finding:
    """A finding with all that a sentence about it can say, and nothing more."""
    status = draw(st.sampled_from(Status))
    if status is Status.ABSENT or (name, status) in FIXED["en"]:
        return Finding(name=name, status=status)
    kind = fractures if name is N.FRACTURE else lesions
    return Finding(name=name, status=status, instances=draw(st.lists(kind, max_size=3)))


@st.composite
def reports(draw: st.DrawFn) -> list[Finding]:
    names = draw(st.lists(st.sampled_from(FindingName), unique=True, max_size=8))
    return with_parents([draw(findings_of(name)) for name in names])


def meaning(findings: list[Finding]) -> dict[FindingName, Any]:
    """Status and instance attributes by name; a claim without a place is one blank instance."""
    said_by_child = {FINDINGS[f.name].parent for f in findings if f.present}
    means: dict[FindingName, Any] = {}
    for finding in findings:
        instances = [i.model_copy(update={"span": None}) for i in finding.instances]
        if not instances and finding.name not in said_by_child:
            instances = [] if finding.status is Status.ABSENT else [Instance()]
        means[finding.name] = (finding.status, instances)
    return means


@settings(deadline=None, max_examples=300)
@given(reports(), languages)
def test_what_was_written_is_read_back_whole(findings: list[Finding], language: Language) -> None:
    read = label(write(findings, language), language)
    assert meaning(read) == meaning(findings)
    assert all(f.probability is None for f in read)


@settings(deadline=None, max_examples=200)
@given(reports())
def test_both_languages_say_the_same(findings: list[Finding]) -> None:
    assert meaning(label(write(findings, "en"), "en")) == meaning(
        label(write(findings, "zh"), "zh")
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("name", FindingName)
def test_every_name_in_every_status(name: FindingName, status: Status, language: Language) -> None:
    (said,) = sentence(Finding(name=name, status=status), language)
    read = label(said, language)
    assert (read[0].name, read[0].status) == (name, status)
    assert {f.name for f in read[1:]} <= {FINDINGS[name].parent}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_claims_share_a_sentence(language: Language) -> None:
    said = [sentence(Finding(name=n, status=s), language)[0] for n in FindingName for s in Status]
    assert len(set(map(str.lower, said))) == len(said)


@settings(deadline=None, max_examples=150)
@given(reports(), languages, st.sampled_from(["", " \n", "x. ", "没有。", "\ufeff"]))
def test_a_span_is_the_sentence_itself(
    findings: list[Finding], language: Language, before: str
) -> None:
    text = before + write(findings, language)
    for finding in label(text, language):
        for instance in finding.instances:
            assert instance.span is not None
            alone = label(text[slice(*instance.span)], language)
            assert alone[0].name is finding.name
            (again,) = alone[0].instances
            assert again == instance.model_copy(
                update={"span": (0, len(text[slice(*instance.span)]))}
            )


def test_spans_of_a_known_text() -> None:
    text = "Left nodule.  \nPossible fracture of the posterior left 5th, 6th rib. Right nodule."
    nodule, fracture, _ = label(text, "en")
    assert [i.span for i in nodule.instances] == [(0, 12), (69, 82)]
    assert [text[slice(*i.span)] for i in nodule.instances if i.span] == [
        "Left nodule.",
        "Right nodule.",
    ]
    assert fracture.instances[0].span == (15, 68)
    zh = "左侧胸腔积液。右侧第7肋骨腋段新鲜骨折，断端移位。"
    effusion, broken = label(zh, "zh")
    assert (effusion.instances[0].span, broken.instances[0].span) == ((0, 7), (7, len(zh)))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("No pneumothorax. Left pneumothorax.", Status.PRESENT),
        ("Left pneumothorax. No pneumothorax.", Status.PRESENT),
        ("Possible pneumothorax. No pneumothorax.", Status.UNCERTAIN),
        ("No pneumothorax. Possible pneumothorax.", Status.UNCERTAIN),
        ("Possible pneumothorax. No pneumothorax. Pneumothorax.", Status.PRESENT),
        ("No pneumothorax. No pneumothorax.", Status.ABSENT),
    ],
)
def test_present_wins_over_uncertain_over_absent(text: str, status: Status) -> None:
    (finding,) = label(text, "en")
    assert finding.status is status
    assert len(finding.instances) == text.count("neumothorax") - text.count("No ")


def test_a_child_makes_its_parent_present_whatever_is_said_of_it() -> None:
    read = {f.name: f.status for f in label("No lung lesion. Left nodule.", "en")}
    assert read == {N.LUNG_LESION: Status.PRESENT, N.NODULE: Status.PRESENT}
    read = {f.name: f.status for f in label("No lung lesion. Possible nodule.", "en")}
    assert read == {N.LUNG_LESION: Status.ABSENT, N.NODULE: Status.UNCERTAIN}


SILENT: list[tuple[Language, str]] = [
    ("en", "The patient is rotated."),
    ("en", "Lung maſs."),  # a long s
    ("en", "未见气胸。"),
    ("zh", "No pneumothorax."),
    *[
        (language, text)
        for language in LANGUAGES
        for text in ("", " \n\t", ".", "。", "...", "。。。", ",,,", "XXXX XXXX")
    ],
]


@pytest.mark.parametrize(("language", "text"), SILENT)
def test_what_says_nothing_of_a_finding_is_no_normal(language: Language, text: str) -> None:
    assert label(text, language) == []


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Fracture of the left 13th rib."),
        ("en", "Fracture of the left 0th rib."),
        ("en", "Fracture of the left 99999999999999999999th rib."),
        ("zh", "左侧第13肋骨骨折。"),
        ("zh", "左侧第0肋骨骨折。"),
    ],
)
def test_a_rib_that_nobody_has_is_left_out_and_the_fracture_stays(
    language: Language, text: str
) -> None:
    (finding,) = label(text, language)
    (place,) = finding.instances
    assert (place.bone, place.side, place.ribs) == (Bone.RIB, Side.LEFT, [])


@pytest.mark.parametrize("text", ["NODULE.", "nodule.", "POSSIBLE FRACTURE OF THE LEFT 5TH RIB."])
def test_case_does_not_matter(text: str) -> None:
    assert label(text, "en")[0].name in (N.NODULE, N.FRACTURE)
    assert label(text.swapcase(), "en") == label(text, "en")


@pytest.mark.parametrize("text", ["NO PULMONARY NODULE.", "the heart is enlarged."])
def test_case_does_not_matter_in_whole_sentences(text: str) -> None:
    assert len(label(text, "en")) == 1


def test_a_cut_report_keeps_what_came_before_the_cut() -> None:
    whole = "No pneumothorax. Acute displaced fracture of the lateral right 7th rib."
    for end in range(16, len(whole) + 1):
        read = {f.name: f.status for f in label(whole[:end], "en")}
        assert read.pop(N.PNEUMOTHORAX) is Status.ABSENT
        assert set(read) <= {N.FRACTURE}


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=200), languages)
def test_any_text_at_all_is_taken(text: str, language: Language) -> None:
    for finding in label(text, language):
        for instance in finding.instances:
            assert instance.span is not None
            assert 0 <= instance.span[0] < instance.span[1] <= len(text)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.sampled_from([*"可能左双中线侧第5、10肋骨折，断端移位。未见肺上野结节"]), max_size=25
    )
)
def test_any_pile_of_the_chinese_templates_letters_is_taken(letters: list[str]) -> None:
    label("".join(letters), "zh")


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), languages)
def test_binary_text_is_taken(junk: bytes, language: Language) -> None:
    label(junk.decode("latin-1"), language)
    label(junk.decode("utf-8", "surrogateescape"), language)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "piece", ["a", " ", ".", "。", "possible ", "左侧", "Left nodule. ", "1st, ", "第5、"]
)
def test_a_huge_text_takes_a_moment(piece: str, language: Language) -> None:
    """Without a full stop a rescan from every letter would take hours, not seconds."""
    text = piece * (100_000 // len(piece))
    begun = time.perf_counter()
    label(text, language)
    label(text + (".", "。")[language == "zh"], language)
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("language", ["fr", "", "EN", "zh-CN"])
def test_an_unknown_language_is_refused(language: Any) -> None:
    with pytest.raises(HilumError) as caught:
        label("Nodule.", language)
    assert caught.value.code is Code.LANGUAGE_UNSUPPORTED


def test_every_call_gives_findings_of_its_own() -> None:
    first = label("The heart is enlarged.", "en")
    first[0].instances[0].side = Side.LEFT
    assert label("The heart is enlarged.", "en")[0].instances[0].side is None
