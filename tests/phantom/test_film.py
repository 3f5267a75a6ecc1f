"""One phantom: repeatable, its truth true of its pixels, whatever its size."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hilum.findings import (
    FINDINGS,
    Bone,
    Displacement,
    Finding,
    FindingName,
    Instance,
    Region,
    Side,
    Stage,
    Status,
)
from hilum.phantom import anatomy, skeleton, tissue
from hilum.phantom.chance import CROWDED, STANDARD, Prevalence, draw_fracture
from hilum.phantom.film import SIMULATED, Film, simulate
from hilum.phantom.findings import REGION_ANGLES, RIBS_THAT_BREAK, Lesions
from hilum.phantom.physics import FIELD

N = FindingName
NONE = Prevalence(*[0.0] * 9)
ALL = Prevalence(*[1.0] * 9, nodules=(2, 3), fractures=(8, 8), several=1)
SIZE = 192


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    cv2.setNumThreads(1)


@pytest.fixture(scope="module")
def crowded() -> list[Film]:
    return [simulate(11, i, SIZE, CROWDED) for i in range(24)]


def instances(film: Film, *names: FindingName) -> list[tuple[FindingName, Instance]]:
    return [(f.name, i) for f in film.findings for i in f.instances if not names or f.name in names]


def corners(instance: Instance) -> tuple[float, float, float, float]:
    assert instance.box is not None
    return instance.box.xyxy


def inside(instance: Instance, shape: tuple[int, ...], grow: int = 0) -> NDArray[np.bool_]:
    """The pixels of a box."""
    x0, y0, x1, y1 = (round(v) for v in corners(instance))
    mask = np.zeros(shape, bool)
    mask[max(0, y0 - grow) : y1 + 1 + grow, max(0, x0 - grow) : x1 + 1 + grow] = True
    return mask


def same_truth(one: list[Finding], other: list[Finding]) -> bool:
    """The same claims; boxes aside."""

    def claims(findings: list[Finding]) -> list[object]:
        return [
            (f.name, f.status, [i.model_copy(update={"box": None}) for i in f.instances])
            for f in findings
        ]

    return claims(one) == claims(other)


# -- fractures show ---------------------------------------------------------------------------


@pytest.mark.parametrize("rib", RIBS_THAT_BREAK)
def test_a_fracture_is_in_bone_and_not_in_cartilage(rib: int) -> None:
    """The front of a rib hardly shows; a break there would be a truth that nobody can see."""
    rng = np.random.default_rng(rib)
    habitus = anatomy.Habitus.draw(rng, cardiomegaly=False)
    cage = {(r.side, r.number): r for r in skeleton.ribs(habitus, Lesions(), rng)}
    whole = cage[Side.LEFT, rib]
    for _ in range(60):
        fracture = draw_fracture(rng, Side.LEFT, rib)
        at = int(np.argmin(np.abs(whole.angle - fracture.angle)))
        assert whole.tube.density[at] > 0.9 * habitus.bone_density


# -- repeatable -------------------------------------------------------------------------------


@pytest.mark.parametrize("prevalence", [STANDARD, CROWDED])
@pytest.mark.parametrize("hide", [False, True])
def test_the_same_arguments_give_the_same_bytes(prevalence: Prevalence, hide: bool) -> None:
    one, other = (simulate(5, 3, SIZE, prevalence, hide) for _ in range(2))
    assert one.pixels.tobytes() == other.pixels.tobytes()
    assert one.findings == other.findings
    for key, track in one.tracks.items():
        np.testing.assert_array_equal(track, other.tracks[key])


def test_the_state_of_numpy_and_of_opencvs_threads_does_not_matter() -> None:
    before = simulate(5, 3, SIZE).pixels
    np.random.seed(1)  # noqa: NPY002 - on purpose
    cv2.setNumThreads(3)
    try:
        np.testing.assert_array_equal(simulate(5, 3, SIZE).pixels, before)
    finally:
        cv2.setNumThreads(1)


def test_every_index_and_seed_is_another_patient() -> None:
    films = [simulate(s, i, 128).pixels.tobytes() for s in (0, 1, 10**9, 2**62) for i in range(4)]
    assert len(set(films)) == len(films)


def test_seed_and_index_are_not_added_up() -> None:
    assert simulate(1, 2, 128).pixels.tobytes() != simulate(2, 1, 128).pixels.tobytes()
    assert simulate(0, 3, 128).pixels.tobytes() != simulate(3, 0, 128).pixels.tobytes()


def test_one_patient_has_the_same_lesions_at_every_size() -> None:
    small, large = simulate(3, 1, 128, CROWDED), simulate(3, 1, 512, CROWDED)
    assert same_truth(small.findings, large.findings)
    for (_, a), (_, b) in zip(instances(small), instances(large), strict=True):
        in_mm = [
            (np.array(corners(i)) - (f.pixels.shape[0] / 2 - 0.5)) * f.mm_per_pixel
            for f, i in ((small, a), (large, b))
        ]
        np.testing.assert_allclose(in_mm[0], in_mm[1], atol=2.5 * small.mm_per_pixel)


# -- without its lesions ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "prevalence", "least", "times"),
    [
        (N.FRACTURE, replace(NONE, fracture=1, several=0), 1.0, 5),
        (N.NODULE, replace(NONE, nodule=1), 10.0, 50),
        # large ones change the film's range of grey levels, as on a real console
        (N.PLEURAL_EFFUSION, replace(NONE, effusion=1), 100.0, 3),
        (N.PNEUMOTHORAX, replace(NONE, pneumothorax=1), 50.0, 2),
        (N.LUNG_OPACITY, replace(NONE, opacity=1), 20.0, 8),
        (N.ATELECTASIS, replace(NONE, atelectasis=1), 20.0, 20),
        (N.FRACTURE, replace(NONE, clavicle=1), 1.0, 5),
    ],
)
def test_a_lesion_changes_its_box_and_next_to_nothing_else(
    name: FindingName, prevalence: Prevalence, least: float, times: float
) -> None:
    """A tell elsewhere on the film would teach a reader the wrong thing."""
    for index in range(8):
        film, twin = (simulate(21, index, 256, prevalence, hide) for hide in (False, True))
        assert same_truth(film.findings, twin.findings)
        ((_, lesion),) = instances(film, name)
        change = np.abs(film.pixels.astype(float) - twin.pixels)
        box = inside(lesion, change.shape)
        assert change[box].mean() > least
        assert change[box].mean() > times * change[~box].mean()
        y, x = np.unravel_index(cv2.blur(change, (5, 5)).argmax(), change.shape)
        if name is not N.FRACTURE:
            assert box[y, x]
            continue
        assert lesion.side
        if lesion.bone is Bone.CLAVICLE:
            assert box[max(0, y - 12) : y + 13, max(0, x - 12) : x + 13].any()
            continue
        track = film.tracks[lesion.side, lesion.ribs[0]]  # a displaced rib has moved beyond its box
        assert np.hypot(*(track[:, :2] - (x, y)).T).min() * film.mm_per_pixel < 12


def test_a_displaced_fracture_is_plainer_than_one_that_is_not() -> None:
    kinds = (*Displacement, Stage.HEALING, Stage.OLD)
    seen: dict[Displacement | Stage | None, list[float]] = {d: [] for d in kinds}
    for index in range(6):
        film, twin = (
            simulate(31, index, 256, replace(NONE, fracture=1, fractures=(8, 8), several=1), hide)
            for hide in (False, True)
        )
        change = np.abs(film.pixels.astype(float) - twin.pixels)
        for _, lesion in instances(film, N.FRACTURE):
            seen[lesion.displacement or lesion.stage].append(
                change[inside(lesion, change.shape)].mean()
            )
    moved, still, callus, bent = (float(np.median(seen[d])) for d in kinds)
    assert moved > 1.5 * still
    assert callus > 1.5 * still
    assert bent > still


def test_a_film_without_lesions_is_its_own_twin() -> None:
    for index in range(3):
        film, twin = (simulate(7, index, 128, NONE, hide) for hide in (False, True))
        np.testing.assert_array_equal(film.pixels, twin.pixels)
        assert [(f.name, f.status) for f in film.findings] == [
            (n, Status.ABSENT) for n in SIMULATED
        ]


# -- truth --------------------------------------------------------------------------------------


def test_every_simulated_finding_is_listed_once_and_a_child_with_its_parent(
    crowded: list[Film],
) -> None:
    for film in crowded:
        names = [f.name for f in film.findings]
        assert len(set(names)) == len(names)
        assert set(names) - {N.LUNG_LESION} == set(SIMULATED)
        status = {f.name: f.status for f in film.findings}
        assert Status.UNCERTAIN not in status.values()
        assert status.get(N.LUNG_LESION) == (
            Status.PRESENT if status[N.NODULE] == "present" else None
        )
        for finding in film.findings:
            assert finding.probability is None
            parent = FINDINGS[finding.name].parent
            if finding.name is not N.LUNG_LESION:
                assert finding.present == bool(finding.instances)
            if parent and finding.present:
                assert status[parent] is Status.PRESENT


def test_every_box_lies_on_the_film_and_is_no_sliver(crowded: list[Film]) -> None:
    assert sum(len(instances(film)) for film in crowded) > 100
    for film in crowded:
        for name, instance in instances(film):
            x0, y0, x1, y1 = corners(instance)
            assert 0 <= x0 < x1 <= SIZE - 1
            assert 0 <= y0 < y1 <= SIZE - 1
            thinnest = 4 if name is N.ATELECTASIS else 8
            assert min(x1 - x0, y1 - y0) * film.mm_per_pixel > thinnest


def test_the_patients_left_is_the_pictures_right(crowded: list[Film]) -> None:
    middle = (SIZE - 1) / 2
    sides = set()
    for film in crowded:
        for name, instance in instances(film):
            if name in (N.CARDIOMEGALY, N.SUPPORT_DEVICES):
                assert instance.side is None
                continue
            assert instance.box is not None
            sides.add(instance.side)
            assert instance.side is (Side.LEFT if instance.box.centre[0] > middle else Side.RIGHT)
    assert sides == {Side.LEFT, Side.RIGHT}


def test_a_fracture_lies_on_the_rib_and_in_the_region_it_names(crowded: list[Film]) -> None:
    for film in crowded:
        for _, fracture in instances(film, N.FRACTURE):
            if fracture.bone is Bone.CLAVICLE:
                assert not fracture.ribs
                assert fracture.region is None
                continue
            assert fracture.bone is Bone.RIB
            assert fracture.side
            assert fracture.region
            assert fracture.box
            (rib,) = fracture.ribs
            assert 3 <= rib <= 10
            track = film.tracks[fracture.side, rib]
            away = np.hypot(*(track[:, :2] - np.array(fracture.box.centre)).T)
            assert away.min() * film.mm_per_pixel < 8
            low, high = REGION_ANGLES[fracture.region]
            assert low - 0.15 < track[away.argmin(), 2] < high + 0.15


def test_kinds_of_fracture_say_what_a_radiologist_would(crowded: list[Film]) -> None:
    said = {(i.displacement, i.stage) for film in crowded for _, i in instances(film, N.FRACTURE)}
    assert said == {
        (Displacement.DISPLACED, Stage.ACUTE),
        (Displacement.NONDISPLACED, Stage.ACUTE),
        (None, Stage.HEALING),
        (None, Stage.OLD),
    }


def test_a_nodules_zone_follows_its_height(crowded: list[Film]) -> None:
    heights: dict[Region, list[float]] = {}
    for film in crowded:
        for _, nodule in instances(film, N.NODULE):
            assert nodule.region
            assert nodule.box
            heights.setdefault(nodule.region, []).append(nodule.box.centre[1])
    assert set(heights) == {Region.UPPER, Region.MID, Region.LOWER}
    upper, mid, lower = (
        float(np.mean(heights[r])) for r in (Region.UPPER, Region.MID, Region.LOWER)
    )
    assert upper < mid < lower


def test_effusions_lie_low(crowded: list[Film]) -> None:
    for film in crowded:
        for _, effusion in instances(film, N.PLEURAL_EFFUSION):
            assert effusion.box
            assert effusion.box.centre[1] > SIZE / 2


def chest_width(film: Film) -> float:
    xs = np.concatenate([track[:, 0] for track in film.tracks.values()])
    return float(xs.max() - xs.min())


def test_an_enlarged_heart_is_wider_than_any_normal_one() -> None:
    """Share of the rib cage's width that the heart takes up."""
    large = []
    for index in range(20):
        film = simulate(41, index, 128, replace(NONE, cardiomegaly=1))
        x0, _, x1, _ = corners(instances(film, N.CARDIOMEGALY)[0][1])
        large.append((x1 - x0) / chest_width(film))
    normal = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        habitus = anatomy.Habitus.draw(rng, cardiomegaly=False)
        cage = skeleton.ribs(habitus, Lesions(), rng)
        xs = np.concatenate([skeleton.rib_track(rib, habitus, 128)[:, 0] for rib in cage])
        soft = tissue.soft_tissue(128, habitus, Lesions(), rng, rng)
        columns = soft.masks["heart"].any(0)
        normal.append((np.ptp(np.flatnonzero(columns))) / np.ptp(xs))
    assert max(normal) < 0.46 < min(large)


