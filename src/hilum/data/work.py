"""One pair to one row: open, check, clean, label. Runs in any process, in any order."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hilum import imaging
from hilum.codes import Code, HilumError
from hilum.data.clean import Cleaned, Redactions, clean
from hilum.data.pair import Film, Pair, join
from hilum.findings import Finding, Status
from hilum.language import audit, label
from hilum.language.words import language_of
from hilum.report import LANGUAGES, Gate
from hilum.study import Study, View

Domain = Literal["chest", "any"]
PHANTOM = "Hilum phantom"
"""What a phantom's PNG says of its source; :mod:`hilum.imaging.raster` reads it back."""


@dataclass(frozen=True)
class Work:
    """How rows are made.

    ``gate`` judges a loaded study; None lets every image in. ``audit`` False keeps translations
    that change the medicine, with a flag.
    """

    size: int = 1024
    domain: Domain = "chest"
    no_priors: bool = False
    redactions: Redactions = "mark"
    text_only: bool = False
    audit: bool = True
    gate: Callable[[Study], Gate] | None = None
    task: Callable[[dict[str, Any], Pair], dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A finished row, with digests to find duplicates by."""

    values: dict[str, Any]
    films: tuple[bytes, ...]
    text: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a study is not in the dataset. Holds no patient text."""

    study_id: str
    where: str
    code: Code
    detail: str = ""

    def line(self) -> dict[str, str]:
        """One line of quarantine.jsonl."""
        return {
            "study_id": self.study_id,
            "where": self.where,
            "code": self.code.value,
            "detail": self.detail,
        }


def work(pair: Pair, how: Work) -> Row | Refusal:
    """Make the row of a pair, or say with a code why there is none. Never raises for bad input.

    Findings are labelled on the whole report, before sentences are taken out: an image shows
    what its report said, and a finding whose only sentence went is kept and flagged.
    """
    try:
        return _row(pair, how)
    except HilumError as error:
        return Refusal(pair.study_id, _where(pair, error), error.code, error.detail)
    except Exception as error:  # a defect that one study brings out stops no other
        if os.environ.get("HILUM_DEBUG", "0") not in ("", "0"):
            raise
        return Refusal(pair.study_id, pair.where, Code.INTERNAL_ERROR, type(error).__name__)


def _where(pair: Pair, error: HilumError) -> str:
    """The place in the source, and the film where it is one of several that was bad."""
    film = next((f.path.name for f in pair.films if f.path and str(f.path) == error.subject), "")
    return ": ".join(part for part in (pair.where, film) if part)


def _row(pair: Pair, how: Work) -> Row | Refusal:
    if pair.error is not None:
        raise pair.error
    values, text = _words(pair, how)
    if how.task is not None:
        values = how.task(values, pair)
        text = join(values["report"]["findings"], values["report"]["impression"])
    films: list[tuple[View, bytes]] = []
    digests: list[bytes] = []
    if not how.text_only:
        films, digests = _films(pair, how, values["context"])
        if len(digests) < len(pair.films):
            values["flags"] = sorted({*values["flags"], Code.DUPLICATE_IMAGE.value})
    values["images"] = [
        {"bytes": png, "path": f"{_plain(pair.study_id)}_{n}.png"}
        for n, (_, png) in enumerate(films)
    ]
    values["views"] = [
        {
            "position": view.position,
            "rows": view.rows,
            "columns": view.columns,
            "mm_per_pixel": view.mm_per_pixel,
            "simulated": view.simulated,
            "sha256": digest.hex(),
        }
        for (view, _), digest in zip(films, digests, strict=True)
    ]
    return Row(values, tuple(digests), hashlib.sha256(text.encode()).digest()[:16])


# -- words ----------------------------------------------------------------------------------------


def _words(pair: Pair, how: Work) -> tuple[dict[str, Any], str]:
    """Every column that needs no pixels, and the text of the report."""
    said = [clean(part, redactions="mark") for part in (pair.findings, pair.impression)]
    whole = join(*(part.text for part in said))
    if not whole:
        raise HilumError(Code.TEXT_EMPTY)
    language = pair.language or language_of(whole)
    parts = said
    if how.no_priors or how.redactions == "drop":
        parts = [
            clean(part, no_priors=how.no_priors, redactions=how.redactions)
            for part in (pair.findings, pair.impression)
        ]
    text = join(*(part.text for part in parts))
    if not text:
        raise HilumError(Code.NOTHING_LEFT)
    findings, source, flags = _findings(pair, how, language, whole, text)
    flags |= {flag for part in (*said, *parts) for flag in part.flags} | set(pair.flags)
    if pair.original is not None and how.domain == "chest":
        flags |= _audited(pair.original, whole, refuse=how.audit)
    values = {
        "study_id": pair.study_id,
        "patient_id": pair.patient_id,
        "context": pair.context.model_dump(mode="json"),
        "report": _report(parts, language),
        "findings": [finding.model_dump(mode="json") for finding in findings],
        "findings_source": source,
        "source": pair.source,
        "licence": pair.licence,
        "split": pair.split,
        "flags": sorted(flag.value for flag in flags),
    }
    return values, text


def _audited(original: str, text: str, *, refuse: bool) -> set[Code]:
    """The flag of a translation that changes the medicine; what was compared is cleaned text.

    Raises ``translation_unfaithful`` with the kinds of error where ``refuse`` is set.
    """
    found = audit(clean(original).text, text)
    if found.faithful or found.reason is not None:
        return set()
    if refuse:
        kinds = ", ".join(sorted({error.kind.value for error in found.errors}))
        raise HilumError(Code.TRANSLATION_UNFAITHFUL, "", kinds)
    return {Code.TRANSLATION_UNFAITHFUL}


def _report(parts: list[Cleaned], language: str) -> dict[str, str]:
    findings, impression = parts
    return {"findings": findings.text, "impression": impression.text, "language": language}


def _findings(
    pair: Pair, how: Work, language: str, whole: str, text: str
) -> tuple[list[Finding], str | None, set[Code]]:
    """What the study shows, who says so, and the remarks on it."""
    if how.domain == "any":
        return [], None, set()
    if pair.truth is not None:
        return pair.truth, pair.truth_source, set()
    if language not in LANGUAGES:
        raise HilumError(
            Code.LANGUAGE_UNSUPPORTED, "", "no labeler; give findings, or --domain any"
        )
    spoken: Any = language
    findings = label(whole, spoken)
    flags: set[Code] = set() if findings else {Code.NOTHING_SAID}
    if _differs(pair, findings):
        flags.add(Code.LABELS_DIFFER)
    if text != whole:
        left = {f.name for f in label(text, spoken)}
        if any(f.status is not Status.ABSENT and f.name not in left for f in findings):
            flags.add(Code.FINDING_REMOVED)
        findings = [without_spans(f) for f in findings]
    return findings, "labeler", flags


def _differs(pair: Pair, findings: list[Finding]) -> bool:
    ours = {f.name: f.status for f in findings}
    firm = (Status.PRESENT, Status.ABSENT)
    return any(
        status in firm and name in ours and ours[name] in firm and ours[name] is not status
        for name, status in pair.published.items()
    )


def without_spans(finding: Finding) -> Finding:
    """The finding without places in a text that is not the row's."""
    instances = [i.model_copy(update={"span": None}) for i in finding.instances]
    return finding.model_copy(update={"instances": instances})


# -- films ----------------------------------------------------------------------------------------


def _films(
    pair: Pair, how: Work, context: dict[str, Any]
) -> tuple[list[tuple[View, bytes]], list[bytes]]:
    """Every film of the study as PNG, with the digest of its displayed pixels; none twice.

    Age and sex that the source does not state come from the films' headers.
    """
    if not pair.films:
        raise HilumError(Code.NO_IMAGES)
    studies = [_load(film) for film in pair.films]
    views = [
        study.views[0].model_copy(update={"position": film.position} if film.position else {})
        for study, film in zip(studies, pair.films, strict=True)
    ]
    for name in ("age", "sex"):
        stated = {value for s in studies if (value := getattr(s.context, name)) is not None}
        if context[name] is None and len(stated) == 1:
            context[name] = stated.pop()
    if how.gate is not None:
        reasons = how.gate(Study(id="study", views=views)).reasons
        if reasons:
            raise HilumError(reasons[0], "", ", ".join(reasons[1:]))
    films: list[tuple[View, bytes]] = []
    digests: list[bytes] = []
    for view in views:
        shown = view.display()
        digest = hashlib.sha256(repr(shown.shape).encode() + shown.tobytes()).digest()
        if digest not in digests:
            digests.append(digest)
            films.append((view, _png(shown, view, how.size)))
    return films, digests


def _load(film: Film) -> Study:
    if film.path is not None:
        return imaging.load_study([film.path])
    if not film.data:
        raise HilumError(Code.FILE_EMPTY)
    with tempfile.TemporaryDirectory(prefix="hilum-") as folder:
        path = Path(folder) / "film"
        path.write_bytes(film.data)
        return imaging.load_study([path])


def _png(shown: np.ndarray[Any, Any], view: View, size: int) -> bytes:
    """8-bit grey PNG, its longest side at most ``size``; never made larger."""
    image = Image.fromarray(shown)
    scale = size / max(image.size)
    if scale < 1:
        smaller = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(smaller, Image.Resampling.LANCZOS)
    info = PngInfo()
    if view.simulated:
        info.add_text("Source", PHANTOM)
        if view.mm_per_pixel:
            info.add_text("mm_per_pixel", repr(view.mm_per_pixel / min(scale, 1)))
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=info)
    return out.getvalue()


def _plain(name: str) -> str:
    """A study's id as part of a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[:80]
