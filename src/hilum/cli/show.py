"""What ``hilum read`` prints and writes for each study."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from hilum.codes import Code, HilumError
from hilum.findings import FINDINGS, Finding, Status
from hilum.report import Failure, Language, Report, StepRecord

if TYPE_CHECKING:
    from hilum.imaging import StudyFiles
    from hilum.study import Study

READ, ABSTAINED, FAILED = 0, 3, 4
STYLES = {Status.PRESENT: "bold yellow", Status.ABSENT: "dim", Status.UNCERTAIN: "cyan"}
WORDS = {
    "en": {
        "abstained": "not read",
        "failed": "failed",
        "picture": "picture",
        "total": "{} read, {} abstained, {} failed",
        Status.PRESENT: "present",
        Status.ABSENT: "absent",
        Status.UNCERTAIN: "uncertain",
    },
    "zh": {
        "abstained": "未阅片",
        "failed": "失败",
        "picture": "图片",
        "total": "{} 份已阅，{} 份未阅，{} 份失败",
        Status.PRESENT: "有",
        Status.ABSENT: "无",
        Status.UNCERTAIN: "不确定",
    },
}


class Printer:
    """Prints reports as they come, counts them, and knows the exit code.

    On a terminal each study is a short block and a bar shows progress; with ``as_json`` stdout
    holds one JSON line a study. With ``out`` each report is also written to
    ``out/<study id>.json``; with ``overlay`` a picture goes beside it, or where ``out`` is None
    into the current folder. A further study of the same id in one run is
    ``<study id>-2``. With ``explain`` it is also said what was done to each film's grey levels.
    """

    def __init__(
        self,
        language: Language,
        *,
        as_json: bool,
        out: Path | None,
        overlay: bool,
        total: int,
        explain: bool = False,
    ) -> None:
        self.explain = explain
        self.language, self.as_json, self.out, self.overlay = language, as_json, out, overlay
        self.counts = {READ: 0, ABSTAINED: 0, FAILED: 0}
        self.words = WORDS[language]
        self.written: Counter[str] = Counter()
        _set_encoding(as_json)
        self.console = Console(highlight=False)
        self._bar = self._progress()
        self._task = self._bar.add_task("reading", total=total)
        if out is not None:
            _make_folder(out)

    def _progress(self) -> Progress:
        """A bar on a terminal that never comes between a report and stdout.

        Blocks and bar share a terminal only through one console; JSON on a terminal has no bar.
        """
        shown = self.console.is_terminal
        console = self.console if shown else Console(stderr=True)
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal or (shown and self.as_json),
            transient=True,
            redirect_stdout=False,  # it would send what is printed to the bar's console
            redirect_stderr=False,
        )

    def __enter__(self) -> Printer:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        if error is None and sum(self.counts.values()) > 1 and not self.as_json:
            self._line(self.words["total"].format(*self.counts.values()))

    @property
    def exit_code(self) -> int:
        """0 all read, 3 some abstained, 4 some failed: the worst wins."""
        return max(code for code, n in self.counts.items() if n or code == READ)

    def report(self, report: Report, study: Study | None) -> str:
        """Print one report, read or abstained, and write its files; its line of JSON.

        Without its films no picture is drawn and no step is explained.
        """
        self.counts[ABSTAINED if report.abstained else READ] += 1
        if self.explain and study:
            from hilum.imaging import explain

            for record, view in zip(report.study.views, study.views, strict=True):
                texts = explain.lines(view, self.language)
                record.steps = [
                    StepRecord(**step.model_dump(), text=text)
                    for step, text in zip(view.steps, texts, strict=True)
                ]
        picture = self._write(report, study)
        line = report.model_dump_json()
        if self.as_json:
            print(line, flush=True)
        else:
            self._block(report, picture)
        self._bar.advance(self._task)
        return line

    def failure(self, files: StudyFiles, error: HilumError) -> str:
        """Print one study that could not be read; its line of JSON."""
        self.counts[FAILED] += 1
        path = str(files.paths[0]) if files.paths else error.subject
        message = error.line(self.language)
        row = Failure(path=_utf8(path), error=error.code, message=_utf8(message))
        line = row.model_dump_json()
        if self.as_json:
            print(line, flush=True)
        else:
            self._line((self.words["failed"], "red"), f"  {message}")
        self._bar.advance(self._task)
        return line

    def _write(self, report: Report, study: Study | None) -> Path | None:
        """The report's files, each in one piece; the path of the picture."""
        name = report.study.id
        self.written[name] += 1
        if self.written[name] > 1:  # two files of the same content: neither is lost
            name = f"{name}-{self.written[name]}"
        if self.out is not None:
            content = f"{report.model_dump_json(indent=1)}\n".encode()
            _whole(self.out / f"{name}.json", lambda part: part.write_bytes(content))
        if not self.overlay or not study:
            return None
        from hilum.reading import overlay

        page = overlay.draw(report, study)
        return _whole((self.out or Path()) / f"{name}.png", lambda part: page.save(part, "PNG"))

    def _block(self, report: Report, picture: Path | None) -> None:
        names = ", ".join(Path(v.path).name for v in report.study.views)
        self._line((names, "bold"), "  ", (report.study.id, "dim"))
        if Code.READ_OUTSIDE_DOMAIN in report.flags:
            sentence = Code.READ_OUTSIDE_DOMAIN.sentence(self.language)
            self._line("  ", (f" {sentence} ", "bold black on yellow"))
        for view in report.study.views:
            if view.steps and len(report.study.views) > 1:
                self._line((f"  {Path(view.path).name}", "dim"))
            for number, step in enumerate(view.steps, 1):
                self._line((f"  {number}. {step.text}", "dim"))
        if report.abstained:
            for reason in report.gate.reasons:
                line = f": {reason.sentence(self.language)} [{reason}]"
                self._line("  ", (self.words["abstained"], "yellow"), line)
        else:
            self.console.print(self._table(report.findings))
            for paragraph in (report.text or "").splitlines():
                self._line(f"  {paragraph}")
            for flag in report.flags:
                if flag is not Code.READ_OUTSIDE_DOMAIN:
                    self._line((f"  ! {flag.sentence(self.language)} [{flag}]", "cyan"))
        if picture is not None:
            self._line((f"  {self.words['picture']}: {picture}", "dim"))
        if not report.abstained:
            self._line((f"  {report.notice}", "dim"))
        self._line()

    def _line(self, *parts: str | tuple[str, str]) -> None:
        """One line of text and (text, style); nothing in it is markup or moves the terminal."""
        line = Text()
        for part in parts:
            text, style = (part, "") if isinstance(part, str) else part
            line.append("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text), style)
        self.console.print(line, soft_wrap=not self.console.is_terminal)

    def _table(self, findings: list[Finding]) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 1))
        for finding in findings:
            row = FINDINGS[finding.name]
            term = row.zh if self.language == "zh" else row.en
            p = "" if finding.probability is None else f"{finding.probability:.3f}"
            style = STYLES[finding.status]
            table.add_row("", term, p, self.words[finding.status], style=style)
        return table


def _set_encoding(as_json: bool) -> None:
    """JSON is UTF-8 whatever the terminal's encoding is; other text is never refused by it."""
    if not isinstance(sys.stdout, io.TextIOWrapper):
        return
    if as_json:
        sys.stdout.reconfigure(encoding="utf-8")
    else:
        sys.stdout.reconfigure(errors="backslashreplace")


def _utf8(text: str) -> str:
    """A file's name may hold bytes that are no UTF-8, which JSON cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HilumError(Code.OUTPUT_UNWRITABLE, folder, error.strerror or "") from error


def _whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file in one piece: whoever looks finds the old one, the new one, or none."""
    part = path.with_name(f".{path.name}.part")
    try:
        write(part)
        return part.replace(path)
    except OSError as error:
        raise HilumError(Code.OUTPUT_UNWRITABLE, path.parent, error.strerror or "") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
