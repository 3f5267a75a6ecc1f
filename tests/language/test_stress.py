"""Several hundred sentences as radiologists write them, in both languages, read whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from hilum.findings import FINDINGS, Bone, FindingName, Instance, Side, Status
from hilum.language import label
from hilum.report import Language

N = FindingName
LETTERS = {
    "A": N.ATELECTASIS,
    "B": N.FIBROSIS,
    "C": N.CARDIOMEGALY,
    "D": N.EDEMA,
    "E": N.PLEURAL_EFFUSION,
    "F": N.FRACTURE,
    "G": N.GRANULOMA,
    "H": N.EMPHYSEMA,
    "I": N.INFILTRATION,
    "K": N.CONSOLIDATION,
    "L": N.LUNG_LESION,
    "M": N.ENLARGED_CARDIOMEDIASTINUM,
    "N": N.NODULE,
    "O": N.LUNG_OPACITY,
    "P": N.PNEUMOTHORAX,
    "R": N.HERNIA,
    "S": N.MASS,
    "T": N.PLEURAL_THICKENING,
    "U": N.PNEUMONIA,
    "V": N.SUPPORT_DEVICES,
    "X": N.PLEURAL_OTHER,
}
STATUS = {"+": Status.PRESENT, "?": Status.UNCERTAIN, "-": Status.ABSENT}
STRENGTH = list(STATUS.values())
WORDS = {
    "rib": ("bone", "rib"),
    "clav": ("bone", "clavicle"),
    "vert": ("bone", "vertebra"),
    "stern": ("bone", "sternum"),
    "scap": ("bone", "scapula"),
    "hum": ("bone", "humerus"),
    "other": ("bone", "other"),
    "L": ("side", "left"),
    "R": ("side", "right"),
    "B": ("side", "bilateral"),
    "ant": ("region", "anterior"),
    "lat": ("region", "lateral"),
    "post": ("region", "posterior"),
    "disp": ("displacement", "displaced"),
    "nond": ("displacement", "nondisplaced"),
    "acute": ("stage", "acute"),
    "heal": ("stage", "healing"),
    "old": ("stage", "old"),
}
HERE = Path(__file__).parent


def lines(language: Language) -> list[str]:
    text = (HERE / f"stress_{language}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and line[0] != "#"]


def statuses(column: str) -> dict[FindingName, Status]:
    said = {LETTERS[word[0]]: STATUS[word[1]] for word in column.split()}
    for name, status in list(said.items()):
        parent = FINDINGS[name].parent
        if parent:
            said[parent] = min(status, said.get(parent, status), key=STRENGTH.index)
    return said


def places(column: str) -> Counter[str]:
    return Counter(described(place(told)) for told in column.split(";"))


def place(told: str) -> Instance:
    found = Instance()
    for word in told.split():
        if word in WORDS:
            setattr(found, *WORDS[word])
        else:
            spans = [run.partition("-") for run in word.split(",")]
            found.ribs = [n for a, _, b in spans for n in range(int(a), int(b or a) + 1)]
    if found.bone in (Bone.VERTEBRA, Bone.STERNUM):
        found.side = Side.MIDLINE
    return found


def described(i: Instance) -> str:
    return f"{i.bone} {i.side} {i.ribs} {i.region} {i.displacement} {i.stage}"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_is_said_and_where(language: Language) -> None:
    wrong = []
    for line in lines(language):
        text, said, *where = (part.strip() for part in line.split("|"))
        found = {f.name: f for f in label(text, language) if f.name is not N.NO_FINDING}
        expected = statuses(said)
        fracture = found.get(N.FRACTURE)
        told = Counter(map(described, fracture.instances if fracture else []))
        broken = expected.get(N.FRACTURE) in (Status.PRESENT, Status.UNCERTAIN)
        right = places(where[0] if where else "") if broken else Counter()
        if {n: f.status for n, f in found.items()} != expected or told != right:
            wrong.append(f"{text}: {found.keys()}, {told}")
    assert wrong == []


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_lists_are_long_and_say_nothing_twice(language: Language) -> None:
    texts = [line.partition("|")[0].strip() for line in lines(language)]
    assert len(texts) == len(set(texts)) > 150
