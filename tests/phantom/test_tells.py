"""Nothing but the lesion gives a lesion away."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.tells import audit
from hilum.evaluation.metrics import auc
from hilum.findings import Bone, FindingName, Side
from hilum.phantom.anatomy import Habitus
from hilum.phantom.chance import CROWDED, draw_lesions
from hilum.phantom.film import simulate
from hilum.phantom.findings import Break, FractureKind, Lesions
from hilum.phantom.physics import blur, project
from hilum.phantom.skeleton import break_tube, ribs
from hilum.phantom.tube import Tube

KINDS = {
    FractureKind.DISPLACED: Break(kind=FractureKind.DISPLACED, gap=1.5, step=6.0, decay=80.0),
    FractureKind.NONDISPLACED: Break(kind=FractureKind.NONDISPLACED, gap=2.0, step=1.2, decay=40.0),
    FractureKind.HEALING: Break(kind=FractureKind.HEALING, callus_length=6.0, callus_gain=0.8),
    FractureKind.OLD: Break(kind=FractureKind.OLD, bend=4.0, callus_length=11.0, callus_gain=0.3),
}


@pytest.mark.slow
def test_a_detector_learns_fractures_that_show_and_none_that_are_removed() -> None:
    """The control must learn, or a chance result would mean nothing."""
    y, p = audit(seed=515, films=150, hide=False, epochs=8)
    assert auc(y, p) > 0.65
    y, p = audit(seed=515, films=150, hide=True, epochs=8)
    assert abs(auc(y, p) - 0.5) < 0.075  # 2.5 standard errors of some 600 crops around 0.5


@pytest.mark.parametrize("kind", FractureKind)
def test_a_break_is_sampled_no_more_coarsely_than_the_bone_around_it(kind: FractureKind) -> None:
    """Rings or dots at a callus, a step or a gap would be a shortcut that a network finds at once.

    The same bone drawn with its sections turned otherwise differs by the sampling alone.
    """
    habitus = Habitus.draw(np.random.default_rng(0), cardiomegaly=False)
    rib = ribs(habitus, Lesions(), np.random.default_rng(1))[4]
    assert rib.side is Side.LEFT
    node = int(np.argmin(np.abs(rib.angle - 0.8)))
    whole, broken = (
        _grain(tube, habitus, node) for tube in (rib.tube, break_tube(rib.tube, node, KINDS[kind]))
    )
    assert broken < 2 * whole


def _grain(tube: Tube, habitus: Habitus, node: int) -> float:
    """Spread, as a share of the path, between drawings of a bone around one of its nodes."""
    films = [np.zeros((512, 512), np.float32) for _ in range(6)]
    for k, film in enumerate(films):
        tube.splat(film, habitus, k / 6)
    films = [blur(film, 1.05) for film in films]  # as every film is
    grain = np.std(films, axis=0) / (np.mean(films, axis=0) + 0.5)
    points = project(habitus.place(tube.centre), 512)
    return float(np.mean([_around(grain, *points[i]) for i in range(node - 8, node + 9, 4)]))


def _around(image: np.ndarray, x: float, y: float) -> float:
    u, v = round(float(x)), round(float(y))
    return float(image[v - 4 : v + 5, u - 4 : u + 5].mean())


def test_boxes_are_centred_on_the_break() -> None:
    """A box that leans to one side of the break would teach a reader the lean."""
    lean = []
    for index in range(40):
        film = simulate(616, index, 512, CROWDED)
        habitus = Habitus.draw(np.random.default_rng([616, index, 0]), cardiomegaly=False)
        scale = (habitus.width, habitus.height)
        lesions = draw_lesions(np.random.default_rng([616, index, 1]), CROWDED, scale)
        (found,) = [f for f in film.findings if f.name is FindingName.FRACTURE]
        boxes = {(i.side, i.ribs[0]): i.box for i in found.instances if i.bone is Bone.RIB}
        for f in lesions.fractures:
            box, track = boxes[f.side, f.rib], film.tracks[f.side, f.rib]
            if box is None:
                continue
            at = [np.interp(f.angle, track[:, 2], track[:, k]) for k in (0, 1)]
            outwards = 1 if f.side is Side.LEFT else -1
            dx, dy = np.array(box.centre) - at
            lean.append((dx * outwards * film.mm_per_pixel, dy * film.mm_per_pixel))
    assert len(lean) > 150
    assert np.abs(np.mean(lean, 0)).max() < 1.5
    assert np.abs(lean).max() < 12
