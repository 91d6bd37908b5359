"""The S3 server of `kills.py`: moto's, as a process of its own."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BUCKET = "kills"


@contextmanager
def server() -> Iterator[None]:
    """Run a server with an empty bucket, which s3fs finds by the environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            client().create_bucket(Bucket=BUCKET)
            yield
        finally:
            process.kill()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server listens on ``port``."""
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("The S3 server does not start: is moto[server] installed?")


def client() -> Any:
    """Return a boto3 client of the server."""
    import boto3

    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])


def keys(prefix: str = "") -> Iterator[str]:
    """Iterate over all keys below ``prefix``."""
    for page in client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
        for item in page.get("Contents", ()):
            yield item["Key"]


def digest(prefix: str) -> str:
    """Return the SHA-256 of all names and bytes below a prefix."""
    found, store = hashlib.sha256(), client()
    for key in sorted(keys(f"{prefix}/")):
        found.update(key.encode())
        found.update(store.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    return found.hexdigest()


def empty() -> None:
    """Remove all objects."""
    store = client()
    for key in list(keys()):
        store.delete_object(Bucket=BUCKET, Key=key)
