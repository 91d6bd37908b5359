"""The web application: Zarr keys with ranges and validators, pictures for the page, figures as JSON.

Starlette alone: zarr-python has no server, and ``zarr-http-server`` (0.1) neither tells that a client went away, nor
queues, nor answers 503, 304 or from a fingerprint; it also needs Python 3.12.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from html import escape
from importlib.resources import files
from typing import Any, TypeVar
from urllib.parse import quote

import zarr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from swin2sr_ops.errors import FormatError, Swin2SROpsError
from swin2sr_ops.serve.access import LOOPBACK, ORIGIN_PATTERN, ORIGINS, TokenGuard, check_token
from swin2sr_ops.serve.description import describe
from swin2sr_ops.serve.image import RestoredImage
from swin2sr_ops.serve.served import Served
from swin2sr_ops.serve.source_guard import SourceChanged
from swin2sr_ops.serve.views import Shown, View

__all__ = ["MOST", "create_app"]

_T = TypeVar("_T")
_Answer = Callable[[Request], Awaitable[Response]]
#: Requests that may be in hand before further ones are refused for a while.
MOST = 1000
#: Attempts to answer from a source that changes.
_TRIES = 3
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")
#: No file has as many bytes; Python refuses numbers of some thousand digits.
_BEYOND = 10**18
_PAGE = {
    "index.html": "text/html",
    "viewer.js": "text/javascript",
    "panel.js": "text/javascript",
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
}
_METHODS = ["GET", "HEAD"]


class _Gone(Exception):
    """The client did not wait."""


@dataclass
class _Counts:
    """Requests since the start."""

    requests: int = 0
    in_hand: int = 0
    not_modified: int = 0
    refused: int = 0
    given_up: int = 0
    failed: int = 0
    bytes: int = 0


@dataclass
class _Site:
    """The answers."""

    served: Served
    most: int
    counts: _Counts = field(default_factory=_Counts)

    # --- Zarr -------------------------------------------------------------------------------------

    async def key(self, request: Request) -> Response:
        """Answer a key of the Zarr."""
        if request.path_params["store"] != self.served.store:
            return _missing()
        if request.path_params["key"].endswith("/") or not request.path_params["key"]:
            return await self._listing(request.path_params["key"].rstrip("/"))
        image, key = await self.served.locate(request.path_params["key"])
        if image is None:
            return self._bytes(request, await self.served.group(key), "")
        unit = image.codec.unit_of(key)
        tag = partial(_tag, image, key, lambda: "" if unit is None else image.restorer.state_of(unit.level))
        kind = "application/json" if _is_json(key) else "application/octet-stream"
        return await self._answered(request, image, image.get(key, urgent=_urgent(request)), tag, kind)

    async def _listing(self, folder: str) -> Response:
        """Answer the names in a folder as links: this is how clients of HTTP find the members of a group."""
        names = await asyncio.to_thread(self.served.names_in, folder)
        if not names:
            return _missing()
        links = "\n".join(f'<a href="{quote(name)}">{escape(name)}</a><br>' for name in sorted(names))
        return HTMLResponse(f"<!doctype html><title>{escape(folder or self.served.store)}</title>\n{links}\n")

    def _bytes(self, request: Request, data: bytes | None, tag: str, kind: str = "application/json") -> Response:
        """Answer with all of ``data``, or the part that was asked for."""
        if data is None:
            return _missing()
        if request.headers.get("if-none-match", "").strip() == "*":  # the client has any version of what exists
            return self._unchanged(tag)
        headers = {"Accept-Ranges": "bytes", "Cache-Control": "no-cache"} | ({"ETag": tag} if tag else {})
        part = _part(request, len(data), tag)
        status = 200
        if part is not None:
            if part[0] >= part[1]:
                return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {part[0]}-{part[1] - 1}/{len(data)}"
            status, data = 206, data[part[0] : part[1]]
        self.counts.bytes += len(data) if request.method != "HEAD" else 0
        return Response(data, status, headers, kind)

    # --- pictures and figures ---------------------------------------------------------------------

    async def view(self, request: Request) -> Response:
        """Answer a picture of the result, or of the source at the same place."""
        which = request.path_params["which"]
        if which not in ("result", "source"):
            return _missing()
        image = await self.served.image(request.query_params.get("image", ""))
        query = request.query_params
        try:
            level, row, column = (int(request.path_params[name]) for name in ("level", "row", "column"))
            planes = {a: int(query[a]) for a in image.info.axes if a in query and a not in "YXSC"}
            view = View(level, row, column, planes, Shown.parse(query.get("show", "0:0:255:FFFFFF")))
        except ValueError:
            message = (
                "Level, tile and planes are whole numbers, and show=CHANNEL:LOW:HIGH:RRGGBB,... says what to show."
            )
            return JSONResponse({"error": message}, 400)
        tag = partial(_tag, image, f"{which} {view}", lambda: view.state(image, which))
        asked = view.result(image, urgent=_urgent(request)) if which == "result" else view.source(image)
        return await self._answered(request, image, asked, tag, "image/png")

    async def info(self, request: Request) -> Response:
        """Say what is served, and of one image all that the page needs."""
        name = request.query_params.get("image", self.served.names[0])
        found = await asyncio.to_thread(lambda: describe(self.served.image_of(name)))
        images = [] if self.served.collection is None else self.served.names
        path = f"{self.served.store}/{name}".rstrip("/")
        return JSONResponse({"title": self.served.stem, "image": name, "images": images, "zarr": path} | found)

    async def metrics(self, request: Request) -> Response:
        """Give figures since the start."""
        counts = dict(vars(self.counts)) | {"waiting": self.served.waiting}
        return JSONResponse({"requests": counts, "images": self.served.metrics()})

    async def page(self, request: Request) -> Response:
        """Answer a file of the page."""
        name = request.path_params.get("file", "index.html")
        if name not in _PAGE:
            return _missing()
        data = files("swin2sr_ops.serve").joinpath("page", name).read_bytes()
        tag = f'"{hashlib.sha256(data).hexdigest()[:24]}"'
        return self._unchanged(tag) if _knows(request, tag) else self._bytes(request, data, tag, _PAGE[name])

    # --- requests ---------------------------------------------------------------------------------

    def _unchanged(self, tag: str) -> Response:
        self.counts.not_modified += 1
        return Response(status_code=304, headers={"Cache-Control": "no-cache"} | ({"ETag": tag} if tag else {}))

    async def _answered(
        self,
        request: Request,
        image: RestoredImage,
        work: Coroutine[Any, Any, bytes | None],
        tag: Callable[[], str],
        kind: str,
    ) -> Response:
        """Answer with what ``work`` gives, unless the client has it, goes, or the image changes."""
        if _knows(request, tag()):
            work.close()
            return self._unchanged(tag())
        data = await self._while_there(request, image.guard.watched(work))
        return self._bytes(request, data, tag() if image.guard.sure else "", kind)

    async def _while_there(self, request: Request, work: Coroutine[Any, Any, _T]) -> _T:
        """Wait for ``work`` as long as the client does."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # now its cells are given up, too
            self.counts.given_up += 1
            raise _Gone
        finally:
            task.cancel()
            gone.cancel()

    async def _retried(self, request: Request, answer: _Answer) -> Response:
        """Answer; where the source changes meanwhile, from the source opened anew."""
        for _ in range(_TRIES):
            with suppress(SourceChanged):
                return await answer(request)
        return self._refuse("The source changes again and again: ask again once it is written.")

    def _refuse(self, message: str) -> Response:
        self.counts.refused += 1
        return JSONResponse({"error": message}, 503, {"Retry-After": "2"})

    def guarded(self, answer: _Answer) -> _Answer:
        """Count requests, refuse those that are too many, and turn errors into sentences."""

        async def handle(request: Request) -> Response:
            self.counts.requests += 1
            if self.counts.in_hand >= self.most:
                return self._refuse(f"{self.counts.in_hand} requests are waiting already: ask again later.")
            self.counts.in_hand += 1
            try:
                return await self._retried(request, answer)
            except _Gone:
                return Response(status_code=499)
            except FormatError as exc:
                return self._failed(exc, 404 if "There is no image" in str(exc) else 500)
            except Swin2SROpsError as exc:
                return self._failed(exc, 500)
            # The server lives on; the log has the rest.
            except Exception as exc:
                logging.getLogger(__name__).exception("a request failed: %s", request.url.path)
                return self._failed(exc, 500)
            finally:
                self.counts.in_hand -= 1

        return handle

    def _failed(self, exc: BaseException, status: int) -> Response:
        self.counts.failed += 1
        message = str(exc) if isinstance(exc, Swin2SROpsError) else f"{type(exc).__name__}: the server's log says more."
        if isinstance(exc, Swin2SROpsError):
            logging.getLogger(__name__).warning("%s", message)
        return JSONResponse({"error": message}, status)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _missing() -> Response:
    return JSONResponse({"error": "There is nothing at this address."}, 404)


