"""Who may come to which path, and what every path may answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from hilum.codes import Code, HilumError
from hilum.service import shapes
from hilum.service.app import Service
from hilum.service.auth import Caller, Scope

_bearer = HTTPBearer(auto_error=False, description="A key made by `hilum keys add`")
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": shapes.ErrorBody, "description": "Refused, with a code"},
    "5XX": {"model": shapes.ErrorBody, "description": "Not now, with a code"},
}


def service_of(request: Request) -> Service:
    """What every request shares."""
    return cast(Service, request.app.state.service)


def need(scope: Scope) -> Callable[..., Caller]:
    """A dependency: the caller, who must have a scope."""

    def caller(request: Request, _: Annotated[object, Depends(_bearer)]) -> Caller:
        found = cast(Caller, request.state.caller)
        if not found.may(scope):
            raise HilumError(Code.SCOPE_MISSING, "", f"it needs {scope}")
        return found

    return caller


Hall = Annotated[Service, Depends(service_of)]
Reads = Annotated[Caller, Depends(need(Scope.READ))]
Writes = Annotated[Caller, Depends(need(Scope.WRITE))]
Admin = Annotated[Caller, Depends(need(Scope.ADMIN))]
