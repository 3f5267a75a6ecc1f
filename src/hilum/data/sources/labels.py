"""Published labels: CheXpert's columns packed small, and PadChest's words as findings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hilum.findings import (
    Bone,
    Finding,
    FindingName,
    Instance,
    Side,
    Stage,
    Status,
    with_parents,
)

CHEXPERT = list(FindingName)[:14]
_BY_COLUMN = {name.value.replace("_", " "): n for n, name in enumerate(CHEXPERT)}
_STATUS = {"+": Status.PRESENT, "-": Status.ABSENT, "?": Status.UNCERTAIN}
_SIGN = {1.0: "+", 0.0: "-", -1.0: "?"}


def pack(row: Mapping[str, Any]) -> str:
    """14 characters for the CheXpert columns of a row: + - ? or a space for not mentioned."""
    signs = [" "] * len(CHEXPERT)
    for column, value in row.items():
        at = _BY_COLUMN.get(column.strip().lower())
        if at is not None:
            signs[at] = _sign(value)
    return "".join(signs)


def unpack(signs: str) -> dict[FindingName, Status]:
    """What :func:`pack` packed."""
    return {CHEXPERT[n]: _STATUS[sign] for n, sign in enumerate(signs) if sign in _STATUS}


def _sign(value: Any) -> str:
    try:
        return _SIGN.get(float(value), " ")
    except (TypeError, ValueError):
        return " "


# PadChest's labels (Bustos et al., 2020, their tree of radiographic findings) that have a name.
_PADCHEST: dict[str, FindingName] = {
    "normal": FindingName.NO_FINDING,
    "cardiomegaly": FindingName.CARDIOMEGALY,
    "mediastinal enlargement": FindingName.ENLARGED_CARDIOMEDIASTINUM,
    "pulmonary edema": FindingName.EDEMA,
    "consolidation": FindingName.CONSOLIDATION,
    "pneumonia": FindingName.PNEUMONIA,
    "atypical pneumonia": FindingName.PNEUMONIA,
    "alveolar pattern": FindingName.LUNG_OPACITY,
    "increased density": FindingName.LUNG_OPACITY,
    "infiltrates": FindingName.INFILTRATION,
    "interstitial pattern": FindingName.INFILTRATION,
    "atelectasis": FindingName.ATELECTASIS,
    "laminar atelectasis": FindingName.ATELECTASIS,
    "lobar atelectasis": FindingName.ATELECTASIS,
    "total atelectasis": FindingName.ATELECTASIS,
    "pneumothorax": FindingName.PNEUMOTHORAX,
    "hydropneumothorax": FindingName.PNEUMOTHORAX,
    "pleural effusion": FindingName.PLEURAL_EFFUSION,
    "loculated pleural effusion": FindingName.PLEURAL_EFFUSION,
    "pleural thickening": FindingName.PLEURAL_THICKENING,
    "apical pleural thickening": FindingName.PLEURAL_THICKENING,
    "calcified pleural thickening": FindingName.PLEURAL_THICKENING,
    "nodule": FindingName.NODULE,
    "multiple nodules": FindingName.NODULE,
    "mass": FindingName.MASS,
    "pulmonary mass": FindingName.MASS,
    "granuloma": FindingName.GRANULOMA,
    "calcified granuloma": FindingName.GRANULOMA,
    "emphysema": FindingName.EMPHYSEMA,
    "fibrotic band": FindingName.FIBROSIS,
    "pulmonary fibrosis": FindingName.FIBROSIS,
    "hiatal hernia": FindingName.HERNIA,
    "pacemaker": FindingName.SUPPORT_DEVICES,
    "dual chamber device": FindingName.SUPPORT_DEVICES,
    "single chamber device": FindingName.SUPPORT_DEVICES,
    "central venous catheter": FindingName.SUPPORT_DEVICES,
    "endotracheal tube": FindingName.SUPPORT_DEVICES,
    "nsg tube": FindingName.SUPPORT_DEVICES,
    "chest drain tube": FindingName.SUPPORT_DEVICES,
    "tracheostomy tube": FindingName.SUPPORT_DEVICES,
}
# A compressed vertebra is a fracture only where the label says so.
_FRACTURES: dict[str, tuple[Bone | None, Stage | None]] = {
    "fracture": (None, None),
    "rib fracture": (Bone.RIB, None),
    "callus rib fracture": (Bone.RIB, Stage.HEALING),
    "clavicle fracture": (Bone.CLAVICLE, None),
    "humeral fracture": (Bone.HUMERUS, None),
    "vertebral fracture": (Bone.VERTEBRA, None),
}
_SIDES = {"loc left": Side.LEFT, "loc right": Side.RIGHT, "loc bilateral": Side.BILATERAL}


def padchest_findings(sentences: list[list[str]]) -> list[Finding]:
    """Findings of PadChest's labels, which stand with their locations, a list a sentence.

    A label says that something is there; what has no name of ours is passed over, and the
    label "exclude" or "suboptimal study" names nothing.
    """
    found: dict[FindingName, Finding] = {}
    for words in sentences:
        plain = [re.sub(r"\s+", " ", word).strip().lower() for word in words]
        sides = {_SIDES[word] for word in plain if word in _SIDES}
        side = Side.BILATERAL if len(sides) > 1 else next(iter(sides), None)
        for word in plain:
            if word in _PADCHEST:
                name = _PADCHEST[word]
                found.setdefault(name, Finding(name=name, status=Status.PRESENT))
            elif word in _FRACTURES:
                bone, stage = _FRACTURES[word]
                fracture = found.setdefault(
                    FindingName.FRACTURE,
                    Finding(name=FindingName.FRACTURE, status=Status.PRESENT),
                )
                instance = Instance(bone=bone, side=side, stage=stage)
                if instance not in fracture.instances:
                    fracture.instances.append(instance)
    return with_parents(list(found.values()))
