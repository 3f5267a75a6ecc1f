"""A conversation at a terminal: questions in, streamed words out, commands, Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from hilum import imaging
from hilum.cli.lines import Lines
from hilum.cli.show import Printer
from hilum.cli.transcript import Transcript
from hilum.codes import Code, HilumError
from hilum.engines import Sampling
from hilum.findings import FINDINGS
from hilum.reading.conversation import Conversation, Opening, Said, clean
from hilum.reading.reader import Reader
from hilum.report import LANGUAGES, Language, Report
from hilum.study import Study

ENDED, ABSTAINED, FAILED = 0, 3, 4
WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "loading": "loading the reader",
        "reading": "reading the film",
        "hint": "Ask about the film; /help shows the commands.",
        "help": "/new           a new conversation about the same study\n"
        "/image PATH    another study\n"
        "/lang zh|en    the language of the answers\n"
        "/save FILE     keep all that was said in a new file; .jsonl: JSON lines\n"
        "/stop          stop the answer that is being written, as Ctrl-C does\n"
        "/quit          leave, as Ctrl-D or a second Ctrl-C does",
        "new": "A new conversation about the same study.",
        "lang": "Answers are in English now.",
        "which": "/lang zh or /lang en",
        "saved": "Kept in {}",
        "idle": "Nothing is being written.",
        "unknown": "There is no such command; /help shows them.",
        "missing": "{} needs a name after it.",
        "stopped": "stopped",
        "again": "Ctrl-C again, Ctrl-D or /quit leaves.",
        "present": "present",
        "absent": "absent",
        "uncertain": "uncertain",
    },
    "zh": {
        "loading": "正在载入阅片器",
        "reading": "正在阅片",
        "hint": "请就此片提问；/help 列出各命令。",
        "help": "/new           就同一检查开始新的对话\n"
        "/image 路径    换一份检查\n"
        "/lang zh|en    回答所用的语言\n"
        "/save 文件     将全部对话存入新文件；.jsonl 为 JSON 行\n"
        "/stop          停止正在写的回答，同 Ctrl-C\n"
        "/quit          离开，同 Ctrl-D 或再按一次 Ctrl-C",
        "new": "就同一检查开始新的对话。",
        "lang": "现在用中文回答。",
        "which": "/lang zh 或 /lang en",
        "saved": "已存入 {}",
        "idle": "没有正在写的回答。",
        "unknown": "没有这个命令；/help 列出各命令。",
        "missing": "{} 后面需要名称。",
        "stopped": "已停止",
        "again": "再按一次 Ctrl-C、Ctrl-D 或 /quit 离开。",
        "present": "有",
        "absent": "无",
        "uncertain": "不确定",
    },
}


class Hall:
    """Where studies are read: the reader, loaded once, and how it is to read."""

    def __init__(self, source: str, language: Language, allow_outside_domain: bool) -> None:
        self.source, self.language, self.allowed = source, language, allow_outside_domain
        self._reader: Reader | None = None

    def open(self, path: Path) -> tuple[Reader, Study, Report]:
        """Read the one study of a path, with a sign of life on a terminal meanwhile.

        Raises what loading and reading raise, and ``option_invalid`` where there are several.
        """
        studies = imaging.scan([path])
        if studies and studies[0].error:  # a mistyped path is answered without weights
            raise studies[0].error
        if len(studies) != 1:
            raise HilumError(Code.OPTION_INVALID, path, f"{len(studies)} studies: name one")
        words, console = WORDS[self.language], Console(stderr=True)
        with console.status(words["loading"]) as status:
            if self._reader is None:
                self._reader = Reader.load(self.source, "auto")
            status.update(words["reading"])
            study = imaging.load(studies[0])
            (report,) = self._reader.read_studies([study], self.language, self.allowed)
        return self._reader, study, report


class Talk:
    """One session: studies and conversations, until the user leaves."""

    def __init__(
        self, hall: Hall, sampling: Sampling, kept: Transcript | None, as_json: bool
    ) -> None:
        self.hall, self.sampling, self.kept, self.as_json = hall, sampling, kept, as_json
        self.lines = Lines(prompted=not as_json)
        self.language: Language | None = None
        self.entries: list[Opening | Said] = []
        self.worst = ENDED
        self.printer = Printer(hall.language, as_json=as_json, out=None, overlay=False, total=1)
        self.console = self.printer.console

    @property
    def words(self) -> dict[str, str]:
        """Of the interface."""
        return WORDS[self.language or self.hall.language]

    def run(self, path: Path) -> int:
        """Read the first study, then answer until there are no more questions; the exit code."""
        self.begin(path)
        if self.lines.interactive:
            self._tell(self.words["hint"])
        with self.lines:
            for line in self._questions():
                if line.startswith("/"):
                    if not self._command(line):
                        break
                else:
                    self._answer(line)
        return self.worst

    def begin(self, path: Path) -> None:
        """Read a study and show its draft."""
        reader, study, report = self.hall.open(path)
        self.talk = Conversation(reader, study, report, self.sampling, self.language)
        if report.abstained:
            self.worst = max(self.worst, ABSTAINED)
        if not self.as_json:
            self.printer.report(report, study)
            if report.abstained:
                self._tell(report.notice)
        self._keep(Opening.of(report))

    def _questions(self) -> Iterator[str]:
        """Lines with something in them; the first Ctrl-C says how to leave, the second leaves."""
        leaving = False
        while True:
            try:
                line = self.lines.next()
            except KeyboardInterrupt:
                if leaving or self.lines.stopped or not self.lines.interactive:
                    return
                leaving = True
                self._tell(f"\n{self.words['again']}")
                continue
            if line is None:
                return
            leaving = self.lines.stopped = False
            if line.strip():
                yield line.strip()

    def _answer(self, question: str) -> None:
        """Stream one answer; Ctrl-C and /stop end it, and nothing else."""
        before = len(self.talk.record)
        pieces = self.talk.ask(question)
        try:
            for piece in pieces:
                self._write(clean(piece))
                if self.lines.asked_to_stop():
                    self._stopped(pieces)
                    break
        except KeyboardInterrupt:
            self.lines.stopped = True
            self._stopped(pieces)
        except HilumError as error:
            self._problem(error)
        self._write("\n")
        for said in self.talk.record[before:]:
            self._keep(said)
        self._remarks(self.talk.record[-1])
        if not self.lines.interactive:
            self._write("\n")

    def _stopped(self, pieces: Iterator[str]) -> None:
        pieces.close()  # type: ignore[attr-defined]
        again = f"; {self.words['again']}" if self.lines.stopped else ""
        self._write(f" [{self.words['stopped']}{again}]")

    def _remarks(self, said: Said) -> None:
        """Beside a model's words: its probabilities, and where the two disagree."""
        report, words = self.talk.report, self.words
        language = self.language or self.hall.language

        def rated(name: str, p: float) -> str:
            finding = report.finding(name)
            row = FINDINGS[finding.name] if finding else None
            term = (row.zh if language == "zh" else row.en) if row else name
            return f"{term} {p:.3f} {words[finding.status] if finding else ''}".strip()

        if said.probabilities:
            odds = [rated(name, p) for name, p in said.probabilities.items()]
            self._tell(f"  {' · '.join(odds)}", "dim")
        for flag in said.flags:
            names = [FINDINGS[n].zh if language == "zh" else FINDINGS[n].en for n in said.disagrees]
            which = f": {', '.join(names)}" if flag is Code.TEXT_DISAGREES else ""
            self._tell(f"  ! {flag.sentence(language)}{which} [{flag}]", "bold yellow")

    def _command(self, line: str) -> bool:
        """Do what a command says; False where it is to leave."""
        name, _, rest = line.partition(" ")
        rest = rest.strip().strip("'\"")
        commands: dict[str, Callable[[], None]] = {
            "/new": self._new,
            "/lang": lambda: self._lang(rest),
            "/stop": lambda: self._tell(self.words["idle"]),
            "/help": lambda: self._tell(self.words["help"]),
            "/image": lambda: self.begin(Path(rest).expanduser()),
            "/save": lambda: self._save(Path(rest)),
        }
        if name in ("/quit", "/exit", "/bye"):
            return False
        if name in ("/image", "/save") and not rest:
            self._tell(self.words["missing"].format(name))
            return True
        try:
            commands.get(name, lambda: self._tell(self.words["unknown"]))()
        except HilumError as error:
            self._problem(error)
        except KeyboardInterrupt:  # a study that takes too long to read: the one before stays
            self.lines.stopped = True
            self._tell(f"[{self.words['stopped']}; {self.words['again']}]")
        return True

    def _new(self) -> None:
        self.talk.new()
        self._tell(self.words["new"])

    def _lang(self, wanted: str) -> None:
        if wanted not in LANGUAGES:
            self._tell(self.words["which"])
            return
        self.language = self.talk.language = "zh" if wanted == "zh" else "en"
        self._tell(self.words["lang"])

    def _save(self, path: Path) -> None:
        with Transcript(path) as file:
            for entry in self.entries:
                file.add(entry)
        self._tell(self.words["saved"].format(path))

    def _keep(self, entry: Opening | Said) -> None:
        self.entries.append(entry)
        if self.as_json:
            print(entry.model_dump_json(), flush=True)
        if self.kept:
            self.kept.add(entry)

    def _write(self, text: str) -> None:
        if not self.as_json:
            sys.stdout.write(text)
            sys.stdout.flush()

    def _tell(self, text: str, style: str = "") -> None:
        """A line of the program's own; with JSON on stdout, on stderr."""
        console = Console(stderr=True) if self.as_json else self.console
        console.print(clean(text), style=style, markup=False, highlight=False, soft_wrap=True)

    def _problem(self, error: HilumError) -> None:
        """One line on stderr; the conversation goes on."""
        self.worst = FAILED
        line = clean(error.line(self.language or self.hall.language)).replace("\n", " ")
        print(line, file=sys.stderr, flush=True)
