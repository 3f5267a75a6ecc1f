"""What the service is told when it starts. Workers get the same, as JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from hilum.report import Language

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
MIB = 1 << 20


class Limits(BaseModel):
    """What one request, one client and all of them together may take. Bytes and seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_bytes: int = 256 * MIB
    files: int = 64
    """File parts of one upload."""
    members: int = 500
    """Films in one archive."""
    field_bytes: int = 64 << 10
    unpacked_bytes: int = 1024 * MIB
    """What the members of one archive may hold together."""
    chat_bytes: int = 64 * MIB
    """A chat request: its films travel inside its JSON, a third larger than they are."""
    buffered_bytes: int = 512 * MIB
    """Bodies that are held in memory, of all requests together; films of uploads never are."""
    header_seconds: float = 10
    idle_seconds: float = 15
    """Longest pause within a body."""
    body_seconds: float = 120
    in_flight: int = 256
    connections: int = 512
    queue: int = 1000
    requests_per_minute: int = 6000
    """Of one API key, or of all callers together where there is none."""
    wait_seconds: float = 60
    """Longest that an answer waits for a job: /analyze-fracture, chat, ?wait=."""
    waiting: int = 128
    """Requests that may wait for a job at once."""
    pictures: int = 2
    """Pictures drawn at once."""
    intake: int = 8
    """Uploads sorted at once; zips wait for each other, and must not keep everyone waiting."""
    min_free_bytes: int = 256 * MIB
    """Uploads are refused before the database has no room left."""


class Settings(BaseModel):
    """All of it. ``database`` is a URL of SQLAlchemy; empty: SQLite in ``data``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = Path("hilum-data")
    database: str = ""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    names: tuple[str, ...] = ()
    """Names beside ``host`` that the server answers under, as behind a reverse proxy."""
    reader: str = "embedded"
    language: Language = "en"
    allow_outside_domain: bool = False
    workers: Annotated[int, Field(ge=0)] = 1
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads a worker; 0: the cores shared out."""
    batch: Annotated[int, Field(ge=1)] = 16
    keep_days: Annotated[float, Field(gt=0)] = 30
    image_hosts: tuple[str, ...] = ()
    lease_seconds: Annotated[float, Field(gt=0)] = 30
    job_seconds: Annotated[float, Field(gt=0)] = 300
    """A worker that takes longer for a batch ends itself."""
    drain_seconds: Annotated[float, Field(ge=0)] = 60
    limits: Limits = Limits()
    worker_command: tuple[str, ...] = (sys.executable, "-m", "hilum.service.worker")

    @property
    def database_url(self) -> str:
        """Where the database is."""
        return self.database or f"sqlite:///{self.data.absolute() / 'hilum.db'}"

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK
