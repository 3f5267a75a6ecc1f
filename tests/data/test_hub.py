"""A data set on a hub, read from a server that runs here and speaks the hub's protocol.

Reading runs in a process of its own: the hub's libraries take the address as they start.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow.parquet as pq
import pytest

from hilum.codes import Code, HilumError
from hilum.data import Given, Settings, Work, open_source, prepare
from tests.data.conftest import film

NAME = "someone/radiology-mini"
SHA = "0123456789abcdef0123456789abcdef01234567"
Answer = tuple[int, bytes, dict[str, str]]


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as reading a data set needs; ``files`` is what it holds."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    asked: list[str]
    gated = False

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.asked.append(f"{self.command} {path}")
        status, content, headers = self.answer(path, body)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer(self, path: str, body: bytes) -> Answer:
        api, files = f"/api/datasets/{NAME}", f"/datasets/{NAME}/resolve/"
        if path.startswith(files):
            return self.file(path.removeprefix(files).partition("/")[2])
        if path == f"{api}/auth-check":
            return 403, b"{}", {"X-Error-Code": "GatedRepo"}
        if path.startswith(f"{api}/tree/"):
            return said(self.listing(path.removeprefix(f"{api}/tree/").partition("/")[2]))
        if path.startswith(f"{api}/paths-info/"):
            wanted = parse_qs(body.decode())["paths"]
            return said([entry(n, c) for n, c in self.files.items() if n in wanted])
        if path in (api, f"{api}/revision/main", f"{api}/revision/{SHA}"):
            names = [{"rfilename": name} for name in self.files]
            return said({"id": NAME, "sha": SHA, "siblings": names, "gated": self.gated})
        return 404, b"{}", {"X-Error-Code": "RepoNotFound"}

    def listing(self, folder: str) -> list[dict[str, Any]]:
        inside = {
            n: c for n, c in self.files.items() if PurePosixPath(folder) in PurePosixPath(n).parents
        }
        here = len(PurePosixPath(folder).parts)
        folders = {n.rsplit("/", 1)[0] for n in inside if n.count("/") > here}
        found = [entry(n, c) for n, c in inside.items() if n.count("/") == here]
        return found + [{"type": "directory", "path": f, "size": 0, "oid": SHA} for f in folders]

    def file(self, name: str) -> Answer:
        if name not in self.files:
            return 404, b"", {"X-Error-Code": "EntryNotFound"}
        content = self.files[name]
        headers = {"ETag": f'"{entry(name, content)["oid"]}"', "X-Repo-Commit": SHA}
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
            part = content[first : last + 1]
            whole = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
            return 206, part, {**headers, "Content-Range": whole}
        return 200, content, headers


def said(value: Any) -> Answer:
    return 200, json.dumps(value).encode(), {"Content-Type": "application/json"}


def entry(name: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": name, "size": len(content), "oid": digest}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of two splits, two pictures each, with captions: the shape of ROCO."""
    datasets = pytest.importorskip("datasets")
    columns = {"image": datasets.Image(), "caption": datasets.Value("string")}
    for split, numbers in (("train", (1, 2)), ("test", (3, 4))):
        films = [film(tmp_path / f"{n}.png", n).read_bytes() for n in numbers]
        rows = {
            "image": [{"bytes": content, "path": None} for content in films],
            "caption": [f"Angiogram of artery {n}." for n in numbers],
        }
        data = datasets.Dataset.from_dict(rows, features=datasets.Features(columns))
        target = tmp_path / "repository" / "data" / f"{split}-00000-of-00001.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        data.to_parquet(str(target))
    (tmp_path / "repository" / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    return tmp_path / "repository"


@pytest.fixture
def hub(folder: Path) -> Iterator[tuple[str, type[Hub]]]:
    """Its address and its handler."""

    class Fresh(Hub):
        asked: list[str] = []  # noqa: RUF012
        files = {  # noqa: RUF012
            p.relative_to(folder).as_posix(): p.read_bytes()
            for p in sorted(folder.rglob("*"))
            if p.is_file()
        }

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", Fresh
    server.shutdown()
    server.server_close()


def ask(out: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    command = ["hilum.cli.main", "prepare", NAME, str(out), "--layout", "hub", "--domain", "any"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(out.parent / "home")}
    return subprocess.run(
        [sys.executable, "-m", *command, "--workers", "1"],
        env=clean | own,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_data_set_is_read_over_http(
    hub: tuple[str, type[Hub]], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, server = hub
    done = ask(tmp_path / "out", endpoint)
    assert done.returncode == 0, done.stderr
    assert "columns: image=image, report=caption" in done.stderr
    parquet = [line for line in server.asked if line.endswith(".parquet")]
    assert parquet
    assert all(SHA in line for line in parquet)  # one commit, whatever happens meanwhile

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    source = open_source(folder, "hub", Given(domain="any"))
    prepare(source, tmp_path / "local", Settings(work=Work(domain="any")))
    for split in ("train", "test"):
        name = f"data/{split}-00000.parquet"
        near, far = (pq.read_table(tmp_path / where / name) for where in ("local", "out"))
        assert near.equals(far)
        assert near.num_rows == 2


@pytest.mark.parametrize(
    ("name", "gated", "more", "code", "todo"),
    [
        ("someone/else", False, {}, Code.SOURCE_INVALID, "hf auth login"),
        (NAME, True, {}, Code.MODEL_GATED, "hf auth login"),
        (NAME, False, {"HF_HUB_OFFLINE": "1"}, Code.HUB_UNREACHABLE, "a local folder"),
        (NAME, False, {"HF_ENDPOINT": "http://127.0.0.1:9"}, Code.HUB_UNREACHABLE, "hf-mirror.com"),
    ],
)
def test_a_hub_that_does_not_give_it_says_why(
    name: str,
    gated: bool,
    more: dict[str, str],
    code: Code,
    todo: str,
    hub: tuple[str, type[Hub]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    endpoint, server = hub
    server.gated = gated
    for key, value in {"HF_ENDPOINT": endpoint, **more}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(HilumError) as caught:
        list(open_source(Path(name), "hub", Given()).pairs())
    assert caught.value.code is code
    assert todo in caught.value.line()
    assert len(server.asked) <= 2  # a wrong name is not tried again and again
