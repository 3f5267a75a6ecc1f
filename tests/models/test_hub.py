"""Fetching and pushing, against a hub that runs here and speaks the hub's protocol."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from hilum.codes import Code, HilumError
from hilum.models import hub
from hilum.models.hub import changed_files, fetch, push, read_record

REPO = "HuggingFaceTB/SmolVLM2-256M-Video-Instruct"
SHA = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "smolvlm"}',
    "model.safetensors": bytes(range(256)) * 400,
    "pytorch_model.bin": b"\x80\x04pickle",
    "modeling_evil.py": b"raise SystemExit",
    "README.md": b"---\nlicense: apache-2.0\n---\n",
}


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as a fetch needs."""

    asked: list[str]
    status = 200
    gate = ""
    cut = 0

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        kind = type(self)
        kind.asked.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        if kind.status != 200:
            self.send_response(kind.status)
            if kind.gate:
                self.send_header("X-Error-Code", kind.gate)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if "/tree/" in self.path:
            tree = [{"type": "file", "path": n, "size": len(b), "oid": n} for n, b in FILES.items()]
            self._send(json.dumps(tree).encode(), {"Content-Type": "application/json"}, body)
            return
        if self.path.startswith("/api/models/"):
            names = [{"rfilename": name} for name in FILES]
            content = json.dumps({"id": REPO, "sha": SHA, "siblings": names}).encode()
            self._send(content, {"Content-Type": "application/json"}, body)
            return
        name = self.path.split("?")[0].rsplit(f"/resolve/{SHA}/")[-1]
        content = FILES[name]
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": SHA, "X-Linked-Size": str(len(content))}
        start = self.headers.get("Range", "")
        if start and body:
            first = int(start.removeprefix("bytes=").split("-")[0])
            self._send(content[first:], headers, body, 206)
        else:
            self._send(content, headers, body)

    def _send(self, content: bytes, headers: dict[str, str], body: bool, status: int = 200) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body and type(self).cut and len(content) > 1000:
            type(self).cut -= 1
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif body:
            self.wfile.write(content)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    import huggingface_hub.constants as constants

    class Fresh(Hub):
        asked: list[str] = []  # noqa: RUF012

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield Fresh
    server.shutdown()
    server.server_close()


