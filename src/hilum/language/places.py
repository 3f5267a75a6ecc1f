"""Words that tell a place or a kind: bone, side, ribs, region, zone, displacement, stage."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any

from hilum.findings import Bone, Displacement, Region, Side, Stage
from hilum.language.claims import Assessed, Mention
from hilum.report import Language

_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_CHINESE = "一 二 三 四 五 六 七 八 九 十 十一 十二"
_NUMBERS = {w: n for words in (_ORDINALS, _CHINESE) for n, w in enumerate(words.split(), 1)}
_EN = r"(?:(?:1[0-2]|[1-9])(?:st|nd|rd|th)?|" + "|".join(_ORDINALS.split()) + r")(?![a-z0-9.])"
_ZH = r"(?:1[0-2]|[1-9]|十[一二]|[一二三四五六七八九十])(?![\d.%])"
_JOIN_EN = r"\s*(?:,\s*and|,|and|&|/|-|through|thru|to)\s*(?:the\s+)?"
_JOIN_ZH = r"(?:根|肋|支|条)?\s*(?:[、,/和及与~至到-]|以及)\s*(?:第)?"
_LISTS = {
    "en": re.compile(rf"(?<![\w.]){_EN}(?:{_JOIN_EN}{_EN})*"),
    "zh": re.compile(rf"(?<![\d.])第?{_ZH}(?:{_JOIN_ZH}{_ZH})*"),
}
_RANGE = re.compile(r"-|~|至|到|through|thru|\bto\b")
_NUMBER = re.compile(r"1[0-2]|[1-9]|十[一二]|[一二三四五六七八九十]|" + "|".join(_ORDINALS.split()))
_KINDS: dict[str, type[StrEnum]] = {"side": Side, "region": Region, "zone": Region, "stage": Stage}


@dataclass(slots=True)
class Place:
    """What is known of one occurrence while its words are gathered."""

    bone: Bone | None = None
    side: Side | None = None
    ribs: list[int] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    region_first: bool = False  # "posterior 5th": the region was told before the ribs

    @property
    def empty(self) -> bool:
        """True where nothing is known."""
        return self.bone is None and self.side is None and not self.ribs


@dataclass(slots=True)
class Part:
    """A word that says where or how: its slot, value and place."""

    slot: str
    value: Any
    start: int
    end: int


Before = Callable[[], list[Part]]


def parts(said: Assessed, folded: str, bounds: tuple[int, int], language: Language) -> list[Part]:
    """The words within ``bounds`` that tell place or kind, in order."""
    start, end = bounds
    found = []
    for at, m in enumerate(said.mentions):
        if m.start >= start and m.end <= end:
            found += _parts_of(m, at in said.denied)
    if any(p.slot == "bone" and p.value is Bone.RIB for p in found) or "第" in folded[start:end]:
        found += _rib_lists(folded, start, end, language)
    return sorted(found, key=lambda p: p.start)


def _parts_of(m: Mention, denied: bool) -> list[Part]:
    """A mention's parts; a stage denied says nothing, a displacement denied is none."""
    values: list[tuple[str, Any]]
    match m.kind:
        case "bone":
            bone, _, region = m.value.partition(" ")
            values = [("region", Region(region))] if region else []
            values.append(("bone", Bone(bone)))
        case "joint":
            values = [("joint", Bone.OTHER)]
        case "line":
            values = [("stage", Stage(m.value))]
        case "undisplaced":
            values = [("displacement", Displacement.NONDISPLACED)]
        case "displacement":
            moved = Displacement.NONDISPLACED if denied else Displacement(m.value)
            values = [("displacement", moved)]
        case "side" | "region" | "zone" | "stage":
            kind = _KINDS[m.kind]
            values = [] if denied and m.kind == "stage" else [(m.kind, _known(kind, m.value))]
        case _:
            return []
    return [Part(slot, value, m.start, m.end) for slot, value in values]


def _known(kind: type[StrEnum], value: str) -> StrEnum | None:
    return None if value == "none" else kind(value)


def _rib_lists(folded: str, start: int, end: int, language: Language) -> Iterable[Part]:
    for match in _LISTS[language].finditer(folded, start, end):
        text = match.group()
        near = folded[match.end() : match.end() + 24]
        ahead = folded[max(0, match.start() - 8) : match.start()]
        if language == "zh":
            if re.match(
                r"\s*(?:[根个节]?[胸腰颈]?椎|节|月|天|年|周|次|型|mm|cm|厘米|毫米|岁|个)", near
            ):
                continue
            if "第" not in text and not re.match(r"(?:根|支|条)?[^,。;、]{0,4}肋", near):
                continue
        else:
            named = re.search(r"st|nd|rd|th|[a-z]{5}", text)
            plain = re.match(r"\s*(?:left |right |posterior |anterior |lateral )*ribs?\b", near)
            if not (named or plain or re.search(r"ribs? (?:#|number )?$", ahead)):
                continue
            if re.match(
                r"\s*(?:mm|cm|hour|view|week|day|month|year|thoracic|lumbar|vertebra)", near
            ):
                continue
        yield Part("ribs", _numbers(text), match.start(), match.end())


def _numbers(text: str) -> list[int]:
    """Example: "5-7、9" is 5, 6, 7, 9."""
    ribs: list[int] = []
    last_end = 0
    for match in _NUMBER.finditer(text):
        word = match.group()
        n = int(word) if word.isdigit() else _NUMBERS[word]
        if ribs and n > ribs[-1] and _RANGE.search(text[last_end : match.start()]):
            ribs += range(ribs[-1] + 1, n)
        ribs.append(n)
        last_end = match.end()
    return ribs


def places_of(own: list[Part]) -> list[Place]:
    """Words in order to places, at least one; :func:`_opens` says where a new one begins."""
    places = [Place()]
    boned = any(p.slot == "bone" for p in own)
    for part in own:
        if _opens(part, places[-1]):
            places.append(Place())
        here = places[-1]
        if part.slot in ("side", "bone"):
            setattr(here, part.slot, part.value)
        elif part.slot == "joint" and not boned:
            here.bone = part.value
        elif part.slot == "ribs":
            here.region_first = here.region_first or (bool(here.regions) and not here.ribs)
            here.ribs += part.value
        elif part.slot == "region" and part.value not in here.regions:
            here.regions.append(part.value)
    _fill(places)
    return places


def _opens(part: Part, here: Place) -> bool:
    """A second side, another bone, or ribs after a bone that is none or after a finished list."""
    if part.slot in ("side", "bone"):
        return getattr(here, part.slot) not in (None, part.value)
    if part.slot == "ribs":
        listed = bool(here.ribs) and bool(here.regions) and not here.region_first
        again = set(part.value) <= set(here.ribs)
        return (listed and not again) or here.bone not in (None, Bone.RIB)
    return False


def _fill(places: list[Place]) -> None:
    """A side holds on ("left clavicle and ribs"), a bone may come last ("10th, 9th ribs")."""
    for before, here in pairwise(places):
        here.side = here.side or before.side
    for after, here in pairwise(reversed(places)):
        here.bone = here.bone or after.bone
        if not here.regions and here.bone is after.bone:
            here.regions = list(after.regions)
