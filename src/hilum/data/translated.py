"""A prepared dataset in the other language: the same rows, images and findings, another report."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hilum.codes import Code, HilumError
from hilum.data import card as cards
from hilum.data.build import DATA, write_whole
from hilum.data.prepare import CARD, PAGE, QUARANTINE, SHEET
from hilum.data.schema import SCHEMA
from hilum.data.translate import Translated
from hilum.data.work import without_spans
from hilum.findings import Finding

_PARTS = ("findings", "impression")


def is_dataset(folder: Path) -> bool:
    """Whether ``hilum prepare`` made this folder and finished it."""
    return (folder / CARD).is_file()


def texts_of(folder: Path) -> Iterator[str]:
    """Findings and impression of every row, each a text of its own; empty ones are left out."""
    for file in sorted((folder / DATA).glob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(columns=["report"]):
            for row in batch.to_pylist():
                yield from (row["report"][part] for part in _PARTS if row["report"][part])


def write_dataset(
    folder: Path, out: Path, to: str, done: dict[str, Translated], command: str
) -> dict[str, Any]:
    """Write the dataset of ``folder`` into ``out`` with the translated reports; its card.

    A row of which a part was set apart goes to quarantine.jsonl with that part's code. Raises
    ``output_exists`` where ``out`` holds a dataset, ``output_unwritable``.
    """
    if is_dataset(out):
        raise HilumError(Code.OUTPUT_EXISTS, out, "a finished dataset")
    try:
        return _write(folder, out, to, done, command)
    except OSError as error:
        raise HilumError(Code.OUTPUT_UNWRITABLE, out, error.strerror or "") from error


def _write(
    folder: Path, out: Path, to: str, done: dict[str, Translated], command: str
) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    patients: dict[str, str] = {}
    refused: list[dict[str, str]] = []
    files: dict[str, dict[str, Any]] = {}
    (out / DATA).mkdir(parents=True, exist_ok=True)
    for file in sorted((folder / DATA).glob("*.parquet")):
        target = out / DATA / file.name
        rows = 0
        with (
            target.open("wb") as sink,
            pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer,
        ):
            for batch in pq.ParquetFile(file).iter_batches(batch_size=64):
                kept = []
                for row in batch.to_pylist():
                    made = _row(row, to, done)
                    if isinstance(made, Code):
                        refused.append(_refusal(row["study_id"], file.name, made))
                        continue
                    cards.tally(made, counts)
                    patients[made["patient_id"]] = made["split"]
                    kept.append(made)
                rows += len(kept)
                writer.write_table(pa.Table.from_pylist(kept, SCHEMA))
        if rows:
            digest = hashlib.sha256(target.read_bytes()).hexdigest()
            files[file.name] = {"rows": rows, "sha256": digest}
        else:
            target.unlink()
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    codes = Counter(line["code"] for line in refused)
    card |= {
        "title": f"{card['title']}, translated ({to})",
        "facts": cards.facts(counts, codes, Counter(patients.values())),
        "command": command,
        "files": files,
        "plan": None,
    }
    lines = "".join(json.dumps(line) + "\n" for line in refused)
    write_whole(out / QUARANTINE, lines.encode())
    if card["sheet"]:
        write_whole(out / SHEET, (folder / SHEET).read_bytes())
    write_whole(out / PAGE, cards.page(card).encode())
    write_whole(out / CARD, json.dumps(card, ensure_ascii=False, indent=1).encode())
    return dict(card)


def _row(row: dict[str, Any], to: str, done: dict[str, Translated]) -> dict[str, Any] | Code:
    """The row with its report translated, or the code of the part that was set apart."""
    report = dict(row["report"])
    for part in _PARTS:
        if report[part]:
            one = done[report[part]]
            if one.code is not None or one.text is None:
                return one.code or Code.TEXT_EMPTY
            report[part] = one.text
    findings = [without_spans(Finding.model_validate(f)) for f in row["findings"]]
    told = [finding.model_dump(mode="json") for finding in findings]
    return {**row, "report": report | {"language": to}, "findings": told}


def _refusal(study: str, where: str, code: Code) -> dict[str, str]:
    return {"study_id": study, "where": where, "code": code.value, "detail": ""}
