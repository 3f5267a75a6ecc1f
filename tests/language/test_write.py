"""Three styles that are all read back as what was written, and the canonical fracture."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    with_parents,
)
from hilum.language import canonical_fracture, label, write
from hilum.language.paraphrase import meaning, share_rewritten
from hilum.language.template import FIXED
from hilum.language.write import STYLES, Style
from hilum.report import LANGUAGES, Language

N, P, A, U = FindingName, Status.PRESENT, Status.ABSENT, Status.UNCERTAIN


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
lesions = st.builds(Instance, side=maybe(Side), region=maybe([*Region][3:]))


@st.composite
def reports(draw: st.DrawFn) -> list[Finding]:
    found = []
    for name in draw(st.lists(st.sampled_from(FindingName), unique=True, max_size=8)):
        status = draw(st.sampled_from(Status))
        placed = status is not A and (name, status) not in FIXED["en"]
        kind = fractures if name is N.FRACTURE else lesions
        instances = draw(st.lists(kind, max_size=3)) if placed else []
        found.append(Finding(name=name, status=status, instances=instances))
    return with_parents(found)


@settings(deadline=None, max_examples=200)
@given(reports(), st.sampled_from(LANGUAGES), st.sampled_from(STYLES), st.integers(0, 2**32))
def test_every_style_is_read_back_whole(
    findings: list[Finding], language: Language, style: Style, seed: int
) -> None:
    text = write(findings, language, style, seed)
    assert meaning(label(text, language)) == meaning(findings)
    assert meaning(label(text)) == meaning(findings)


RIB = Instance(bone=Bone.RIB, side=Side.RIGHT, ribs=[5, 6, 7], region=Region.LATERAL)
REPORT = [
    Finding(name=N.PNEUMOTHORAX, status=A),
    Finding(name=N.PLEURAL_EFFUSION, status=A),
    Finding(name=N.EDEMA, status=A),
    Finding(name=N.CARDIOMEGALY, status=P),
    Finding(name=N.ATELECTASIS, status=U, instances=[Instance(side=Side.LEFT)]),
    Finding(name=N.FRACTURE, status=P, instances=[RIB, Instance(bone=Bone.CLAVICLE)]),
]


@pytest.mark.parametrize("language", LANGUAGES)
def test_paraphrases_differ_from_the_template_and_from_each_other(language: Language) -> None:
    """Most sentences of a plain report are not the template's: the guard seldom steps in."""
    texts = [write(REPORT, language, "paraphrase", seed) for seed in range(40)]
    assert len(set(texts)) >= 38
    shares = [share_rewritten(REPORT, language, seed) for seed in range(40)]
    assert sum(shares) / len(shares) > 0.6


def test_a_seed_gives_the_same_words() -> None:
    assert write(REPORT, "en", "paraphrase", 3) == write(REPORT, "en", "paraphrase", 3)


def test_canonical_begins_with_the_fractures() -> None:
    assert write(REPORT, "en", "canonical").startswith("Fracture of the lateral right 5th")


def test_negations_are_merged() -> None:
    texts = [write(REPORT, "zh", "paraphrase", seed) for seed in range(20)]
    assert any("、" in text.replace("第5、6", "") for text in texts)


@pytest.mark.parametrize(
    ("report", "into", "expected"),
    [
        (
            "Healed right 10th and left 9th rib fractures.",
            None,
            "Old fracture of the left 9th rib. Old fracture of the right 10th rib.",
        ),
        ("右侧第5-7肋骨腋段骨折，断端错位。", None, "右侧第5、6、7肋骨腋段骨折，断端移位。"),
        (
            "右侧第5-7肋骨腋段骨折，断端错位。",
            "en",
            "Displaced fracture of the lateral right 5th, 6th, 7th rib.",
        ),
        (
            "There may be a fracture of the left clavicle.",
            None,
            "Possible fracture of the left clavicle.",
        ),
        ("No displaced rib fracture is seen. No pneumothorax.", None, "No fracture."),
        ("The lungs are clear.", None, ""),
        ("", None, ""),
        ("Fractures may not be visible.", "zh", ""),
        (
            "Right rib fractures. The right 5th rib is broken; fracture of the right 5th rib.",
            None,
            "Fracture of the right 5th rib.",
        ),
    ],
)
def test_canonical_fracture(report: str, into: Language | None, expected: str) -> None:
    assert canonical_fracture(report, into=into) == expected


@settings(deadline=None, max_examples=60)
@given(st.lists(fractures, min_size=1, max_size=2), st.sampled_from(LANGUAGES))
def test_the_canonical_description_is_its_own(places: list[Instance], language: Language) -> None:
    text = write([Finding(name=N.FRACTURE, status=P, instances=places)], language)
    once = canonical_fracture(text, language)
    assert canonical_fracture(once, language) == once


@pytest.mark.parametrize("style", ["", "free", None])
def test_an_unknown_style_is_refused(style: Any) -> None:
    with pytest.raises(HilumError) as caught:
        write([], "en", style)
    assert caught.value.code is Code.OPTION_INVALID


@pytest.mark.parametrize("style", STYLES)
def test_nothing_to_say(style: Style) -> None:
    assert write([], "en", style) == write([], "zh", style) == ""
