"""From files that arrived to films that belong together, and from kept films to a Study.

Every header is parsed in a child process. Of a film only hashes are carried on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from hilum import imaging
from hilum.codes import Code, HilumError
from hilum.imaging import StudyFiles, children
from hilum.imaging.source import Kind, open_source, sniff
from hilum.service.files import Films, Incoming
from hilum.service.settings import Limits
from hilum.study import Context, Study

_INSTANCE, _STUDY = "00080018", "0020000D"
_unpacking = Lock()  # one archive at a time: a member is held in memory


@dataclass(frozen=True)
class Film:
    """One film that arrived. ``key``: the hash of its SOPInstanceUID, or of its bytes."""

    arrived: Incoming
    key: str


@dataclass(frozen=True)
class Refusal:
    """A file that is not taken: which one of the request (from 0), and why."""

    file: int
    error: HilumError


@dataclass
class Sorted:
    """What a request's files are: films of one study each, and what is refused."""

    groups: list[tuple[int, list[Film]]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def drop(self) -> None:
        """Forget every film that arrived."""
        for _, films in self.groups:
            for film in films:
                film.arrived.drop()


def sort_in(
    arrived: Sequence[Incoming], store: Films, limits: Limits, together: bool = False
) -> Sorted:
    """Group the files of a request into studies, in the order of their first films.

    DICOM files of one StudyInstanceUID are one study, any other film is one of its own; zip
    archives give the films in them. ``together``: all of them are views of one study. Raises
    ``storage_full``; whatever else is wrong with a file is among ``refused``.
    """
    out = Sorted()
    groups: dict[str, tuple[int, list[Film]]] = {}
    for number, file in enumerate(arrived):
        try:
            films = _films(file, store, limits)
        except HilumError as error:
            if error.code is Code.STORAGE_FULL:
                Sorted(list(groups.values())).drop()
                raise
            out.refused.append(Refusal(number, _nameless(error)))
            continue
        for film, study in films:
            name = "" if together else study
            groups.setdefault(name, (number, []))[1].append(film)
    out.groups = list(groups.values())
    if together and out.refused:  # a view is never silently missing
        out.drop()
        out.groups = []
    return out


def load(films: Films, name: str, hashes: list[str], context: Context) -> Study:
    """A study's views, under names that tell nothing, and its context.

    What the caller said of age and sex counts before what the header says.
    """
    paths = tuple(films.path(sha256) for sha256 in hashes)
    try:
        study = imaging.load(StudyFiles(name, paths))
    except HilumError as error:
        raise HilumError(error.code, "", error.detail) from None
    for number, view in enumerate(study.views):
        view.path = f"{name}/{number}"
    said = context.model_dump(exclude_none=True, exclude_defaults=True)
    study.context = study.context.model_copy(update=said)
    return study


def _films(file: Incoming, store: Films, limits: Limits) -> list[tuple[Film, str]]:
    """Each film of a file with the name of its study."""
    with open_source(file.path) as opened:
        kind = sniff(opened, file.path)
    if kind is not Kind.ARCHIVE:
        return [_film(file, kind)]
    try:
        with _unpacking:
            return _unpacked(file, store, limits)
    finally:
        file.drop()


def _film(file: Incoming, kind: Kind) -> tuple[Film, str]:
    if kind is Kind.RASTER:
        return Film(file, file.sha256), file.sha256
    header = children.header(file.path, ["SOPInstanceUID", "StudyInstanceUID"])
    instance, study = _uid(header, _INSTANCE), _uid(header, _STUDY)
    return Film(file, _hash(instance) if instance else file.sha256), study or file.sha256


def _unpacked(file: Incoming, store: Films, limits: Limits) -> list[tuple[Film, str]]:
    films: list[tuple[Film, str]] = []
    total = 0
    try:
        for study in imaging.scan([file.path]):
            if study.error is not None:
                raise study.error
            for path in study.paths:
                if len(films) == limits.members:
                    detail = f"more than {limits.members} films"
                    raise HilumError(Code.ARCHIVE_REFUSED, "", detail)
                member = _member(path, store)
                films.append((Film(member, ""), ""))  # to be dropped if the next one fails
                total += member.size
                if total > limits.unpacked_bytes:
                    detail = f"unpacks to more than {limits.unpacked_bytes} bytes"
                    raise HilumError(Code.ARCHIVE_REFUSED, "", detail)
                with open_source(member.path) as opened:
                    films[-1] = _film(member, sniff(opened, member.path))
    except BaseException:
        for film, _ in films:
            film.arrived.drop()
        raise
    return films


def _member(path: Path, store: Films) -> Incoming:
    with open_source(path) as opened:
        return store.receive_all(opened)


def _uid(header: dict[str, dict[str, list[str]]], tag: str) -> str:
    with suppress(KeyError, IndexError, AttributeError, TypeError):
        return str(header[tag]["Value"][0]).strip(" \0")
    return ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _nameless(error: HilumError) -> HilumError:
    """Without the name of a temporary file or of an archive's member."""
    return HilumError(error.code, "", error.detail)