def test_an_enlarged_heart_is_seen_on_the_film() -> None:
    """Left of the spine and low, where a normal heart leaves lung."""
    films = [
        simulate(43, i, 128, p).pixels
        for p in (NONE, replace(NONE, cardiomegaly=1))
        for i in range(12)
    ]
    normal, large = np.mean(films[:12], 0), np.mean(films[12:], 0)
    change = large - normal
    box = np.s_[75:90, 82:92]
    assert change[box].mean() > 200
    assert np.abs(change[20:50, 20:50]).mean() < 0.35 * change[box].mean()


# -- tracks and pixels --------------------------------------------------------------------------


def test_there_are_24_ribs_and_each_has_a_track_outwards(crowded: list[Film]) -> None:
    for film in crowded[:6]:
        assert set(film.tracks) == {(s, n) for s in (Side.LEFT, Side.RIGHT) for n in range(1, 13)}
        for (side, _), track in film.tracks.items():
            assert track.shape[1] == 3
            assert len(track) > 50
            assert np.isfinite(track).all()
            assert (np.diff(track[:, 2]) > 0).all()
            outwards = track[:, 0] if side is Side.LEFT else -track[:, 0]
            assert outwards.argmax() > 10  # begins at the spine, not at the wall
        for side in (Side.LEFT, Side.RIGHT):
            tops = [film.tracks[side, n][0, 1] for n in range(1, 13)]
            assert (np.diff(tops) > 0).all()  # the 12th lies lowest


