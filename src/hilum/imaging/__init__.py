"""Bytes to pixels: files on disk become a :class:`~hilum.study.Study`.

``scan`` finds the studies among files, folders and zip archives by reading headers only; ``load``
reads the pixels of one of them. What must be parsed or decoded is sent to a child process with
limits on memory and time (:mod:`hilum.imaging.children`); both may be called from several threads,
and each thread keeps a child busy. Everything that goes wrong with a file is a
:class:`~hilum.codes.HilumError` whose text never holds a value from the header.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hilum.codes import Code, HilumError
from hilum.imaging import children
from hilum.imaging.files import StudyFiles, identify, scan
from hilum.imaging.source import short_id
from hilum.study import Context, Study, View

__all__ = ["MAX_STUDY_PIXELS", "StudyFiles", "load", "load_or_error", "load_study", "scan"]

MAX_STUDY_PIXELS = 300_000_000
"""Most pixels held for one study; a longer series is refused rather than cut."""


def load(files: StudyFiles) -> Study:
    """Read the pixels of one study found by :func:`scan`.

    Views come in the order of ``files.paths``. Objects without an image that lie beside images
    in the same study (structured reports, presentation states) are passed over.

    Raises ``HilumError``: the study's own error, or that of the first file that cannot be
    read (one damaged film fails the study: a view is never silently missing), or
    ``too_many_pixels`` beyond :data:`MAX_STUDY_PIXELS`.
    """
    if files.error is not None:
        raise files.error
    return _study(files.id, files.paths, pass_over=True)


def load_or_error(files: StudyFiles) -> Study | HilumError:
    """What :func:`load` gives or raises; a defect that one file brings out is ``internal_error``.

    With ``HILUM_DEBUG`` such a defect is raised as it is.
    """
    try:
        return load(files)
    except HilumError as error:
        return error
    except Exception as error:
        if os.environ.get("HILUM_DEBUG", "0") not in ("", "0"):
            raise
        return HilumError(Code.INTERNAL_ERROR, files.paths[0], type(error).__name__)


def load_study(paths: Iterable[str | Path]) -> Study:
    """Read several files, given in order, as the views of one study.

    The files need not share a StudyInstanceUID: the caller says that they belong together.
    One file gives the same ``id`` as :func:`scan` does. Raises ``HilumError`` as :func:`load`
    does, ``no_files`` for no path at all, and ``no_pixel_data`` for any object without an image.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if not given:
        raise HilumError(Code.NO_FILES)
    every = tuple(Path(path) for path in given)
    ids = list(dict.fromkeys(identify(path).id for path in every))
    joined = ids[0] if len(ids) == 1 else short_id("\n".join(ids).encode())
    return _study(joined, every, pass_over=False)


def _study(study_id: str, paths: tuple[Path, ...], *, pass_over: bool) -> Study:
    views: list[View] = []
    contexts: list[Context] = []
    imageless: HilumError | None = None
    pixels = 0
    for path in paths:
        try:
            view, context = children.read(path)
        except HilumError as error:
            if not (pass_over and error.code is Code.NO_PIXEL_DATA):
                raise
            imageless = error
            continue
        pixels += view.rows * view.columns
        if pixels > MAX_STUDY_PIXELS:
            detail = f"more than {MAX_STUDY_PIXELS} pixels in the {len(paths)} files of a study"
            raise HilumError(Code.TOO_MANY_PIXELS, path, detail)
        views.append(view)
        contexts.append(context)
    if not views:
        raise imageless or HilumError(Code.NO_FILES)
    return Study(id=study_id, views=views, context=_agreed(contexts))


def _agreed(contexts: list[Context]) -> Context:
    """Age and sex where the files that give them agree; unknown where they contradict."""
    ages = {context.age for context in contexts if context.age is not None}
    sexes = {context.sex for context in contexts if context.sex is not None}
    return Context(
        age=ages.pop() if len(ages) == 1 else None,
        sex=sexes.pop() if len(sexes) == 1 else None,
    )