def _is_json(key: str) -> bool:
    return key.rsplit("/", 1)[-1] in ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


def _tag(image: RestoredImage, key: str, state: Callable[[], str]) -> str:
    """The validator of a key: its bytes follow from the fingerprint, from who encodes them, and from ``state``.

    The state is known once the smaller images that it names were opened, at the latest when the bytes are there.
    """
    text = f"{image.fingerprint} {image.options.affordable} {zarr.__version__} {key} {state()}"
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:24]}"'


def _knows(request: Request, tag: str) -> bool:
    """Tell whether the client has these bytes."""
    known = request.headers.get("if-none-match", "")
    return tag in [one.strip().removeprefix("W/") for one in known.split(",")]


def _urgent(request: Request) -> bool:
    """Tell whether a viewer waits for it now; prefetched chunks come later."""
    purpose = request.headers.get("sec-purpose", request.headers.get("purpose", ""))
    return "prefetch" not in purpose and request.query_params.get("priority") != "low"


def _part(request: Request, size: int, tag: str) -> tuple[int, int] | None:
    """Start and stop of the bytes that were asked for; None for all, and for several parts at once."""
    found = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if found is None or request.headers.get("if-range", tag) != tag:
        return None
    first, last = (_number(digits) if digits else None for digits in found.groups())
    if first is None:
        return None if last is None else (max(size - last, 0), size)
    if last is None:
        return first, size
    return None if last < first else (first, min(last + 1, size))


