"""The findings of two texts compared: of the whole texts, and sentence by sentence."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator

from hilum.findings import FindingName, Stage, Status
from hilum.language.claims import Mention
from hilum.language.label import Said
from hilum.language.verdict import (
    Error,
    Kind,
    Side,
    concept_error,
    concepts,
    place,
    same_sentence,
    term,
)
from hilum.language.words import fold

N = FindingName
# Findings whose words are compared; the others are read off organs and their states.
_NAMED = frozenset(N) - {
    N.NO_FINDING,
    N.ENLARGED_CARDIOMEDIASTINUM,
    N.LUNG_OPACITY,
    N.LUNG_LESION,
    N.CARDIOMEGALY,
    N.PLEURAL_OTHER,
    N.SUPPORT_DEVICES,
    N.GRANULOMA,
    N.INFILTRATION,
}


def findings(a: Side, b: Side) -> list[Error]:
    """What the whole texts say of each finding, and of a fracture's place and stage."""
    errors = []
    here = {f.name: f for f in a.reading.findings}
    there = {f.name: f for f in b.reading.findings}
    for name in FindingName:
        f, g = here.get(name), there.get(name)
        if f is not None and g is not None and f.status is not g.status:
            errors += _status(a, b, name, f.status, g.status) or _beside(a, b, name)
        elif f is not None and g is not None and name in _NAMED:
            errors += _beside(a, b, name)
        elif name in _NAMED and f is not None and g is None:
            errors.append(
                Error(
                    Kind.OMISSION,
                    place(a, name),
                    same_sentence(a, b, place(a, name)),
                    name,
                    term(name, b),
                )
            )
        elif name in _NAMED and g is not None and f is None:
            errors.append(Error(Kind.ADDITION, None, place(b, name), name))
    f, g = here.get(N.FRACTURE), there.get(N.FRACTURE)
    if f is not None and g is not None and f.status is g.status:
        spans = place(a, N.FRACTURE), place(b, N.FRACTURE)
        for slot, kind in (
            ("bone", Kind.ANATOMY),
            ("side", Kind.SIDE),
            ("displacement", Kind.SEVERITY),
            ("stage", Kind.STAGE),
        ):
            told = {getattr(i, slot) for i in f.instances} - {None}
            said = {getattr(i, slot) for i in g.instances} - {None}
            if {*told, *said} == {Stage.HEALING, Stage.OLD}:
                continue  # 愈合 stands for both
            if told != said and told and said:
                errors.append(Error(kind, *spans, f"fracture {slot}", ", ".join(sorted(told))))
    return errors


def _status(a: Side, b: Side, name: FindingName, told: Status, said: Status) -> list[Error]:
    if name not in _NAMED and {told, said} != {Status.PRESENT, Status.ABSENT}:
        return []
    if name is N.NO_FINDING:
        return []
    here, there = _said(a, name), _said(b, name)
    both = told in there or said in here  # a text may say both, and mean the stronger
    if both and Status.PRESENT not in (told, said):
        return []
    if both and Status.UNCERTAIN in (told, said):
        return []
    if _softly(a, name) or _softly(b, name):
        return []
    hedged = Status.UNCERTAIN in (told, said)
    kind = Kind.CERTAINTY if hedged else Kind.NEGATION
    return [
        Error(kind, place(a, name, told), place(b, name, said), name, f"{term(name, b)}: {told}")
    ]


def _beside(a: Side, b: Side, name: FindingName) -> list[Error]:
    """The strongest status agrees, but one text also says what the other never does."""
    told, said = _statuses(a, name), _statuses(b, name)
    if name not in _NAMED:
        return []
    if len(told) == len(said) and told != said and not (_softly(a, name) or _softly(b, name)):
        odd = next(y for x, y in zip(told, said, strict=True) if x is not y)
        kind = Kind.CERTAINTY if Status.UNCERTAIN in set(told) ^ set(said) else Kind.NEGATION
        return [Error(kind, place(a, name), place(b, name, odd), name, term(name, b))]
    here, there = set(told), set(said)
    clash = {Status.PRESENT, Status.ABSENT}
    extra = here ^ there
    if len(here) == len(there) or not extra <= clash or not clash <= here | there:
        return []
    status = next(iter(extra))
    source = place(a, name, status) if status in here else place(a, name)
    target = place(b, name, status) if status in there else place(b, name)
    return [Error(Kind.NEGATION, source, target, name, term(name, b))]


def _statuses(side: Side, name: FindingName) -> list[Status]:
    return sorted(s.status for s in side.reading.said if s.name is name)


def _said(side: Side, name: FindingName) -> set[Status]:
    return {s.status for s in side.reading.said if s.name is name}


