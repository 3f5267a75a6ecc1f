"""The gate: whether a study is a frontal chest radiograph that may be read at all.

Header rules first, then rules on the picture, and last what :mod:`hilum.reading.pose` makes of
it. Header values are hints: only a value that clearly says something else abstains, a missing
or unknown one passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hilum.codes import Code
from hilum.reading import pose
from hilum.report import Gate, Verdict
from hilum.study import Study, View

MIN_SIDE = 200
"""Shortest side in pixels: a thumbnail shows no fracture and no small pneumothorax."""

MIN_SPREAD = 10
"""Least spread of the displayed film's coarse brightness, in 8-bit levels; chests have over 50."""

GRID = 32
"""Rows and columns of the grid that coarse brightness is measured on."""

MAX_SATURATED = 0.6
"""Largest share of a film that may be plain black or plain white."""

THINNED = 512
"""A film is judged on every n-th row and column, with at least this many of the shorter side."""

MAX_ASPECT = 1.7
"""Longest side of a chest film over its shortest; cassettes and detectors stay below 1.4."""

FRONTAL = 0.0
"""Least log-odds of an upright frontal chest to accept a film: even odds."""

BELLY = 0.15
"""Share of a film's height, at its foot, that is left out for a second look: belly below lungs."""

NAMED = 1.0
"""Least log-odds of a turned or inverted frontal chest to call it that, not another part."""

ADULT = 18
"""Age in years from which a patient is no child."""

Shown = NDArray[np.uint8]
_RADIOGRAPHS = frozenset({"CR", "DX"})
_CR = "1.2.840.10008.5.1.4.1.1.1"
_DX = "1.2.840.10008.5.1.4.1.1.1.1"
_DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
# Laterals, decubitus films (the patient lies on a side) and obliques, PS3.3 C.8.1.1 and free use.
_NOT_FRONTAL = frozenset(
    "LL RL LLAT RLAT LATL LATR LAT LATERAL LLD RLD DECUB DECUBITUS"
    " RLO LLO RAO LAO RPO LPO OBL OBLIQUE ML LM MLO CC AXIAL".split()
)
_CHEST_WORDS = ("CHEST", "THORA", "LUNG", "RIB", "HEART", "CARDI", "PULM")
# PS3.16 Annex L terms for what a chest film never is, in the spellings scanners write.
_OTHER_PARTS = frozenset(
    "ABDOMEN KUB PELVIS HIP HIPS SACRUM COCCYX SIJOINT SSPINE LSPINE LSSPINE CSPINE TSPINE"
    " TLSPINE CTSPINE SPINE NECK HEAD SKULL FACE ORBIT ORBITS SINUS SINUSES NOSE JAW MANDIBLE"
    " MAXILLA TEETH TOOTH TMJ MASTOID BREAST EXTREMITY UPREXTREMITY LOWEXTREMITY LIMB ARM"
    " FOREARM HUMERUS ELBOW RADIUS ULNA RADIUSULNA WRIST HAND HANDS FINGER FINGERS THUMB"
    " SHOULDER CLAVICLE SCAPULA LEG THIGH FEMUR KNEE KNEES PATELLA TIBIA FIBULA TIBFIB CALF"
    " ANKLE HEEL CALCANEUS FOOT FEET TOE TOES BLADDER KIDNEY".split()
)


def judge(study: Study, min_age: int | None = None) -> Gate:
    """Accept a study, or abstain with every reason that applies, in a fixed order.

    ``min_age`` in years: a younger patient abstains; see :func:`remarks` for an unknown age.
    One view is enough for a reason, except that only a study without any frontal chest is
    refused for its views: a lateral beside a frontal film is a usual pair. Views are judged by
    how they look only where nothing else is against them.
    """
    reasons = {code for code, rule in _RULES if any(rule(view) for view in study.views)}
    shown = [_show(view) for view in study.views]
    reasons |= {code for film in shown for code in _plain(film)}
    frontal = [k for k, view in enumerate(study.views) if not _is_not_frontal(view)]
    if not frontal:
        reasons.add(Code.NOT_A_FRONTAL_VIEW)
    if min_age is not None and study.context.age is not None and study.context.age < min_age:
        reasons.add(Code.BELOW_AGE_LIMIT)
    if not reasons:
        reasons |= _poses([shown[k] for k in frontal])
    found = [code for code in Code if code in reasons]
    return Gate(verdict=Verdict.ABSTAIN if found else Verdict.ACCEPT, reasons=found)


def remarks(study: Study, min_age: int | None = None) -> list[Code]:
    """What a reader of an accepted study should know of the patient's age."""
    age = study.context.age
    if age is None:
        return [] if min_age is None else [Code.AGE_UNKNOWN]
    return [Code.PAEDIATRIC] if age < ADULT else []


