"""The service's own paths: studies, the worklist, pictures, health."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Annotated, Any, cast

import anyio.to_thread
import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import HTTPBearer
from starlette.responses import JSONResponse

from hilum.codes import Code, HilumError
from hilum.findings import FindingName, Status
from hilum.language import canonical_fracture
from hilum.report import LANGUAGES, Language, Report
from hilum.service import examples, intake, jobs, journal, replies, shapes, studies
from hilum.service.app import Service
from hilum.service.auth import Caller, Scope
from hilum.service.files import Incoming
from hilum.service.shapes import StudyId
from hilum.service.studies import Admitted, Order, Priority
from hilum.service.upload import Upload, receive
from hilum.study import Study

_bearer = HTTPBearer(auto_error=False, description="A key made by `hilum keys add`")
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": shapes.ErrorBody, "description": "Refused, with a code"},
    "5XX": {"model": shapes.ErrorBody, "description": "Not now, with a code"},
}
router = APIRouter(responses=ERRORS)
_FIELDS = frozenset({"context", "priority", "language", "together"})


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


@router.post(
    "/v1/studies",
    status_code=202,
    response_model=shapes.Uploaded,
    responses={200: {"model": shapes.Uploaded, "description": "All of it was known"}},
    openapi_extra=examples.UPLOAD,
    tags=["studies"],
)
async def add_studies(request: Request, hall: Hall, caller: Writes) -> Response:
    """Send films: DICOM, PNG, JPEG, TIFF, or zip archives of them.

    DICOM files of one StudyInstanceUID are one study; any other film is one of its own, unless
    `together` is true. The same films again are the same study. Where nothing at all is taken,
    the answer is the first file's error.
    """
    form = await receive(request, hall.films, hall.settings.limits, "files", _FIELDS)
    order, together = _order(form, hall)
    admitted, refused = await anyio.to_thread.run_sync(
        take, hall, caller, form.files, order, together
    )
    if not admitted:
        first = refused[0]
        return replies.reply(first.error, hall.retry_after(first.error.code), file=first.file)
    if not all(a.known for a, _ in admitted):
        hall.supervisor.wake()
    answer = {
        "studies": [
            {"id": a.id, "state": a.state, "known": a.known, "files": n} for a, n in admitted
        ],
        "refused": [replies.body(r.error, file=r.file) for r in refused],
    }
    known = all(a.known for a, _ in admitted)
    place = {"Location": f"/v1/studies/{admitted[0][0].id}"}
    return JSONResponse(answer, 200 if known else 202, place)


def take(
    hall: Service, caller: Caller, files: list[Incoming], order: Order, together: bool
) -> tuple[list[tuple[Admitted, int]], list[intake.Refusal]]:
    """Sort files into studies and keep those; nothing that arrived is left lying about."""
    admitted: list[tuple[Admitted, int]] = []
    limits = hall.settings.limits
    try:
        found = intake.sort_in(files, hall.films, limits, together)
        for number, films in found.groups:
            try:
                study = studies.admit(hall.db, hall.films, films, order, limits, caller.id)
            except HilumError as error:
                found.refused.append(intake.Refusal(number, error))
            else:
                admitted.append((study, len(films)))
            finally:
                for film in films:
                    film.arrived.drop()
    finally:
        for file in files:
            file.drop()
    return admitted, found.refused


def _order(form: Upload, hall: Service) -> tuple[Order, bool]:
    """The form's other fields. Raises ``request_invalid``; the files are then gone."""
    try:
        language = form.fields.get("language") or hall.settings.language
        priority = form.fields.get("priority", "routine").upper()
        together = form.fields.get("together", "false").lower()
        for name, value, known in (
            ("language", language, LANGUAGES),
            ("priority", priority, Priority.__members__),
            ("together", together, ("true", "false")),
        ):
            if value not in known:
                raise HilumError(Code.REQUEST_INVALID, "", f"{name}: {', '.join(known).lower()}")
        context = shapes.parsed(shapes.GivenContext, form.fields.get("context") or "{}", "context")
    except HilumError:
        form.drop()
        raise
    order = Order(cast(Language, language), Priority[priority], context.context())
    return order, together == "true"


