"""Requests that are retried, and errors that are raised at once."""

from __future__ import annotations

import errno
import math
import socket
import time
from collections.abc import Callable, Iterator
from functools import wraps
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from swin2sr_ops import open_source
from swin2sr_ops.errors import OutputError, Swin2SROpsError
from swin2sr_ops.io.storage import remote
from swin2sr_ops.io.storage.files import files_at
from swin2sr_ops.io.storage.remote import StorageError, opening, retrying


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE", 0)


class Server:
    """Raise the given errors one by one, then answer."""

    def __init__(self, *accidents: Exception) -> None:
        self.accidents, self.asked = list(accidents), 0

    def __call__(self) -> str:
        self.asked += 1
        if self.accidents:
            raise self.accidents.pop(0)
        return "answer"


def test_temporary_errors_are_retried() -> None:
    server = Server(OSError(errno.EBUSY, "slow down"), TimeoutError(), ConnectionResetError())
    assert (retrying(server), server.asked) == ("answer", 4)
    server = Server(*[OSError(errno.EIO, "broken")] * 9)
    with pytest.raises(StorageError, match=r"4 times in succession \(.*broken\)"):
        retrying(server)
    assert server.asked == 4


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (FileNotFoundError("gone"), FileNotFoundError),
        (PermissionError("not yours"), PermissionError),
        (FileExistsError("there"), FileExistsError),
        (OSError(errno.EINVAL, "a bad bucket name"), StorageError),
    ],
)
def test_final_answers_are_raised_at_once(answer: OSError, kind: type[Exception]) -> None:
    server = Server(answer)
    with pytest.raises(kind):
        retrying(server)
    assert server.asked == 1


@pytest.mark.parametrize(
    ("status", "kind", "asked"),
    [(404, FileNotFoundError, 1), (403, PermissionError, 1), (429, StorageError, 4), (502, StorageError, 4)],
)
def test_web_servers_answer_by_status(status: int, kind: type[Exception], asked: int) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    request = SimpleNamespace(real_url="https://a")
    server = Server(*[aiohttp.ClientResponseError(request, (), status=status, message="told")] * 9)
    with pytest.raises(kind):
        retrying(server)
    assert server.asked == asked


def test_missing_credentials_are_raised_at_once() -> None:
    exceptions = pytest.importorskip("botocore.exceptions")
    server = Server(exceptions.NoCredentialsError())
    with pytest.raises(StorageError, match="Unable to locate credentials"):
        retrying(server)
    assert server.asked == 1
    assert retrying(Server(exceptions.EndpointConnectionError(endpoint_url="x"))) == "answer"


def test_errors_of_this_package_pass() -> None:
    server = Server(KeyError("a bug"))
    with pytest.raises(KeyError):
        retrying(server)
    assert server.asked == 1


def test_options_of_the_user_take_precedence() -> None:
    assert opening("s3://a/b", {"max_concurrency": 4})["max_concurrency"] == 4
    assert "max_concurrency" not in opening("gs://a/b")


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that accepts connections and never answers; retries are short."""
    for name, seconds in {"CONNECT": 1.0, "ANSWER": 1.0, "PATIENCE": 1.5}.items():
        monkeypatch.setattr(remote, name, seconds)
    monkeypatch.setattr(remote, "_silent", [-math.inf])
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_web_server_that_never_answers(silent: str) -> None:
    pytest.importorskip("aiohttp")
    began = time.monotonic()
    with pytest.raises(Swin2SROpsError, match="the server does not answer within"):
        open_source(f"http://{silent}/a.zarr")
    assert time.monotonic() - began < 60


def test_an_object_store_that_never_answers(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    for name, value in {"ENDPOINT_URL": f"http://{silent}", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    began = time.monotonic()
    with pytest.raises(OutputError, match="the server does not answer within"):
        files_at(f"s3://bucket-of-{silent.rpartition(':')[2]}/a.zarr").read("zarr.json")
    assert time.monotonic() - began < 60


#: A key of the form that Azure wants; this one is in the documentation of its emulator.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.mark.parametrize("library", ["gcsfs", "adlfs"])
def test_another_cloud_that_never_answers(library: str, silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, their libraries need two minutes, and more than five."""
    pytest.importorskip(library, reason="it is not part of [test]: its dependencies are many")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{silent}")
    account = f"http://{silent}/devstoreaccount1"
    given = f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={KEY};BlobEndpoint={account};"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", given)
    scheme = {"gcsfs": "gcs", "adlfs": "az"}[library]
    began = time.monotonic()
    with pytest.raises(OutputError, match="the server does not answer within"):
        files_at(f"{scheme}://bucket-of-{silent.rpartition(':')[2]}/a.zarr").read("zarr.json")
    assert time.monotonic() - began < 60


def test_each_request_to_google_is_made_once() -> None:
    """A stand-in for gcsfs, whose decorator repeats requests: `retrying` does."""

    def repeating(function: Callable[..., int]) -> Callable[..., int]:
        @wraps(function)
        def repeated(*args: Any) -> int:
            return 6 * function(*args)

        return repeated

    class FileSystem:
        @repeating
        def _request(self, count: int) -> int:
            return count

    FileSystem.__module__ = "gcsfs.core"
    assert FileSystem()._request(1) == 6
    assert remote.impatient(FileSystem())._request(1) == 1
    if find_spec("aiohttp") is not None:
        assert opening("gs://a/b")["requests_timeout"].sock_read == remote.ANSWER


def test_each_request_to_azure_is_short() -> None:
    """A stand-in for adlfs, which has no options for its client."""

    class Client:
        def __init__(self, url: str, credential: str, **options: Any) -> None:
            self.url, self.credential, self.options = url, credential, options

    class FileSystem:
        service_client = Client("http://account", "key")

    FileSystem.__module__ = "adlfs.spec"
    changed = remote.impatient(FileSystem())
    made = changed.service_client
    assert (made.url, made.credential) == ("http://account", "key")
    limits = {"connection_timeout": remote.CONNECT, "read_timeout": remote.ANSWER}
    assert made.options == {"retry_total": 0, **limits}
    assert remote.impatient(changed).service_client is made  # fsspec caches file systems: its connections stay


def test_answers_of_google_have_a_code() -> None:
    class HttpError(OSError):
        code = 404

    with pytest.raises(FileNotFoundError):
        retrying(Server(HttpError("not there")))


def test_a_raster_on_a_server_that_never_answers(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rasterio")
    from swin2sr_ops.io.geo import files

    assert int(files._PATIENCE["GDAL_HTTP_LOW_SPEED_TIME"]) <= 15
    monkeypatch.setitem(files._PATIENCE, "GDAL_HTTP_LOW_SPEED_TIME", "1")
    began = time.monotonic()
    with pytest.raises(Swin2SROpsError, match="cannot be read"):
        open_source(f"http://{silent}/a.tif")
    assert time.monotonic() - began < 60