def _number(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) < len(str(_BEYOND)) else _BEYOND


def create_app(
    served: Served,
    *,
    token: str = "",
    hosts: tuple[str, ...] = LOOPBACK,
    origins: tuple[str, ...] = (),
    most: int = MOST,
) -> Starlette:
    """Return the application that serves ``served``.

    Parameters
    ----------
    served : Served
    token : str
        What every request must know, see `swin2sr_ops.serve.access.check_token`; nothing unless given.
    hosts : tuple of str
        Names by which the server may be asked; ``"*"`` for any.
    origins : tuple of str
        Web pages that may read, beside this machine's and the well-known viewers.
    most : int
        Requests in hand before further ones are answered with 503.
    """
    if token:
        check_token(token)
    site = _Site(served, most)
    routes = [
        Route("/", site.guarded(site.page), methods=_METHODS),
        Route("/page/{file}", site.guarded(site.page), methods=_METHODS),
        Route("/info.json", site.guarded(site.info), methods=_METHODS),
        Route("/metrics", site.metrics, methods=_METHODS),
        Route("/view/{which:str}/{level}/{row}/{column}.png", site.guarded(site.view), methods=_METHODS),
        Route("/{store}/{key:path}", site.guarded(site.key), methods=_METHODS),
    ]
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        Middleware(
            CORSMiddleware,
            allow_origins=[*ORIGINS, *origins],
            allow_origin_regex=ORIGIN_PATTERN,
            allow_methods=_METHODS,
            allow_headers=["Range", "If-None-Match", "Authorization"],
            expose_headers=["Content-Range", "Content-Length", "ETag", "Accept-Ranges", "Retry-After"],
            allow_private_network=True,
        ),
    ]
    if token:
        middleware.append(Middleware(TokenGuard, token=token))
    return Starlette(routes=routes, middleware=middleware)