@router.get("/v1/studies", response_model=shapes.Worklist, tags=["studies"])
def list_studies(
    hall: Hall,
    _: Reads,
    state: shapes.StateName | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> dict[str, Any]:
    """The worklist in triage order.

    Rank (as given, raised to urgent where the reader calls a fracture, never lowered), then the
    probability of a fracture, then whoever has waited longest.
    """
    total, rows = studies.worklist(hall.db, state, limit, offset)
    return {"total": total, "studies": rows}


@router.get("/v1/studies/{study}", response_model=shapes.Shown, tags=["studies"])
async def get_study(
    hall: Hall,
    caller: Reads,
    study: StudyId,
    language: Language | None = None,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for its end")] = 0,
) -> dict[str, Any]:
    """One study with its report, in a language it was asked in."""
    shown = await anyio.to_thread.run_sync(studies.show, hall.db, study, language)
    if wait and shown["state"] not in (None, *jobs.ENDED):
        await hall.wait(study, shown["language"], wait)
        shown = await anyio.to_thread.run_sync(studies.show, hall.db, study, language)
    if shown["report"]:
        await anyio.to_thread.run_sync(hall.note, caller.id, "report_shown", study)
    return shown


@router.post(
    "/v1/studies/{study}/jobs", status_code=202, response_model=shapes.Accepted, tags=["studies"]
)
def read_again(
    hall: Hall, caller: Writes, study: StudyId, asked: shapes.AskedAgain
) -> dict[str, Any]:
    """Have a study read in another language too, or once more where it failed."""
    again = jobs.retry(hall.db, study, asked.language)
    state, known = studies.again_in(hall.db, study, asked.language, hall.settings.limits)
    hall.note(caller.id, "study_read_again", study)
    hall.supervisor.wake()
    films, _ = studies.films_of(hall.db, study)
    return {"id": study, "state": state, "known": known and not again, "files": len(films)}


@router.delete("/v1/studies/{study}", status_code=204, tags=["studies"])
def delete_study(hall: Hall, caller: Admin, study: StudyId) -> None:
    """Delete a study with its films and reports. The audit log keeps its id."""
    studies.remove(hall.db, hall.films, study, caller.id)


@router.get(
    "/v1/studies/{study}/overlay.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": "The picture"}},
    tags=["pictures"],
)
async def get_overlay(
    hall: Hall,
    caller: Reads,
    study: StudyId,
    view: Annotated[int, Query(ge=0, le=1000)] = 0,
    language: Language | None = None,
) -> Response:
    """The whole film with its boxes, and the draft beside it."""
    content = await anyio.to_thread.run_sync(
        _overlay, hall, study, view, language, limiter=hall.pictures
    )
    await anyio.to_thread.run_sync(hall.note, caller.id, "overlay_shown", study)
    return Response(content, media_type="image/png")


def _overlay(hall: Service, study: str, view: int, language: Language | None) -> bytes:
    from hilum.reading import overlay

    shown = studies.show(hall.db, study, language)
    if not shown["report"]:
        raise HilumError(Code.NOT_READ_YET, "", f"its state is {shown['state']}")
    report = Report.model_validate(shown["report"])
    picture = io.BytesIO()
    overlay.draw(report, _loaded(hall, study, view), view).save(picture, "PNG", compress_level=1)
    return picture.getvalue()


@router.get(
    "/v1/studies/{study}/pixels",
    response_class=Response,
    responses={200: {"content": {"application/x-npy": {}}, "description": "The array"}},
    tags=["pictures"],
)
async def get_pixels(
    hall: Hall, caller: Reads, study: StudyId, view: Annotated[int, Query(ge=0, le=1000)] = 0
) -> Response:
    """The grey levels at full bit depth, after the Modality LUT, as a NumPy file (.npy).

    uint16 or float32, rows by columns. The header `Hilum-View` is JSON: position, mm_per_pixel,
    inverted, and the windows to choose from.
    """
    content, about = await anyio.to_thread.run_sync(
        _pixels, hall, study, view, limiter=hall.pictures
    )
    await anyio.to_thread.run_sync(hall.note, caller.id, "pixels_shown", study)
    return Response(content, media_type="application/x-npy", headers={"Hilum-View": about})


