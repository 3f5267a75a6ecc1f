"""Pairs to a dataset on disk: committed in chunks, so that a killed run goes on where it was.

A chunk is a fixed number of studies. Its rows go to one Parquet file a split; when these are
in place the chunk's record is written, and that makes it done. What was not recorded is made again,
byte for byte the same, because rows depend on their pair alone and are written in order.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from hilum.codes import Code, HilumError
from hilum.data.card import tally
from hilum.data.run import Result
from hilum.data.schema import SCHEMA
from hilum.data.work import Refusal, Row

STATE = ".prepare"
DATA = "data"
_GROUP_ROWS, _GROUP_BYTES = 512, 8 << 20  # a row group is written when either is reached

Tally = Counter[str]


@dataclass
class Chunk:
    """What a finished chunk leaves behind, besides its rows."""

    number: int
    files: dict[str, str] = field(default_factory=dict)  # name to sha256
    rows: dict[str, int] = field(default_factory=dict)  # name to rows
    refused: list[dict[str, str]] = field(default_factory=list)
    tally: Tally = field(default_factory=Counter)
    studies: list[str] = field(default_factory=list)  # digests, to find duplicates
    images: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)  # each as split:digest, when first seen


@dataclass
class Seen:
    """Digests of what went into the dataset so far: 16 bytes each, or fewer."""

    studies: set[bytes] = field(default_factory=set)
    images: set[bytes] = field(default_factory=set)
    texts: Counter[bytes] = field(default_factory=Counter)
    patients: dict[bytes, str] = field(default_factory=dict)

    def add(self, chunk: Chunk) -> None:
        """Remember a chunk of an earlier run."""
        for patient in chunk.patients:
            split, _, digest = patient.partition(":")
            self.patients[bytes.fromhex(digest)] = split
        self.studies.update(map(bytes.fromhex, chunk.studies))
        self.images.update(map(bytes.fromhex, chunk.images))
        self.texts.update(map(bytes.fromhex, chunk.texts))


class Builder:
    """Writes chunks into a folder; ``folder`` None counts without writing anything."""

    def __init__(
        self,
        folder: Path | None,
        split_of: Callable[[dict[str, Any]], str],
        *,
        chunk_size: int = 1000,
        max_same_text: int = 0,
    ) -> None:
        self.folder = folder
        self.split_of = split_of
        self.chunk_size = chunk_size
        self.max_same_text = max_same_text
        self.seen = Seen()
        self.chunks: list[Chunk] = []

    def resume(self) -> int:
        """Take over the finished chunks of an earlier run; the number of pairs to pass over."""
        if self.folder is None:
            return 0
        state = self.folder / STATE
        while (record := state / f"chunk-{len(self.chunks):05d}.json").is_file():
            fields = json.loads(record.read_text(encoding="utf-8"))
            chunk = Chunk(**{**fields, "tally": Counter(fields["tally"])})
            self.seen.add(chunk)
            self.chunks.append(chunk)
        whole = {name for chunk in self.chunks for name in chunk.files}
        for path in (self.folder / DATA).glob("*"):
            if path.name not in whole:  # of a chunk that was not finished
                path.unlink()
        return len(self.chunks) * self.chunk_size

    def add(self, results: Iterator[Result], progress: Callable[[Result], object]) -> None:
        """Commit all results, chunk by chunk."""
        while True:
            chunk = Chunk(len(self.chunks))
            some = 0
            with _Files(self.folder, chunk) as files:
                for result in islice(results, self.chunk_size):
                    some += 1
                    final = self._judge(result, chunk)
                    if isinstance(final, Row):
                        files.write(final)
                        tally(final.values, chunk.tally)
                    else:
                        chunk.refused.append(final.line())
                    progress(final)
            if not some:
                return
            self._commit(chunk)

    def _judge(self, result: Result, chunk: Chunk) -> Result:
        """Refuse what came before; give the rest its split."""
        if isinstance(result, Refusal):
            return result
        study = hashlib.sha256(result.values["study_id"].encode()).digest()[:8]
        code = self._repeated(study, result)
        if code is not None:
            return Refusal(result.values["study_id"], "", code)
        if self.seen.texts[result.text[:8]]:
            flags = {*result.values["flags"], Code.DUPLICATE_TEXT.value}
            result.values["flags"] = sorted(flags)
        result.values["split"] = self._place(result.values, chunk)
        images = [digest[:16] for digest in result.films]
        self.seen.studies.add(study)
        self.seen.images.update(images)
        self.seen.texts[result.text[:8]] += 1
        chunk.studies.append(study.hex())
        chunk.images.extend(digest.hex() for digest in images)
        chunk.texts.append(result.text[:8].hex())
        return result

    def _place(self, values: dict[str, Any], chunk: Chunk) -> str:
        """The study's split; the last guard against a patient in two of them."""
        split = self.split_of(values)
        patient = hashlib.sha256(values["patient_id"].encode()).digest()[:8]
        if patient not in self.seen.patients:
            self.seen.patients[patient] = split
            chunk.patients.append(f"{split}:{patient.hex()}")
        elif self.seen.patients[patient] != split:
            raise HilumError(Code.SPLIT_LEAK, values["study_id"])
        return split

    def _repeated(self, study: bytes, row: Row) -> Code | None:
        if study in self.seen.studies:
            return Code.DUPLICATE_STUDY
        if any(digest[:16] in self.seen.images for digest in row.films):
            return Code.DUPLICATE_IMAGE
        if self.max_same_text and self.seen.texts[row.text[:8]] >= self.max_same_text:
            return Code.DUPLICATE_TEXT
        return None

    def _commit(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        if self.folder is not None:
            record = self.folder / STATE / f"chunk-{chunk.number:05d}.json"
            write_whole(record, json.dumps(vars(chunk), ensure_ascii=False).encode())
        chunk.studies, chunk.images, chunk.texts, chunk.patients = [], [], [], []

    def total(self) -> Tally:
        """The counts of all chunks."""
        return sum((chunk.tally for chunk in self.chunks), Counter())


class _Files:
    """The open Parquet files of one chunk, a file a split; renamed when the chunk is whole."""

    def __init__(self, folder: Path | None, chunk: Chunk) -> None:
        self.folder = folder / DATA if folder else None
        self.chunk = chunk
        self.writers: dict[str, tuple[BinaryIO, pq.ParquetWriter]] = {}
        self.waiting: dict[str, list[dict[str, Any]]] = {}
        self.bytes: Counter[str] = Counter()

    def __enter__(self) -> _Files:
        return self

    def write(self, row: Row) -> None:
        split = row.values["split"]
        name = f"{split}-{self.chunk.number:05d}.parquet"
        self.chunk.rows[name] = self.chunk.rows.get(name, 0) + 1
        if self.folder is None:
            return
        self.waiting.setdefault(name, []).append(row.values)
        self.bytes[name] += sum(len(image["bytes"]) for image in row.values["images"])
        if len(self.waiting[name]) >= _GROUP_ROWS or self.bytes[name] >= _GROUP_BYTES:
            self._flush(name)

    def _flush(self, name: str) -> None:
        assert self.folder is not None
        if name not in self.writers:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / f".{name}").open("wb")
            self.writers[name] = (file, pq.ParquetWriter(file, SCHEMA, compression="zstd"))
        self.writers[name][1].write_table(pa.Table.from_pylist(self.waiting.pop(name), SCHEMA))
        self.bytes[name] = 0

    def __exit__(self, kind: object, *_: object) -> None:
        if self.folder is None:
            return
        if kind is not None:  # what is half written is no part of the dataset
            for name in self.writers:
                with suppress(Exception):
                    self._close(name)
                (self.folder / f".{name}").unlink(missing_ok=True)
            return
        for name in list(self.waiting):
            self._flush(name)
        for name in self.writers:
            self._close(name)
            part = self.folder / f".{name}"
            self.chunk.files[name] = _settle(part)
            part.replace(self.folder / name)

    def _close(self, name: str) -> None:
        file, writer = self.writers[name]
        with file:
            writer.close()


def _settle(path: Path) -> str:
    """Force a file to the disk; its sha256."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone in this folder. Raises ``output_busy`` while another run holds it."""
    (folder / STATE).mkdir(parents=True, exist_ok=True)
    with (folder / STATE / "lock").open("w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows: two runs at once are the user's to avoid
            pass
        except OSError:
            raise HilumError(Code.OUTPUT_BUSY, folder) from None
        yield
