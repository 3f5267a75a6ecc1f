"""Translate reports, check every answer, ask again with the errors named, or set it apart.

With an endpoint a language model translates and :func:`hilum.language.audit` judges; without one
(``structured``) the findings are read out and written again by template. Answers are kept in
SQLite by model, prompt and text, so that a run that was killed asks nothing twice.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Protocol

from hilum.codes import Code, HilumError
from hilum.engines.remote import Answer, Message, is_fatal
from hilum.findings import FINDINGS
from hilum.language import Audit, audit, label, write
from hilum.language.verdict import concepts
from hilum.language.words import language_of
from hilum.report import Language

ASKED = 3
"""A text is asked once, and at most twice more with the errors of its translation named."""
GIVE_UP = 3
"""Texts in a row that the endpoint failed on; then the run stops, to go on later."""

_NAMES: dict[Language, str] = {"en": "English", "zh": "Simplified Chinese"}
_SYSTEM = (
    "You translate chest radiograph reports into {language}. Keep every finding, negation, degree "
    "of certainty, side, place, number, size and severity. Add nothing, leave nothing out, explain "
    "nothing. Keep ___ where it stands. Answer with the translation alone. "
    "Use these terms:\n{terms}"
)
_AGAIN = (
    "This translation changes the medicine. Errors:\n{errors}\n"
    "Translate the whole report again. Answer with the translation alone."
)


class Client(Protocol):
    """Something that answers conversations: :class:`hilum.engines.remote.Remote`."""

    model: str

    def complete(self, messages: Sequence[Message], max_tokens: int = 2048) -> Answer:
        """The answer to a conversation."""
        ...


@dataclass(frozen=True)
class Translated:
    """One text's translation, or why there is none; ``repaired`` counts the times asked again."""

    source: str
    text: str | None
    repaired: int = 0
    code: Code | None = None
    errors: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """clean, repaired or quarantined."""
        if self.code is not None:
            return "quarantined"
        return "repaired" if self.repaired else "clean"


@cache
def glossary(to: Language) -> str:
    """Terms to keep to, a line each, from the table of findings and that of concepts."""
    pairs = {row.en: row.zh for row in FINDINGS.values()}
    for name, concept in concepts().items():
        if concept.suggestion:
            pairs.setdefault(name.replace("_", " "), concept.suggestion)
    lines = [f"{en} = {zh}" if to == "zh" else f"{zh} = {en}" for en, zh in pairs.items()]
    return "\n".join(lines)


class Memory:
    """Answers by model and conversation, on disk. May be used from several threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, text TEXT, complete INT)"
            )
        except sqlite3.DatabaseError:
            raise HilumError(Code.FILE_DAMAGED, path, "no SQLite; remove it to ask anew") from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def ask(self, client: Client, messages: list[Message]) -> Answer:
        """The kept answer, else the client's, kept before it is used."""
        told = json.dumps([client.model, messages], ensure_ascii=False)
        key = hashlib.sha256(told.encode()).hexdigest()
        with self._lock:
            row = self._db.execute(
                "SELECT text, complete FROM answers WHERE key = ?", (key,)
            ).fetchone()
        if row is not None:
            return Answer(row[0], bool(row[1]))
        answer = client.complete(messages)
        with self._lock, self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)",
                (key, answer.text, int(answer.complete)),
            )
        return answer


def by_model(text: str, to: Language, client: Client, memory: Memory) -> Translated:
    """Translate one text: ask, audit, ask again with the errors named, or set it apart.

    Raises what the client raises.
    """
    language = language_of(text)
    checked = audit(text, text, language, language)
    if checked.reason is not None:
        return Translated(text, None, code=checked.reason)
    if language == to:
        return Translated(text, text)
    system = _SYSTEM.format(language=_NAMES[to], terms=glossary(to))
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    code = Code.TRANSLATION_UNFAITHFUL
    told: tuple[str, ...] = ()
    for asked in range(ASKED):
        answer = memory.ask(client, messages)
        found = audit(text, answer.text, language, to)
        if answer.complete and found.faithful:
            return Translated(text, answer.text, repaired=asked)
        told = tuple(_errors(found, text, answer))
        code = Code.TRANSLATION_UNFAITHFUL if answer.complete else Code.TEXT_CUT
        messages += [
            {"role": "assistant", "content": answer.text},
            {"role": "user", "content": _AGAIN.format(errors="\n".join(told))},
        ]
    return Translated(text, answer.text, ASKED - 1, code, told)


