"""What is done with the bytes of one file, in the process that calls it.

Everything here parses what strangers wrote: Hilum calls it in a child process, by way of
:mod:`hilum.imaging.children`.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.imaging import source
from hilum.imaging.source import Identity, Kind
from hilum.study import Context, View


def identify(path: Path) -> Identity:
    """Read as much of a file as its study's id needs: a DICOM header, or a raster's bytes.

    Raises ``HilumError``: what :func:`~hilum.imaging.source.open_source` and
    :func:`~hilum.imaging.source.sniff` raise, ``format_unknown`` for bytes that only begin like
    a data set, and ``file_damaged`` for a DICOM header that cannot be parsed.
    """
    with source.open_source(path) as file:
        kind = source.sniff(file, path)
        if kind is Kind.ARCHIVE:
            if source.archive_of(path) is not None:
                raise HilumError(Code.ARCHIVE_REFUSED, path, "an archive within an archive")
            return Identity("", archive=True)
        if kind is Kind.RASTER:
            return Identity(source.content_id(file, path))
        from hilum.imaging import dicom

        if kind is Kind.BARE and not dicom.is_bare_dataset(file, path):
            raise HilumError(Code.FORMAT_UNKNOWN, path)
        study, directory = dicom.study_uid(file, path)
        if study:
            return Identity(source.short_id(study.encode()), shared=True, directory=directory)
        return Identity(source.content_id(file, path), directory=directory)


def read(path: Path) -> tuple[View, Context]:
    """Read the pixels of one file: its view, and the age and sex that its header gives.

    Raises ``HilumError`` as :func:`identify`, ``hilum.imaging.dicom.read`` and
    ``hilum.imaging.raster.read`` do.
    """
    with source.open_source(path) as file:
        kind = source.sniff(file, path)
        if kind is Kind.RASTER:
            from hilum.imaging import raster

            return raster.read(file, path), Context()
        if kind is Kind.ARCHIVE:
            detail = "a zip archive; hilum.imaging.scan finds the films in it"
            raise HilumError(Code.FORMAT_UNKNOWN, path, detail)
        from hilum.imaging import dicom

        if kind is Kind.BARE and not dicom.is_bare_dataset(file, path):
            raise HilumError(Code.FORMAT_UNKNOWN, path)
        return dicom.read(file, path)


def header(path: Path, keywords: list[str]) -> dict[str, Any]:
    """The named elements of a DICOM header in DICOM's JSON model (PS3.18 F), for other rooms.

    An element that is missing or cannot be converted is left out. Raises ``HilumError`` as
    :func:`identify` does, and ``format_unknown`` for what is no DICOM file.
    """
    with source.open_source(path) as file:
        kind = source.sniff(file, path)
        from pydicom import config

        from hilum.imaging import dicom

        bare = kind is Kind.BARE and dicom.is_bare_dataset(file, path)
        if kind is not Kind.DICOM and not bare:
            raise HilumError(Code.FORMAT_UNKNOWN, path, "no DICOM file")
        ds = dicom.read_header(file, path, keywords)
        found: dict[str, Any] = {}
        with config.disable_value_validation():  # numbers of more than 16 characters are common
            for tag in list(ds.keys()):
                with suppress(Exception):  # whatever pydicom makes of a value that is none
                    found[f"{tag:08X}"] = ds[tag].to_json_dict(None, 1024)
        return found


def contents(path: Path) -> list[str]:
    """The files that an archive or a DICOMDIR names, as relative paths with slashes.

    Raises ``HilumError``: ``archive_refused``, or ``file_damaged`` for a broken DICOMDIR.
    """
    with source.open_source(path) as file:
        if source.sniff(file, path) is Kind.ARCHIVE:
            return source.members(path)
        from hilum.imaging import dicom

        return dicom.directory(file, path)
