"""What is wrong with one phantom: lesions as plain numbers, lengths in millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hilum.findings import Region, Side

RIBS_THAT_BREAK = range(3, 11)
# Angle along the rib, 0 at the spine, by region; the gaps between are left free so that the
# region is never a matter of opinion.
REGION_ANGLES = {
    Region.POSTERIOR: (0.45, 1.00),
    Region.LATERAL: (1.15, 1.60),
    Region.ANTERIOR: (1.75, 2.15),
}
REGION_BORDERS = (1.075, 1.675)
BONE_END = 0.1  # the last of a rib is cartilage, which hardly shows: no fracture there


def rib_end(rib: int) -> float:
    """Angle at which a rib ends in front; 8-10 join the rib above, 11 and 12 float."""
    return {11: 1.5, 12: 1.1}.get(rib, 2.35 if rib < 8 else 2.0)


class FractureKind(StrEnum):
    """The four simulated appearances of a fracture."""

    DISPLACED = "displaced"
    NONDISPLACED = "nondisplaced"
    HEALING = "healing"
    OLD = "old"


@dataclass(frozen=True, kw_only=True)
class Break:
    """How a long bone is broken.

    Displaced: a step of 4-8 mm. Not displaced: a gap of 1.2-2.6 mm and a step below 1.8 mm.
    Healing: no gap, a callus. Old: no gap, a bone that is bent and a little thick. ``decay`` is
    the length over which the step fades out, ``slip`` a step along the beam.
    """

    kind: FractureKind
    gap: float = 0.0
    step: float = 0.0
    slip: float = 0.0
    decay: float = 1.0
    callus_length: float = 1.0
    callus_gain: float = 0.0
    bend: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RibFracture(Break):
    """A break across one rib at ``angle`` along it."""

    side: Side
    rib: int
    region: Region
    angle: float


@dataclass(frozen=True, kw_only=True)
class ClavicleFracture(Break):
    """A break across a collar bone; ``along``: 0 at the sternum, 1 at the shoulder."""

    side: Side
    along: float


@dataclass(frozen=True)
class Nodule:
    """A ball of water density at (x, y) in the patient's frame."""

    side: Side
    region: Region
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Effusion:
    """Fluid up to ``height`` above the dome of the diaphragm, with a meniscus."""

    side: Side
    height: float
    meniscus: float


@dataclass(frozen=True)
class Pneumothorax:
    """Air in the pleural space; ``size`` is the share by which the lung has shrunk."""

    side: Side
    size: float


@dataclass(frozen=True)
class Opacity:
    """A consolidation: a cloud of half-axes ``reach`` that fills ``density`` of the air."""

    side: Side
    region: Region
    x: float
    y: float
    reach: tuple[float, float]
    turn: float
    density: float


@dataclass(frozen=True)
class Band:
    """A plate of collapsed lung seen on edge: a line ``thickness`` thick and ``path`` mm deep."""

    side: Side
    region: Region
    x: float
    y: float
    length: float
    thickness: float
    turn: float
    bow: float
    path: float


@dataclass(frozen=True)
class Lesions:
    """Everything that is wrong with one phantom."""

    cardiomegaly: bool = False
    effusion: Effusion | None = None
    pneumothorax: Pneumothorax | None = None
    nodules: tuple[Nodule, ...] = ()
    opacities: tuple[Opacity, ...] = ()
    bands: tuple[Band, ...] = ()
    fractures: tuple[RibFracture, ...] = ()
    clavicles: tuple[ClavicleFracture, ...] = ()
