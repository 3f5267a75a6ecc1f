"""A marker is planted wherever a client or a film can put text, and looked for wherever the
service writes: logs, database, files and their names, answers, metrics, OpenAPI, temporary files.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tests.service.conftest import Server
from tests.service.fakes import KILL, RAISE, READ, film, pixels_of

MARK = "ZQPLANTEDQZ"
MakeFile = Callable[..., Path]


@pytest.fixture
def marked(make_file: MakeFile) -> Callable[..., bytes]:
    """DICOM films whose header holds the mark in 20 places, private and nested ones too."""

    def make(action: int = READ, seed: int = 0, **more: object) -> bytes:
        inner = Dataset()
        inner.PatientName = f"{MARK}^INNER"
        path = make_file(
            pixels_of(action, seed=seed),
            PatientName=f"{MARK}^NAME",
            PatientID=MARK,
            PatientBirthName=f"{MARK}^BORN",
            PatientAddress=MARK,
            PatientComments=MARK,
            AccessionNumber=MARK,
            StudyID=MARK,
            StudyDescription=MARK,
            SeriesDescription=MARK,
            ProtocolName=MARK,
            InstitutionName=MARK,
            ReferringPhysicianName=f"{MARK}^REF",
            OperatorsName=f"{MARK}^OP",
            ImageComments=MARK,
            ReasonForStudy=MARK,
            AdmittingDiagnosesDescription=MARK,
            StationName=MARK,
            DetectorID=MARK,
            RequestAttributesSequence=[inner],
            WindowCenterWidthExplanation=MARK,
            WindowCenter=2048,
            WindowWidth=4096,
            **more,
        )
        content = path.read_bytes()
        return f"{MARK:*<128}".encode() + content[128:]

    return make


def holders(folder: Path) -> list[str]:
    """Files whose name or content holds the mark, films themselves left out."""
    found = []
    for place in folder.rglob("*"):
        name = str(place.relative_to(folder))
        if MARK in name:
            found.append(name)
        if place.is_file() and not name.startswith("films/"):
            content = place.read_bytes()
            if any(MARK.encode(kind) in content for kind in ("utf-8", "utf-16-le")):
                found.append(name)
    return found


def test_nothing_of_a_patient_is_written_anywhere(
    start: Callable[..., Server],
    marked: Callable[..., bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    server = start()
    server.worker()
    answers: list[httpx.Response] = []

    def post(path: str, files: list[tuple[str, bytes]], **more: object) -> None:
        field = "file" if path == "/analyze-fracture" else "files"
        parts = [(field, (f"{MARK}^{name}.dcm", content)) for name, content in files]
        answers.append(httpx.post(server.url + path, files=parts, timeout=120, **more))

    uid = generate_uid()
    good = marked(SOPInstanceUID=uid, seed=1)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.comment = MARK.encode()
        packed.writestr(f"{MARK}/{MARK}.dcm", marked(seed=2))
        packed.writestr(f"{MARK}.txt", MARK)
    post("/v1/studies", [("one", good)])
    post("/v1/studies", [("conflict", marked(SOPInstanceUID=uid, seed=3))])
    post("/v1/studies", [("zip", archive.getvalue())])
    post("/v1/studies", [("none", MARK.encode())])
    post("/v1/studies", [("cut", good[:900])])
    post("/v1/studies", [("kills", marked(KILL, seed=4)), ("raises", marked(RAISE, seed=5))])
    post("/v1/studies", [("x", film())], data={"context": json.dumps({MARK: MARK})})
    post("/v1/studies", [("x", film())], data={"context": json.dumps({"indication": MARK})})
    post("/v1/studies", [("x", film())], data={MARK: MARK})
    post("/v1/studies", [("x", film())], data={"language": MARK})
    post("/v1/studies", [("x", film())], headers={"X-Request-Id": MARK, "User-Agent": MARK})
    post("/v1/studies", [("x", film())], headers={"Authorization": f"Bearer {MARK}"})
    post(f"/v1/studies?{MARK}={MARK}", [("x", film())])
    post("/analyze-fracture", [("film", marked(seed=6))])
    for path in (f"/{MARK}", f"/v1/studies/{MARK}", f"/v1/studies?state={MARK}&limit={MARK}"):
        answers.append(httpx.get(server.url + path, timeout=120))
    for message in (
        {"role": "user", "content": f"{MARK} has a fracture?"},
        {"role": MARK, "content": "x"},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": f"http://{MARK}/"}}],
        },
        {"role": "user", "content": [{"type": MARK}], MARK: MARK},
    ):
        body = {"model": "hilum", "messages": [message], MARK: MARK}
        answers.append(httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=120))
    answers.append(
        httpx.post(
            f"{server.url}/v1/chat/completions",
            json={"model": MARK, "messages": [{"role": "user", "content": "x"}]},
            timeout=120,
        )
    )
    taken = [
        a.json() for a in answers if a.status_code in (200, 202) and a.request.method == "POST"
    ]
    names = {one["id"] for answer in taken for one in answer.get("studies", [])}
    names |= {answer["study_id"] for answer in taken if "study_id" in answer}
    assert len(names) >= 6
    server.ended(len(names))
    for row in server.get("/v1/studies?limit=500")["studies"]:
        for what in ("", "/pixels", "/overlay.png"):
            answers.append(httpx.get(f"{server.url}/v1/studies/{row['id']}{what}", timeout=120))
    for path in ("/metrics", "/openapi.json", "/v1/audit?limit=1000", "/readyz", "/v1/models"):
        answers.append(httpx.get(server.url + path, timeout=120))
    assert {a.status_code // 100 for a in answers} == {2, 4}
    server.stop()

    shown = [f"{a.request.url.path} {a.status_code}" for a in answers if MARK in _all_of(a)]
    assert shown == []
    assert [line for line in server.lines if MARK in line] == []
    assert holders(server.settings.data) == []
    assert holders(temporary) == []
    assert len(list((server.settings.data / "films").rglob("*"))) > 5  # the films themselves stay


def _all_of(answer: httpx.Response) -> str:
    return answer.text + json.dumps(dict(answer.headers))


def test_the_mark_would_be_found(tmp_path: Path) -> None:
    """The test above can fail: the same search finds a mark that is there."""
    (tmp_path / "log").write_text(f"x {MARK} y")
    (tmp_path / f"{MARK}.png").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "log")
    assert sorted(holders(tmp_path)) == sorted(["log", "link", f"{MARK}.png"])


def test_a_workers_command_line_and_environment_hold_no_secret(
    start: Callable[..., Server],
) -> None:
    server = start()
    worker = server.worker()
    shown = Path(f"/proc/{worker}/cmdline")
    if not shown.exists():
        pytest.skip("no /proc")
    assert str(server.settings.data) not in shown.read_text()
