"""XrayGLM: ``{"annotations": [{"image_id": "<uid>_<n>", "caption": ...}]}`` beside images.

``image_id`` is the image's file name; before the underscore stands the uid of OpenI's report.
A study's images share its text; where their captions differ the first is used and the study
flagged. With the English file beside the Chinese one, each caption brings its original.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.data.pair import Film, Pair
from hilum.data.sources import Given
from hilum.data.sources.files import by_number, images_by_uid, load_json
from hilum.language.words import language_of

Captions = dict[str, list[tuple[str, str]]]
_BAD = ""  # the key of annotations that are none, each by its number


def recognise(path: Path) -> bool:
    """A folder or file of annotations whose image ids are ``<uid>_<n>``."""
    try:
        return any(set(_captions(file)) - {_BAD} for file in _files(path))
    except HilumError:
        return False


def pairs(path: Path, given: Given) -> Iterator[Pair]:
    """A study a uid, in the order of their numbers, in ``given.language``, Chinese by default.

    Raises ``source_invalid`` where there are no such annotations.
    """
    wanted = given.language or "zh"
    byfile = {file: _captions(file) for file in _files(path)}
    spoken: dict[str, Captions] = {}
    for captions in byfile.values():
        first = next((texts[0][1] for uid, texts in captions.items() if uid != _BAD), None)
        if first is not None:
            spoken.setdefault(language_of(first), captions)
    if not spoken:
        raise HilumError(Code.SOURCE_INVALID, path, "no annotations with image_id and caption")
    chosen = spoken.get(wanted) or next(iter(spoken.values()))
    originals = spoken.get("en", {}) if chosen is not spoken.get("en") else {}
    folder = given.images or (path if path.is_dir() else path.parent)
    images = {} if given.text_only else images_by_uid(folder)
    for number, _ in chosen.get(_BAD, ()):
        name, error = f"annotation-{number}", HilumError(Code.ROW_INVALID)
        yield Pair(name, name, where=f"annotation {number}", error=error)
    for uid in sorted(set(chosen) - {_BAD}, key=by_number):
        yield _pair(uid, chosen[uid], originals.get(uid, []), images.get(uid, []), folder)


def _pair(
    uid: str,
    captions: list[tuple[str, str]],
    originals: list[tuple[str, str]],
    found: list[Path],
    folder: Path,
) -> Pair:
    files = {file.stem: file for file in found}
    text = captions[0][1]
    return Pair(
        study_id=f"CXR{uid}",
        patient_id=f"CXR{uid}",
        films=tuple(Film(files.get(name, folder / f"{name}.png")) for name, _ in captions),
        findings=text,
        language=language_of(text),
        original=dict(originals).get(captions[0][0]),
        where=captions[0][0],
        flags=(Code.CAPTIONS_DIFFER,) if len({caption for _, caption in captions}) > 1 else (),
    )


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.glob("*.json"))


def _captions(file: Path) -> Captions:
    """Captions of one file by uid, each with its image's name; empty where it is another file."""
    if file.suffix.lower() != ".json":
        return {}
    content = load_json(file)
    annotations: Any = content.get("annotations") if isinstance(content, dict) else None
    found: Captions = {}
    for number, row in enumerate(annotations if isinstance(annotations, list) else ()):
        name, caption = _name_and_caption(row)
        uid, _, image = name.rpartition("_")
        if uid and image.isdigit() and Path(name).name == name:
            found.setdefault(uid, []).append((name, caption))
        else:
            found.setdefault(_BAD, []).append((str(number), ""))
    return found


def _name_and_caption(row: Any) -> tuple[str, str]:
    name, caption = (row.get("image_id"), row.get("caption")) if isinstance(row, dict) else ("", "")
    return (name, caption) if isinstance(name, str) and isinstance(caption, str) else ("", "")