def _pixels(hall: Service, study: str, view: int) -> tuple[bytes, str]:
    film = _loaded(hall, study, view).views[view]
    array = io.BytesIO()
    np.save(array, film.pixels, allow_pickle=False)
    return array.getvalue(), shapes.ViewHeader.of(film).model_dump_json()


def _loaded(hall: Service, study: str, view: int) -> Study:
    hashes, context = studies.films_of(hall.db, study)
    loaded = intake.load(hall.films, study, hashes, context)
    if view >= len(loaded.views):
        raise HilumError(Code.REQUEST_INVALID, "", f"view: 0 to {len(loaded.views) - 1}")
    return loaded


@router.post(
    "/analyze-fracture",
    response_model=shapes.Analysis,
    responses={202: {"model": shapes.Analysis, "description": "Still being read"}},
    openapi_extra=examples.ANALYZE,
    tags=["fracture"],
)
async def analyze_fracture(request: Request, hall: Hall, caller: Writes) -> Response:
    """One film in, the fractures on it out; waits for the reading."""
    form = await receive(request, hall.films, hall.settings.limits, "file", frozenset({"language"}))
    order, _ = _order(form, hall)
    admitted, refused = await anyio.to_thread.run_sync(take, hall, caller, form.files, order, True)
    if not admitted:
        raise refused[0].error
    study = admitted[0][0].id
    hall.supervisor.wake()
    await hall.wait(study, order.language, hall.settings.limits.wait_seconds)
    shown = await anyio.to_thread.run_sync(studies.show, hall.db, study, order.language)
    if shown["error"]:
        error = HilumError(Code(shown["error"]), "", shown["detail"] or "")
        return replies.reply(error, study_id=study)
    analysis = _analysis(study, shown, hall)
    await anyio.to_thread.run_sync(hall.note, caller.id, "report_shown", study)
    status = 202 if analysis.status == "pending" else 200
    return JSONResponse(analysis.model_dump(mode="json"), status)


def _analysis(study: str, shown: dict[str, Any], hall: Service) -> shapes.Analysis:
    name = hall.supervisor.reader or "hilum"
    if not shown["report"]:
        return shapes.Analysis(
            status="pending", fracture_description=None, model_version=name, study_id=study
        )
    report = Report.model_validate(shown["report"])
    common: dict[str, Any] = {
        "model_version": f"{report.provenance.reader}@{report.provenance.weights_sha256[:12]}",
        "study_id": study,
        "notice": report.notice,
        "flags": report.flags,
    }
    if report.abstained:
        return shapes.Analysis(
            status="abstained", fracture_description=None, reasons=report.gate.reasons, **common
        )
    found = report.finding(FindingName.FRACTURE)
    said = canonical_fracture(report.text or "", report.language)
    if not said and found is not None and found.status is Status.ABSENT:
        said = {"en": "No fracture.", "zh": "未见骨折。"}[report.language]
    return shapes.Analysis(
        status="success",
        fracture_description=said,
        fracture_probability=found.probability if found else None,
        findings=report.findings,
        **common,
    )


@router.get("/v1/audit", response_model=list[shapes.AuditEntry], tags=["operation"])
def get_audit(
    hall: Hall,
    _: Admin,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[dict[str, Any]]:
    """The audit log after a line's number, oldest first."""
    return journal.entries(hall.db, after, limit)


@router.get("/healthz", tags=["operation"])
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    tags=["operation"],
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
    tags=["operation"],
)
def metrics(hall: Hall, _: Reads) -> Response:
    """Counters in Prometheus's text format."""
    return Response(hall.scrape(), media_type="text/plain; version=0.0.4")
