"""The OpenAPI document says what the service does: schemathesis sends what it allows and more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hilum.service.app import create
from hilum.service.settings import Limits, Settings
from tests.service import fakes
from tests.service.conftest import Desk


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("openapi")
    chosen = Settings(
        data=folder / "data",
        workers=0,
        names=("localhost",),
        worker_command=fakes.COMMAND,
        limits=Limits(min_free_bytes=0, wait_seconds=0.01, requests_per_minute=10**6),
    )
    made = Desk(chosen)
    with made.http:
        made.id(fakes.film())
        made.work()
        yield made


CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
METHODS = {
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/readyz"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/models"),
    ("GET", "/v1/session"),
    ("GET", "/v1/studies"),
    ("GET", "/v1/studies/{study}"),
    ("GET", "/v1/studies/{study}/overlay.png"),
    ("GET", "/v1/studies/{study}/pixels"),
    ("GET", "/v1/studies/{study}/review"),
    ("GET", "/v1/studies/{study}/turns"),
    ("DELETE", "/v1/studies/{study}"),
    ("POST", "/analyze-fracture"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/studies"),
    ("POST", "/v1/studies/{study}/jobs"),
    ("POST", "/v1/studies/{study}/review"),
    ("POST", "/v1/studies/{study}/turns"),
}


@pytest.fixture(scope="module")
def document(desk: Desk) -> Any:
    return schemathesis.openapi.from_dict(desk.http.get("/openapi.json").json())


def test_these_are_the_paths(document: Any) -> None:
    found = {(o.ok().method.upper(), o.ok().path) for o in document.get_all_operations()}
    assert found == METHODS


@pytest.mark.parametrize(("method", "path"), sorted(METHODS))
def test_every_path_does_what_it_says(method: str, path: str, document: Any, desk: Desk) -> None:
    operation = document[path][method]

    @given(operation.as_strategy())
    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Any) -> None:
        given_ = case.as_transport_kwargs(base_url="http://127.0.0.1")
        sent = {k: v for k, v in given_.items() if k not in ("cookies", "timeout")}
        if isinstance(sent.get("data"), bytes | str):  # requests' word for it
            sent["content"] = sent.pop("data")
        sent["headers"] = {**(sent.get("headers") or {}), "Host": "127.0.0.1"}
        answer = desk.http.request(**sent)
        assert answer.status_code < 500 or answer.status_code in (503, 507), answer.text
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) >= {"code", "message", "type", "param"}

    check()


def test_the_document_has_examples_and_errors(desk: Desk) -> None:
    document = desk.http.get("/openapi.json").json()
    assert document["info"]["title"] == "Hilum"
    upload = document["paths"]["/v1/studies"]["post"]["requestBody"]["content"]
    assert upload["multipart/form-data"]["example"]["priority"] == "urgent"
    chat = document["components"]["schemas"]["Asked"]
    assert chat["example"]["messages"][0]["role"] == "user"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), (path, method)
            assert operation.get("description"), (path, method)
            if path not in ("/healthz", "/readyz"):
                assert "4XX" in operation["responses"], (path, method)


def test_create_refuses_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    from hilum.codes import HilumError

    (tmp_path / "file").write_text("")
    with pytest.raises(HilumError) as error:
        create(Settings(data=tmp_path / "file" / "data"))
    assert error.value.code == "output_unwritable"
