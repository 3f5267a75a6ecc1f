"""``hilum read``: files to draft reports."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.codes import Code, HilumError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from hilum.imaging import StudyFiles
    from hilum.reading.archive import Reading, Result
    from hilum.study import Study


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
    ray: Annotated[
        str | None, typer.Option("--ray", help="Read on a Ray cluster: auto, local, or host:port.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes side by side; 0 chooses.")
    ] = 0,
) -> int:
    """Read films and write draft reports with a probability for each finding.

    Exit code: 0 all read, 3 some abstained, 4 some failed.

    Example: hilum read films --language zh --overlay --out reads

    Example: hilum read films --explain-pixels

    Example: hilum read archive --json --journal reads.jsonl

    Example: hilum read archive --json --journal reads.jsonl --ray auto
    """
    from hilum import imaging
    from hilum.imaging import children

    children.start()  # it gets ready while the rest is imported
    from hilum.cli.show import Printer
    from hilum.reading.archive import BATCH, Reading
    from hilum.reading.journal import Journal, key_of

    if (ray or workers > 1) and (overlay or explain_pixels):
        hint = "films are seen there alone; leave out --overlay and --explain-pixels"
        raise HilumError(Code.OPTION_INVALID, "--ray" if ray else "--workers", hint)
    how = Reading(reader, precision.value, calibration, site, language.value, allow_outside_domain)
    studies = imaging.scan(paths)
    kept = Journal(journal, how.settings()) if journal is not None else None
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
    shown = overlay or explain_pixels
    results = _results(studies, how, ray, 1 if shown else workers)
    with printer, closing(results):
        for number, (files, said, study) in enumerate(results, 1):
            if isinstance(said, HilumError):
                line = printer.failure(files, said)
            else:
                line = printer.report(said, study)
            if kept is not None:
                kept.add(key_of(files.id, files.paths), line)
                if number % BATCH == 0 or number == len(studies):
                    kept.keep()
    return printer.exit_code


def _results(
    studies: list[StudyFiles], how: Reading, ray: str | None, workers: int
) -> Generator[Result, None, None]:
    """Every study once, read or failed: on a cluster, by processes, or here."""
    if ray:
        from hilum.reading.archive import read_on_cluster

        return read_on_cluster(ray, studies, how)
    from hilum.reading.workers import read_in_processes, suggested

    workers = workers or suggested(how.reader, len(studies))
    return read_in_processes(studies, how, workers) if workers > 1 else _read_here(studies, how)


def _read_here(studies: list[StudyFiles], how: Reading) -> Generator[Result, None, None]:
    """Every study once, read or failed, in order: films of the next batch are loaded meanwhile."""
    from hilum.study import Study

    with _loading() as pool:
        batches = _batches(studies, pool)
        # weights take seconds to load: a mistyped path is answered without them
        reader = None if all(files.error for files in studies) else how.open()
        if reader and (said := reader.engine.versions.get("precision")):
            typer.echo(said, err=True)
        for batch in batches:
            loaded = [study for _, study in batch if isinstance(study, Study)]
            reports = iter(how.read(reader, loaded) if reader else ())
            for files, study in batch:
                if isinstance(study, Study):
                    yield files, next(reports), study
                else:
                    yield files, study, None


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
    from hilum.imaging import load_or_error
    from hilum.reading.archive import BATCH

    groups = [studies[i : i + BATCH] for i in range(0, len(studies), BATCH)]
    first = [pool.submit(load_or_error, files) for files in groups[0]] if groups else []

    def in_turn() -> Iterator[list[tuple[StudyFiles, Study | HilumError]]]:
        ahead = first
        for k, group in enumerate(groups):
            ready = [job.result() for job in ahead]
            following = groups[k + 1] if k + 1 < len(groups) else []
            ahead = [pool.submit(load_or_error, files) for files in following]
            yield list(zip(group, ready, strict=True))

    return in_turn()
