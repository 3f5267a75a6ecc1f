"""One phantom from a seed: the film, its truth, and where every rib runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

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
from hilum.phantom import anatomy, devices, girdle, lateral, skeleton, tissue
from hilum.phantom.chance import STANDARD, Prevalence, draw_lesions
from hilum.phantom.findings import Break, FractureKind, Lesions
from hilum.phantom.physics import FIELD, Array, Exposure, blur, burn_in, expose, project
from hilum.phantom.tube import Tube

Position = Literal["PA", "LL"]
# Findings whose absence a phantom knows as surely as their presence.
SIMULATED = (
    FindingName.CARDIOMEGALY,
    FindingName.PLEURAL_EFFUSION,
    FindingName.PNEUMOTHORAX,
    FindingName.NODULE,
    FindingName.LUNG_OPACITY,
    FindingName.ATELECTASIS,
    FindingName.SUPPORT_DEVICES,
    FindingName.FRACTURE,
)
BONE_BLUR = 0.45  # pixels of a 512 px film: hides the points that a tube is drawn by
_KIND = {
    FractureKind.DISPLACED: (Displacement.DISPLACED, Stage.ACUTE),
    FractureKind.NONDISPLACED: (Displacement.NONDISPLACED, Stage.ACUTE),
    FractureKind.HEALING: (None, Stage.HEALING),
    FractureKind.OLD: (None, Stage.OLD),
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


@dataclass(frozen=True)
class _Shown:
    """What was drawn, for the truth: boxes are read off it."""

    habitus: anatomy.Habitus
    cage: list[skeleton.Rib]
    clavicles: dict[Side, Tube]
    soft: tissue.SoftTissue
    device: NDArray[np.float64] | None
    size: int


def simulate(
    seed: int,
    index: int,
    size: int = 512,
    prevalence: Prevalence = STANDARD,
    hide: bool = False,
    position: Position = "PA",
) -> Film:
    """Phantom number ``index`` of a seed: the same arguments give the same film.

    ``position``: "PA", or "LL" for the same chest from its left side. There the findings are the
    study's: they have no boxes, and a pneumothorax does not show.

    Lesions, anatomy, exposure and devices are drawn from separate streams, so ``hide=True`` gives
    the very film without its lesions: what an audit of tells needs. The truth still lists them
    (those that fill the lung without a box, since nothing shows), and an enlarged heart stays
    enlarged.
    """
    stream = [np.random.default_rng([seed, index, part]) for part in range(6)]
    habitus = anatomy.Habitus.draw(stream[0], cardiomegaly=False)
    lesions = draw_lesions(stream[1], prevalence, (habitus.width, habitus.height))
    if lesions.cardiomegaly:
        habitus = replace(habitus, cardiothoracic=float(stream[1].uniform(0.54, 0.66)))
    shown = Lesions(cardiomegaly=lesions.cardiomegaly) if hide else lesions
    if position == "LL":
        return _lateral(replace(habitus, sideways=True), lesions, shown, prevalence, stream, size)
    cage = skeleton.ribs(habitus, shown, stream[2])
    clavicles = {side: skeleton.clavicle(side, habitus, shown, stream[2]) for side in anatomy.SIGN}
    bone = bone_path(cage, clavicles, habitus, size, stream[2])
    soft = tissue.soft_tissue(size, habitus, shown, stream[2], stream[5])
    device = None
    if stream[4].random() < prevalence.devices:
        path, device = devices.draw(habitus, stream[4], size)
        bone += path
    exposure = Exposure.draw(stream[3])
    pixels = expose(soft.water, bone, exposure, stream[3])
    left = bool(stream[3].random() < 0.5)  # the picture's left is the patient's right
    burn_in(pixels, "R" if left else "L", left, exposure)
    return Film(
        pixels=pixels,
        findings=_truth(lesions, _Shown(habitus, cage, clavicles, soft, device, size)),
        tracks={(r.side, r.number): skeleton.rib_track(r, habitus, size) for r in cage},
        mm_per_pixel=FIELD / size,
    )


def _lateral(
    habitus: anatomy.Habitus,
    lesions: Lesions,
    shown: Lesions,
    prevalence: Prevalence,
    stream: list[np.random.Generator],
    size: int,
) -> Film:
    """The side view; anatomy's stream is used in the front view's order, so the ribs are equal."""
    cage = skeleton.ribs(habitus, shown, stream[2])
    clavicles = {side: skeleton.clavicle(side, habitus, shown, stream[2]) for side in anatomy.SIGN}
    gristle = [skeleton.cartilage(r, habitus, stream[2]) for r in cage if r.number <= 10]
    bone = np.zeros((size, size), np.float32)
    for tube in [*(r.tube for r in cage), *clavicles.values(), *gristle]:
        tube.splat(bone, habitus, stream[2].random())
    girdle.breastbone(habitus).splat(bone, habitus, 0.0)
    grid = anatomy.Grid.over(max(128, size // 2), habitus)
    bone = blur(bone, BONE_BLUR * size / 512 + 0.2)
    bone += tissue.enlarge(lateral.spine(grid, habitus, stream[2]), size)
    water = lateral.soft_tissue(size, habitus, shown, stream[2], stream[5])
    worn = stream[4].random() < prevalence.devices
    if worn:
        bone += devices.draw(habitus, stream[4], size)[0]
    exposure = Exposure.draw(stream[3])
    pixels = expose(water, bone, exposure, stream[3])
    burn_in(pixels, "L", True, exposure)
    nothing = _Shown(habitus, cage, clavicles, tissue.SoftTissue(water, {}), None, size)
    return Film(pixels, _unplaced(_truth(lesions, nothing), worn), {}, FIELD / size)


def _unplaced(findings: list[Finding], worn: bool) -> list[Finding]:
    """The study's findings without boxes, which belong to the front view."""
    for finding in findings:
        finding.instances = [i.model_copy(update={"box": None}) for i in finding.instances]
        if finding.name is FindingName.SUPPORT_DEVICES and worn:
            finding.status, finding.instances = Status.PRESENT, [Instance()]
    return findings


