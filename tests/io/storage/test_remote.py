"""What is asked again, and what is told at once."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import pytest

from swin2sr_ops.io.storage import remote
from swin2sr_ops.io.storage.remote import StorageError, opening, retrying


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE", 0)


class Server:
    """Raises its accidents one by one, then answers."""

    def __init__(self, *accidents: Exception) -> None:
        self.accidents, self.asked = list(accidents), 0

    def __call__(self) -> str:
        self.asked += 1
        if self.accidents:
            raise self.accidents.pop(0)
        return "answer"


def test_accidents_are_waited_for() -> None:
    server = Server(OSError(errno.EBUSY, "slow down"), TimeoutError(), ConnectionResetError())
    assert (retrying(server), server.asked) == ("answer", 4)
    server = Server(*[OSError(errno.EIO, "broken")] * 9)
    with pytest.raises(StorageError, match=r"4 times in a row \(.*broken\)"):
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
def test_answers_are_told_at_once(answer: OSError, kind: type[Exception]) -> None:
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


def test_missing_credentials_are_told_at_once() -> None:
    exceptions = pytest.importorskip("botocore.exceptions")
    server = Server(exceptions.NoCredentialsError())
    with pytest.raises(StorageError, match="Unable to locate credentials"):
        retrying(server)
    assert server.asked == 1
    assert retrying(Server(exceptions.EndpointConnectionError(endpoint_url="x"))) == "answer"


def test_our_own_mistakes_pass() -> None:
    server = Server(KeyError("a bug"))
    with pytest.raises(KeyError):
        retrying(server)
    assert server.asked == 1


def test_what_a_user_gives_counts() -> None:
    assert opening("s3://a/b", {"max_concurrency": 4})["max_concurrency"] == 4
    assert "max_concurrency" not in opening("gs://a/b")