def test_ribs_are_brighter_than_the_lung_between_them() -> None:
    film = simulate(3, 0, 512, NONE)
    bright, dark = [], []
    for side in (Side.LEFT, Side.RIGHT):
        for rib in (4, 5, 6, 7):
            on, next_one = (film.tracks[side, n] for n in (rib, rib + 1))
            for angle in (0.6, 0.8, 1.0):
                here = on[np.abs(on[:, 2] - angle).argmin(), :2]
                there = next_one[np.abs(next_one[:, 2] - angle).argmin(), :2]
                for point, values in ((here, bright), ((here + there) / 2, dark)):
                    x, y = np.rint(point).astype(int)
                    values.append(float(film.pixels[y - 2 : y + 3, x - 2 : x + 3].mean()))
    assert np.mean(bright) > np.mean(dark) + 100


@pytest.mark.parametrize("size", [128, 129, 191, 200, 255, 257, 333, 511, 640])
@pytest.mark.parametrize("prevalence", [ALL, NONE], ids=["all", "none"])
def test_any_size_gives_a_film_of_12_bits(size: int, prevalence: Prevalence) -> None:
    film = simulate(2, size, size, prevalence)
    assert film.pixels.shape == (size, size)
    assert film.pixels.dtype == np.uint16
    assert film.pixels.max() <= 4095
    assert film.pixels.min() < 400
    assert film.pixels.std() > 500
    assert film.mm_per_pixel == FIELD / size
    boxes = [i.box for _, i in instances(film)]
    assert len(boxes) == (0 if prevalence is NONE else sum(b is not None for b in boxes))
    assert all(max(b.xyxy) <= size - 1 for b in boxes if b)