def _softly(side: Side, name: FindingName) -> bool:
    """English "suggests" is a weak hedge, and none in Chinese: 表明."""
    return _soft(side, [s for s in side.reading.said if s.name is name])


def _soft(side: Side, said: list[Said]) -> bool:
    cues = [s.cue for s in said if s.cue]
    return any(fold(side.text[slice(*cue)]).startswith(("suggest", "appear")) for cue in cues)


# Concepts that are findings under another name.
CONCEPT_OF = {
    "effusion": N.PLEURAL_EFFUSION,
    "infiltrate": N.INFILTRATION,
    "opacity": N.LUNG_OPACITY,
}


def in_other_words(a: Side, b: Side, concept: str) -> bool:
    """Whether both say the concept's finding as often and alike: 肋膈角锐利 is no effusion."""
    name = CONCEPT_OF.get(concept)
    if name is not N.PLEURAL_EFFUSION:
        return False
    told, said = _statuses(a, name), _statuses(b, name)
    return told == said and set(told) == {Status.ABSENT}


# Named in nearly every sentence, and left to the reader of a Chinese one.
_IMPLIED = {"lung", "base", "unremarkable"}
_SENTENCE = _NAMED | {N.GRANULOMA, N.INFILTRATION, N.LUNG_LESION}


def sentence_by_sentence(a: Side, b: Side) -> Iterator[Error]:
    """What a sentence says and its translation does not, though another sentence may.

    Sentences are paired by their order. Texts of unequal length are compared as one sentence
    each, and so are those where more than one pair of sentences has no concept in common:
    their order differs.
    """
    here, there = _concepts_by_sentence(a), _concepts_by_sentence(b)
    both = here.keys() & there.keys()
    strangers = sum(here[at].keys().isdisjoint(there[at]) for at in both)
    if len(a.ends) != len(b.ends) or strangers > 1:
        yield from _changes(
            a, b, _said_by_sentence(a, whole=True), _said_by_sentence(b, whole=True)
        )
        return
    yield from _changes(a, b, _said_by_sentence(a), _said_by_sentence(b))
    for at in sorted(here.keys() | there.keys()):
        yield from _concepts_of_sentence(a, b, here.get(at, {}), there.get(at, {}))


_Places = dict[tuple[int, FindingName], list[Said]]


def _changes(a: Side, b: Side, here: _Places, there: _Places) -> Iterator[Error]:
    for key in sorted(here.keys() & there.keys()):
        told, said = here[key], there[key]
        changed = {s.status for s in told} ^ {s.status for s in said}
        hedged = Status.ABSENT not in changed and (_soft(a, told) or _soft(b, said))
        if changed and not hedged:
            yield _changed(b, key[1], told, said)


def _concepts_of_sentence(
    a: Side, b: Side, here: dict[str, Mention], there: dict[str, Mention]
) -> Iterator[Error]:
    for name, concept in concepts().items():
        if name in _IMPLIED or in_other_words(a, b, name):
            continue
        if name in here and name not in there and concept.check != "target":
            yield concept_error(concept.kind, a, b, here[name], None, name, concept)
        gained = name in there and name not in here and concept.check != "source"
        if gained and name not in a.suspects:
            kind = Kind.ADDITION if concept.kind is Kind.FINDING else concept.kind
            yield concept_error(kind, a, b, None, there[name], name, concept)


def _changed(b: Side, name: FindingName, told: list[Said], said: list[Said]) -> Error:
    before, after = {s.status for s in told}, {s.status for s in said}
    kind = Kind.CERTAINTY if Status.UNCERTAIN in before ^ after else Kind.NEGATION
    source = next((s for s in told if s.status not in after), told[0])
    target = next((s for s in said if s.status not in before), said[0])
    return Error(kind, source.span, target.span, name, f"{term(name, b)}: {source.status}")


def _said_by_sentence(side: Side, whole: bool = False) -> _Places:
    """Where each finding is said, by sentence; ``whole``: as if the text were one."""
    found = defaultdict(list)
    for one in side.reading.said:
        if one.name in _SENTENCE:
            found[0 if whole else _sentence(side, one.span[0]), one.name].append(one)
    return found


def _concepts_by_sentence(side: Side) -> dict[int, dict[str, Mention]]:
    """Each sentence's concepts, each at its first mention."""
    found: dict[int, dict[str, Mention]] = defaultdict(dict)
    for name, group in side.concepts.items():
        for mention in group:
            found[_sentence(side, mention.start)].setdefault(name, mention)
    return found


def _sentence(side: Side, at: int) -> int:
    return bisect_right(side.ends, (at, len(side.text))) - 1
