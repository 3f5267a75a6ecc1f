"""The column beside the film: what was found, how likely it is, the draft and its origin."""

from __future__ import annotations

from PIL import Image, ImageDraw

from hilum.codes import Code
from hilum.findings import FINDINGS, Finding, FindingName
from hilum.reading.lettering import wrap, write
from hilum.report import Language, Report

INK, FAINT, PAPER, TRACK, WARNING = "#e8ecf1", "#a3afbd", "#12161c", "#2b333e", "#ffb454"
COLOURS = {
    FindingName.FRACTURE: "#ffd400",
    FindingName.NODULE: "#39d0ff",
    FindingName.PNEUMOTHORAX: "#ff6ad5",
    FindingName.PLEURAL_EFFUSION: "#5ef08c",
    FindingName.CARDIOMEGALY: "#ff7b72",
}
OTHER = "#c9a7ff"
MARGIN = 28
SCALES = (1.0, 0.93, 0.86, 0.8, 0.74, 0.68)  # tried in turn until everything fits
WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "title": "Hilum draft report",
        "findings": "Findings and their probability",
        "key": "Tick: threshold. Number at a box: probability that the finding is there.",
        "text": "Draft",
        "more": "… (the whole text is in the JSON)",
        "abstained": "Not read",
        "nothing": "Nothing is said of this film, neither that it is normal nor that it is not.",
        "absent": "absent",
        "present": "PRESENT",
        "uncertain": "uncertain",
        "reader": "reader",
        "weights": "weights",
    },
    "zh": {
        "title": "Hilum 报告草稿",
        "findings": "征象及其概率",
        "key": "竖线：判定界值。框旁数字：该处确有此征象的概率。",
        "text": "草稿",
        "more": "…（全文见 JSON）",
        "abstained": "未阅片",
        "nothing": "未对此片作任何判断，既不表示正常，也不表示异常。",
        "absent": "无",
        "present": "有",
        "uncertain": "不确定",
        "reader": "阅片器",
        "weights": "权重",
    },
}


def term(name: FindingName, language: Language) -> str:
    """A finding's name for a person."""
    return FINDINGS[name].zh if language == "zh" else FINDINGS[name].en


def chance(probability: float) -> str:
    """Two decimals, and never a certain 0.00 or 1.00: a report's 1.0 is rounded too."""
    if probability < 0.005:
        return "<0.01"
    if probability >= 0.995:
        return ">0.99"
    return f"{probability:.2f}"


