"""The paths of whoever runs the service: the audit log, health, numbers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.responses import JSONResponse

from hilum.service import journal, shapes
from hilum.service.access import ERRORS, Admin, Hall, Reads

router = APIRouter(responses=ERRORS, tags=["operation"])


@router.get("/v1/audit", response_model=list[shapes.AuditEntry])
def get_audit(
    hall: Hall,
    _: Admin,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[dict[str, Any]]:
    """The audit log after a line's number, oldest first."""
    return journal.entries(hall.db, after, limit)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    responses={503: {"model": dict[str, bool], "description": "Which of them does not hold"}},
)
def readyz(hall: Hall) -> JSONResponse:
    """Studies can be taken and read: database, disk, workers, queue, and not shutting down."""
    checks = hall.ready()
    return JSONResponse(checks, 200 if all(checks.values()) else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "For Prometheus"}},
)
def metrics(hall: Hall, _: Reads) -> Response:
    """Counters in Prometheus's text format."""
    return Response(hall.scrape(), media_type="text/plain; version=0.0.4")