def test_a_mirror_is_asked_and_neither_pickles_nor_code_are_taken(
    mirror: type[Hub], tmp_path: Path
) -> None:
    record = fetch("smolvlm2-256m", tmp_path)
    kept = {"config.json", "model.safetensors", "README.md"}
    assert set(record.files) == kept
    assert {p.name for p in tmp_path.iterdir() if p.is_file()} == {*kept, hub.RECORD}
    assert (tmp_path / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert (record.hub, record.revision, record.licence) == (REPO, SHA, "apache-2.0")
    for name in kept:
        assert record.files[name].sha256 == hashlib.sha256(FILES[name]).hexdigest()
    assert mirror.asked
    assert read_record(tmp_path) == record
    assert changed_files(tmp_path, record) == []


def test_what_is_there_is_not_fetched_again(mirror: type[Hub], tmp_path: Path) -> None:
    fetch("smolvlm2-256m", tmp_path)
    (tmp_path / "config.json").unlink()
    mirror.asked.clear()
    fetch("smolvlm2-256m", tmp_path)
    got = [line for line in mirror.asked if line.startswith("GET") and "/resolve/" in line]
    assert len(got) == 1
    assert "config.json" in got[0]


def test_a_connection_that_breaks_goes_on_where_it_stopped(
    mirror: type[Hub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    big = bytes(range(256)) * (90 << 10)  # 22.5 MB: the library keeps what it has by tens of MB
    monkeypatch.setitem(FILES, "model.safetensors", big)
    mirror.cut = 1
    fetch("smolvlm2-256m", tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == big
    again = [line for line in mirror.asked if "bytes=" in line]
    assert len(again) == 1
    assert int(again[0].rpartition("=")[2].rstrip("-")) > 0


def test_code_comes_only_on_an_explicit_word(mirror: type[Hub], tmp_path: Path) -> None:
    record = fetch("smolvlm2-256m", tmp_path, trust_remote_code=True)
    assert "modeling_evil.py" in record.files
    assert "pytorch_model.bin" not in record.files


@pytest.mark.parametrize(
    ("status", "gate", "code", "todo"),
    [
        (403, "GatedRepo", Code.MODEL_GATED, "hf auth login"),
        (401, "RepoNotFound", Code.PRESET_UNKNOWN, "hf auth login"),
        (404, "RepoNotFound", Code.PRESET_UNKNOWN, "no such repository"),
        (404, "RevisionNotFound", Code.PRESET_UNKNOWN, "revision"),
        (400, "", Code.HUB_UNREACHABLE, "hf-mirror.com"),
    ],
)
def test_the_hubs_refusals_say_what_to_do(
    status: int, gate: str, code: Code, todo: str, mirror: type[Hub], tmp_path: Path
) -> None:
    mirror.status, mirror.gate = status, gate
    with pytest.raises(HilumError) as caught:
        fetch("smolvlm2-256m", tmp_path / "x")
    assert caught.value.code is code
    assert todo in caught.value.detail
    assert "\n" not in caught.value.line()


def test_a_hub_that_does_not_answer_names_a_mirror(
    monkeypatch: pytest.MonkeyPatch, mirror: type[Hub], tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HilumError) as caught:
        fetch("smolvlm2-256m", tmp_path)
    assert caught.value.code is Code.HUB_UNREACHABLE
    assert "HF_ENDPOINT=https://hf-mirror.com" in caught.value.detail
    assert mirror.asked == []


@pytest.mark.parametrize("word", ["1", "true", "ON"])
def test_offline_asks_nobody(
    word: str, mirror: type[Hub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", word)
    with pytest.raises(HilumError) as caught:
        fetch("smolvlm2-256m", tmp_path)
    assert caught.value.code is Code.HUB_UNREACHABLE
    assert "copy the model's folder" in caught.value.detail
    assert mirror.asked == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("chexfract-maira2", Code.LICENCE_FORBIDS),
        ("somebody/unknown", Code.LICENCE_FORBIDS),
        ("xrayglm", Code.MODEL_GONE),
        ("nonsense", Code.PRESET_UNKNOWN),
        ("embedded", Code.OPTION_INVALID),
    ],
)
def test_what_may_not_be_fetched_is_refused_before_the_hub_is_asked(
    name: str, code: Code, mirror: type[Hub], tmp_path: Path
) -> None:
    with pytest.raises(HilumError) as caught:
        fetch(name, tmp_path, commercial=True)
    assert caught.value.code is code
    assert mirror.asked == []


def test_a_changed_or_missing_file_is_told(mirror: type[Hub], tmp_path: Path) -> None:
    record = fetch("smolvlm2-256m", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x" * 102400)
    (tmp_path / "config.json").unlink()
    assert sorted(changed_files(tmp_path, record)) == ["config.json", "model.safetensors"]
    assert mirror.asked


@pytest.mark.parametrize("text", ["", "[]", '{"hub": 1}'])
def test_a_record_that_cannot_be_read_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / hub.RECORD).write_text(text)
    with pytest.raises(HilumError) as caught:
        read_record(tmp_path)
    assert caught.value.code is Code.MODEL_INVALID


class Api:
    """A hub client that writes down what it is asked."""

    private = True

    def __init__(self, **_: Any) -> None:
        self.log: list[tuple[str, Any]] = []
        Api.last = self

    last: Api

    def create_repo(self, hub: str, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.log.append(("create", (hub, private)))

    def model_info(self, hub: str) -> Any:
        return type("Info", (), {"private": self.private})

    def upload_folder(self, **given: Any) -> None:
        self.log.append(("upload", given))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> type[Api]:
    import huggingface_hub

    class Fresh(Api):
        pass

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub, "HfApi", Fresh)
    return Fresh


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize("public", [False, True])
def test_a_push_is_private_unless_said(public: bool, api: type[Api], model: Path) -> None:
    api.private = not public
    assert push(model, "me/mine", public).endswith("/me/mine")
    (_, created), (_, upload) = api.last.log
    assert created == ("me/mine", not public)
    assert {"*.bin", "*.pt", "*.py", hub.RECORD} <= set(upload["ignore_patterns"])


def test_a_public_repository_is_not_written_to_by_accident(api: type[Api], model: Path) -> None:
    api.private = False
    with pytest.raises(HilumError) as caught:
        push(model, "me/mine")
    assert caught.value.code is Code.OPTION_INVALID
    assert "--public" in caught.value.detail
    assert [name for name, _ in api.last.log] == ["create"]


@pytest.mark.parametrize("name", ["mine", "a/b/c", ""])
def test_a_repository_is_owner_and_name(name: str, model: Path) -> None:
    with pytest.raises(HilumError) as caught:
        push(model, name)
    assert caught.value.code is Code.OPTION_INVALID


def test_an_empty_folder_is_not_pushed(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as caught:
        push(tmp_path, "me/mine")
    assert caught.value.code is Code.MODEL_INCOMPLETE


def test_nothing_is_uploaded_offline(
    api: type[Api], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HilumError) as caught:
        push(model, "me/mine")
    assert caught.value.code is Code.HUB_UNREACHABLE
    assert "HF_HUB_OFFLINE" in caught.value.detail
