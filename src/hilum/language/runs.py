"""What a sentence adds of some of the ribs, or of one side, that it told of before."""

from __future__ import annotations

from dataclasses import replace

from hilum.findings import Bone, Side
from hilum.language.places import Part, Place

_OTHER = {Side.LEFT: Side.RIGHT, Side.RIGHT: Side.LEFT}


def details(
    own: list[Part], after: int, commas: list[int], places: list[Place]
) -> list[list[Part]]:
    """Runs of parts behind ``after`` that tell more of some of the ribs, or of one of two sides.

    Examples: "第3-6肋骨折，第5、6肋断端错位", "双侧锁骨骨折，左侧断端错位". Each run begins with
    its ribs or its side, holds a stage or an alignment, and ends at a comma.
    """
    known = {n for p in own if p.slot == "ribs" and p.start < after for n in p.value}
    sides = {p.side for p in places}
    both = Side.BILATERAL in sides or {Side.LEFT, Side.RIGHT} <= sides
    runs = []
    for k, part in enumerate(own):
        if part.start < after:
            continue
        ribs = part.slot == "ribs" and set(part.value) < known
        side = part.slot == "side" and part.value in _OTHER and both
        if not (ribs or side):
            continue
        run = [part, *_behind(own[k + 1 :], part, commas)]
        listed = any(p.slot == "ribs" for p in run[1:])
        if any(p.slot in ("stage", "displacement") for p in run) and not listed:
            runs.append(run)
    return runs


def _behind(following: list[Part], first: Part, commas: list[int]) -> list[Part]:
    end = next((c for c in commas if c >= first.end), None)
    run = []
    for part in following:
        if part.slot == first.slot or (end is not None and part.start > end):
            break
        run.append(part)
    return run


def divided(place: Place | None, first: Part) -> tuple[Place | None, Place | None]:
    """The part of a place that a run is about, and what is left; None where there is none."""
    if place is None:
        return None, None
    if first.slot == "ribs":
        some = [n for n in place.ribs if n in first.value]
        rest = [n for n in place.ribs if n not in first.value]
        if not some or place.bone is not Bone.RIB:
            return None, place
        return replace(place, ribs=some), replace(place, ribs=rest) if rest else None
    if place.side is first.value:
        return place, None
    if place.side is Side.BILATERAL:
        return replace(place, side=first.value), replace(place, side=_OTHER[first.value])
    return None, place
