"""Any Hugging Face data set with an image and a text column: an id, or a local folder.

Read as a stream by ``datasets``, which runs no code of the data set. An id needs the network, and
``--layout hub`` is how one asks for it; a folder needs none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.data.pair import Film, Pair
from hilum.data.sources import Given
from hilum.data.sources.table import ROLES, choose_columns, split_name, to_pair

_PEEK = 20
_MARKS = ("README.md", "dataset_dict.json", "dataset_infos.json")


def recognise(path: Path) -> bool:
    """A folder with Parquet or Arrow files and a mark of the hub, or of ``save_to_disk``."""
    if not path.is_dir() or not any((path / mark).is_file() for mark in _MARKS):
        return False
    return any(next(path.rglob(ending), None) is not None for ending in ("*.parquet", "*.arrow"))


def pairs(path: Path, given: Given) -> Iterator[Pair]:
    """A study a row, splits in their published order. Raises ``source_invalid``."""
    for name, data in _splits(path).items():
        features = data.features or {}
        image = given.columns.get("image") or _image_column(features)
        if image is None and not given.text_only:
            raise HilumError(Code.SOURCE_INVALID, path, "no image column: say --columns image=NAME")
        if image in features:
            from datasets import Image

            data = data.cast_column(image, Image(decode=False))
        sample = [_plain(row, image) for row in data.take(_PEEK)]
        told = {role: column for role, column in given.columns.items() if role != "image"}
        if image is not None:
            told["image"] = image
        columns = choose_columns(sample, _with(given, told), path)
        for number, row in enumerate(data):
            yield _pair(row, f"{name}-{number}", columns, image, name, given)


def _splits(path: Path) -> dict[str, Any]:
    revision = None if path.exists() else _revision(path.as_posix())
    try:
        import datasets
    except ImportError as error:
        raise HilumError(
            Code.EXTRA_MISSING, "datasets", "install it with: pip install 'hilum[train]'"
        ) from error
    try:
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            loaded = datasets.load_from_disk(str(path))
            single = isinstance(loaded, datasets.Dataset)
            parts = {"train": loaded} if single else dict(loaded)
            return {name: part.to_iterable_dataset() for name, part in parts.items()}
        return dict(datasets.load_dataset(path.as_posix(), revision=revision, streaming=True))
    except Exception as error:
        detail = f"datasets cannot open it: {type(error).__name__}"
        raise HilumError(Code.SOURCE_INVALID, path, detail) from None


def _revision(name: str) -> str:
    """The commit a data set of the hub stands at.

    ``datasets`` tries a name that is not there for a minute, and says little; this asks once.
    """
    from huggingface_hub import HfApi

    from hilum.models.hub import endpoint, explained, refuse_offline

    refuse_offline(name, "name a local folder of it instead")
    with explained(name, missing=Code.SOURCE_INVALID):
        api = HfApi(endpoint=endpoint())
        info = api.dataset_info(name)
        if info.gated:
            api.auth_check(name, repo_type="dataset")
    return str(info.sha)


def _image_column(features: Any) -> str | None:
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    return next((name for name, kind in kinds.items() if kind == "Image"), None)


def _plain(row: dict[str, Any], image: str | None) -> dict[str, Any]:
    """A row whose picture is only a word."""
    return {name: "image.png" if name == image else value for name, value in row.items()}


def _with(given: Given, columns: dict[str, str]) -> Given:
    from dataclasses import replace

    return replace(given, columns=columns)


def _pair(
    row: dict[str, Any],
    name: str,
    columns: dict[str, str],
    image: str | None,
    split: str,
    given: Given,
) -> Pair:
    from dataclasses import replace

    words = {role: _text(row.get(columns[role])) for role in ROLES if role in columns}
    words.pop("image", None)
    pair = to_pair([(0, words)], Path(), replace(given, keep_ids=True))
    films = () if given.text_only or image is None else tuple(_films(row.get(image)))
    study = name if not words.get("study") else pair.study_id
    return replace(
        pair,
        study_id=study,
        patient_id=pair.patient_id if words.get("patient") else study,
        films=films,
        split=pair.split or split_name(split),
        where=name,
    )


def _films(value: Any) -> Iterator[Film]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict) and one.get("bytes"):
            yield Film(data=one["bytes"])
        elif isinstance(one, dict) and one.get("path"):
            yield Film(Path(one["path"])) if "://" not in one["path"] else Film(data=_fetch(one))


def _fetch(one: dict[str, Any]) -> bytes:
    """An image file of a hub data set that the caller asked for by its id."""
    import fsspec

    with fsspec.open(one["path"], "rb") as file:
        return bytes(file.read())


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
