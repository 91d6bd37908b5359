"""Check who may read: a token in a header, the query or the path, and the host name of the request."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.responses import JSONResponse

from swin2sr_ops.errors import RequestError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["LOOPBACK", "ORIGINS", "ORIGIN_PATTERN", "TokenGuard", "check_token"]

#: Names of this machine: another one in a request is a web page that pretends to be the server's own.
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
#: Viewers in the web that may read from this server in a browser.
ORIGINS = (
    "https://neuroglancer-demo.appspot.com",
    "https://hms-dbmi.github.io",
    "https://avivator.gehlenborglab.org",
    "https://ome.github.io",
    "https://biongff.github.io",
    "https://kitware.github.io",
)
ORIGIN_PATTERN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


#: Characters that mean the same in a path, a query and a header, so nothing quotes them (RFC 3986, unreserved).
_TOKEN = re.compile(r"[A-Za-z0-9._~-]+")


def check_token(token: str) -> None:
    """Refuse a token that an address cannot carry as it is.

    Raises
    ------
    RequestError
        It is empty, is a step of a path, or has other characters than letters, digits, ``-``, ``.``, ``_`` and ``~``.
    """
    if not _TOKEN.fullmatch(token) or token in (".", ".."):
        raise RequestError(
            f"The token {token!r} cannot stand in an address: give letters, digits and any of - . _ ~, such as"
            f" {secrets.token_urlsafe(12)!r}."
        )


class TokenGuard:
    """Answer only requests that know the token: ``Authorization: Bearer T``, ``?token=T``, or ``/token/T/...``.

    The last is for viewers that build addresses of their own from one that they are given.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "OPTIONS":  # a browser asks without credentials first
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        parts = path.split("/", 3)
        if len(parts) > 2 and parts[1] == "token" and self._is(parts[2]):
            rest = "/" + (parts[3] if len(parts) > 3 else "")
            inside: dict[str, Any] = {**scope, "path": rest, "raw_path": rest.encode()}
            await self.app(inside, receive, send)
            return
        headers = dict(scope["headers"])
        bearer = headers.get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ")
        query = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if self._is(bearer) or self._is(query):
            await self.app(scope, receive, send)
            return
        message = (
            "This server wants its token: /token/TOKEN/ in the address, or the header Authorization: Bearer TOKEN."
        )
        await JSONResponse({"error": message}, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)

    def _is(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())