def _errors(found: Audit, source: str, answer: Answer) -> Iterator[str]:
    """The errors in words: what the source says, what the translation says, what to write."""
    if not answer.complete:
        yield "- the translation was cut off"
    if found.reason is not None:
        yield f"- {found.reason.en}"
    for error in found.errors:
        said = source[slice(*error.source)] if error.source else ""
        wrote = answer.text[slice(*error.target)] if error.target else ""
        parts = [f"- {error.kind.value} ({error.about})"]
        parts += [f'the report says "{said}"'] if said else []
        parts += [f'you wrote "{wrote}"'] if wrote else []
        parts += [f"write {error.suggestion}"] if error.suggestion else []
        yield "; ".join(parts)


def by_template(text: str, to: Language) -> Translated:
    """Findings out, template in: what the labeler does not know is lost, and nothing is made up.

    A text that names nothing, or whose sentences do not read back as the same findings, is set
    apart.
    """
    findings = label(text)
    if not findings:
        code = Code.NOTHING_SAID if text.strip() else Code.TEXT_EMPTY
        return Translated(text, None, code=code)
    written = write(findings, to)
    there = {f.name: f.status for f in label(written, to)}
    lost = [f.name.value for f in findings if there.get(f.name) is not f.status]
    if lost:
        return Translated(text, written, code=Code.TRANSLATION_UNFAITHFUL, errors=tuple(lost))
    return Translated(text, written)


@dataclass
class Counts:
    """What became of the texts so far."""

    clean: int = 0
    repaired: int = 0
    quarantined: int = 0
    codes: dict[str, int] = field(default_factory=dict)

    def add(self, one: Translated) -> None:
        """Count one."""
        setattr(self, one.status, getattr(self, one.status) + 1)
        if one.code is not None:
            self.codes[one.code.value] = self.codes.get(one.code.value, 0) + 1


def translate(
    texts: Iterable[str],
    to: Language,
    client: Client,
    cache: Path,
    concurrency: int = 8,
    progress: Callable[[Translated], object] = lambda one: None,
) -> dict[str, Translated]:
    """Translations by text, each different text asked once, ``concurrency`` at a time.

    What the endpoint cannot answer for one text is set apart with the endpoint's code. Raises
    ``remote_refused`` for what concerns every text (a wrong key or path), and
    ``remote_unreachable`` after :data:`GIVE_UP` texts in a row; the cache keeps all answers.
    """
    different = list(dict.fromkeys(texts))
    done: dict[str, Translated] = {}
    failed = 0
    with closing(Memory(cache)) as memory, ThreadPoolExecutor(concurrency) as pool:
        rest = iter(different)

        def start(count: int) -> Iterator[tuple[str, Future[Translated]]]:
            for text in islice(rest, count):
                yield text, pool.submit(by_model, text, to, client, memory)

        waiting = deque(start(2 * concurrency))
        try:
            while waiting:
                text, future = waiting.popleft()
                one, failed = _settled(text, future, failed)
                done[text] = one
                progress(one)
                waiting.extend(start(1))
        finally:
            for _, future in waiting:
                future.cancel()
    return done


def _settled(text: str, future: Future[Translated], failed: int) -> tuple[Translated, int]:
    """A text's translation or what the endpoint did, and how many texts failed in a row."""
    try:
        return future.result(), 0
    except HilumError as error:
        failed += error.code is Code.REMOTE_UNREACHABLE
        if is_fatal(error) or failed >= GIVE_UP:
            raise
        return Translated(text, None, code=error.code, errors=(error.detail,)), failed
