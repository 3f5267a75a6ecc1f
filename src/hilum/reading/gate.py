"""The gate: whether a study is a frontal chest radiograph that may be read at all.

Header rules first, then two pixel rules without weights. Header values are hints: only a
value that clearly says something else abstains, a missing or unknown one passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from hilum.codes import Code
from hilum.report import Gate, Verdict
from hilum.study import Study, View

MIN_SIDE = 200
"""Shortest side in pixels: a thumbnail shows no fracture and no small pneumothorax."""

MIN_SPREAD = 10
"""Least spread of the displayed film's coarse brightness, in 8-bit levels; chests have over 50."""

GRID = 32
"""Rows and columns of the grid that coarse brightness is measured on."""

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


def judge(study: Study) -> Gate:
    """Accept a study, or abstain with every reason that applies, in a fixed order.

    One view is enough for a reason, except for ``not_a_frontal_view``: a lateral beside a
    frontal film is a usual pair, so only a study of nothing else is refused for it.
    """
    reasons = [code for code, rule in _RULES if any(rule(view) for view in study.views)]
    if all(_is_not_frontal(view) for view in study.views):
        reasons.append(Code.NOT_A_FRONTAL_VIEW)
    return Gate(verdict=Verdict.ABSTAIN if reasons else Verdict.ACCEPT, reasons=reasons)


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


def _is_blank(view: View) -> bool:
    """The displayed film has next to no structure.

    Measured on the means of a grid, between the 5th and 95th percentile, so that
    neither noise that a min-max display blows up nor a lead marker makes a film.
    """
    shown = view.display()
    means = [
        tile.mean()
        for band in np.array_split(shown, min(GRID, view.rows))
        for tile in np.array_split(band, min(GRID, view.columns), axis=1)
    ]
    low, high = np.percentile(means, (5, 95))
    return bool(high - low < MIN_SPREAD)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[A-Z]+", text.upper()))


_RULES: tuple[tuple[Code, Callable[[View], bool]], ...] = (
    (Code.MODALITY_UNSUPPORTED, _is_other_modality),
    (Code.SEVERAL_FRAMES, _has_several_frames),
    (Code.NOT_GREYSCALE, _is_colour),
    (Code.FOR_PROCESSING, _is_for_processing),
    (Code.NOT_A_CHEST, _is_other_part),
    (Code.TOO_SMALL, _is_too_small),
    (Code.BLANK_FILM, _is_blank),
)
