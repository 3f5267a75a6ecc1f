"""What a question asks for: intents, findings and places, read by cues in both languages.

Nothing here knows a film or a report; a question can only choose among the answers there are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import TypeVar

import yaml

from hilum.findings import FINDINGS, Bone, FindingName, Instance, Region, Side
from hilum.language import label
from hilum.report import Language

T = TypeVar("T")
_N = FindingName

# Beyond this a question is no question; what follows is not read.
LONGEST = 4000
MOST_PARTS = 8


class Intent(StrEnum):
    """What a question asks for."""

    STEER = "steer"
    PRIOR = "prior"
    SURE = "sure"
    TREAT = "treat"
    WATCH = "watch"
    SEVERE = "severe"
    PLAIN = "plain"
    CAUSE = "cause"
    SIZE = "size"
    DETAIL = "detail"
    OTHERS = "others"
    SIDES = "sides"
    WHERE = "where"
    WHO = "who"
    HELP = "help"
    THANKS = "thanks"
    GREET = "greet"
    NORMAL = "normal"
    SEEN = "seen"


# Beside the first of these the others that fit count too: "is there one, where, how sure?"
TOGETHER = frozenset(
    {Intent.SURE, Intent.TREAT, Intent.WATCH, Intent.SEVERE, Intent.PLAIN, Intent.SIZE}
    | {Intent.DETAIL, Intent.WHERE}
)
# Without a name these are about what was spoken of before.
FOLLOW = frozenset({Intent.SURE, Intent.WHERE, Intent.SIZE, Intent.DETAIL, Intent.OTHERS})
# After these nothing in particular is spoken of.
WIDE = frozenset({Intent.SEEN, Intent.NORMAL, Intent.SIDES, Intent.STEER})

# Findings that have no place of the kind that a question may ask for.
PLACELESS = frozenset({_N.CARDIOMEGALY, _N.ENLARGED_CARDIOMEDIASTINUM, _N.SUPPORT_DEVICES})

_ENDS = re.compile(r"[?？!！。;；\n]+|\.(?=\s|$)")
_CHOICE = re.compile(r"有没有|有无|是不是|是否有?|会不会|能不能|要不要|存不存在|好不好|在不在")
_ASKING = re.compile(rf"{_CHOICE.pattern}|能否看到|吗|呢|么|吧")
_DENIED = re.compile(
    r"\bno\b|\bnot an?\b|\bnot any\b|\bwithout\b|free of|rul(?:e|ed|es) out|\bnothing\b|\bexclud"
    r"|(?<!是)没|(?<!有)无(?!法)|不是(?!有|说)|未见|排除"
)
_CLEAR = re.compile(r"\bclear\b|清晰|清楚")
_UNEASY = re.compile(r"n't\b|\bnot\b|\bnever\b|不(?!张|要)")
# Whether a thing is there: only such a question is answered with a yes.
_WHETHER = re.compile(
    r"\b(?:is|are) there\b|\bany\b|\b(?:have|has|got)\b|\bbroken?\b|\bbreak\b|\bfractured\b"
    r"|有|[断裂折]了?[吗么没]|^\W*(?:an? )?[a-z]+(?: [a-z]+)?\W*$"  # or the finding alone
)
_TAG = re.compile(
    r"(?<!\bthe )(?<!\bmy )(?<!\bhis )(?<!\bher )(?<!\bon )(?<!\band )\bright\s*$|\ball right"
    r"|\bright (?:now|away|place|way|position|answer|film)"
)
_SIDES = ((Side.LEFT, re.compile(r"\bleft\b|左")), (Side.RIGHT, re.compile(r"\bright\b|右")))
_WORDS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
_RIBS = re.compile(
    r"\b(\d{1,2})(?:st|nd|rd|th)\b|\bribs? (?:no\.? ?|number )?(\d{1,2})\b"
    rf"|\b({'|'.join(_WORDS)})\b(?=[^.]{{0,24}}\brib)|第?(\d{{1,2}})(?=[^.]{{0,8}}?肋)"
    r"|第?([一二三四五六七八九十]{1,2})(?=[^.]{0,8}?肋)"
)
_DIGITS = {d: n for n, d in enumerate("一二三四五六七八九十", 1)} | {"十一": 11, "十二": 12}
_TO: tuple[tuple[Language, re.Pattern[str]], ...] = (
    ("zh", re.compile(r"\b(?:in|to|into|speak) chinese\b|[用说讲成]中文|汉语|[说讲]普通话")),
    ("en", re.compile(r"\b(?:in|to|into|speak) english\b|[用说讲成]英[文语]")),
)


Cue = re.Pattern[str]


@dataclass(frozen=True)
class Cues:
    """What ``questions.yaml`` holds, in its order, ready to be searched for."""

    intents: dict[Intent, Cue]
    findings: dict[FindingName, Cue]
    groups: list[tuple[Cue, tuple[FindingName, ...]]]
    bones: dict[Bone, Cue]
    regions: dict[Region, Cue]


@cache
def cues() -> Cues:
    """The cues of ``questions.yaml``; a name there that is no intent or finding is a ValueError."""
    text = resources.files("hilum.reading").joinpath("questions.yaml").read_text(encoding="utf-8")
    held = yaml.safe_load(text)
    return Cues(
        {Intent(i): _any([*c["en"], *c["zh"]]) for i, c in held["intents"].items()},
        {FindingName(n): _any(c) for n, c in held["findings"].items()},
        [
            (_any(g["cues"]), tuple(FindingName(n) for n in g["findings"]))
            for g in held["groups"].values()
        ],
        {Bone(b): _any(c) for b, c in held["bones"].items()},
        {Region(r): _any(c) for r, c in held["regions"].items()},
    )


def _any(patterns: list[str]) -> Cue:
    return re.compile("|".join(f"(?:{p})" for p in patterns))


@dataclass(frozen=True)
class Place:
    """Where a question looks; what it leaves open is None or empty."""

    side: Side | None = None
    bone: Bone | None = None
    ribs: tuple[int, ...] = ()
    region: Region | None = None

    def holds(self, name: FindingName, instance: Instance) -> bool | None:
        """Whether an occurrence lies there; None where that is not known."""
        fits: list[bool | None] = []
        if self.side:
            both = (self.side, Side.BILATERAL)
            fits.append(None if instance.side is None else instance.side in both)
        if name is FindingName.FRACTURE:
            if self.bone:
                fits.append(None if instance.bone is None else instance.bone is self.bone)
            if self.ribs:
                known = instance.ribs or instance.bone not in (None, Bone.RIB)
                fits.append(bool(set(self.ribs) & set(instance.ribs)) if known else None)
        elif self.region:
            fits.append(None if instance.region is None else instance.region is self.region)
        if False in fits:
            return False
        return None if None in fits else True


@dataclass(frozen=True)
class Question:
    """One part of what a user says: its intents, the findings it names, where it looks.

    ``group``: it names a part of the body, not a finding. ``denied``: it supposes that something
    is not there; ``neutral``: a yes or a no before the answer could be misread.
    """

    intents: tuple[Intent, ...]
    named: tuple[FindingName, ...]
    place: Place
    group: bool = False
    denied: bool = False
    neutral: bool = False

    @property
    def empty(self) -> bool:
        """True where nothing was understood."""
        return not (self.intents or self.named or self.place != Place())


def parse(text: str) -> list[Question]:
    """The parts of a question, in order; those that nothing was understood of are left out."""
    parts = [p for p in _ENDS.split(_plain(text)) if p.strip()]
    found = [_part(p) for p in parts[:MOST_PARTS]]
    return [q for q in found if not q.empty]


def wished(text: str) -> Language | None:
    """The language that a question asks to be answered in, if any."""
    low = _plain(text)
    return next((language for language, cue in _TO if cue.search(low)), None)


def _plain(text: str) -> str:
    return text[:LONGEST].lower().replace("\u2019", "'")


def _part(low: str) -> Question:
    named = _named(low)
    group = next((some for cue, some in cues().groups if cue.search(low)), ())
    fits = [intent for intent, cue in cues().intents.items() if cue.search(low)]
    intents = [i for i in fits if i is fits[0] or (fits[0] in TOGETHER and i in TOGETHER)]
    heart = named == [_N.CARDIOMEGALY] and "心胸比" not in low  # whose size is what is judged
    if heart or Intent.SURE in intents:
        intents = [i for i in intents if i is not Intent.SIZE]
    if intents in ([Intent.GREET], [Intent.THANKS]) and (named or group):
        intents = []
    plain = _CHOICE.sub("", low)
    return Question(
        intents=tuple(intents),
        named=tuple(named or group),
        place=_place(low),
        group=bool(group and not named),
        denied=bool(_DENIED.search(plain)),
        neutral=bool(_UNEASY.search(plain)) or Intent.NORMAL in fits or not _WHETHER.search(low),
    )


def _named(low: str) -> list[FindingName]:
    """The findings that a question speaks of; a parent only where it is named itself."""
    found = {name for name, cue in cues().findings.items() if cue.search(low)}
    for language in ("en", "zh"):
        plain = _ASKING.sub("", low) if language == "zh" else low
        found |= {f.name for f in label(plain, language)}
    if _CLEAR.search(low):
        found.discard(_N.LUNG_OPACITY)  # which is what the labeler reads in clear lungs
    parents = {FINDINGS[name].parent for name in found}
    return [name for name in FINDINGS if name in found - parents - {FindingName.NO_FINDING}]


def _place(low: str) -> Place:
    plain = _TAG.sub("", low)
    sides = [side for side, cue in _SIDES if cue.search(plain)]
    bone = _first(cues().bones, low)
    ribs = [_rib(match) for match in _RIBS.finditer(low)] if bone is Bone.RIB else []
    return Place(
        side=sides[0] if len(sides) == 1 else None,
        bone=bone,
        ribs=tuple(sorted({r for r in ribs if 1 <= r <= 12})),
        region=_first(cues().regions, low),
    )


def _first(cues: dict[T, Cue], low: str) -> T | None:
    return next((key for key, cue in cues.items() if cue.search(low)), None)


def _rib(match: re.Match[str]) -> int:
    number = next(group for group in match.groups() if group)
    if number in _WORDS:
        return _WORDS.index(number) + 1
    return _DIGITS.get(number) or (int(number) if number.isdecimal() else 0)
