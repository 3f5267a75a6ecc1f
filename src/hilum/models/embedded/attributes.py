"""What the attribute head's answers stand for, in the order of :data:`ATTRIBUTES`."""

from __future__ import annotations

from collections.abc import Sequence

from hilum.findings import Bone, Displacement, Instance, Region, Side, Stage

RIBS = 12
REGIONS: list[Region | None] = [Region.POSTERIOR, Region.LATERAL, Region.ANTERIOR]
ZONES: list[Region | None] = [Region.UPPER, Region.MID, Region.LOWER]
SIDES: list[Side] = [Side.LEFT, Side.RIGHT]
KINDS: list[tuple[Displacement | None, Stage | None]] = [
    (Displacement.DISPLACED, Stage.ACUTE),
    (Displacement.NONDISPLACED, Stage.ACUTE),
    (None, Stage.HEALING),
    (None, Stage.OLD),
]
BONES: list[Bone | None] = [Bone.RIB, Bone.CLAVICLE]
# what the token of a proposal is taught to tell, and how many answers each has
ATTRIBUTES = {
    "rib": RIBS,
    "region": len(REGIONS),
    "kind": len(KINDS),
    "side": len(SIDES),
    "zone": len(ZONES),
    "bone": len(BONES),
}
_SIDED = ("pleural_effusion", "pneumothorax")
_ZONED = ("nodule", "lung_opacity", "atelectasis")


def occurrence(finding: str, answers: Sequence[int]) -> Instance:
    """One place read as a finding, from the likeliest answer of every attribute.

    Only what the finding has is said: an enlarged heart has no side, a collar bone no number.
    """
    rib, region, kind, side, zone, bone = answers
    if finding in _SIDED:
        return Instance(side=SIDES[side])
    if finding in _ZONED:
        return Instance(side=SIDES[side], region=ZONES[zone])
    if finding != "fracture":
        return Instance()
    displacement, stage = KINDS[kind]
    broken = Instance(bone=BONES[bone], side=SIDES[side], displacement=displacement, stage=stage)
    if broken.bone is Bone.RIB:
        return broken.model_copy(update={"ribs": [rib + 1], "region": REGIONS[region]})
    return broken
