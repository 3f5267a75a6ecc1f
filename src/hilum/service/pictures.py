"""The paths of pictures: the film with its boxes, and its grey levels at full depth."""

from __future__ import annotations

import io
from typing import Annotated

import anyio.to_thread
import numpy as np
from fastapi import APIRouter, Query, Response

from hilum.codes import Code, HilumError
from hilum.report import Language, Report
from hilum.service import intake, shapes, studies
from hilum.service.access import ERRORS, Hall, Reads
from hilum.service.app import Service
from hilum.service.shapes import StudyId
from hilum.study import Study

router = APIRouter(responses=ERRORS, tags=["pictures"])


@router.get(
    "/v1/studies/{study}/overlay.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": "The picture"}},
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