def bone_path(
    cage: list[skeleton.Rib],
    clavicles: dict[Side, Tube],
    habitus: anatomy.Habitus,
    size: int,
    rng: np.random.Generator,
) -> Array:
    """Path length (mm) of bone through every pixel."""
    image = np.zeros((size, size), np.float32)
    for tube in [*(r.tube for r in cage), *clavicles.values()]:
        tube.splat(image, habitus, rng.random())
    grid = anatomy.Grid.over(max(128, size // 2), habitus)
    flat, ridges = girdle.scapulae(grid, habitus, rng)
    shafts, heads = girdle.arms(grid, habitus, rng)
    flat += girdle.spine(grid, habitus, rng) + heads
    gristle = [skeleton.cartilage(r, habitus, rng) for r in cage if r.number <= 10]
    for tube in [*ridges, *shafts, girdle.breastbone(habitus), *gristle]:
        tube.splat(image, habitus, rng.random())
    return blur(image, BONE_BLUR * size / 512 + 0.2) + tissue.enlarge(flat, size)


def _truth(lesions: Lesions, shown: _Shown) -> list[Finding]:
    """Every simulated finding, present with its instances or absent."""
    masks = shown.soft.masks

    def area(name: str) -> Box | None:
        return _mask_box(masks.get(name), shown.size)

    found: dict[FindingName, list[Instance]] = {name: [] for name in SIMULATED}
    if lesions.cardiomegaly:
        found[FindingName.CARDIOMEGALY] = [Instance(box=area("heart"))]
    if lesions.effusion:
        found[FindingName.PLEURAL_EFFUSION] = [
            Instance(side=lesions.effusion.side, box=area("effusion"))
        ]
    if lesions.pneumothorax:
        found[FindingName.PNEUMOTHORAX] = [
            Instance(side=lesions.pneumothorax.side, box=area("pneumothorax"))
        ]
    found[FindingName.NODULE] = [
        Instance(side=n.side, region=n.region, box=_ball_box(n.x, n.y, n.radius, shown))
        for n in lesions.nodules
    ]
    found[FindingName.LUNG_OPACITY] = [
        Instance(side=o.side, region=o.region, box=area(f"opacity{k}"))
        for k, o in enumerate(lesions.opacities)
    ]
    found[FindingName.ATELECTASIS] = [
        Instance(side=b.side, region=b.region, box=area(f"band{k}"))
        for k, b in enumerate(lesions.bands)
    ]
    if shown.device is not None:
        found[FindingName.SUPPORT_DEVICES] = [Instance(box=_box(shown.device, shown.size))]
    found[FindingName.FRACTURE] = _fractures(lesions, shown)
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


def _fractures(lesions: Lesions, shown: _Shown) -> list[Instance]:
    byrib = {(rib.side, rib.number): rib for rib in shown.cage}
    out = []
    for f in lesions.fractures:
        rib = byrib[f.side, f.rib]
        node = int(np.argmin(np.abs(rib.angle - f.angle)))
        box = _break_box(rib.tube, node, shown)
        out.append(_broken(f, Bone.RIB, f.side, [f.rib], Region(f.region), box))
    for c in lesions.clavicles:
        tube = shown.clavicles[c.side]
        box = _break_box(tube, round(c.along * (len(tube.centre) - 1)), shown)
        out.append(_broken(c, Bone.CLAVICLE, c.side, [], None, box))
    return out


def _broken(
    fracture: Break, bone: Bone, side: Side, ribs: list[int], region: Region | None, box: Box | None
) -> Instance:
    displacement, stage = _KIND[fracture.kind]
    return Instance(
        bone=bone,
        side=side,
        ribs=ribs,
        region=region,
        displacement=displacement,
        stage=stage,
        box=box,
    )


def _break_box(tube: Tube, node: int, shown: _Shown) -> Box | None:
    """9 mm of bone on either side of the break, its width, and 3 mm around."""
    reach = max(1, round(9 / tube.spacing))
    points = tube.centre[max(0, node - reach) : node + reach + 1]
    on_film = project(shown.habitus.place(points), shown.size)
    margin = (float(tube.half_height[0]) * 0.7 + 3) * shown.size / FIELD
    return _box(np.stack([on_film.min(0) - margin, on_film.max(0) + margin]), shown.size)


def _ball_box(x: float, y: float, radius: float, shown: _Shown) -> Box | None:
    u, v = tissue.on_film(x, y, shown.habitus, shown.size)
    reach = (radius * tissue.SOFT + 2) * shown.size / FIELD
    return _box(np.array([[u - reach, v - reach], [u + reach, v + reach]]), shown.size)


def _box(corners: NDArray[np.floating], size: int) -> Box | None:
    """A box of two corners, cut at the film's edge; None where nothing of it is on the film."""
    (x0, y0), (x1, y1) = np.clip(corners, 0, size - 1)
    if x1 - x0 < 1 or y1 - y0 < 1:
        return None
    x0, y0, x1, y1 = (round(float(v), 1) for v in (x0, y0, x1, y1))
    return Box(xyxy=(x0, y0, x1, y1))


def _mask_box(mask: anatomy.Mask | None, size: int) -> Box | None:
    """The box of a mask, whose resolution may be another than the film's."""
    if mask is None or not mask.any():
        return None
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    corners = np.array([[columns[0], rows[0]], [columns[-1], rows[-1]]], float)
    return _box((corners + 0.5) * (size / mask.shape[0]) - 0.5, size)
