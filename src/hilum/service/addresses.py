"""Where a chat's films come from: data URLs, and hosts that were allowed by name.

Any other address is refused: http would let a caller reach the server's own network, file: its
disk.
"""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes, urlsplit

import httpx

from hilum.codes import Code, HilumError
from hilum.service.settings import Settings

SECONDS = 20.0
"""Longest wait for an allowed host."""

_DATA = re.compile(r"data:([a-z0-9.+-]+/[a-z0-9.+-]+)?((?:;[a-z0-9=._-]+)*?)(;base64)?,", re.I)


async def fetch(url: str, settings: Settings) -> bytes:
    """The bytes behind an address.

    Raises ``request_invalid`` for a broken data URL, ``address_refused`` for an address that may
    not be opened, ``remote_unreachable``, ``remote_refused`` or ``body_too_large``.
    """
    if url[:5].lower() == "data:":
        return _decoded(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise HilumError(Code.ADDRESS_REFUSED, "", "no URL") from None
    named = host if port is None else f"{host}:{port}"
    allowed = parts.scheme in ("http", "https") and named in settings.image_hosts
    if not allowed or parts.username is not None:
        hint = "send a data URL; hilum serve --image-host allows a host"
        raise HilumError(Code.ADDRESS_REFUSED, "", hint)
    return await _download(url, settings.limits.chat_bytes)


def _decoded(url: str) -> bytes:
    match = _DATA.match(url[:200])
    if not match:
        raise HilumError(Code.REQUEST_INVALID, "", "no data URL")
    content = url[match.end() :]
    if not match[3]:
        return unquote_to_bytes(content)
    try:
        return base64.b64decode(re.sub(r"\s", "", content), validate=True)
    except (binascii.Error, ValueError):
        raise HilumError(Code.REQUEST_INVALID, "", "the data URL is no base64") from None


async def _download(url: str, most: int) -> bytes:
    """One GET: no redirect is followed, no proxy of the environment is used."""
    content = bytearray()
    try:
        async with (
            httpx.AsyncClient(timeout=SECONDS, follow_redirects=False, trust_env=False) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != 200:
                detail = f"status {response.status_code}"
                raise HilumError(Code.REMOTE_REFUSED, "", detail)
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > most:
                    raise HilumError(Code.BODY_TOO_LARGE, "", f"at most {most} bytes")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise HilumError(Code.REMOTE_UNREACHABLE, "", type(error).__name__) from None
    return bytes(content)
