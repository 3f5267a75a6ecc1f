"""Errors as HTTP: each code's status, one body for all of them, and what is never said."""

from __future__ import annotations

import json
import math
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from hilum.codes import Code, HilumError
from hilum.service import journal
from hilum.service.shapes import places

STATUS: dict[Code, int] = {
    Code.REQUEST_INVALID: 400,
    Code.OPTION_INVALID: 400,
    Code.ADDRESS_REFUSED: 400,
    Code.LANGUAGE_UNSUPPORTED: 400,
    Code.NO_FILES: 400,
    Code.KEY_REFUSED: 401,
    Code.SCOPE_MISSING: 403,
    Code.ORIGIN_REFUSED: 403,
    Code.STUDY_UNKNOWN: 404,
    Code.MODEL_UNKNOWN: 404,
    Code.REQUEST_TOO_SLOW: 408,
    Code.INSTANCE_CONFLICT: 409,
    Code.NOT_READ_YET: 409,
    Code.REVIEW_CONFLICT: 409,
    Code.REVIEW_CLOSED: 409,
    Code.NOTHING_TO_REVIEW: 409,
    Code.BODY_TOO_LARGE: 413,
    Code.TOO_MANY_PARTS: 413,
    Code.TOO_MANY_PIXELS: 413,
    Code.FORMAT_UNKNOWN: 415,
    Code.TRANSFER_SYNTAX_UNSUPPORTED: 415,
    Code.HOST_REFUSED: 421,
    Code.RATE_LIMITED: 429,
    Code.INTERNAL_ERROR: 500,
    Code.REMOTE_UNREACHABLE: 502,
    Code.REMOTE_INVALID: 502,
    Code.REMOTE_REFUSED: 502,
    Code.QUEUE_FULL: 503,
    Code.SERVER_BUSY: 503,
    Code.SERVER_DRAINING: 503,
    Code.DATABASE_UNREACHABLE: 503,
    Code.READER_NOT_FOUND: 503,
    Code.READER_INVALID: 503,
    Code.STORAGE_FULL: 507,
}
"""What a code is over HTTP; any other is a film that cannot be read: 422."""

UNREADABLE = 422
_LATER = frozenset({429, 503, 507})
_NAMES = {404: "there is no such path", 405: "the path does not answer this method"}


def status_of(error: HilumError) -> int:
    """The HTTP status of an error."""
    return STATUS.get(error.code, UNREADABLE)


def body(error: HilumError, **more: Any) -> dict[str, Any]:
    """The body of every error; OpenAI's clients understand it too."""
    detail = f" ({error.detail})" if error.detail else ""
    kind = "server_error" if status_of(error) >= 500 else "invalid_request_error"
    return {
        "error": {
            "code": error.code.value,
            "message": f"{error.code.en}{detail}",
            "message_zh": error.code.zh,
            "type": kind,
            "param": None,
            **more,
        }
    }


def headers(error: HilumError, retry_after: float = 5.0) -> dict[str, str]:
    """What goes with it: when to come back, or which key is wanted."""
    status = status_of(error)
    if status in _LATER:
        return {"Retry-After": str(max(1, math.ceil(retry_after)))}
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {"Connection": "close"} if status in (408, 413) else {}


def reply(error: HilumError, retry_after: float = 5.0, **more: Any) -> JSONResponse:
    """The response to an error."""
    return JSONResponse(body(error, **more), status_of(error), headers(error, retry_after))


async def on_error(request: Request, error: Exception) -> JSONResponse:
    """A failure that was foreseen."""
    assert isinstance(error, HilumError)
    service = request.app.state.service
    return reply(error, service.retry_after(error.code))


async def on_invalid(_: Request, error: Exception) -> JSONResponse:
    """A request that does not fit: where, and how, and nothing of what was sent."""
    assert isinstance(error, RequestValidationError)
    return reply(HilumError(Code.REQUEST_INVALID, "", places(error.errors())))


async def on_http(_: Request, error: Exception) -> JSONResponse:
    """What the framework refuses: an unknown path, a method."""
    assert isinstance(error, HTTPException)
    refusal = HilumError(Code.REQUEST_INVALID, "", _NAMES.get(error.status_code, ""))
    return JSONResponse(body(refusal), error.status_code, error.headers)


async def on_defect(_: Request, error: Exception) -> JSONResponse:
    """A defect: its place is logged, its message is not."""
    place = journal.place_of(error)
    journal.log("defect", error=place)
    return reply(HilumError(Code.INTERNAL_ERROR, "", place))


def as_json(error: HilumError) -> bytes:
    """The body as bytes."""
    return json.dumps(body(error)).encode()
