"""Uploads, the worklist, pictures and deletion over HTTP, without a worker process."""

from __future__ import annotations

import io
import json
import os
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from hilum.service import studies
from hilum.service.store import studies as table
from tests.service.conftest import Desk, Server, until
from tests.service.fakes import ABSTAIN, READ, SLEEP, film, pixels_of

MakeFile = Callable[..., Path]
OpenDesk = Callable[..., Desk]


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def code(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


def test_a_film_becomes_a_report(desk: Desk, make_file: MakeFile) -> None:
    content = make_file(pixels_of(permille=930)).read_bytes()
    answer = desk.send(content, context='{"age": 71, "sex": "F", "indication": "trauma"}')
    assert answer.status_code == 202
    (accepted,) = answer.json()["studies"]
    assert answer.headers["location"] == f"/v1/studies/{accepted['id']}"
    assert accepted["state"] == "queued"
    shown = desk.http.get(answer.headers["location"]).json()
    assert (shown["state"], shown["report"]) == ("queued", None)
    desk.work()
    shown = desk.http.get(answer.headers["location"]).json()
    assert shown["state"] == "done"
    assert shown["report"]["study"]["id"] == accepted["id"]
    assert shown["report"]["study"]["context"] == {
        "age": 71,
        "sex": "F",
        "indication": "trauma",
        "priors": [],
    }
    assert shown["report"]["study"]["views"][0]["path"] == f"{accepted['id']}/0"
    assert shown["fracture_probability"] == 0.93


def test_the_same_film_is_the_same_study(desk: Desk, make_file: MakeFile) -> None:
    content = make_file(pixels_of()).read_bytes()
    first, second = desk.send(content), desk.send(content)
    assert (first.status_code, second.status_code) == (202, 200)
    assert second.json()["studies"][0]["known"] is True
    assert second.json()["studies"][0]["id"] == first.json()["studies"][0]["id"]
    assert len(desk.work()) == 1
    assert desk.send(content).json()["studies"][0]["state"] == "done"
    assert desk.work() == []


def test_the_same_instance_with_other_bytes_is_409_and_changes_nothing(
    desk: Desk, make_file: MakeFile
) -> None:
    uid = generate_uid()
    first = make_file(pixels_of(seed=1), SOPInstanceUID=uid).read_bytes()
    other = make_file(pixels_of(seed=2), SOPInstanceUID=uid).read_bytes()
    name = desk.id(first)
    answer = desk.send(other)
    assert (answer.status_code, code(answer)) == (409, "instance_conflict")
    assert desk.http.get("/v1/studies").json()["total"] == 1
    desk.work()
    assert desk.http.get(f"/v1/studies/{name}").json()["state"] == "done"
    assert desk.http.delete(f"/v1/studies/{name}").status_code == 204
    assert desk.send(other).status_code == 202  # what was deleted conflicts with nothing


def test_a_conflict_beside_a_good_film_refuses_only_itself(desk: Desk, make_file: MakeFile) -> None:
    uid = generate_uid()
    desk.id(make_file(pixels_of(seed=1), SOPInstanceUID=uid).read_bytes())
    other = make_file(pixels_of(seed=2), SOPInstanceUID=uid).read_bytes()
    answer = desk.send(other, film(seed=9))
    assert answer.status_code == 202
    assert len(answer.json()["studies"]) == 1
    (refused,) = answer.json()["refused"]
    assert (refused["error"]["code"], refused["error"]["file"]) == ("instance_conflict", 0)


def test_one_request_with_both_is_a_conflict_too(desk: Desk, make_file: MakeFile) -> None:
    uids = {"SOPInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()}
    both = [make_file(pixels_of(seed=k), **uids).read_bytes() for k in range(2)]
    answer = desk.send(*both)
    assert (answer.status_code, code(answer)) == (409, "instance_conflict")
    assert films_in(desk) == []
    assert desk.send(both[0], both[0]).json()["studies"][0]["files"] == 2  # sent twice, kept once
    assert len(films_in(desk)) == 1


def test_films_of_one_study_uid_are_one_study(desk: Desk, make_file: MakeFile) -> None:
    uid = generate_uid()
    both = [make_file(pixels_of(seed=k), StudyInstanceUID=uid).read_bytes() for k in range(2)]
    (accepted,) = desk.send(*both).json()["studies"]
    assert accepted["files"] == 2
    desk.work()
    assert desk.http.get(f"/v1/studies/{accepted['id']}").json()["views"] == 2
    (alone,) = desk.send(both[0]).json()["studies"]
    assert alone["id"] != accepted["id"]  # other films, another study
    assert desk.http.delete(f"/v1/studies/{alone['id']}").status_code == 204
    answer = desk.http.get(f"/v1/studies/{accepted['id']}/pixels", params={"view": 0})
    assert answer.status_code == 200  # the film they shared is still there


def test_pictures_are_studies_of_their_own_unless_they_are_sent_together(desk: Desk) -> None:
    two = film(seed=1), film(seed=2)
    assert len(desk.send(*two).json()["studies"]) == 2
    (together,) = desk.send(*two, together="true").json()["studies"]
    assert together["files"] == 2


def test_together_with_a_broken_file_nothing_is_kept(desk: Desk) -> None:
    answer = desk.send(film(), b"no film", together="true")
    assert (answer.status_code, code(answer)) == (415, "format_unknown")
    assert answer.json()["error"]["file"] == 1
    assert desk.http.get("/v1/studies").json()["total"] == 0


def test_a_zip_gives_the_films_in_it(desk: Desk, make_file: MakeFile) -> None:
    uid = generate_uid()
    dicom = [make_file(pixels_of(seed=k), StudyInstanceUID=uid).read_bytes() for k in range(2)]
    archive = zipped(**{"A/IM1": dicom[0], "A/IM2": dicom[1], "片.png": film(seed=7)})
    answer = desk.send(archive)
    assert sorted(s["files"] for s in answer.json()["studies"]) == [1, 2]
    assert len(desk.work()) == 2
    assert desk.send(archive).status_code == 200


@pytest.mark.parametrize(
    ("content", "status", "named"),
    [
        (b"", 422, "file_empty"),
        (b"PLANTED^NAME", 415, "format_unknown"),
        (bytes(128) + b"DICM", 422, "no_pixel_data|file_damaged"),
        (zipped(a=zipped(b=film())), 422, "archive_refused"),
        (zipped(**{"../evil": film()}), 422, "archive_refused"),
        (zipped(), 422, "no_files|archive_refused"),
        (b"PK\x03\x04 cut", 422, "archive_refused"),
    ],
)
def test_what_is_no_film_is_refused_by_its_code(
    desk: Desk, content: bytes, status: int, named: str
) -> None:
    answer = desk.send(content)
    if answer.status_code == 202:  # its header can be read, its pixels cannot
        desk.work()
        (row,) = desk.http.get("/v1/studies").json()["studies"]
        assert row["state"] == "failed"
        assert row["error"] in named.split("|")
    else:
        assert code(answer) in named.split("|")
        assert answer.status_code in (status, 400)


def test_a_bomb_is_refused(open_desk: OpenDesk) -> None:
    desk = open_desk(limits={"unpacked_bytes": 1 << 20})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(3):
            archive.writestr(f"{k}.png", film(seed=k) + bytes(1 << 19))
    answer = desk.send(file.getvalue())
    assert (answer.status_code, code(answer)) == (422, "archive_refused")
    assert not list((desk.service.data / "incoming").iterdir())


def test_a_zip_of_too_many_films_is_refused(open_desk: OpenDesk) -> None:
    desk = open_desk(limits={"members": 2})
    answer = desk.send(zipped(**{f"{k}.png": film(seed=k) for k in range(3)}))
    assert (answer.status_code, code(answer)) == (422, "archive_refused")


def test_a_film_whose_pixels_are_cut_off_fails_and_is_never_filled_in(
    desk: Desk, make_file: MakeFile
) -> None:
    content = make_file(pixels_of()).read_bytes()
    desk.id(content[: len(content) // 2])
    desk.work()
    (row,) = desk.http.get("/v1/studies").json()["studies"]
    assert row["state"] == "failed"
    assert row["error"] in ("file_damaged", "pixels_undecodable")


def test_an_abstained_study_says_so_and_is_never_normal(desk: Desk) -> None:
    name = desk.id(film(ABSTAIN))
    desk.work()
    shown = desk.http.get(f"/v1/studies/{name}").json()
    assert shown["state"] == "done"
    assert shown["report"]["gate"] == {"verdict": "abstain", "reasons": ["not_a_chest"]}
    assert shown["report"]["findings"] == []
    assert shown["fracture_probability"] is None
    (row,) = desk.http.get("/v1/studies").json()["studies"]
    assert row["verdict"] == "abstain"


# -- order --------------------------------------------------------------------------------------


def test_triage_is_rank_then_probability_then_waiting_time(desk: Desk) -> None:
    made = {
        "low": desk.id(film(permille=100, seed=1)),
        "older": desk.id(film(permille=300, seed=2)),
        "newer": desk.id(film(permille=300, seed=3)),
        "fracture": desk.id(film(permille=800, seed=4)),
        "stat": desk.id(film(permille=10, seed=5), priority="stat"),
        "sure": desk.id(film(permille=990, seed=6)),
        "unread": desk.id(film(ABSTAIN, seed=7)),
        "urgent": desk.id(film(permille=20, seed=8), priority="urgent"),
    }
    desk.work()
    rows = desk.http.get("/v1/studies").json()["studies"]
    names = {name: key for key, name in made.items()}
    assert [names[row["id"]] for row in rows] == (
        "stat sure fracture urgent older newer low unread".split()
    )
    by = {names[row["id"]]: row for row in rows}
    assert (by["fracture"]["priority"], by["fracture"]["priority_given"]) == ("urgent", "routine")
    assert by["stat"]["priority"] == "stat"  # a low probability lowers nothing


def test_a_given_priority_is_raised_and_never_lowered(desk: Desk) -> None:
    name = desk.id(film(permille=10), priority="urgent")
    assert desk.id(film(permille=10), priority="routine") == name
    desk.work()
    assert desk.http.get(f"/v1/studies/{name}").json()["priority"] == "urgent"
    desk.id(film(permille=10), priority="stat")
    assert desk.http.get(f"/v1/studies/{name}").json()["priority"] == "stat"


def test_jobs_are_taken_by_priority_then_age(desk: Desk) -> None:
    first, second = desk.id(film(seed=1)), desk.id(film(seed=2))
    urgent = desk.id(film(seed=3), priority="urgent")
    raised = desk.id(film(seed=4))
    desk.id(film(seed=4), priority="stat")
    assert desk.work(most=1) == [raised, urgent, first, second]


def test_the_worklist_is_filtered_and_paged(desk: Desk) -> None:
    for k in range(5):
        desk.id(film(permille=100 * k, seed=k))
    desk.work()
    waiting = desk.id(film(seed=9))
    page = desk.http.get("/v1/studies", params={"limit": 2, "offset": 1, "state": "done"}).json()
    assert page["total"] == 5
    assert [row["fracture_probability"] for row in page["studies"]] == [0.3, 0.2]
    (row,) = desk.http.get("/v1/studies", params={"state": "queued"}).json()["studies"]
    assert row["id"] == waiting
    assert desk.http.get("/v1/studies", params={"state": "PLANTED"}).status_code == 400
    assert desk.http.get("/v1/studies", params={"limit": 0}).status_code == 400


# -- languages ----------------------------------------------------------------------------------


def test_a_study_is_read_in_the_language_asked_for_and_in_another_too(desk: Desk) -> None:
    name = desk.id(film(), language="zh")
    desk.work()
    assert "骨折" in desk.http.get(f"/v1/studies/{name}").json()["report"]["text"]
    path = f"/v1/studies/{name}"
    assert desk.http.get(path, params={"language": "en"}).json()["report"] is None
    answer = desk.http.post(f"{path}/jobs", json={"language": "en"})
    assert (answer.status_code, answer.json()["known"]) == (202, False)
    desk.work()
    shown = desk.http.get(path, params={"language": "en"}).json()
    assert "Fracture" in shown["report"]["text"]
    assert sorted(shown["languages"]) == ["en", "zh"]
    again = desk.http.post(f"{path}/jobs", json={"language": "en"})
    assert again.json()["known"] is True
    assert desk.http.get("/v1/studies").json()["total"] == 1


# -- pictures -----------------------------------------------------------------------------------


def test_pixels_come_at_full_depth(desk: Desk, make_file: MakeFile) -> None:
    pixels = pixels_of()
    name = desk.id(make_file(pixels, PixelSpacing=[0.2, 0.2], BitsStored=12).read_bytes())
    answer = desk.http.get(f"/v1/studies/{name}/pixels")
    assert answer.headers["content-type"] == "application/x-npy"
    array = np.load(io.BytesIO(answer.content), allow_pickle=False)
    assert array.dtype == np.uint16
    assert np.array_equal(array, pixels)
    about = json.loads(answer.headers["hilum-view"])
    assert about["mm_per_pixel"] == 0.2
    assert (about["position"], about["inverted"]) == ("PA", False)


def test_the_overlay_needs_a_report(desk: Desk) -> None:
    name = desk.id(film())
    answer = desk.http.get(f"/v1/studies/{name}/overlay.png")
    assert (answer.status_code, code(answer)) == (409, "not_read_yet")
    desk.work()
    answer = desk.http.get(f"/v1/studies/{name}/overlay.png")
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).height == 1080


@pytest.mark.parametrize("what", ["overlay.png", "pixels"])
def test_a_view_that_is_not_there_is_400(desk: Desk, what: str) -> None:
    name = desk.id(film())
    desk.work()
    answer = desk.http.get(f"/v1/studies/{name}/{what}", params={"view": 1})
    assert (answer.status_code, code(answer)) == (400, "request_invalid")


@pytest.mark.parametrize(
    "path",
    ["", "/pixels", "/overlay.png"],
)
def test_a_study_that_is_not_there_is_404(desk: Desk, path: str) -> None:
    answer = desk.http.get(f"/v1/studies/{'0' * 16}{path}")
    assert (answer.status_code, code(answer)) == (404, "study_unknown")


def test_an_id_is_16_hex_digits(desk: Desk) -> None:
    for name in ("PLANTED", "0" * 15, "..%2F..%2Fetc", "0" * 17):
        answer = desk.http.get(f"/v1/studies/{name}")
        assert answer.status_code in (400, 404)
        assert "PLANTED" not in answer.text


# -- what is forgotten --------------------------------------------------------------------------


def films_in(desk: Desk) -> list[Path]:
    return [p for p in (desk.service.data / "films").rglob("*") if p.is_file()]


def test_deleting_a_study_deletes_its_films(desk: Desk) -> None:
    name = desk.id(film())
    desk.work()
    assert len(films_in(desk)) == 1
    assert desk.http.delete(f"/v1/studies/{name}").status_code == 204
    assert films_in(desk) == []
    assert desk.http.get(f"/v1/studies/{name}").status_code == 404
    assert desk.http.delete(f"/v1/studies/{name}").status_code == 404
    assert desk.http.get("/v1/audit").json()[-1]["action"] == "study_deleted"


def test_a_study_deleted_while_it_is_read_leaves_nothing(desk: Desk) -> None:
    from hilum.service import jobs

    name = desk.id(film())
    (job,) = jobs.claim(desk.service.db, "desk:1:0", 1, 60)
    assert desk.http.delete(f"/v1/studies/{name}").status_code == 204
    hashes = films_in(desk)
    assert hashes == []
    from tests.service.fakes import report_of
    from tests.service.test_jobs import study

    assert jobs.finish(desk.service.db, "desk:1:0", job, report_of(study(name), "en")) is False


def test_old_studies_are_forgotten_and_waiting_ones_are_not(desk: Desk) -> None:
    old, waiting = desk.id(film(seed=1)), desk.id(film(seed=2))
    desk.work()
    new = desk.id(film(seed=3))
    desk.work()
    waiting = desk.id(film(seed=4))
    with desk.service.db.write() as connection:
        past = time.time() - 31 * 86_400
        for name in (old, waiting):
            connection.execute(table.update().where(table.c.id == name).values(created=past))
    desk.service.forget()
    kept = {row["id"] for row in desk.http.get("/v1/studies").json()["studies"]}
    assert old not in kept
    assert {new, waiting} <= kept
    assert "study_expired" in {e["action"] for e in desk.http.get("/v1/audit").json()}


def test_files_that_nothing_refers_to_are_swept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hilum.service import files

    name = desk.id(film())
    stray = desk.service.films.receive_all(b"left by a server that was killed")
    desk.service.films.keep(stray)
    studies.sweep(desk.service.db, desk.service.films)
    assert len(films_in(desk)) == 2  # too young
    monkeypatch.setattr(files, "STRAY_SECONDS", -1.0)
    studies.sweep(desk.service.db, desk.service.films)
    assert len(films_in(desk)) == 1
    assert not list((desk.service.data / "incoming").iterdir())
    assert desk.http.get(f"/v1/studies/{name}/pixels").status_code == 200


def test_the_folder_is_its_owners_alone(desk: Desk) -> None:
    desk.id(film(READ))
    for place in [desk.service.data, *desk.service.data.rglob("*")]:
        if place.is_dir():
            assert place.stat().st_mode & 0o077 == 0, place


# -- the seed's path ----------------------------------------------------------------------------


def test_analyze_fracture_answers_as_the_article_and_more(open_desk: OpenDesk) -> None:
    desk = open_desk(limits={"wait_seconds": 0.01})
    ask = {"file": ("x.png", film(permille=910))}
    pending = desk.http.post("/analyze-fracture", files=ask)
    assert (pending.status_code, pending.json()["status"]) == (202, "pending")
    desk.work()
    answer = desk.http.post("/analyze-fracture", files=ask).json()
    assert answer["status"] == "success"
    assert answer["fracture_description"] == "Fracture of the left 6th rib."
    assert answer["model_version"].startswith("fake@")
    assert answer["fracture_probability"] == 0.91
    assert {f["name"] for f in answer["findings"]} == {"fracture", "pleural_effusion"}


@pytest.mark.parametrize(
    ("action", "permille", "status", "description"),
    [(READ, 100, "success", "No fracture."), (ABSTAIN, 0, "abstained", None)],
)
def test_analyze_fracture_of_no_fracture_and_of_no_chest(
    open_desk: OpenDesk, action: int, permille: int, status: str, description: str | None
) -> None:
    desk = open_desk(limits={"wait_seconds": 0.01})
    ask = {"file": ("x.png", film(action, permille=permille))}
    desk.http.post("/analyze-fracture", files=ask)
    desk.work()
    answer = desk.http.post("/analyze-fracture", files=ask).json()
    assert (answer["status"], answer["fracture_description"]) == (status, description)
    if status == "abstained":
        assert answer["reasons"] == ["not_a_chest"]
        assert answer["findings"] is None


def test_analyze_fracture_of_a_broken_film_is_its_code(open_desk: OpenDesk) -> None:
    desk = open_desk(limits={"wait_seconds": 0.01})
    answer = desk.http.post("/analyze-fracture", files={"file": ("x", b"none")})
    assert (answer.status_code, code(answer)) == (415, "format_unknown")
    cut = {"file": ("x", film()[:900])}
    desk.http.post("/analyze-fracture", files=cut)
    desk.work()
    answer = desk.http.post("/analyze-fracture", files=cut)
    assert (answer.status_code, code(answer)) == (422, "file_damaged")
    assert answer.json()["error"]["study_id"]


def test_all_of_it_on_postgresql(
    open_desk: OpenDesk, empty_postgres: str, make_file: MakeFile
) -> None:
    desk = open_desk(database=empty_postgres)
    uid = generate_uid()
    content = make_file(pixels_of(permille=700), SOPInstanceUID=uid).read_bytes()
    name = desk.id(content, priority="urgent")
    assert desk.id(content) == name
    other = make_file(pixels_of(seed=2), SOPInstanceUID=uid).read_bytes()
    assert code(desk.send(other)) == "instance_conflict"
    refused = desk.id(film(ABSTAIN))
    desk.work()
    rows = desk.http.get("/v1/studies").json()["studies"]
    assert [row["id"] for row in rows] == [name, refused]
    assert rows[0]["fracture_probability"] == 0.7
    assert desk.http.get(f"/v1/studies/{name}/pixels").status_code == 200
    assert desk.http.delete(f"/v1/studies/{name}").status_code == 204
    assert len(films_in(desk)) == 1
    desk.service.forget()
    assert [e["action"] for e in desk.http.get("/v1/audit").json()][-1] == "study_deleted"
    assert not list(desk.service.data.glob("hilum.db*"))


def test_a_server_on_postgresql_survives_a_killed_worker(
    start: Callable[..., Server], empty_postgres: str
) -> None:
    server = start(database=empty_postgres)
    worker = server.worker()
    name = server.send(film(SLEEP, tenths=15)).json()["studies"][0]["id"]
    until(server.tried)
    os.kill(worker, signal.SIGKILL)
    (row,) = server.ended(1)
    assert (row["id"], row["state"]) == (name, "done")
    assert server.tried() == [name, name]