class Panel:
    """Written from top to bottom, in the largest letters in which all of it fits.

    Only the draft is ever cut, and says so.
    """

    def __init__(self, page: Image.Image, left: int, report: Report) -> None:
        self.pen: ImageDraw.ImageDraw | None = None
        self.page, self.report, self.language = page, report, report.language
        self.left, self.right = left + MARGIN, page.width - MARGIN
        self.words = WORDS[report.language]
        self.scale, self.y, self.bottom = 1.0, 0.0, float(page.height - 16)

    def draw(self) -> None:
        """Write everything on the page."""
        self._footer()
        for scale in SCALES:
            self.scale = scale
            if self._body():
                break
        self.pen = ImageDraw.Draw(self.page)
        self._body()
        self.scale = 1.0
        self._footer()

    def _body(self) -> bool:
        """All above the footer; without a pen only measured. False where it does not fit."""
        report = self.report
        self.y = 16.0
        self._write(self.words["title"], 28, INK)
        position = report.study.views[0].position if report.study.views else None
        self._write("  ".join(filter(None, [report.study.id, position])), 16, FAINT)
        self.y += 8 * self.scale
        if Code.READ_OUTSIDE_DOMAIN in report.flags:
            self._banner(Code.READ_OUTSIDE_DOMAIN.sentence(self.language))
        if report.abstained:
            self._abstention()
            return self.y <= self.bottom
        for flag in report.flags:
            if flag is not Code.READ_OUTSIDE_DOMAIN:
                self._write(f"! {flag.sentence(self.language)}", 18, WARNING)
        self.y += 8 * self.scale
        self._write(self.words["findings"], 18, FAINT)
        for finding in report.findings:
            self._bar(finding)
        self._write(self.words["key"], 15, FAINT)
        self.y += 14 * self.scale
        self._write(self.words["text"], 18, FAINT)
        return self._draft(report.text or "", 21)

    def _abstention(self) -> None:
        self._banner(self.words["abstained"])
        for reason in self.report.gate.reasons:
            self._write(f"{reason.sentence(self.language)} [{reason}]", 20, WARNING)
        self.y += 10 * self.scale
        self._write(self.words["nothing"], 18, INK)

    def _footer(self) -> None:
        """Notice and origin at the foot of the page; what is above ends at ``bottom``."""
        origin, words = self.report.provenance, self.words
        outside = Code.READ_OUTSIDE_DOMAIN.sentence(self.language)
        notice = self.report.notice.replace(outside, "").strip()
        made = f"{words['reader']} {origin.reader}  {words['weights']} {origin.weights_sha256[:8]}"
        made += "".join(f"  {name} {v}" for name, v in origin.versions.items() if name == "hilum")
        room = self.right - self.left
        lines = [(line, 16, INK) for line in wrap(notice, 16, room)][:12]
        lines += [(line, 14, FAINT) for line in wrap(made, 14, room)][:3]
        self.bottom = self.y = self.page.height - 18.0 - sum(size * 1.42 for _, size, _ in lines)
        for line, size, colour in lines:
            self._line(line, size, colour)
        self.bottom -= 14

    def _banner(self, text: str) -> None:
        """Dark letters on a bright field: not to be missed."""
        size = self._size(21)
        lines = list(wrap(text, size, self.right - self.left - 24))
        foot = self.y + len(lines) * size * 1.42 + 14
        if self.pen:
            self.pen.rectangle((self.left, self.y, self.right, foot), fill=WARNING)
        for k, line in enumerate(lines):
            if self.pen:
                at = (self.left + 12, self.y + 8 + size * (1 + 1.42 * k))
                write(self.pen, at, line, size, PAPER)
        self.y = foot + 10 * self.scale

    def _bar(self, finding: Finding) -> None:
        """Name, status, and the probability as a bar with the threshold's tick."""
        colour = COLOURS.get(finding.name, OTHER) if finding.present else FAINT
        size = self._size(19)
        status, p = self.words[finding.status.value], finding.probability
        if p is not None:
            status = f"{chance(p)}  {status}"
        if self.pen:
            write(self.pen, (self.right, self.y + size), status, size, colour, "right")
        self._line(term(finding.name, self.language), 19, INK if finding.present else FAINT)
        if p is None:
            self.y += 4 * self.scale
            return
        if self.pen:
            top, wide, high = self.y + 1, self.right - self.left, round(8 * self.scale)
            self.pen.rectangle((self.left, top, self.right, top + high), fill=TRACK)
            self.pen.rectangle((self.left, top, self.left + wide * p, top + high), fill=colour)
            threshold = self.report.provenance.thresholds.get(finding.name)
            if threshold is not None:
                tick = self.left + wide * threshold
                self.pen.line((tick, top - 3, tick, top + high + 3), fill=INK, width=2)
        self.y += 20 * self.scale

    def _draft(self, text: str, size: int) -> bool:
        """The draft; the last line there is room for says where the rest is."""
        step = self._size(size) * 1.42
        rest = wrap(text, self._size(size), self.right - self.left)
        line = next(rest, None)
        while line is not None:
            following = next(rest, None)
            if following is not None and self.y + 2 * step > self.bottom:
                self._line(self.words["more"], size, WARNING)
                return False
            self._line(line, size, INK)
            line = following
        return self.y <= self.bottom

    def _write(self, text: str, size: int, colour: str) -> None:
        """A paragraph."""
        for line in wrap(text, self._size(size), self.right - self.left):
            self._line(line, size, colour)

    def _line(self, text: str, size: int, colour: str) -> None:
        real = self._size(size)
        if self.pen:
            write(self.pen, (self.left, self.y + real), text, real, colour)
        self.y += real * 1.42

    def _size(self, size: int) -> int:
        return max(11, round(size * self.scale))
