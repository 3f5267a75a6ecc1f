"""Reading DICOM elements that may be missing, empty or of the wrong kind, without surprises.

pydicom converts a value on first use and may raise anything then; here a value that cannot be
converted is None. Only cleaned code strings and numbers leave this module.
"""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Iterable
from typing import Any

from pydicom.dataset import Dataset

from hilum.study import Context

_UID = re.compile(r"[0-9.]{1,64}")
# PS3.5 6.2 allows A-Z 0-9 _ and space in 16 characters; real scanners also write / - . + ( ).
_CODE = re.compile(r"[A-Z0-9_ /.+()\-]{1,32}")
# PS3.5 6.2 (AS) wants "054Y"; public archives also write plain years.
_AGE = re.compile(r"(\d{1,3})([DWMY]?)")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0, "": 1.0}


def hush() -> None:
    """Keep pydicom's warnings and log lines, which quote header values, off stderr."""
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


def raw(ds: Dataset, keyword: str) -> Any:
    """An element as it is, blanks too; None where it is missing or cannot be converted."""
    try:
        return ds.get(keyword)
    except Exception:
        return None


def value(ds: Dataset, keyword: str) -> Any:
    """The value of an element; None where it is missing, empty or cannot be converted."""
    found = raw(ds, keyword)
    if isinstance(found, str | bytes) and not found.strip():
        return None
    return found


def values(ds: Dataset, keyword: str) -> list[Any]:
    """The values of an element as a list; empty where :func:`value` gives None."""
    found = value(ds, keyword)
    if found is None:
        return []
    if isinstance(found, Iterable) and not isinstance(found, str | bytes):
        return list(found)
    return [found]


def number(found: object) -> float | None:
    """A finite number, or None."""
    try:
        result = float(found)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def integer(ds: Dataset, keyword: str) -> int | None:
    """The whole number of an element, or None."""
    found = number(value(ds, keyword))
    return int(found) if found is not None and found.is_integer() else None


def code_string(ds: Dataset, keyword: str) -> str:
    """A code string (CS) in capitals without padding; "" where it is missing or looks like text."""
    found = values(ds, keyword)
    text = str(found[0]).strip(" \0").upper() if found else ""
    return text if _CODE.fullmatch(text) else ""


def uid(found: object) -> str:
    """A UID's digits and dots, or ""."""
    text = str(found or "").strip(" \0")
    return text if _UID.fullmatch(text) else ""


def context(ds: Dataset) -> Context:
    """Age in whole years and sex, the only things of the patient that are read.

    PatientAge (PS3.5 6.2, AS) counts days, weeks, months or years; a number without a unit is
    years. PatientSex is F, M or O. Anything else is unknown.
    """
    match = _AGE.fullmatch(code_string(ds, "PatientAge"))
    age = int(int(match[1]) / _PER_YEAR[match[2]]) if match else None
    sex = code_string(ds, "PatientSex")
    return Context(
        age=age if age is not None and age <= 130 else None,
        sex=sex if sex in ("F", "M", "O") else None,
    )
