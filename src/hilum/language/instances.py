"""Where a finding lies: bone, side, ribs, region, displacement and stage of each occurrence."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from hilum.findings import Bone, FindingName, Instance, Side, Stage
from hilum.language.claims import Assessed, Claim, Mention
from hilum.language.places import Before, Part, Place, parts, places_of
from hilum.language.runs import details, divided
from hilum.report import Language

_MIDLINE = (Bone.VERTEBRA, Bone.STERNUM)
_PLACES = frozenset(("side", "bone", "region", "and", "or"))
_ALL = re.compile("[均都皆][有已未见无]*$")  # what follows is said of every fracture before it
_LANDMARK = re.compile(r"\s*(?:[前后侧]?(?:肋|支|段))?骨?(?:水平|间|下方|上方|重叠|平面)")
_REACHED = re.compile("累及|均?位于|分布于|均为|均在")
_GAPS = frozenset(("and", "or", "comma", "with", "stop", "choice"))


def locate(
    claim: Claim,
    said: Assessed,
    folded: str,
    bounds: tuple[int, int],
    before: Before,
    language: Language,
) -> list[Instance]:
    """The occurrences one claim speaks of, at least one.

    ``bounds`` is the sentence's span, ``before`` gives the parts of the sentence before it, which
    tell the place where this one does not.
    """
    start, end = _window(claim, said, folded, bounds)
    own = parts(said, folded, (start, end), language)
    if FindingName.FRACTURE not in claim.names:
        return [_lesion(own, claim)]
    clauses = _clauses(said, folded, bounds, language)
    here = next(
        k for k, (a, b) in enumerate(clauses) if a <= claim.start < b or k == len(clauses) - 1
    )
    places = places_of([p for p in own if _inside(p, clauses[here])])
    if all(p.empty for p in places):
        places = _nearest(own, clauses, here)
    if all(p.empty for p in places):
        places = _nearest(
            _unclaimed(claim, said, parts(said, folded, bounds, language)), clauses, here
        )
    if len(places) == 1 and places[0].bone and not places[0].side and not places[0].ribs:
        every = parts(said, folded, bounds, language)
        places = _told_before(places, claim, said, every, clauses[:here])
    if all(p.empty for p in places):
        told = places_of(before())
        places = told if any(p.bone or p.ribs for p in told) else places
    _borrow_regions(places, own, folded)
    if language == "zh":
        _borrow_ribs(places, claim, said, parts(said, folded, bounds, language), folded)
    _borrow_side(places, said, clauses[here], clauses[here - 1] if here else None)
    own += _told_later(claim, said, folded, own, parts(said, folded, bounds, language))
    for place in places:
        _name_bone(place, folded[claim.start : claim.end])
    commas = [m.start for m in said.mentions if m.kind == "comma"]
    runs = details(own, claim.start, commas, places)
    rest = [p for p in own if not any(p in run for run in runs)]
    main = _stage(rest, language), _pick(rest, "displacement")
    found = []
    for place in places:
        whole: Place | None = place
        for run in runs:
            kind = _stage(run, language) or main[0], _pick(run, "displacement") or main[1]
            part, whole = divided(whole, run[0])
            found += _instances(part, kind, claim) if part else []
            if whole is None:
                break
        found += _instances(whole, main, claim) if whole else []
    return found


def _name_bone(place: Place, term: str) -> None:
    if place.bone is None and ("压缩" in term or "compression" in term):
        place.bone = Bone.VERTEBRA
    if place.bone is None and place.ribs:
        place.bone = Bone.RIB


def _stage(own: list[Part], language: Language) -> Stage | None:
    if language == "zh" and any(p.value is Stage.OLD for p in own):
        return Stage.OLD  # 陈旧性骨折，骨痂形成
    stage: Stage | None = _pick(own, "stage")
    return stage


def _instances(place: Place, told: tuple[Stage | None, Any], claim: Claim) -> list[Instance]:
    """One occurrence for each region of the place."""
    rib = place.bone is Bone.RIB
    return [
        Instance(
            bone=place.bone,
            side=Side.MIDLINE if place.bone in _MIDLINE else place.side,
            ribs=sorted(set(place.ribs)) if rib else [],
            region=region,
            displacement=told[1],
            stage=told[0],
            span=(claim.start, claim.end),
        )
        for region in (place.regions if rib and place.regions else [None])
    ]


def _clauses(
    said: Assessed, folded: str, bounds: tuple[int, int], language: Language
) -> list[tuple[int, int]]:
    """Spans a place is told in: between "there is", "which", or in Chinese between commas."""
    kind = "comma" if language == "zh" else "stop"
    cuts, said_more = [], False
    for m in said.mentions:
        colon = m.value == ":"  # 多发肋骨骨折：右侧第2-4肋，左侧第5肋
        parted = said_more and not colon and not _bracketed(folded, bounds[0], m.start)
        ends = kind == "stop" or parted
        if m.kind == kind and ends:
            cuts.append(m.start)
        # "左第6肋，右第8肋骨折": a segment of places alone belongs to what follows
        said_more = m.kind != "comma" and (said_more or m.kind not in _PLACES)
    edges = [bounds[0], *(c for c in cuts if c > bounds[0]), bounds[1]]
    return list(pairwise(edges))


def _bracketed(folded: str, start: int, at: int) -> bool:
    return folded.rfind("(", start, at) > folded.rfind(")", start, at)


def _inside(part: Part, span: tuple[int, int]) -> bool:
    return span[0] <= part.start < span[1]


def _nearest(own: list[Part], clauses: list[tuple[int, int]], here: int) -> list[Place]:
    """The places of the nearest clause that tells one; of two as near, the one before."""
    for k in sorted(range(len(clauses)), key=lambda k: (abs(k - here), k)):
        places = places_of([p for p in own if _inside(p, clauses[k])])
        if any(p.bone or p.ribs for p in places):
            return places
    return places_of(own)


def _told_before(
    bare: list[Place],
    claim: Claim,
    said: Assessed,
    own: list[Part],
    clauses: list[tuple[int, int]],
) -> list[Place]:
    """Example: "density at the left 4th rib, which is a rib fracture": the rib was told before."""
    for clause in reversed(clauses):
        broken = (c for c in said.claims if c is not claim and FindingName.FRACTURE in c.names)
        if any(clause[0] <= c.start < clause[1] for c in broken):
            break
        places = places_of([p for p in own if _inside(p, clause)])
        if all(p.bone is bare[0].bone for p in places) and any(p.side or p.ribs for p in places):
            return places
    return bare


def _borrow_side(
    places: list[Place],
    said: Assessed,
    clause: tuple[int, int],
    before: tuple[int, int] | None,
) -> None:
    """Example: "rib fractures and pleural thickening on the right": the one side is everyone's.

    Where the clause tells none, the clause before it may: "右肩关节脱位，肱骨大结节骨折".
    """
    if any(p.side for p in places):
        return
    sides = _sides(said, clause)
    if not sides and before and not any(before[0] <= c.start < before[1] for c in said.claims):
        sides = _sides(said, before)
    if len(sides) == 1:
        for place in places:
            place.side = Side(next(iter(sides)))


def _borrow_regions(places: list[Place], own: list[Part], folded: str) -> None:
    """Example: "第3-8肋骨折，累及腋段及后段": the regions told apart are of every rib."""
    told = [p for p in own if p.slot == "region"]
    first = next((p for p in told if _REACHED.search(folded[: p.start][-5:])), None)
    if first is None or any(p.regions for p in places):
        return
    for place in places:
        place.regions = list(dict.fromkeys(p.value for p in told if p.start >= first.start))


def _borrow_ribs(
    places: list[Place], claim: Claim, said: Assessed, every: list[Part], folded: str
) -> None:
    """Example: "左侧多发肋骨骨折，以第4-7肋为著": the ribs are told behind the fracture."""
    if len(places) > 1 or places[0].ribs or places[0].bone is not Bone.RIB:
        return
    end = min(
        (c.start for c in said.claims if c.at > claim.at and FindingName.FRACTURE in c.names),
        default=len(folded),
    )
    later = [p for p in every if claim.end <= p.start < end]
    if not any(p.slot == "side" and p.value is not places[0].side for p in later):
        for part in later:
            if part.slot == "ribs" and not _LANDMARK.match(folded, part.end):
                places[0].ribs += part.value


def _sides(said: Assessed, span: tuple[int, int]) -> set[str]:
    return {m.value for m in said.mentions if m.kind == "side" and span[0] <= m.start < span[1]}


def _lesion(own: list[Part], claim: Claim) -> Instance:
    side = next((p.value for p in own if p.slot == "side"), None)
    zone = next((p.value for p in own if p.slot == "zone" and p.value is not None), None)
    return Instance(side=side, region=zone, span=(claim.start, claim.end))


def _pick(own: list[Part], slot: str) -> Any:
    """The last word of the slot is the most precise; ``None`` ("age indeterminate") wins."""
    values = [p.value for p in own if p.slot == slot]
    if not values or None in values:
        return None
    return max(values, key=lambda v: (v is Stage.HEALING, values.index(v)))


def _window(claim: Claim, said: Assessed, folded: str, bounds: tuple[int, int]) -> tuple[int, int]:
    """The words that belong to a claim: up to the gaps between it and its neighbours."""
    start, end = bounds
    for other in said.claims:
        if other is claim or other.normal:
            continue
        if other.at < claim.at:
            start = max(start, _gap(other, claim, said, folded))
        elif other.at > claim.at:
            end = min(end, _gap(claim, other, said, folded))
    return _within_others(claim, said, start, end)


def _within_others(claim: Claim, said: Assessed, start: int, end: int) -> tuple[int, int]:
    """Example: "degenerative changes of the spine and rib fractures": the spine is not broken."""
    for at, m in enumerate(said.mentions):
        if m.kind != "other":
            continue
        between = said.mentions[min(at, claim.at) + 1 : max(at, claim.at)]
        gaps = [g.start for g in between if g.kind in ("and", "or", "comma", "with")]
        if gaps and at < claim.at:
            start = max(start, gaps[0])
        elif gaps:
            end = min(end, gaps[0])
    return start, end


def _gap(first: Claim, second: Claim, said: Assessed, folded: str) -> int:
    """Where the words of one claim end and those of the next begin."""
    gaps = [
        m
        for m in said.mentions[first.at + 1 : second.at]
        if m.kind in _GAPS and m.start >= first.end and not _numbers_around(m, folded)
    ]
    follows = folded[first.end : first.end + 14].lstrip()
    taken = follows.startswith(("of ", "in ", "at ", "on ", "involving ", "along ", ",", "("))
    if not gaps:
        return second.start if taken else first.end
    commas = [m for m in gaps if m.kind in ("comma", "stop")]
    chosen = (commas or gaps)[-1] if taken or commas else gaps[0]
    return chosen.start


def _numbers_around(gap: Mention, folded: str) -> bool:
    """Example: the mark in "第4、5肋": it parts two ribs, not two claims."""
    before, after = folded[: gap.start].rstrip()[-1:], folded[gap.end :].lstrip("第 ")[:1]
    return before.isdigit() and after.isdigit()


def _told_later(
    claim: Claim, said: Assessed, folded: str, own: list[Part], every: list[Part]
) -> list[Part]:
    """Alignment and callus told after another finding: "骨折内固定术后，可见钢板，骨痂形成"."""
    known = {p.slot for p in own}
    after = [c.start for c in said.claims if c.at > claim.at and FindingName.FRACTURE in c.names]
    end = min(after, default=len(said.mentions) and said.mentions[-1].end)
    bones = [p.start for p in every if p.slot == "bone" and p.start > claim.end]
    end = min([end, *bones])
    return [
        p
        for p in every
        if claim.end <= p.start
        and (p.start < end or _ALL.search(folded[: p.start][-6:]))
        and p.slot not in known
        and (p.slot == "displacement" or p.value is Stage.HEALING)
    ]


def _unclaimed(claim: Claim, said: Assessed, every: list[Part]) -> list[Part]:
    """Parts of the sentence that lie nearer to this fracture than to another."""
    others = [c for c in said.claims if c is not claim and FindingName.FRACTURE in c.names]
    return [
        p
        for p in every
        if all(abs(p.start - claim.start) <= abs(p.start - o.start) for o in others)
    ]