def _is_other_modality(view: View) -> bool:
    """A DICOM file that says neither CR nor DX, by its Modality or, without one, its SOP class."""
    if "transfer_syntax" not in view.header:
        return False
    modality = view.header.get("modality")
    if modality:
        return modality not in _RADIOGRAPHS
    return view.header.get("sop_class") not in (_CR, _DX, _DX_FOR_PROCESSING)


def _has_several_frames(view: View) -> bool:
    return view.header.get("frames", "1") != "1"


def _is_colour(view: View) -> bool:
    return view.header.get("samples", "1") != "1"


def _is_for_processing(view: View) -> bool:
    """Raw detector data (PS3.3 C.8.11.1): by its intent, or by its SOP class."""
    intent = view.header.get("presentation_intent")
    return intent == "FOR PROCESSING" or view.header.get("sop_class") == _DX_FOR_PROCESSING


def _is_not_frontal(view: View) -> bool:
    return not _NOT_FRONTAL.isdisjoint(_words(view.position or ""))


def _is_other_part(view: View) -> bool:
    """BodyPartExamined names another part and nothing of the chest."""
    part = view.header.get("body_part", "")
    if any(word in part for word in _CHEST_WORDS):
        return False
    words = _words(part)
    return not _OTHER_PARTS.isdisjoint({*words, "".join(words)})


def _is_too_small(view: View) -> bool:
    return min(view.rows, view.columns) < MIN_SIDE


def _is_blank(shown: Shown) -> bool:
    """The displayed film has next to no structure.

    Measured on the means of a grid, between the 5th and 95th percentile, so that
    neither noise that a min-max display blows up nor a lead marker makes a film.
    """
    rows, columns = (_borders(side) for side in shown.shape)
    sums = np.add.reduceat(shown, rows[:-1], axis=0, dtype=np.int64)
    sums = np.add.reduceat(sums, columns[:-1], axis=1)
    means = sums / np.outer(np.diff(rows), np.diff(columns))
    low, high = np.percentile(means, (5, 95))
    return bool(high - low < MIN_SPREAD)


def _borders(side: int) -> NDArray[np.intp]:
    """Where the grid's bands of a side begin, and the side's end: bands as even as they can be."""
    return np.linspace(0, side, min(GRID, side) + 1).astype(np.intp)


def _is_saturated(shown: Shown) -> bool:
    """Most of the film has lost its grey levels to the black or the white end."""
    ends = np.count_nonzero(shown == 0) + np.count_nonzero(shown == 255)
    return bool(ends > MAX_SATURATED * shown.size)


def _plain(shown: Shown) -> list[Code]:
    """The first reason that a picture itself gives against reading it; a blank film has one."""
    return [code for code, rule in _PICTURE_RULES if rule(shown)][:1]


def _poses(films: list[Shown]) -> set[Code]:
    """Any film's inversion or rotation, or that none of them looks like a frontal chest."""
    found = [_pose(film) for film in films]
    reasons = set().union(*found)
    if not all(Code.NOT_A_FRONTAL_CHEST in codes for codes in found):
        reasons.discard(Code.NOT_A_FRONTAL_CHEST)
    return reasons


def _pose(shown: Shown) -> set[Code]:
    """Nothing for an upright frontal chest; what was done to one; or that it is none."""
    if max(shown.shape) > MAX_ASPECT * min(shown.shape):  # a strip, as limbs are collimated
        return {Code.NOT_A_FRONTAL_CHEST}
    for film in (shown, shown[: round((1 - BELLY) * len(shown))]):
        if pose.scores(film, (pose.UPRIGHT,))[pose.UPRIGHT] >= FRONTAL:
            return set()
    score = pose.scores(shown)
    best = max(score, key=score.__getitem__)
    if score[best] < NAMED:
        return {Code.NOT_A_FRONTAL_CHEST}
    done = {Code.INVERTED_FILM: best.inverted, Code.ROTATED_FILM: best.turns != 0}
    return {code for code, was in done.items() if was}


def _show(view: View) -> Shown:
    """The film as it is looked at, thinned out to at most about 1000 pixels on its short side."""
    step = max(1, min(view.rows, view.columns) // THINNED)
    thin = View(pixels=view.pixels[::step, ::step], voi=view.voi[:1], inverted=view.inverted)
    return thin.display()


def _words(text: str) -> set[str]:
    return set(re.findall(r"[A-Z]+", text.upper()))


_RULES: tuple[tuple[Code, Callable[[View], bool]], ...] = (
    (Code.MODALITY_UNSUPPORTED, _is_other_modality),
    (Code.SEVERAL_FRAMES, _has_several_frames),
    (Code.NOT_GREYSCALE, _is_colour),
    (Code.FOR_PROCESSING, _is_for_processing),
    (Code.NOT_A_CHEST, _is_other_part),
    (Code.TOO_SMALL, _is_too_small),
)
_PICTURE_RULES: tuple[tuple[Code, Callable[[Shown], bool]], ...] = (
    (Code.BLANK_FILM, _is_blank),
    (Code.SATURATED_FILM, _is_saturated),
)
