"""Occurrences told more than once become one."""

from __future__ import annotations

from collections.abc import Iterable

from hilum.findings import Instance, Side


def merge(found: list[Instance]) -> list[Instance]:
    """Occurrences without repeats: one that says nothing beyond another is left out."""
    kept: list[Instance] = []
    for instance in found:
        if _sum_of_others(instance, found):
            continue
        twin = next((k for k in kept if _compatible(k, instance)), None)
        if twin is None:
            kept.append(instance)
        else:
            _absorb(twin, instance)
    return [k for k in kept if not _sum_of_others(k, kept)]


def date_with(sure: list[Instance], hedged: Iterable[Instance]) -> None:
    """Example: "第5肋骨折，考虑新鲜骨折": the hedge is about the stage, which is kept."""
    for doubt in hedged:
        alike = [i for i in sure if _compatible(i, doubt)]
        if len(alike) == 1 and _told(doubt) <= _told(alike[0]):
            alike[0].stage = alike[0].stage or doubt.stage


def covers(whole: Instance, part: Instance) -> bool:
    """Whether ``part`` says nothing of an occurrence that ``whole`` does not."""
    return _compatible(whole, part) and _told(part) <= _told(whole)


def _compatible(a: Instance, b: Instance) -> bool:
    """Whether both may be the same occurrence, one being told less of."""
    for slot in ("bone", "side", "region", "displacement", "stage"):
        x, y = getattr(a, slot), getattr(b, slot)
        if x is not None and y is not None and x is not y:
            return False
    if a.ribs and b.ribs and not (set(a.ribs) <= set(b.ribs) or set(b.ribs) <= set(a.ribs)):
        return False
    less = _told(a) <= _told(b) or _told(b) <= _told(a)
    return less or not (_told(a) and _told(b))


def _told(i: Instance) -> set[str]:
    slots = ("bone", "side", "region")
    return {s for s in slots if getattr(i, s) is not None} | ({"ribs"} if i.ribs else set())


def _absorb(a: Instance, b: Instance) -> None:
    for slot in ("bone", "side", "region", "displacement", "stage"):
        if getattr(a, slot) is None and getattr(b, slot) is not None:
            setattr(a, slot, getattr(b, slot))
    if len(b.ribs) > len(a.ribs):
        a.ribs = b.ribs


def _sum_of_others(one: Instance, every: list[Instance]) -> bool:
    """Example: "bilateral rib fractures (left 6th, right 8th)": the two tell it all."""
    if one.ribs:
        return _listed_by_others(one, every)
    if one.side is not Side.BILATERAL:
        return False
    sides = {o.side for o in every if o is not one and o.bone in (one.bone, None)}
    return {Side.LEFT, Side.RIGHT} <= sides


def _listed_by_others(one: Instance, every: list[Instance]) -> bool:
    """Example: "ribs 3-6, of these 3 and 4 anterior, 5 and 6 lateral"."""
    if one.region or one.stage or one.displacement:
        return False
    others = [
        set(o.ribs) for o in every if o.side is one.side and o.ribs and set(o.ribs) < set(one.ribs)
    ]
    return len(others) > 1 and set().union(*others) == set(one.ribs)
