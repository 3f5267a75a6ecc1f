"""multipart/form-data (RFC 7578) to files on disk, as it arrives; file names are not looked at."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import anyio.to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from hilum.codes import Code, HilumError
from hilum.service.files import Films, Incoming
from hilum.service.settings import Limits

logging.getLogger("python_multipart").disabled = True  # it logs what it reads


@dataclass
class Upload:
    """What a form held: files in order, and the text of each other field."""

    files: list[Incoming] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)

    def drop(self) -> None:
        """Forget the files."""
        for file in self.files:
            file.drop()


async def receive(
    request: Request, store: Films, limits: Limits, file: str, fields: frozenset[str]
) -> Upload:
    """A form whose files come in the field ``file`` and whose text in ``fields``.

    Raises ``request_invalid`` for what is no such form, ``too_many_parts``, ``body_too_large``
    for a text beyond the limit, ``no_files``, and ``storage_full``; nothing is then left behind.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise HilumError(Code.REQUEST_INVALID, "", "send multipart/form-data")
    form = _Form(store, limits, file, fields)
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        async for chunk in request.stream():
            parser.write(chunk)
        parser.finalize()
        if not form.ended:
            raise HilumError(Code.REQUEST_INVALID, "", "the form is cut short")
        for arrived in form.upload.files:
            await anyio.to_thread.run_sync(arrived.close)
    except FormParserError:
        form.upload.drop()
        raise HilumError(Code.REQUEST_INVALID, "", "no well-formed form") from None
    except BaseException:
        form.upload.drop()
        raise
    if not form.upload.files:
        raise HilumError(Code.NO_FILES, "", f"send the film in the field {file}")
    return form.upload


class _Form:
    """The parser's callbacks, which come for each piece of a part."""

    def __init__(self, store: Films, limits: Limits, file: str, fields: frozenset[str]) -> None:
        self.upload, self.ended = Upload(), False
        self._store, self._limits = store, limits
        self._file, self._fields = file, fields
        self._header, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._name = ""
        self._text: bytearray | None = None

    def callbacks(self) -> dict[str, object]:
        """By the names that the parser knows them by."""
        names = "part_begin part_data part_end header_field header_value header_end end".split()
        return {f"on_{name}": getattr(self, f"_{name}") for name in [*names, "headers_finished"]}

    def _part_begin(self) -> None:
        self._disposition, self._text = b"", None

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        self._name = options.get(b"name", b"").decode("ascii", "replace")
        if self._name == self._file:
            if len(self.upload.files) == self._limits.files:
                raise HilumError(Code.TOO_MANY_PARTS, "", f"at most {self._limits.files} files")
            self.upload.files.append(self._store.receive())
        elif self._name in self._fields and self._name not in self.upload.fields:
            self._text = bytearray()
        else:  # also bounds the number of fields: each known one comes once
            known = ", ".join([self._file, *sorted(self._fields)])
            raise HilumError(Code.REQUEST_INVALID, "", f"the fields are {known}, each once")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._text is None:
            self.upload.files[-1].write(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > self._limits.field_bytes:
            detail = f"at most {self._limits.field_bytes} bytes in {self._name}"
            raise HilumError(Code.BODY_TOO_LARGE, "", detail)

    def _part_end(self) -> None:
        if self._text is not None:
            try:
                self.upload.fields[self._name] = self._text.decode()
            except UnicodeDecodeError:
                raise HilumError(Code.REQUEST_INVALID, "", f"{self._name}: not UTF-8") from None

    def _end(self) -> None:
        self.ended = True
