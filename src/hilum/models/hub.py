"""Getting models from a hub and putting them there: nothing else here uses a network.

``HF_ENDPOINT`` names a mirror (https://hf-mirror.com where huggingface.co is out of reach),
``HF_HUB_OFFLINE=1`` forbids the network, ``HF_TOKEN`` or ``hf auth login`` says who asks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from hilum.codes import Code, HilumError
from hilum.findings import Record
from hilum.models.licence import require_commercial, strictest
from hilum.models.presets import Part, find
from hilum.models.safety import PICKLES

RECORD = "hilum.json"
HUGGING_FACE = "https://huggingface.co"
# What a model needs to run; pickles never, program code only on an explicit word.
WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "LICENSE*", "README.md"]


class FileRecord(Record):
    """One file as it was fetched."""

    sha256: str
    bytes: int


class Fetched(Record):
    """``hilum.json`` beside fetched weights: where they came from, their licence, their hashes."""

    hub: str
    revision: str
    endpoint: str
    licence: str
    parts: list[Part]
    files: dict[str, FileRecord]


def endpoint() -> str:
    """The hub that is asked: ``HF_ENDPOINT``, or Hugging Face."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUGGING_FACE


def refuse_offline(hub: str, instead: str) -> None:
    """Raises ``hub_unreachable`` where ``HF_HUB_OFFLINE`` forbids the network."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise HilumError(Code.HUB_UNREACHABLE, hub, f"HF_HUB_OFFLINE forbids it; {instead}")


def fetch(
    name: str,
    folder: Path,
    revision: str = "main",
    commercial: bool = False,
    trust_remote_code: bool = False,
) -> Fetched:
    """Fetch a preset, or any ``owner/name``, into ``folder``; what is there already is not fetched.

    A fetch that was interrupted goes on where it stopped. Raises ``licence_forbids`` before
    anything is fetched, ``model_gated``, ``preset_unknown``, ``hub_unreachable``.
    """
    hub, parts = _source(name)
    if commercial:
        require_commercial(name, parts)
    refuse_offline(hub, "copy the model's folder here instead")
    if endpoint() != HUGGING_FACE:  # the xet storage is not behind the mirror
        os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    from huggingface_hub import HfApi, snapshot_download

    wanted = [*WANTED, "*.py"] if trust_remote_code else WANTED
    with explained(hub):
        pinned = HfApi(endpoint=endpoint()).model_info(hub, revision=revision).sha
        snapshot_download(
            hub,
            revision=pinned,
            local_dir=folder,
            allow_patterns=wanted,
            endpoint=endpoint(),
        )
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and _own(p, folder)]
    fetched = Fetched(
        hub=hub,
        revision=pinned or revision,
        endpoint=endpoint(),
        licence=strictest(parts).id,
        parts=parts,
        files={p.relative_to(folder).as_posix(): _hash(p) for p in paths},
    )
    (folder / RECORD).write_text(fetched.model_dump_json(indent=1), encoding="utf-8")
    return fetched


def read_record(folder: Path) -> Fetched | None:
    """The record of a fetched folder; None where there is none.

    Raises ``model_invalid`` for a record that cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        return Fetched.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError) as error:
        raise HilumError(Code.MODEL_INVALID, path, type(error).__name__) from error


def changed_files(folder: Path, record: Fetched) -> list[str]:
    """Files that are missing, or not as they were fetched."""
    return [
        name
        for name, file in record.files.items()
        if not (folder / name).is_file() or _hash(folder / name) != file
    ]


def push(folder: Path, hub: str, public: bool = False) -> str:
    """Upload a folder to ``owner/name``, private unless ``public``; answers its address.

    Pickles and fetch records stay behind. Raises ``option_invalid`` where the repository is public
    already and ``public`` was not said, ``model_incomplete`` for a folder without weights,
    ``hub_unreachable``.
    """
    from huggingface_hub import HfApi

    if hub.count("/") != 1:
        raise HilumError(Code.OPTION_INVALID, hub, "a repository is owner/name")
    if not any(folder.glob("*.safetensors")):
        raise HilumError(Code.MODEL_INCOMPLETE, folder, "no *.safetensors")
    refuse_offline(hub, "nothing was uploaded")
    api = HfApi(endpoint=endpoint())
    with explained(hub):
        api.create_repo(hub, private=not public, exist_ok=True)
        if not public and not api.model_info(hub).private:
            wrong = "the repository is public already; say --public to upload there"
            raise HilumError(Code.OPTION_INVALID, hub, wrong)
        left = [f"*{suffix}" for suffix in PICKLES]
        api.upload_folder(
            repo_id=hub, folder_path=folder, ignore_patterns=[*left, "*.py", RECORD, ".cache/**"]
        )
    return f"{endpoint()}/{hub}"


def _source(name: str) -> tuple[str, list[Part]]:
    """The hub id and the parts of a preset; an ``owner/name`` that is no preset has none."""
    try:
        preset = find(name)
    except HilumError as error:
        if error.code is Code.MODEL_GONE or name.count("/") != 1:
            raise
        return name, []
    if not preset.hub:
        raise HilumError(Code.OPTION_INVALID, name, "it comes with the package")
    return preset.hub, preset.parts


@contextmanager
def explained(hub: str, missing: Code = Code.PRESET_UNKNOWN) -> Generator[None]:
    """The hub's errors in one line that says what to do.

    Raises ``model_gated``, ``hub_unreachable``, and ``missing`` where there is no such repository.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        todo = f"open {endpoint()}/{hub}, accept, then: hf auth login"
        raise HilumError(Code.MODEL_GATED, hub, todo) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        wrong = f"{endpoint()} has no such repository or revision, or it is private: hf auth login"
        raise HilumError(missing, hub, wrong) from error
    except HilumError:
        raise
    except Exception as error:  # the hub's HTTP library, and its errors, change with its version
        hint = "try a mirror: HF_ENDPOINT=https://hf-mirror.com"
        wrong = f"{endpoint()}, {type(error).__name__}; run again to go on, or {hint}"
        raise HilumError(Code.HUB_UNREACHABLE, hub, wrong) from error


def _own(path: Path, folder: Path) -> bool:
    return path.name != RECORD and path.relative_to(folder).parts[0] != ".cache"


def _hash(path: Path) -> FileRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(sha256=digest, bytes=path.stat().st_size)
