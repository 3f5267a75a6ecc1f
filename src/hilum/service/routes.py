"""The paths of studies: sent, listed, shown, read again, deleted; and the article's own."""

from __future__ import annotations

from typing import Annotated, Any, cast

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from starlette.responses import JSONResponse

from hilum.codes import Code, HilumError
from hilum.findings import FindingName, Status
from hilum.language import canonical_fracture
from hilum.report import LANGUAGES, Language, Report
from hilum.service import examples, intake, jobs, replies, shapes, studies
from hilum.service.access import ERRORS, Admin, Hall, Reads, Writes
from hilum.service.app import Service
from hilum.service.auth import Caller
from hilum.service.files import Incoming
from hilum.service.shapes import StudyId
from hilum.service.studies import Admitted, Order, Priority
from hilum.service.upload import Upload, receive

router = APIRouter(responses=ERRORS)
_FIELDS = frozenset({"context", "priority", "language", "together"})


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
        take, hall, caller, form.files, order, together, limiter=hall.intake
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
    review: shapes.ReviewState | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> dict[str, Any]:
    """The worklist in triage order.

    Rank (as given, raised to urgent where the reader calls a fracture, never lowered), then the
    probability of a fracture, then whoever has waited longest.
    """
    total, rows = studies.worklist(hall.db, state, limit, offset, review)
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
    admitted, refused = await anyio.to_thread.run_sync(
        take, hall, caller, form.files, order, True, limiter=hall.intake
    )
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
