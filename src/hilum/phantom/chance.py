"""What is wrong with a phantom, drawn at random; nothing here draws a pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hilum.findings import Region, Side
from hilum.phantom.findings import (
    BONE_END,
    REGION_ANGLES,
    RIBS_THAT_BREAK,
    Band,
    ClavicleFracture,
    Effusion,
    FractureKind,
    Lesions,
    Nodule,
    Opacity,
    Pneumothorax,
    RibFracture,
    rib_end,
)


@dataclass(frozen=True)
class Prevalence:
    """How often each lesion is drawn; ``fractures`` and the like are (fewest, most).

    ``kinds``: what a fracture is drawn from, each entry as likely as the next. ``several``: how
    often a film with a broken rib has more than one.
    """

    cardiomegaly: float = 0.4
    effusion: float = 0.35
    pneumothorax: float = 0.3
    nodule: float = 0.35
    opacity: float = 0.35
    atelectasis: float = 0.2
    fracture: float = 0.5
    clavicle: float = 0.15
    devices: float = 0.3
    nodules: tuple[int, int] = (1, 1)
    opacities: tuple[int, int] = (1, 1)
    fractures: tuple[int, int] = (2, 4)
    several: float = 0.25
    kinds: tuple[FractureKind, ...] = tuple(FractureKind)


STANDARD = Prevalence()
# Crowded films teach a detector fastest: a film with one fracture is mostly background. Half of
# their fractures are the kind that is hardest to see.
CROWDED = replace(
    STANDARD,
    nodule=0.7,
    opacity=0.5,
    atelectasis=0.4,
    fracture=0.95,
    clavicle=0.5,
    nodules=(1, 3),
    opacities=(1, 2),
    fractures=(4, 10),
    several=1.0,
    kinds=(*FractureKind, FractureKind.NONDISPLACED, FractureKind.NONDISPLACED),
)


def _side(rng: np.random.Generator) -> Side:
    return Side.LEFT if rng.random() < 0.5 else Side.RIGHT


def _break(rng: np.random.Generator, kind: FractureKind) -> dict[str, float]:
    """Sizes (mm) of one break of a kind."""
    u, sign = rng.uniform, rng.choice([-1, 1])
    if kind is FractureKind.DISPLACED:
        return {
            "gap": u(0.8, 2.5),
            "step": sign * u(4, 8),
            "slip": u(-4, 4),
            "decay": u(50, 110),
        }
    if kind is FractureKind.NONDISPLACED:
        return {"gap": u(1.2, 2.6), "step": sign * u(0.8, 1.8), "decay": 40.0}
    if kind is FractureKind.HEALING:
        return {"callus_length": u(5, 8), "callus_gain": u(0.5, 0.9)}
    return {
        "bend": sign * u(3, 5),
        "callus_length": u(9, 14),
        "callus_gain": u(0.2, 0.4),
    }


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
    return RibFracture(
        side=side, rib=rib, region=region, kind=kind, angle=angle, **_break(rng, kind)
    )


def draw_clavicle(
    rng: np.random.Generator, side: Side, kinds: tuple[FractureKind, ...] = STANDARD.kinds
) -> ClavicleFracture:
    """One fracture of a collar bone, most often of its middle third."""
    kind = kinds[rng.integers(len(kinds))]
    along = float(np.clip(rng.normal(0.55, 0.13), 0.25, 0.85))
    return ClavicleFracture(side=side, kind=kind, along=along, **_break(rng, kind))


def _draw_fractures(rng: np.random.Generator, prevalence: Prevalence) -> list[RibFracture]:
    """One broken rib, or several: neighbours on one side, as one blow leaves them."""
    several = rng.random() < prevalence.several
    low, high = prevalence.fractures if several else (1, 1)
    count = int(rng.integers(low, high + 1))
    ribs = [(side, rib) for side in (Side.LEFT, Side.RIGHT) for rib in RIBS_THAT_BREAK]
    if several and high <= len(RIBS_THAT_BREAK) // 2:
        side, first = _side(rng), int(rng.integers(RIBS_THAT_BREAK.start, RIBS_THAT_BREAK.stop))
        first = min(first, RIBS_THAT_BREAK.stop - count)
        chosen = [(side, first + k) for k in range(count)]
    else:
        chosen = [ribs[i] for i in rng.permutation(len(ribs))[:count]]
    return [draw_fracture(rng, side, rib, prevalence.kinds) for side, rib in chosen]


def _zone(y: float, high: float) -> Region:
    return Region.UPPER if y < -45 * high else Region.MID if y < 20 * high else Region.LOWER


def _place_in_lung(
    rng: np.random.Generator, side: Side, scale: tuple[float, float], top: float = -95
) -> tuple[float, float]:
    """A point of a lung, clear of heart and mediastinum; ``scale`` is (width, height)."""
    wide, high = scale
    while True:
        x, y = rng.uniform(42, 112) * wide, rng.uniform(top, 52) * high
        # inside the lung's outline, and on the left above the heart's border
        if math.hypot((x / wide - 70) / 50, y / high / 125) > 1:
            continue
        if y > 10 * high and x < (85 if side is Side.LEFT else 62) * wide:
            continue
        return (x if side is Side.LEFT else -x), y


def draw_nodule(rng: np.random.Generator, side: Side, scale: tuple[float, float]) -> Nodule:
    """One nodule of 6-13 mm radius."""
    x, y = _place_in_lung(rng, side, scale)
    return Nodule(side, _zone(y, scale[1]), x, y, rng.uniform(6, 13))


def draw_opacity(rng: np.random.Generator, side: Side, scale: tuple[float, float]) -> Opacity:
    """One consolidation of 36-80 mm."""
    x, y = _place_in_lung(rng, side, scale)
    reach = (rng.uniform(20, 40), rng.uniform(18, 34))
    turn, density = rng.uniform(-0.8, 0.8), rng.uniform(0.32, 0.8)
    return Opacity(side, _zone(y, scale[1]), x, y, reach, turn, density)


def draw_band(rng: np.random.Generator, side: Side, scale: tuple[float, float]) -> Band:
    """One band of atelectasis in the middle or lower lung."""
    x, y = _place_in_lung(rng, side, scale, top=-20)
    u = rng.uniform
    return Band(
        side,
        _zone(y, scale[1]),
        x,
        y,
        length=u(34, 62),
        thickness=u(1.8, 3.2),
        turn=u(-0.5, 0.5),
        bow=u(-10, 10),
        path=u(12, 24),
    )


def draw_lesions(
    rng: np.random.Generator, prevalence: Prevalence, scale: tuple[float, float]
) -> Lesions:
    """Lesions of one phantom; none is hidden in an effusion or a pneumothorax."""
    p, high = prevalence, scale[1]
    cardiomegaly = bool(rng.random() < p.cardiomegaly)
    effusion = pneumothorax = None
    if rng.random() < p.effusion:
        effusion = Effusion(
            _side(rng), height=rng.uniform(8, 65) * high, meniscus=rng.uniform(22, 40)
        )
    if rng.random() < p.pneumothorax:
        pneumothorax = Pneumothorax(_side(rng), size=rng.uniform(0.10, 0.30))

    def seen(share: float, counts: tuple[int, int], draw: Any) -> list[Any]:
        """As many as drawn, on a side with its lung in place, and not under the fluid."""
        found: list[Any] = []
        if rng.random() >= share:
            return found
        for _ in range(rng.integers(counts[0], counts[1] + 1)):
            side = _side(rng)
            if pneumothorax and pneumothorax.side is side:
                side = Side.LEFT if side is Side.RIGHT else Side.RIGHT
            lesion = draw(rng, side, scale)
            if not (effusion and effusion.side is side and lesion.y > 20 * high):
                found.append(lesion)
        return found

    nodules = seen(p.nodule, p.nodules, draw_nodule)
    opacities = seen(p.opacity, p.opacities, draw_opacity)
    # a nodule in a consolidation cannot be told from it
    nodules = [
        n
        for n in nodules
        if all(math.dist((n.x, n.y), (o.x, o.y)) > 1.4 * max(o.reach) for o in opacities)
    ]
    bands = seen(p.atelectasis, (1, 1), draw_band)
    fractures = _draw_fractures(rng, p) if rng.random() < p.fracture else []
    clavicles = [draw_clavicle(rng, _side(rng), p.kinds)] if rng.random() < p.clavicle else []
    return Lesions(
        cardiomegaly,
        effusion,
        pneumothorax,
        tuple(nodules),
        tuple(opacities),
        tuple(bands),
        tuple(fractures),
        tuple(clavicles),
    )
