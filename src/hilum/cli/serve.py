"""``hilum serve`` and ``hilum keys``: the service and who may use it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from hilum.cli.read import Language
from hilum.codes import Code, HilumError

keys = typer.Typer(no_args_is_help=True, help="API keys of the service: add, list, revoke.")

Data = Annotated[
    Path, typer.Option("--data", envvar="HILUM_DATA", help="Folder of films and database.")
]
Database = Annotated[
    str,
    typer.Option(
        "--database", envvar="HILUM_DATABASE", help="postgresql://... instead of SQLite in --data."
    ),
]


class Scope(StrEnum):
    """What a key may do; write includes read, admin includes both."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


def serve(
    host: Annotated[str, typer.Option("--host", help="Another address needs keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = 8000,
    data: Data = Path("hilum-data"),
    database: Database = "",
    reader: Annotated[
        str, typer.Option("--reader", help="embedded, or a reader's folder.")
    ] = "embedded",
    language: Annotated[Language, typer.Option("--language", help="Of drafts.")] = Language.EN,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Reading processes; 0: elsewhere.")
    ] = 1,
    threads: Annotated[
        int, typer.Option("--threads", min=0, help="Of each worker; 0: the cores shared out.")
    ] = 0,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Studies read at once.")] = 16,
    keep_days: Annotated[
        float, typer.Option("--keep-days", min=0.001, help="Then a study is deleted.")
    ] = 30,
    queue: Annotated[int, typer.Option("--queue", min=1, help="Studies that may wait.")] = 1000,
    max_upload: Annotated[int, typer.Option("--max-upload", min=1, help="MiB a request.")] = 256,
    rate: Annotated[int, typer.Option("--rate", min=1, help="Requests a minute a key.")] = 6000,
    min_free: Annotated[
        int, typer.Option("--min-free", min=0, help="MiB of disk that uploads leave.")
    ] = 256,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Name it answers under, behind a proxy.")
    ] = None,
    image_host: Annotated[
        list[str] | None,
        typer.Option("--image-host", help="Host chat may fetch images from. Default: none."),
    ] = None,
    drain: Annotated[
        float, typer.Option("--drain", min=0, help="Seconds to finish in at the end.")
    ] = 60,
    allow_outside_domain: Annotated[
        bool, typer.Option("--allow-outside-domain", help="Read films the reader is not made for.")
    ] = False,
) -> None:
    """Serve draft reports over HTTP, on this machine only unless told otherwise.

    A browser opens the reading page at the same address: http://127.0.0.1:8000

    Example: hilum serve --port 8000 --data /var/lib/hilum

    Example: curl -F files=@film.dcm http://127.0.0.1:8000/v1/studies
    """
    with _Extra():
        from hilum.service.serve import serve as run
        from hilum.service.settings import MIB, Limits, Settings
    limits = Limits(
        body_bytes=max_upload * MIB,
        queue=queue,
        requests_per_minute=rate,
        min_free_bytes=min_free * MIB,
    )
    run(
        Settings(
            data=data,
            database=database,
            host=host,
            port=port,
            names=tuple(name or ()),
            reader=_reader(reader),
            language=language.value,
            allow_outside_domain=allow_outside_domain,
            workers=workers,
            threads=threads,
            batch=batch,
            keep_days=keep_days,
            image_hosts=tuple(image_host or ()),
            drain_seconds=drain,
            limits=limits,
        )
    )


@keys.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What uses it: pacs, worklist, monitoring.")],
    scope: Annotated[list[Scope] | None, typer.Option("--scope", help="Again for more.")] = None,
    days: Annotated[
        float | None, typer.Option("--days", min=0.001, help="Until it expires; default: never.")
    ] = None,
    data: Data = Path("hilum-data"),
    database: Database = "",
) -> None:
    """Make a key and print it, this once. read sees, write sends too, admin deletes and audits.

    Example: hilum keys add pacs --scope write --days 365
    """
    with _Extra():
        from hilum.service import auth
    identity, key = auth.create(
        _open(data, database), name, [auth.Scope(s.value) for s in scope or [Scope.READ]], days
    )
    typer.echo(f"{identity}: keep this key, it cannot be shown again", err=True)
    print(key)


@keys.command("list")
def list_(data: Data = Path("hilum-data"), database: Database = "") -> None:
    """Every key with its scopes and times, and never the key itself.

    Example: hilum keys list
    """
    with _Extra():
        from hilum.service import auth
    for key in auth.listed(_open(data, database)):
        state = "revoked" if key["revoked"] else f"expires {_date(key['expires'])}"
        print(f"{key['id']}  {key['name']}  {key['scopes']}  made {_date(key['created'])}  {state}")


@keys.command("revoke")
def revoke(
    identity: Annotated[str, typer.Argument(metavar="ID", help="As hilum keys list shows it.")],
    data: Data = Path("hilum-data"),
    database: Database = "",
) -> None:
    """End a key; a running server heeds it within seconds.

    Example: hilum keys revoke 0123456789ab
    """
    with _Extra():
        from hilum.service import auth
    auth.revoke(_open(data, database), identity)
    print(f"{identity} is revoked")


def _open(data: Path, database: str) -> Any:
    from hilum.service import migrate
    from hilum.service.settings import Settings
    from hilum.service.store import Database, folder_of

    if not database:
        folder_of(data)
    db = Database(Settings(data=data, database=database).database_url)
    migrate.prepare(db)
    return db


def _reader(source: str) -> str:
    """A path as the workers find it, who may stand elsewhere."""
    return str(Path(source).absolute()) if Path(source).is_dir() else source


def _date(seconds: float | None) -> str:
    from datetime import UTC, datetime

    return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).date().isoformat()


class _Extra:
    """Says what to install where the service's libraries are missing."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """An import that failed is ``extra_missing``."""
        if kind is not None and issubclass(kind, ModuleNotFoundError):
            hint = "install it with: pip install 'hilum[serve,local]'"
            raise HilumError(Code.EXTRA_MISSING, "serve", hint) from None