def test_a_film_has_a_bright_spine_dark_lungs_and_dark_air_beside_the_patient() -> None:
    film = np.mean([simulate(8, i, 128, NONE).pixels for i in range(6)], 0)
    spine, lung, air = film[60:110, 60:68], film[40:70, 34:46], film[112:, :4]
    assert spine.mean() > lung.mean() + 1000
    assert air.mean() < 300


# -- from the side --------------------------------------------------------------------------------


def test_the_side_view_is_of_the_same_patient_and_gives_no_boxes() -> None:
    for index in range(4):
        front, side = (simulate(51, index, SIZE, CROWDED, position=p) for p in ("PA", "LL"))
        assert same_truth(front.findings, side.findings)
        assert not [i for _, i in instances(side) if i.box]
        assert side.pixels.dtype == np.uint16
        assert side.mm_per_pixel == front.mm_per_pixel
        assert side.pixels.tobytes() != front.pixels.tobytes()


def test_from_the_side_the_chest_is_narrower_and_one_field() -> None:
    """No bright column in the middle, and air on both sides where the front view has ribs."""
    front, side = (
        np.mean([simulate(8, i, 128, NONE, position=p).pixels for i in range(8)], 0)
        for p in ("PA", "LL")
    )
    middle, beside = np.s_[45:75, 60:68], np.s_[45:75, 46:54]
    assert front[middle].mean() > front[beside].mean() + 1000
    assert abs(side[middle].mean() - side[beside].mean()) < 500
    assert side[100:, :16].mean() < 300


def test_devices_are_seen_and_told() -> None:
    worn, plain = replace(NONE, devices=1), NONE
    for index in range(10):
        with_one, without = (simulate(61, index, 256, p) for p in (worn, plain))
        ((_, device),) = instances(with_one, N.SUPPORT_DEVICES)
        assert not instances(without)
        change = np.abs(with_one.pixels.astype(float) - without.pixels)
        assert change[inside(device, change.shape, grow=2)].max() > 60
