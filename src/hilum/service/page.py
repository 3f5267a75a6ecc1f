"""The reading page's own files, from memory, and its words that the code already has.

No build, nothing from elsewhere: HTML, CSS and ES modules of ``web/`` as they are.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response

from hilum.codes import Code, HilumError
from hilum.findings import FINDINGS
from hilum.language import template
from hilum.reading.panel import COLOURS, OTHER
from hilum.report import NOTICE
from hilum.service import replies

router = APIRouter(include_in_schema=False)
WEB = Path(__file__).parent / "web"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}


class File(NamedTuple):
    """One file as it is sent."""

    content: bytes
    kind: str
    tag: str


@router.get("/")
def get_page(request: Request) -> Response:
    """The reading page."""
    return _answer(request, "index.html")


@router.get("/page/{name}")
def get_file(request: Request, name: str) -> Response:
    """One of the page's files; a name that is none of them is refused, whatever it holds."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    file = files().get(name)
    if file is None:
        error = HilumError(Code.REQUEST_INVALID, "", "the page has no such file")
        return Response(json.dumps(replies.body(error)), 404, media_type="application/json")
    # asked for again each time, so that an upgrade never mixes two versions
    headers = {"ETag": file.tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers={**headers, "Content-Type": file.kind})


@cache
def files() -> dict[str, File]:
    """Every file of the page by name; ``terms.json`` is made here."""
    found = {p.name: p.read_bytes() for p in sorted(WEB.iterdir()) if p.suffix in _KINDS}
    found["terms.json"] = json.dumps(terms(), ensure_ascii=False).encode()
    return {
        name: File(content, _KINDS[Path(name).suffix], f'"{hashlib.sha256(content).hexdigest()}"')
        for name, content in found.items()
    }


def terms() -> dict[str, Any]:
    """Findings, places, codes and the notice, each in English and Chinese."""
    places: dict[str, Any] = {
        "bone": template.BONES,
        "side": template.SIDES,
        "region": template.REGIONS,
        "stage": template.STAGES,
        "displacement": template.DISPLACEMENTS,
    }
    return {
        "findings": {
            name: {
                "words": [row.en, row.zh],
                "parent": row.parent,
                "colour": COLOURS.get(name, OTHER),
            }
            for name, row in FINDINGS.items()
        },
        "places": {kind: dict(words) for kind, words in places.items()},
        "codes": {code: [code.en, code.zh] for code in Code},
        "notice": [NOTICE["en"], NOTICE["zh"]],
    }
