"""Where a translation changed the medicine.

Three comparisons of a source and its translation: concepts (every word that matters has a
rendering that keeps its meaning, ``lexicon/concepts.tsv``), findings (both are labelled, and
names, status and occurrences are compared), and counts that a translation keeps (sides, rib
numbers, sizes). The first two are made of the whole texts and sentence by sentence.
"""

from __future__ import annotations

import re

from hilum.findings import FindingName
from hilum.language.claims import Assessed, mentions
from hilum.language.compare import CONCEPT_OF, findings, in_other_words, sentence_by_sentence
from hilum.language.places import parts
from hilum.language.verdict import Audit, Error, Kind, Side, Span, concept_error, concepts, side_of
from hilum.language.words import fold, sentences
from hilum.report import Language

N = FindingName
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*-?\s*(?:cm|mm|厘米|毫米|公分|%|％)|\b[tl](\d{1,2})\b")


def audit(
    source: str,
    target: str,
    source_language: Language | None = None,
    target_language: Language | None = None,
) -> Audit:
    """Compares a text with its translation.

    ``faithful`` is False where an error changes the medicine. Languages are told from the
    texts where they are None. A text that cannot be read gives no errors, ``faithful`` False
    and the reason: nothing was compared.
    """
    a = side_of(source, source_language)
    b = side_of(target, target_language)
    reason = a.reading.reason or b.reading.reason
    if reason is not None:
        return Audit(False, [], reason)
    errors = [*_concepts(a, b), *findings(a, b), *_sides(a, b), *_numbers(a, b), *_severity(a, b)]
    known = {e.about for e in errors}
    errors += [e for e in sentence_by_sentence(a, b) if e.about not in known]
    errors = _distinct(errors)
    residue, shared = _residue(a, b)
    faithful = not errors and (shared or not residue)
    return Audit(faithful, [*errors, *residue])


def _concepts(a: Side, b: Side) -> list[Error]:
    errors = []
    for name, concept in concepts().items():
        here = a.concepts.get(name, [])
        there = b.concepts.get(name, []) or (b.implied.get(name, []) if here else [])
        if name == "unremarkable":  # "unremarkable" is no 不明显
            if here and there:
                errors.append(concept_error(concept.kind, a, b, here[0], there[0], name, concept))
            continue
        suspects = b.suspects.get(name, []) + a.suspects.get(name, [])
        if here and len(there) < len(here) and b.suspects.get(name):
            errors.append(concept_error(concept.kind, a, b, here[0], suspects[0], name, concept))
        elif here and not there and concept.check != "target" and not in_other_words(a, b, name):
            errors.append(concept_error(concept.kind, a, b, here[0], None, name, concept))
        elif there and not here and concept.check != "source" and not a.suspects.get(name):
            kind = Kind.ADDITION if concept.kind is Kind.FINDING else concept.kind
            errors.append(concept_error(kind, a, b, None, there[0], name, concept))
    return errors


def _sides(a: Side, b: Side) -> list[Error]:
    """One side gained what the other lost, or they changed places."""
    here = _sequence(a)
    there = _sequence(b)
    more_left = there.count("left") - here.count("left")
    more_right = there.count("right") - here.count("right")
    swapped = more_left * more_right < 0
    turned = more_left == more_right == 0 and here != there and sorted(here) != here
    if not swapped and not (turned and here == there[::-1]):
        return []
    wrong = "left" if more_left > 0 else "right"
    right = "right" if wrong == "left" else "left"
    source = a.concepts.get(right) or a.concepts.get(wrong) or []
    target = b.concepts.get(wrong, [])
    left_span = (source[0].start, source[0].end) if source else None
    right_span = (target[-1].start, target[-1].end) if target else None
    return [Error(Kind.SIDE, left_span, right_span, "side", right)]


def _sequence(side: Side) -> list[str]:
    found = [(m.start, name) for name in ("left", "right") for m in side.concepts.get(name, [])]
    return [name for _, name in sorted(found)]


def _numbers(a: Side, b: Side) -> list[Error]:
    errors = []
    here, there = _ribs(a), _ribs(b)
    if here and there and set(here) != set(there):
        missing = sorted(set(here) - set(there))
        source = next((here[n] for n in missing), None)
        target = next((there[n] for n in sorted(set(there) - set(here))), None)
        errors.append(
            Error(Kind.ANATOMY, source, target, "rib number", ", ".join(map(str, missing)))
        )
    sizes, said = _sizes(a), _sizes(b)
    if set(sizes) != set(said) and sizes and said:
        lost = sorted(set(sizes) - set(said))
        spans = (
            next((sizes[n] for n in lost), None),
            next((said[n] for n in sorted(set(said) - set(sizes))), None),
        )
        errors.append(Error(Kind.SEVERITY, *spans, "size", ", ".join(lost)))
    return errors


def _ribs(side: Side) -> dict[int, Span]:
    folded = fold(side.text)
    found: dict[int, Span] = {}
    for sentence in sentences(side.text, folded):
        if not (
            "rib" in folded[sentence.start : sentence.end]
            or "肋" in folded[sentence.start : sentence.end]
        ):
            continue
        said = Assessed(mentions(sentence.tokens, side.language), [])
        for part in parts(said, folded, (sentence.start, sentence.end), side.language):
            if part.slot == "ribs":
                for number in part.value:
                    found.setdefault(number, (part.start, part.end))
    return found


def _sizes(side: Side) -> dict[str, Span]:
    return {m[1] or m[2]: m.span() for m in _SIZE.finditer(fold(side.text))}


_LEVELS = {"mild": "轻度", "moderate": "中度", "severe": "重度"}


def _severity(a: Side, b: Side) -> list[Error]:
    """One degree gained what another lost."""
    change = {n: len(b.concepts.get(n, [])) - len(a.concepts.get(n, [])) for n in _LEVELS}
    lost = next((n for n in _LEVELS if change[n] < 0), None)
    gained = next((n for n in _LEVELS if change[n] > 0), None)
    # 明显 and 显著 are words of style where the counts do not match
    if lost is None or gained is None or (a.concepts.get(gained) and sum(change.values())):
        return []
    source, target = a.concepts[lost][0], b.concepts[gained][0]
    spans = (source.start, source.end), (target.start, target.end)
    return [Error(Kind.SEVERITY, *spans, "severity", _LEVELS[lost] if b.language == "zh" else lost)]


def _residue(a: Side, b: Side) -> tuple[list[Error], bool]:
    """What a chat left behind, and whether the source has it too."""
    here, there = a.concepts.get("chat", []), b.concepts.get("chat", [])
    errors = [Error(Kind.CHAT_RESIDUE, None, (m.start, m.end), "chat") for m in there]
    if not there:
        errors = [Error(Kind.CHAT_RESIDUE, (m.start, m.end), None, "chat") for m in here]
    return errors, bool(here)


def _distinct(errors: list[Error]) -> list[Error]:
    """One word lost shows as a concept and as a finding; the concept points better.

    Without the findings whose loss or gain a concept's error has named already.
    """
    named = {
        CONCEPT_OF.get(e.about, e.about) for e in errors if not isinstance(e.about, FindingName)
    }
    repeated = (Kind.OMISSION, Kind.ADDITION)
    return [
        e
        for e in errors
        if not (e.kind in repeated and isinstance(e.about, FindingName) and e.about in named)
    ]
