"""Lesions as numbers: within their documented ranges, in places where they can be seen."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.findings import Region, Side
from hilum.phantom.chance import (
    CROWDED,
    STANDARD,
    Prevalence,
    draw_fracture,
    draw_lesions,
    draw_nodule,
)
from hilum.phantom.findings import (
    REGION_ANGLES,
    REGION_BORDERS,
    RIBS_THAT_BREAK,
    FractureKind,
    Lesions,
    Nodule,
    RibFracture,
    rib_end,
)

ALL = Prevalence(*[1.0] * 9, nodules=(1, 3), fractures=(3, 16), several=1)
seeds = st.integers(0, 2**32 - 1)
scales = st.tuples(st.floats(0.90, 1.08), st.floats(0.92, 1.08))
mixes = st.sampled_from([STANDARD, CROWDED, ALL])


def draw(seed: int, prevalence: Prevalence, scale: tuple[float, float]) -> Lesions:
    return draw_lesions(np.random.default_rng(seed), prevalence, scale)


@settings(deadline=None, max_examples=300)
@given(seeds, mixes, scales)
def test_no_two_fractures_on_one_rib(
    seed: int, prevalence: Prevalence, scale: tuple[float, float]
) -> None:
    fractures = draw(seed, prevalence, scale).fractures
    assert len({(f.side, f.rib) for f in fractures}) == len(fractures)
    assert {f.rib for f in fractures} <= set(range(3, 11))
    assert len(fractures) <= prevalence.fractures[1]


@settings(deadline=None, max_examples=300)
@given(seeds, mixes, scales)
def test_fractures_are_of_their_kind_and_in_their_region(
    seed: int, prevalence: Prevalence, scale: tuple[float, float]
) -> None:
    for f in draw(seed, prevalence, scale).fractures:
        low, high = REGION_ANGLES[f.region]
        assert low <= f.angle <= high
        assert f.angle <= rib_end(f.rib) - 0.1
        assert f.decay > 0
        match f.kind:
            case FractureKind.DISPLACED:
                assert 4 <= abs(f.step) <= 8
                assert 0.8 <= f.gap <= 2.5
                assert abs(f.slip) <= 4
                assert f.callus_gain == 0
            case FractureKind.NONDISPLACED:
                assert 1.2 <= f.gap <= 2.6
                assert 0.8 <= abs(f.step) < 1.8
                assert f.slip == f.callus_gain == 0
            case FractureKind.HEALING:
                assert f.gap == f.step == f.slip == 0
                assert 0.5 <= f.callus_gain <= 0.9
                assert 5 <= f.callus_length <= 8
            case FractureKind.OLD:
                assert f.gap == f.step == f.slip == 0
                assert 3 <= abs(f.bend) <= 5
                assert 0.2 <= f.callus_gain <= 0.4


@settings(deadline=None, max_examples=400)
@given(seeds, st.sampled_from([CROWDED, ALL]), scales)
def test_a_nodule_is_never_hidden(
    seed: int, prevalence: Prevalence, scale: tuple[float, float]
) -> None:
    lesions = draw(seed, prevalence, scale)
    for nodule in lesions.nodules:
        air, fluid = lesions.pneumothorax, lesions.effusion
        assert not (air and air.side is nodule.side)
        assert not (fluid and fluid.side is nodule.side and nodule.y > 20 * scale[1])


@settings(deadline=None, max_examples=400)
@given(seeds, st.sampled_from([Side.LEFT, Side.RIGHT]), scales)
def test_a_nodule_lies_in_its_lung_and_zone(
    seed: int, side: Side, scale: tuple[float, float]
) -> None:
    n: Nodule = draw_nodule(np.random.default_rng(seed), side, scale)
    wide, high = scale
    assert n.side is side
    assert (n.x > 0) == (side is Side.LEFT)
    assert 6 <= n.radius <= 13
    assert math.hypot((abs(n.x) / wide - 70) / 50, n.y / high / 125) <= 1
    assert -95 * high <= n.y <= 52 * high
    if n.y > 10 * high:  # clear of the heart
        assert abs(n.x) >= (85 if side is Side.LEFT else 62) * wide
    zones = {Region.UPPER: (-999, -45), Region.MID: (-45, 20), Region.LOWER: (20, 999)}
    low, top = zones[n.region]
    assert low * high <= n.y <= top * high


@settings(deadline=None, max_examples=300)
@given(seeds, mixes, scales)
def test_effusion_and_pneumothorax_stay_in_their_ranges(
    seed: int, prevalence: Prevalence, scale: tuple[float, float]
) -> None:
    lesions = draw(seed, prevalence, scale)
    if lesions.effusion:
        assert 8 * scale[1] <= lesions.effusion.height <= 65 * scale[1]
        assert 22 <= lesions.effusion.meniscus <= 40
        assert lesions.effusion.side in (Side.LEFT, Side.RIGHT)
    if lesions.pneumothorax:
        assert 0.10 <= lesions.pneumothorax.size <= 0.30


@settings(deadline=None, max_examples=60)
@given(seeds, scales)
def test_a_prevalence_of_none_draws_nothing_and_of_one_everything(
    seed: int, scale: tuple[float, float]
) -> None:
    assert draw(seed, Prevalence(*[0.0] * 9), scale) == Lesions()
    lesions = draw(seed, ALL, scale)
    assert lesions.cardiomegaly
    assert lesions.effusion
    assert lesions.pneumothorax
    assert 3 <= len(lesions.fractures) <= 16


@settings(deadline=None, max_examples=40)
@given(seeds, mixes)
def test_the_same_stream_draws_the_same_lesions(seed: int, prevalence: Prevalence) -> None:
    assert draw(seed, prevalence, (1, 1)) == draw(seed, prevalence, (1, 1))


def test_every_rib_can_break_and_more_are_never_broken_than_there_are() -> None:
    everything = replace(Prevalence(*[0.0] * 9), fracture=1, fractures=(99, 99), several=1)
    fractures = draw(0, everything, (1, 1)).fractures
    assert {(f.side, f.rib) for f in fractures} == {
        (side, rib) for side in (Side.LEFT, Side.RIGHT) for rib in RIBS_THAT_BREAK
    }


def test_what_is_drawn_is_spread_evenly() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_lesions(rng, STANDARD, (1, 1)) for _ in range(3000)]
    for share, wanted in (
        (sum(x.cardiomegaly for x in drawn), STANDARD.cardiomegaly),
        (sum(x.effusion is not None for x in drawn), STANDARD.effusion),
        (sum(x.pneumothorax is not None for x in drawn), STANDARD.pneumothorax),
        (sum(bool(x.fractures) for x in drawn), STANDARD.fracture),
        (sum(bool(x.clavicles) for x in drawn), STANDARD.clavicle),
        (sum(len(x.fractures) > 1 for x in drawn), STANDARD.fracture * STANDARD.several),
    ):
        assert share / 3000 == pytest.approx(wanted, abs=0.04)
    fractures: list[RibFracture] = [f for x in drawn for f in x.fractures]
    for attribute, values in (
        ("kind", list(FractureKind)),
        ("region", list(REGION_ANGLES)),
        ("rib", list(RIBS_THAT_BREAK)),
        ("side", [Side.LEFT, Side.RIGHT]),
    ):
        for value in values:
            share = sum(getattr(f, attribute) == value for f in fractures) / len(fractures)
            assert share == pytest.approx(1 / len(values), abs=0.05)


def test_steps_go_both_ways() -> None:
    rng = np.random.default_rng(0)
    steps = [draw_fracture(rng, Side.LEFT, 5).step for _ in range(300)]
    assert min(steps) < -4
    assert max(steps) > 4


def test_regions_never_touch_and_the_borders_lie_between_them() -> None:
    posterior, lateral, anterior = (REGION_ANGLES[r] for r in REGION_ANGLES)
    assert posterior[1] < REGION_BORDERS[0] < lateral[0]
    assert lateral[1] < REGION_BORDERS[1] < anterior[0]
