"""Findings: what a report says is there, is not there, or may be there.

One table, :data:`FINDINGS`, holds every name with its parent, terms and SNOMED CT code.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Rib = Annotated[int, Field(ge=1, le=12)]


class FindingName(StrEnum):
    """CheXpert's 14 names and eight more; a child's presence makes its parent present."""

    NO_FINDING = "no_finding"
    ENLARGED_CARDIOMEDIASTINUM = "enlarged_cardiomediastinum"
    CARDIOMEGALY = "cardiomegaly"
    LUNG_LESION = "lung_lesion"
    LUNG_OPACITY = "lung_opacity"
    EDEMA = "edema"
    CONSOLIDATION = "consolidation"
    PNEUMONIA = "pneumonia"
    ATELECTASIS = "atelectasis"
    PNEUMOTHORAX = "pneumothorax"
    PLEURAL_EFFUSION = "pleural_effusion"
    PLEURAL_OTHER = "pleural_other"
    FRACTURE = "fracture"
    SUPPORT_DEVICES = "support_devices"
    NODULE = "nodule"
    MASS = "mass"
    GRANULOMA = "granuloma"
    INFILTRATION = "infiltration"
    EMPHYSEMA = "emphysema"
    FIBROSIS = "fibrosis"
    PLEURAL_THICKENING = "pleural_thickening"
    HERNIA = "hernia"


class Status(StrEnum):
    """What a report says of a finding; a finding that is not listed is unmentioned."""

    PRESENT = "present"
    ABSENT = "absent"
    UNCERTAIN = "uncertain"


class Bone(StrEnum):
    """The bone an instance lies in."""

    RIB = "rib"
    CLAVICLE = "clavicle"
    VERTEBRA = "vertebra"
    STERNUM = "sternum"
    SCAPULA = "scapula"
    HUMERUS = "humerus"
    OTHER = "other"


class Side(StrEnum):
    """The patient's side, never the picture's."""

    LEFT = "left"
    RIGHT = "right"
    BILATERAL = "bilateral"
    MIDLINE = "midline"


class Region(StrEnum):
    """Part of a rib (anterior, lateral, posterior) or lung zone (upper, mid, lower)."""

    ANTERIOR = "anterior"
    LATERAL = "lateral"
    POSTERIOR = "posterior"
    UPPER = "upper"
    MID = "mid"
    LOWER = "lower"


class Displacement(StrEnum):
    """Whether the fragments of a fracture have moved."""

    DISPLACED = "displaced"
    NONDISPLACED = "nondisplaced"


class Stage(StrEnum):
    """Age of a fracture."""

    ACUTE = "acute"
    HEALING = "healing"
    OLD = "old"


class FindingInfo(NamedTuple):
    """One row of the table: parent, terms, and SNOMED CT code (None where none was verified)."""

    parent: FindingName | None
    en: str
    zh: str
    snomed: str | None


_N = FindingName
FINDINGS: dict[FindingName, FindingInfo] = {
    _N.NO_FINDING: FindingInfo(None, "no finding", "未见异常", None),
    _N.ENLARGED_CARDIOMEDIASTINUM: FindingInfo(
        None, "enlarged cardiomediastinum", "纵隔增宽", None
    ),
    _N.CARDIOMEGALY: FindingInfo(None, "cardiomegaly", "心影增大", "287272002"),
    _N.LUNG_LESION: FindingInfo(None, "lung lesion", "肺部病灶", None),
    _N.LUNG_OPACITY: FindingInfo(None, "lung opacity", "肺部阴影", None),
    _N.EDEMA: FindingInfo(None, "pulmonary edema", "肺水肿", "19242006"),
    _N.CONSOLIDATION: FindingInfo(None, "consolidation", "实变", "95436008"),
    _N.PNEUMONIA: FindingInfo(None, "pneumonia", "肺炎", "233604007"),
    _N.ATELECTASIS: FindingInfo(None, "atelectasis", "肺不张", "46621007"),
    _N.PNEUMOTHORAX: FindingInfo(None, "pneumothorax", "气胸", "36118008"),
    _N.PLEURAL_EFFUSION: FindingInfo(None, "pleural effusion", "胸腔积液", "60046008"),
    _N.PLEURAL_OTHER: FindingInfo(None, "other pleural abnormality", "其他胸膜病变", None),
    _N.FRACTURE: FindingInfo(None, "fracture", "骨折", "72704001"),
    _N.SUPPORT_DEVICES: FindingInfo(None, "support devices", "置入装置", None),
    _N.NODULE: FindingInfo(_N.LUNG_LESION, "nodule", "结节", "27925004"),
    _N.MASS: FindingInfo(_N.LUNG_LESION, "mass", "肿块", "4147007"),
    _N.GRANULOMA: FindingInfo(_N.LUNG_LESION, "granuloma", "肉芽肿", None),
    _N.INFILTRATION: FindingInfo(_N.LUNG_OPACITY, "infiltration", "浸润", "409609008"),
    _N.EMPHYSEMA: FindingInfo(None, "emphysema", "肺气肿", "87433001"),
    _N.FIBROSIS: FindingInfo(None, "fibrosis", "纤维化", "51615001"),
    _N.PLEURAL_THICKENING: FindingInfo(_N.PLEURAL_OTHER, "pleural thickening", "胸膜增厚", None),
    _N.HERNIA: FindingInfo(None, "hernia", "疝", None),
}


class Record(BaseModel):
    """Base of the nouns: unknown keys are refused, values are checked on assignment.

    Numbers are finite: JSON has no infinity and no NaN.
    """

    model_config = ConfigDict(
        extra="forbid",
        validate_assignment=True,
        allow_inf_nan=False,
        json_schema_serialization_defaults_required=True,  # every key is always printed
    )


class Box(Record):
    """A rectangle ``xyxy`` in original pixels of view number ``view`` (counted from 0).

    x runs to the picture's right, y down; pixel centres lie at whole numbers.
    A box with no width or height, or turned over, is refused.
    """

    view: Annotated[int, Field(ge=0)] = 0
    xyxy: tuple[float, float, float, float]

    @field_validator("xyxy")
    @classmethod
    def _ordered(cls, xyxy: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        x0, y0, x1, y1 = xyxy
        if not (x0 < x1 and y0 < y1):
            raise ValueError(f"box {xyxy} must have x0 < x1 and y0 < y1")
        return xyxy

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box, in pixels."""
        x0, y0, x1, y1 = self.xyxy
        return (x0 + x1) / 2, (y0 + y1) / 2


class Instance(Record):
    """One located occurrence of a finding; what is unknown is None."""

    bone: Bone | None = None
    side: Side | None = None
    ribs: list[Rib] = Field(default_factory=list)
    region: Region | None = None
    displacement: Displacement | None = None
    stage: Stage | None = None
    box: Box | None = None
    probability: Probability | None = None
    span: tuple[int, int] | None = None


class Finding(Record):
    """One finding of a study, with its located occurrences."""

    name: FindingName
    status: Status
    probability: Probability | None = None
    instances: list[Instance] = Field(default_factory=list)

    @property
    def present(self) -> bool:
        """True where the status is present."""
        return self.status is Status.PRESENT


def with_parents(findings: list[Finding]) -> list[Finding]:
    """Add, or raise to present, the parent of every present child.

    The parent takes no probability of its own and repeats no instance. The order is kept;
    added parents follow their children. A parent already present is left alone.
    """
    byname = {f.name: f for f in findings}
    for finding in findings:
        parent = FINDINGS[finding.name].parent
        if parent is None or not finding.present:
            continue
        known = byname.get(parent)
        if known is None or not known.present:
            byname[parent] = Finding(name=parent, status=Status.PRESENT)
    return list(byname.values())
