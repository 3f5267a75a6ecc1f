"""One phantom from a seed: the film, its truth, and where every rib runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hilum.findings import (
    Bone,
    Box,
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
from hilum.phantom import anatomy, skeleton, tissue
from hilum.phantom.findings import (
    STANDARD,
    FractureKind,
    Lesions,
    Prevalence,
    RibFracture,
    draw_lesions,
)
from hilum.phantom.physics import FIELD, Array, Exposure, expose, project

# Findings whose absence a phantom knows as surely as their presence.
SIMULATED = (
    FindingName.CARDIOMEGALY,
    FindingName.PLEURAL_EFFUSION,
    FindingName.PNEUMOTHORAX,
    FindingName.NODULE,
    FindingName.FRACTURE,
)
_KIND = {
    FractureKind.DISPLACED: (Displacement.DISPLACED, Stage.ACUTE),
    FractureKind.NONDISPLACED: (Displacement.NONDISPLACED, Stage.ACUTE),
    FractureKind.HEALING: (None, Stage.HEALING),
}


@dataclass(frozen=True)
class Film:
    """A simulated film: 12-bit pixels (bright bone), findings, and the ribs' tracks.

    ``tracks`` holds, per (side, rib number), an array (n, 3) of x, y in pixels and angle.
    """

    pixels: NDArray[np.uint16]
    findings: list[Finding]
    tracks: dict[tuple[Side, int], Array]
    mm_per_pixel: float


def simulate(
    seed: int,
    index: int,
    size: int = 512,
    prevalence: Prevalence = STANDARD,
    hide: bool = False,
) -> Film:
    """Phantom number ``index`` of a seed: the same arguments give the same film.

    Lesions, anatomy and exposure are drawn from separate streams, so ``hide=True`` gives the very
    film without its lesions: what an audit of tells needs. The truth still lists them (effusion
    and pneumothorax without a box, since nothing shows), and an enlarged heart stays enlarged.
    """
    stream = [np.random.default_rng([seed, index, part]) for part in range(4)]
    habitus = anatomy.Habitus.draw(stream[0], cardiomegaly=False)
    lesions = draw_lesions(stream[1], prevalence, (habitus.width, habitus.height))
    if lesions.cardiomegaly:
        habitus = replace(habitus, cardiothoracic=float(stream[1].uniform(0.54, 0.66)))
    shown = Lesions(cardiomegaly=lesions.cardiomegaly) if hide else lesions
    cage = skeleton.ribs(habitus, shown, stream[2])
    bone = skeleton.bone_path(cage, habitus, size, stream[2])
    soft = tissue.soft_tissue(anatomy.Grid.over(size, habitus), habitus, shown, stream[2])
    exposure = Exposure.draw(stream[3])
    return Film(
        pixels=expose(soft.water, bone, exposure, stream[3]),
        findings=_truth(lesions, habitus, cage, soft, size),
        tracks={(r.side, r.number): skeleton.rib_track(r, habitus, size) for r in cage},
        mm_per_pixel=FIELD / size,
    )


def _truth(
    lesions: Lesions,
    habitus: anatomy.Habitus,
    cage: list[skeleton.Rib],
    soft: tissue.SoftTissue,
    size: int,
) -> list[Finding]:
    found: dict[FindingName, list[Instance]] = {name: [] for name in SIMULATED}
    if lesions.cardiomegaly:
        found[FindingName.CARDIOMEGALY].append(Instance(box=_mask_box(soft.heart)))
    if lesions.effusion:
        box = _mask_box(soft.effusion)
        found[FindingName.PLEURAL_EFFUSION].append(Instance(side=lesions.effusion.side, box=box))
    if lesions.pneumothorax:
        box = _mask_box(soft.pneumothorax)
        found[FindingName.PNEUMOTHORAX].append(Instance(side=lesions.pneumothorax.side, box=box))
    for nodule in lesions.nodules:
        u, v = tissue.nodule_on_film(nodule.x, nodule.y, habitus, size)
        reach = (nodule.radius * tissue.SOFT + 2) * size / FIELD
        found[FindingName.NODULE].append(
            Instance(
                side=nodule.side,
                region=nodule.region,
                box=_box(np.array([[u - reach, v - reach], [u + reach, v + reach]]), size),
            )
        )
    byrib = {(rib.side, rib.number): rib for rib in cage}
    for fracture in lesions.fractures:
        rib = byrib[fracture.side, fracture.rib]
        found[FindingName.FRACTURE].append(_fracture(fracture, rib, habitus, size))
    for instances in found.values():
        instances.sort(key=lambda i: (i.side or "", i.ribs, i.box.xyxy if i.box else ()))
    return with_parents(
        [
            Finding(
                name=name,
                status=Status.PRESENT if instances else Status.ABSENT,
                instances=instances,
            )
            for name, instances in found.items()
        ]
    )


def _fracture(
    fracture: RibFracture, rib: skeleton.Rib, habitus: anatomy.Habitus, size: int
) -> Instance:
    """The box holds 9 mm of rib on either side of the break, its width, and 3 mm around."""
    points = project(habitus.place(rib.near(fracture.angle, 9)), size)
    reach = (float(rib.tube.half_height[0]) * 0.7 + 3) * size / FIELD
    corners = np.stack([points.min(0) - reach, points.max(0) + reach])
    displacement, stage = _KIND[fracture.kind]
    return Instance(
        bone=Bone.RIB,
        side=fracture.side,
        ribs=[fracture.rib],
        region=Region(fracture.region),
        displacement=displacement,
        stage=stage,
        box=_box(corners, size),
    )


def _box(corners: NDArray[np.floating], size: int) -> Box | None:
    """A box of two corners, cut at the film's edge; None where nothing of it is on the film."""
    (x0, y0), (x1, y1) = np.clip(corners, 0, size - 1)
    if x1 - x0 < 1 or y1 - y0 < 1:
        return None
    x0, y0, x1, y1 = (round(float(v), 1) for v in (x0, y0, x1, y1))
    return Box(xyxy=(x0, y0, x1, y1))


def _mask_box(mask: anatomy.Mask | None) -> Box | None:
    if mask is None or not mask.any():
        return None
    y, x = np.nonzero(mask)
    return _box(np.array([[x.min(), y.min()], [x.max(), y.max()]], float), mask.shape[0])
