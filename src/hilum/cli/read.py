"""``hilum read``: files to draft reports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.codes import Code, HilumError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from hilum.imaging import StudyFiles
    from hilum.study import Study

# Films held at once: decoded by threads while the reader works on the batch before.
BATCH = 32


class Precision(StrEnum):
    """Of the weights; auto takes what the machine has units for, and says what."""

    AUTO = "auto"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


class Language(StrEnum):
    """Language of the draft."""

    EN = "en"
    ZH = "zh"


def read(
    paths: Annotated[
        list[Path], typer.Argument(help="Films, folders, zips: DICOM, PNG, JPEG, TIFF.")
    ],
    reader: Annotated[
        str, typer.Option("--reader", help="embedded, a folder, or a server's URL.")
    ] = "embedded",
    language: Annotated[Language, typer.Option("--language", help="Of the draft.")] = Language.EN,
    json: Annotated[bool, typer.Option("--json", help="One JSON line a study on stdout.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for JSON and pictures.")] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="A picture a study, in --out or .")
    ] = False,
    explain_pixels: Annotated[
        bool, typer.Option("--explain-pixels", help="Say what was done to each film's grey levels.")
    ] = False,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="The site's file, of hilum calibrate.")
    ] = None,
    site: Annotated[
        str | None, typer.Option("--site", help="Refuse a calibration of another site.")
    ] = None,
    allow_outside_domain: Annotated[
        bool,
        typer.Option("--allow-outside-domain", help="Read films the reader was not made for."),
    ] = False,
    journal: Annotated[
        Path | None,
        typer.Option("--journal", help="Results as JSON lines; a killed run goes on from it."),
    ] = None,
    precision: Annotated[
        Precision, typer.Option("--precision", help="Of a transformers model's weights.")
    ] = Precision.AUTO,
) -> int:
    """Read films and write draft reports with a probability for each finding.

    Exit code: 0 all read, 3 some abstained, 4 some failed.

    Example: hilum read films --language zh --overlay --out reads

    Example: hilum read films --explain-pixels

    Example: hilum read archive --json --journal reads.jsonl
    """
    from hilum import imaging
    from hilum.imaging import children

    children.start()  # it gets ready while the rest is imported
    from hilum.cli.show import Printer
    from hilum.reading.journal import Journal, key_of
    from hilum.reading.reader import Reader
    from hilum.study import Study

    studies = imaging.scan(paths)
    settings = {
        "reader": reader,
        "language": language.value,
        "outside_domain": allow_outside_domain,
        "precision": precision.value,
    }
    kept = Journal(journal, settings) if journal is not None else None
    if kept is not None:
        studies = [f for f in studies if key_of(f.id, f.paths) not in kept.done]
    printer = Printer(
        language.value,
        as_json=json,
        out=out,
        overlay=overlay,
        explain=explain_pixels,
        total=len(studies),
    )
    with _loading() as pool, printer:
        batches = _batches(studies, pool)
        # weights take seconds to load: a mistyped path is answered without them
        chosen = None
        if not all(files.error for files in studies):
            chosen = Reader.load(reader, precision.value)
            if said := chosen.engine.versions.get("precision"):
                typer.echo(said, err=True)
            if calibration:
                chosen = chosen.calibrated(calibration, site)
        for batch in batches:
            loaded = [study for _, study in batch if isinstance(study, Study)]
            reports = iter(
                chosen.read_studies(loaded, language.value, allow_outside_domain) if chosen else ()
            )
            for files, study in batch:
                if isinstance(study, HilumError):
                    line = printer.failure(files, study)
                else:
                    line = printer.report(next(reports), study)
                if kept is not None:
                    kept.add(key_of(files.id, files.paths), line)
            if kept is not None:
                kept.keep()
    return printer.exit_code


@contextmanager
def _loading() -> Iterator[ThreadPoolExecutor]:
    """Threads that load films; Ctrl-C does not wait for films that nobody will read."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(4)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _batches(
    studies: list[StudyFiles], pool: ThreadPoolExecutor
) -> Iterator[list[tuple[StudyFiles, Study | HilumError]]]:
    """Loaded studies or what is wrong with them, in order, a batch at a time and one ahead.

    The first batch is on its way when this returns.
    """
    groups = [studies[i : i + BATCH] for i in range(0, len(studies), BATCH)]
    first = [pool.submit(_load, files) for files in groups[0]] if groups else []

    def in_turn() -> Iterator[list[tuple[StudyFiles, Study | HilumError]]]:
        ahead = first
        for k, group in enumerate(groups):
            ready = [job.result() for job in ahead]
            following = groups[k + 1] if k + 1 < len(groups) else []
            ahead = [pool.submit(_load, files) for files in following]
            yield list(zip(group, ready, strict=True))

    return in_turn()


def _load(files: StudyFiles) -> Study | HilumError:
    from hilum import imaging

    try:
        return imaging.load(files)
    except HilumError as error:
        return error
    except Exception as error:  # a defect that one file brings out stops no other file
        if os.environ.get("HILUM_DEBUG", "0") not in ("", "0"):
            raise
        return HilumError(Code.INTERNAL_ERROR, files.paths[0], type(error).__name__)
