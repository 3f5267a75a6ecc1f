"""What is wrong with one phantom: lesions, drawn at random, as plain numbers.

Lengths are in millimetres. Nothing here draws a pixel: :mod:`~hilum.phantom.anatomy` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

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
    """The three simulated appearances of a rib fracture."""

    DISPLACED = "displaced"
    NONDISPLACED = "nondisplaced"
    HEALING = "healing"


@dataclass(frozen=True)
class RibFracture:
    """A break across one rib at ``angle`` along it.

    Displaced: a step of 4-8 mm. Not displaced: a gap of 1.2-2.6 mm and a step below 1.8 mm.
    Healing: no gap, a callus. ``decay`` is the length over which the step fades out.
    """

    side: Side
    rib: int
    region: Region
    kind: FractureKind
    angle: float
    gap: float = 0.0
    step: float = 0.0
    slip: float = 0.0
    decay: float = 1.0
    callus_length: float = 1.0
    callus_gain: float = 0.0


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
class Lesions:
    """Everything that is wrong with one phantom."""

    cardiomegaly: bool = False
    effusion: Effusion | None = None
    pneumothorax: Pneumothorax | None = None
    nodules: tuple[Nodule, ...] = ()
    fractures: tuple[RibFracture, ...] = ()


@dataclass(frozen=True)
class Prevalence:
    """How often each lesion is drawn; ``fractures`` and ``nodules`` are (fewest, most).

    ``kinds``: what a fracture is drawn from, each entry as likely as the next.
    """

    cardiomegaly: float = 0.4
    effusion: float = 0.4
    pneumothorax: float = 0.35
    nodule: float = 0.4
    fracture: float = 0.5
    nodules: tuple[int, int] = (1, 1)
    fractures: tuple[int, int] = (1, 1)
    kinds: tuple[FractureKind, ...] = tuple(FractureKind)


STANDARD = Prevalence()
# Crowded films teach a detector fastest: a film with one fracture is mostly background. Half of
# their fractures are the kind that is hardest to see.
CROWDED = replace(
    STANDARD,
    nodule=0.8,
    fracture=0.95,
    nodules=(1, 3),
    fractures=(4, 10),
    kinds=(*FractureKind, FractureKind.NONDISPLACED),
)


def _side(rng: np.random.Generator) -> Side:
    return Side.LEFT if rng.random() < 0.5 else Side.RIGHT


def draw_fracture(
    rng: np.random.Generator,
    side: Side,
    rib: int,
    kinds: tuple[FractureKind, ...] = STANDARD.kinds,
) -> RibFracture:
    """One fracture of the given rib: region, kind and size drawn at random."""
    region = list(REGION_ANGLES)[rng.integers(3)]
    kind = kinds[rng.integers(len(kinds))]
    low, high = REGION_ANGLES[region]
    angle = rng.uniform(low, min(high, rib_end(rib) - BONE_END))
    base = RibFracture(side, rib, region, kind, angle)
    sign = rng.choice([-1, 1])
    if kind is FractureKind.DISPLACED:
        return replace(
            base,
            gap=rng.uniform(0.8, 2.5),
            step=sign * rng.uniform(4, 8),
            slip=rng.uniform(-4, 4),
            decay=rng.uniform(50, 110),
        )
    if kind is FractureKind.NONDISPLACED:
        return replace(
            base, gap=rng.uniform(1.2, 2.6), step=sign * rng.uniform(0.8, 1.8), decay=40.0
        )
    return replace(base, callus_length=rng.uniform(5, 8), callus_gain=rng.uniform(0.5, 0.9))


def draw_nodule(rng: np.random.Generator, side: Side, scale: tuple[float, float]) -> Nodule:
    """One nodule in a lung, clear of heart and mediastinum; ``scale`` is (width, height)."""
    wide, high = scale
    while True:
        x, y = rng.uniform(42, 112) * wide, rng.uniform(-95, 72) * high
        radius = rng.uniform(6, 13)
        # inside the lung's outline, and on the left above the heart's border
        if math.hypot((x / wide - 70) / 50, y / high / 125) > 1:
            continue
        if side is Side.LEFT and y > 10 * high and x < 85 * wide:
            continue
        if side is Side.RIGHT and y > 10 * high and x < 62 * wide:
            continue
        region = Region.UPPER if y < -45 * high else Region.MID if y < 20 * high else Region.LOWER
        return Nodule(side, region, x if side is Side.LEFT else -x, y, radius)


def draw_lesions(
    rng: np.random.Generator, prevalence: Prevalence, scale: tuple[float, float]
) -> Lesions:
    """Lesions of one phantom; a nodule is never hidden in an effusion or a pneumothorax."""
    cardiomegaly = bool(rng.random() < prevalence.cardiomegaly)
    effusion = pneumothorax = None
    if rng.random() < prevalence.effusion:
        effusion = Effusion(
            _side(rng), height=rng.uniform(8, 65) * scale[1], meniscus=rng.uniform(22, 40)
        )
    if rng.random() < prevalence.pneumothorax:
        pneumothorax = Pneumothorax(_side(rng), size=rng.uniform(0.10, 0.30))
    nodules: list[Nodule] = []
    if rng.random() < prevalence.nodule:
        for _ in range(rng.integers(prevalence.nodules[0], prevalence.nodules[1] + 1)):
            side = _side(rng)
            if pneumothorax and pneumothorax.side is side:
                side = Side.LEFT if side is Side.RIGHT else Side.RIGHT
            nodule = draw_nodule(rng, side, scale)
            drowned = effusion and effusion.side is side and nodule.y > 20 * scale[1]
            if not drowned:
                nodules.append(nodule)
    fractures: list[RibFracture] = []
    if rng.random() < prevalence.fracture:
        count = int(rng.integers(prevalence.fractures[0], prevalence.fractures[1] + 1))
        ribs = [(side, rib) for side in (Side.LEFT, Side.RIGHT) for rib in RIBS_THAT_BREAK]
        for place in rng.permutation(len(ribs))[:count]:
            side, rib = ribs[place]
            fractures.append(draw_fracture(rng, side, rib, prevalence.kinds))
    return Lesions(cardiomegaly, effusion, pneumothorax, tuple(nodules), tuple(fractures))
