"""Findings to reports, in three styles, and free text to the canonical fracture description."""

from __future__ import annotations

from typing import Literal

from hilum.codes import Code, HilumError
from hilum.findings import Bone, Finding, FindingName, Instance, Side
from hilum.language import template
from hilum.language.label import label
from hilum.language.paraphrase import paraphrase
from hilum.report import LANGUAGES, Language

Style = Literal["template", "canonical", "paraphrase"]
STYLES: tuple[Style, ...] = ("template", "canonical", "paraphrase")


def write(
    findings: list[Finding], language: Language, style: Style = "template", seed: int = 0
) -> str:
    """A report on the findings.

    "template": one sentence a finding or occurrence, in their order; readers were trained on
    these. "canonical": the same sentences, fractures first. "paraphrase": as radiologists put
    it, varied by ``seed``. :func:`~hilum.language.label` reads each back as ``findings``, but
    for probabilities, boxes and spans. Raises ``language_unsupported``, ``option_invalid``.
    """
    if language not in LANGUAGES:
        raise HilumError(Code.LANGUAGE_UNSUPPORTED, language, "choose en or zh")
    if style not in STYLES:
        raise HilumError(Code.OPTION_INVALID, style, f"choose one of {', '.join(STYLES)}")
    if style == "paraphrase":
        return paraphrase(findings, language, seed)
    if style == "canonical":
        findings = sorted(findings, key=lambda f: f.name is not FindingName.FRACTURE)
    return template.write(findings, language)


def canonical_fracture(
    report: str, language: Language | None = None, into: Language | None = None
) -> str:
    """The fractures a report speaks of, one canonical sentence each, in a fixed order.

    Which rib, side, region, displacement and stage (ChexFract, arXiv 2511.07983, has GPT-4o do
    this step). ``into``: the language to write, by default the report's own. "No fracture."
    where the report denies one, "" where it is silent.
    """
    finding = next((f for f in label(report, language) if f.name is FindingName.FRACTURE), None)
    if finding is None:
        return ""
    from hilum.language.words import language_of

    places = sorted(((_key(i), n, i) for n, i in enumerate(finding.instances)))
    told = Finding(name=finding.name, status=finding.status, instances=[i for _, _, i in places])
    return template.write([told], into or language or language_of(report))


_BONES, _SIDES = list(Bone), list(Side)


def _key(i: Instance) -> tuple[int, int, list[int], str, str, str]:
    """Ribs before other bones, left before right, the first before the last."""
    bone = _BONES.index(i.bone) if i.bone else len(_BONES)
    side = _SIDES.index(i.side) if i.side else len(_SIDES)
    return bone, side, i.ribs, i.region or "", i.displacement or "", i.stage or ""
