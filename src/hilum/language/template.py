"""Findings to sentences, by template, in English and Chinese.

The embedded reader was trained on these very sentences: rewording one means training it again.
One sentence a located occurrence, or one a finding that has none.
"""

from __future__ import annotations

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
)
from hilum.report import Language

# Sentences that are not the plain "Possible nodule." / "No nodule.": finding -> status.
FIXED: dict[Language, dict[tuple[FindingName, Status], str]] = {
    "en": {
        (FindingName.CARDIOMEGALY, Status.PRESENT): "The heart is enlarged.",
        (FindingName.CARDIOMEGALY, Status.ABSENT): "Heart size is normal.",
        (FindingName.NODULE, Status.ABSENT): "No pulmonary nodule.",
        (FindingName.NO_FINDING, Status.PRESENT): "No abnormality is seen.",
        (FindingName.NO_FINDING, Status.ABSENT): "The film is not normal.",
        (FindingName.NO_FINDING, Status.UNCERTAIN): "No definite abnormality is seen.",
    },
    "zh": {
        (FindingName.CARDIOMEGALY, Status.PRESENT): "心影增大。",
        (FindingName.CARDIOMEGALY, Status.ABSENT): "心影大小正常。",
        (FindingName.NODULE, Status.ABSENT): "未见肺结节。",
        (FindingName.NO_FINDING, Status.PRESENT): "未见异常。",
        (FindingName.NO_FINDING, Status.ABSENT): "影像有异常。",
        (FindingName.NO_FINDING, Status.UNCERTAIN): "未见明确异常。",
    },
}
BONES: dict[Bone, tuple[str, str]] = {
    Bone.RIB: ("rib", "肋骨"),
    Bone.CLAVICLE: ("clavicle", "锁骨"),
    Bone.VERTEBRA: ("vertebra", "椎体"),
    Bone.STERNUM: ("sternum", "胸骨"),
    Bone.SCAPULA: ("scapula", "肩胛骨"),
    Bone.HUMERUS: ("humerus", "肱骨"),
    Bone.OTHER: ("bone", "骨"),
}
SIDES: dict[Side, tuple[str, str]] = {
    Side.LEFT: ("left", "左"),
    Side.RIGHT: ("right", "右"),
    Side.BILATERAL: ("bilateral", "双"),
    Side.MIDLINE: ("midline", "中线"),
}
REGIONS: dict[Region, tuple[str, str]] = {
    Region.ANTERIOR: ("anterior", "前段"),
    Region.LATERAL: ("lateral", "腋段"),
    Region.POSTERIOR: ("posterior", "后段"),
    Region.UPPER: ("upper", "上"),
    Region.MID: ("mid", "中"),
    Region.LOWER: ("lower", "下"),
}
STAGES: dict[Stage, tuple[str, str]] = {
    Stage.ACUTE: ("acute", "新鲜骨折"),
    Stage.HEALING: ("healing", "骨折愈合期"),
    Stage.OLD: ("old", "陈旧性骨折"),
}
DISPLACEMENTS: dict[Displacement, tuple[str, str]] = {
    Displacement.DISPLACED: ("displaced", "，断端移位"),
    Displacement.NONDISPLACED: ("nondisplaced", "，断端无明显移位"),
}


def ordinal(n: int) -> str:
    """1st, 2nd, 3rd, 4th ... 12th."""
    return f"{n}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(n, 'th') }"


def write(findings: list[Finding], language: Language) -> str:
    """A report on the findings, in their order.

    A parent that is present through its child, and has no place of its own, is not said twice.
    An unknown language raises ``language_unsupported``.
    """
    if language not in FIXED:
        raise HilumError(Code.LANGUAGE_UNSUPPORTED, language, "choose en or zh")
    sentences = [s for f in to_say(findings) for s in sentence(f, language)]
    return (" " if language == "en" else "").join(sentences)


def to_say(findings: list[Finding]) -> list[Finding]:
    """The findings that need a sentence: a parent is told by its child where it has no place."""
    by_child = {FINDINGS[f.name].parent for f in findings if f.present}
    return [f for f in findings if f.instances or f.name not in by_child]


def sentence(finding: Finding, language: Language) -> list[str]:
    """The sentences of one finding: one an instance, one where there is none."""
    fixed = FIXED[language].get((finding.name, finding.status))
    if fixed:
        return [fixed]
    if finding.status is Status.ABSENT:
        term = FINDINGS[finding.name].en if language == "en" else FINDINGS[finding.name].zh
        return [f"No {term}." if language == "en" else f"未见{term}。"]
    hedge = finding.status is Status.UNCERTAIN
    return [_located(finding.name, i, language, hedge) for i in finding.instances or [Instance()]]


def _located(name: FindingName, instance: Instance, language: Language, hedge: bool) -> str:
    if name is FindingName.FRACTURE:
        phrase = _fracture_en(instance) if language == "en" else _fracture_zh(instance)
    else:
        phrase = _lesion_en(name, instance) if language == "en" else _lesion_zh(name, instance)
    if language == "en":
        phrase = f"possible {phrase}" if hedge else phrase
        return f"{phrase[0].upper()}{phrase[1:]}."
    return f"{phrase}可能。" if hedge else f"{phrase}。"


def _lesion_en(name: FindingName, instance: Instance) -> str:
    side = SIDES[instance.side][0] if instance.side else ""
    term = FINDINGS[name].en
    if instance.region:
        zone = f"{side} {REGIONS[instance.region][0]}".strip()
        return f"{term} in the {zone} lung zone"
    return f"{side} {term}".strip()


def _lesion_zh(name: FindingName, instance: Instance) -> str:
    side = SIDES[instance.side][1] if instance.side else ""
    term = FINDINGS[name].zh
    if instance.region:
        return f"{side}肺{REGIONS[instance.region][1]}野{term}"
    return f"{side}侧{term}" if side else term


def _fracture_en(instance: Instance) -> str:
    kind = [STAGES[instance.stage][0]] if instance.stage else []
    kind += [DISPLACEMENTS[instance.displacement][0]] if instance.displacement else []
    phrase = " ".join([*kind, "fracture"])
    side = [SIDES[instance.side][0]] if instance.side else []
    where = [REGIONS[instance.region][0]] if instance.region else []
    where += side
    where += [", ".join(map(ordinal, instance.ribs))] if instance.ribs else []
    if instance.bone:
        return " ".join([phrase, "of the", *where, BONES[instance.bone][0]])
    if where == side:
        return " ".join([*side, phrase])
    return f"{phrase}, {' '.join(where)}"


def _fracture_zh(instance: Instance) -> str:
    side = f"{SIDES[instance.side][1]}侧" if instance.side else ""
    ribs = f"第{'、'.join(map(str, instance.ribs))}" if instance.ribs else ""
    bone = BONES[instance.bone][1] if instance.bone else ""
    region = REGIONS[instance.region][1] if instance.region else ""
    kind = STAGES[instance.stage][1] if instance.stage else "骨折"
    moved = DISPLACEMENTS[instance.displacement][1] if instance.displacement else ""
    return f"{side}{ribs}{bone}{region}{kind}{moved}"
