"""Real servers for the tests: moto's S3 as a process, a proxy that lets requests fail, a web server of a folder."""

from __future__ import annotations

import http.client
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

BUCKET = "archive"
#: What fsspec's and botocore's clients read; child processes inherit it.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_ANSWERS = {
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "denied": (403, "AccessDenied", "Access Denied"),
    "wrong key": (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."),
    "no condition": (501, "NotImplemented", "A header you provided implies functionality that is not implemented"),
}


@contextmanager
def moto() -> Iterator[str]:
    """URL of a running S3 server; skips the test where moto or s3fs is not installed."""
    for module in ("moto.server", "s3fs", "boto3"):
        pytest.importorskip(module, reason="object stores are tested with moto[server] and s3fs")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, command = f"http://127.0.0.1:{port}", [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(url, process)
            yield url
        finally:
            process.kill()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            requests.get(f"{url}/moto-api/", timeout=5)
        except requests.RequestException:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"moto's server did not come up at {url}")


def client(url: str) -> Any:
    """Return a plain boto3 client, to read and damage objects."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )


def objects(s3: Any, prefix: str) -> dict[str, bytes]:
    """Keys below ``prefix`` and their bytes."""
    found: dict[str, bytes] = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/"):
        for item in page.get("Contents", ()):
            key = item["Key"]
            found[key.removeprefix(f"{prefix}/")] = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return found


def files(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder in the same form."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def upload(s3: Any, folder: Path, prefix: str) -> None:
    """Upload a folder."""
    for key, data in files(folder).items():
        s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{key}", Body=data)


def forget_connections() -> None:
    """Drop fsspec's connections, so that a changed environment takes effect."""
    import s3fs

    from swin2sr_ops.io.storage.files import _filesystem, _zarr_filesystem

    s3fs.S3FileSystem.clear_instance_cache()
    _filesystem.cache_clear()
    _zarr_filesystem.cache_clear()


# --- a proxy with faults ------------------------------------------------------------------------

Chooser = Callable[[str, str], str | None]


@dataclass
class Faults:
    """Choose a fault for each request.

    Attributes
    ----------
    choose : callable, optional
        Gets method and path, returns a fault or None: a name of ``_ANSWERS``, ``"reset"`` (the connection
        breaks), ``"lost"`` (done, but the answer gets lost), ``"cut"`` (half of the body), ``"late"``.
    seconds : float
        How late ``"late"`` is.
    """

    choose: Chooser | None = None
    seconds: float = 3.0
    made: list[str] = field(default_factory=list)
    requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, method: str, path: str) -> str | None:
        with self._lock:
            self.requests += 1
            fault = None if self.choose is None else self.choose(method, path)
            if fault is not None:
                self.made.append(fault)
            return fault


def at_random(rate: float, seed: int, kinds: tuple[str, ...] = ("500", "503", "reset", "lost", "cut")) -> Chooser:
    """Return a function that chooses a fault for a share of the requests."""
    rng = random.Random(seed)
    return lambda method, path: rng.choice(kinds) if rng.random() < rate else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A client that went away is what these tests are about."""


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, upstream: str, faults: Faults, *args: Any) -> None:
        self.upstream, self.faults = upstream, faults
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.faults.next(self.command, self.path)
        if fault in _ANSWERS:
            self._answer(*_ANSWERS[fault])
            return
        if fault == "reset":
            self._break()
            return
        if fault == "late":
            time.sleep(self.faults.seconds)
        status, headers, data = self._forward(body)
        if fault == "lost":
            self._break()
            return
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if fault == "cut" else data)
        if fault == "cut" and data:
            self._break()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _any

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        kept = [(k, v) for k, v in response.getheaders() if k.lower() not in ("connection", "transfer-encoding")]
        if "content-length" not in {k.lower() for k, _ in kept} and response.status != 204:
            kept.append(("Content-Length", str(len(data))))
        return response.status, kept, data

    def _answer(self, status: int, code: str, message: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _break(self) -> None:
        """Close the connection abruptly."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wfile.flush()
        self.connection.close()


class _Folder(SimpleHTTPRequestHandler):
    """Serve files without listings, like a plain web server."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        self.send_error(403)


@contextmanager
def _serving(handler: Any) -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def proxy(upstream: str) -> Iterator[tuple[str, Faults]]:
    """Run a proxy before a server, with `Faults` for requests."""
    faults = Faults()
    with _serving(partial(_Proxy, urlsplit(upstream).netloc, faults)) as url:
        yield url, faults


@contextmanager
def web(folder: Path) -> Iterator[str]:
    """Serve a folder by HTTP."""
    with _serving(partial(_Folder, directory=str(folder))) as url:
        yield url
