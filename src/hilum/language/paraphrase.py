"""Findings in the words of radiologists: seeded synonyms, orders and merged negations.

Stands for free text in experiments. A sentence that :func:`~hilum.language.label.label` would
not read back as what it was written from is replaced by the template's own.
"""

from __future__ import annotations

import random
from functools import cache
from importlib import resources
from typing import Any

import yaml

from hilum.findings import FINDINGS, Finding, FindingName, Instance, Status, with_parents
from hilum.language import template as t
from hilum.language.label import label
from hilum.report import Language

_MERGED = 4


@cache
def _phrases() -> dict[str, Any]:
    text = resources.files("hilum.language").joinpath("phrases.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def paraphrase(findings: list[Finding], language: Language, seed: int = 0) -> str:
    """The findings as free text; the same seed gives the same words."""
    rng = random.Random(f"{seed} {language}")
    said = t.to_say(findings)
    alone, together = _grouped(said, rng)
    sentences = [_checked([f], _one(f, language, rng), language) for f in alone]
    sentences += [_checked(g, [_merged(g, language, rng)], language) for g in together]
    rng.shuffle(sentences)
    text = _joined([s for group in sentences for s in group], language)
    return text if same(label(text, language), findings) else t.write(findings, language)


def share_rewritten(findings: list[Finding], language: Language, seed: int = 0) -> float:
    """The share of sentences that are not the template's."""
    plain = {s for f in findings for s in t.sentence(f, language)}
    stop = "。" if language == "zh" else ". "
    text = paraphrase(findings, language, seed)
    written = [s.strip() + stop.strip() for s in text.rstrip(". 。").split(stop)]
    return sum(s not in plain for s in written) / len(written)


def same(a: list[Finding], b: list[Finding]) -> bool:
    """Whether both say the same: names, status and occurrences; spans and boxes aside."""
    return meaning(a) == meaning(b)


def meaning(findings: list[Finding]) -> dict[FindingName, tuple[Status, list[str]]]:
    """Status and occurrences by name; a claim without a place is one blank occurrence.

    A parent that is present through its child needs no occurrence of its own.
    """
    by_child = {FINDINGS[f.name].parent for f in findings if f.present}
    blank = [_words(Instance())]
    means = {}
    for finding in findings:
        places = sorted(_words(i) for i in finding.instances)
        if not places and finding.status is not Status.ABSENT and finding.name not in by_child:
            places = blank
        means[finding.name] = (finding.status, [] if finding.status is Status.ABSENT else places)
    return means


def _words(i: Instance) -> str:
    return f"{i.bone} {i.side} {sorted(i.ribs)} {i.region} {i.displacement} {i.stage}"


def _grouped(said: list[Finding], rng: random.Random) -> tuple[list[Finding], list[list[Finding]]]:
    """Findings to write alone, and groups of denied ones to write under one negation."""
    denied = {f.name for f in said if f.status is Status.ABSENT}
    plain = [
        f
        for f in said
        if f.name in denied
        and f.name is not FindingName.NO_FINDING
        and FINDINGS[f.name].parent in (None, *denied)
    ]
    merged = rng.sample(plain, len(plain)) if rng.random() < 0.7 else []
    groups = [merged[k : k + _MERGED] for k in range(0, len(merged), _MERGED)]
    groups = [g for g in groups if len(g) > 1]
    inside = {f.name for g in groups for f in g}
    return [f for f in said if f.name not in inside], groups


def _checked(findings: list[Finding], written: list[str], language: Language) -> list[str]:
    if same(label(_joined(written, language), language), with_parents(list(findings))):
        return written
    return [s for f in findings for s in t.sentence(f, language)]


def _joined(sentences: list[str], language: Language) -> str:
    return (" " if language == "en" else "").join(sentences)


def _one(finding: Finding, language: Language, rng: random.Random) -> list[str]:
    if finding.name is FindingName.NO_FINDING:
        return t.sentence(finding, language)
    phrases = _phrases()[language]
    whole = phrases["whole"].get(f"{finding.name} {finding.status}")
    placed = any(i != Instance(span=i.span) for i in finding.instances)
    if whole and not placed and len(finding.instances) < 2 and rng.random() < 0.6:
        return [rng.choice(whole)]
    term = rng.choice(phrases["terms"][finding.name])
    if finding.status is Status.ABSENT:
        return [_clean(rng.choice(phrases["absent"]).format(t=term), language)]
    return [
        _clean(_located(finding, i, term, language, rng), language)
        for i in finding.instances or [Instance()]
    ]


def _located(
    finding: Finding, i: Instance, term: str, language: Language, rng: random.Random
) -> str:
    phrases = _phrases()[language]
    if finding.name is FindingName.FRACTURE:
        kind = "fracture" if finding.present else "fracture_uncertain"
        pick = {
            "k": rng.choice(phrases["stage"][i.stage]) if i.stage else "",
            "m": rng.choice(phrases["displacement"][i.displacement]) if i.displacement else "",
            "p": _bone_en(i) if language == "en" else _bone_zh(i),
        }
        if language == "en":
            pick["k"] = f"{pick['k']} {pick.pop('m')}".strip()
        return str(rng.choice(phrases[kind]).format(**pick))
    side = t.SIDES[i.side][0 if language == "en" else 1] if i.side else ""
    zone = t.REGIONS[i.region][0 if language == "en" else 1] if i.region else ""
    if language == "en":
        where = f" in the {side} {zone} lung zone" if zone else ""
        side = "" if zone else side
    else:
        where = f"肺{zone}野" if zone else ""
        side = side if zone or not side else f"{side}侧"
    return str(rng.choice(phrases[finding.status]).format(t=term, s=side, z=where))


def _bone_en(i: Instance) -> str:
    ribs = [t.ordinal(n) for n in i.ribs]
    listed = " and ".join([", ".join(ribs[:-1]), ribs[-1]]) if len(ribs) > 1 else "".join(ribs)
    bone = t.BONES[i.bone][0] if i.bone else ""
    words = [t.SIDES[i.side][0] if i.side else "", t.REGIONS[i.region][0] if i.region else ""]
    words += [listed, f"{bone}s" if len(ribs) > 1 else bone]
    place = " ".join(filter(None, words))
    return f" of the {place}" if place else ""


def _bone_zh(i: Instance) -> str:
    ribs = i.ribs
    run = len(ribs) > 2 and ribs == list(range(ribs[0], ribs[-1] + 1))
    listed = f"{ribs[0]}-{ribs[-1]}" if run else "、".join(map(str, ribs))
    side = f"{t.SIDES[i.side][1]}侧" if i.side else ""
    bone = t.BONES[i.bone][1] if i.bone else ""
    region = t.REGIONS[i.region][1] if i.region else ""
    return f"{side}{f'第{listed}' if ribs else ''}{bone}{region}"


def _merged(group: list[Finding], language: Language, rng: random.Random) -> str:
    terms = [rng.choice(_phrases()[language]["terms"][f.name]) for f in group]
    if language == "zh":
        listed = f"{'、'.join(terms[:-1])}{rng.choice('及或')}{terms[-1]}"
        return str(rng.choice(["未见{}。", "未见明显{}征象。", "无{}。"])).format(listed)
    listed = f"{', '.join(terms[:-1])}{',' if len(terms) > 2 else ''} or {terms[-1]}"
    return str(rng.choice(["No {}.", "There is no {}.", "No evidence of {}."])).format(listed)


def _clean(sentence: str, language: Language) -> str:
    """Gaps of what is unknown closed, the first letter large, "a" before a vowel "an"."""
    if language == "zh":
        return sentence
    words = sentence.split()
    for k, word in enumerate(words[:-1]):
        if word.lower() == "a" and words[k + 1][0] in "aeiou":
            words[k] = f"{word}n"
    text = " ".join(words)
    return text[0].upper() + text[1:]
