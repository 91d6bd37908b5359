"""Downloads are resumed, verified and explained. The server is a thread of this process."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from swin2sr_ops.errors import DownloadError
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights import download
from swin2sr_ops.weights.download import cached, fetch
from swin2sr_ops.weights.loader import load_network
from tests.weights.helpers import TINY, parameters

CONTENT = bytes(range(256)) * 2000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """The server's behaviour and its received requests."""

    content: bytes = CONTENT
    ranges: bool = True
    breaks: list[int] = field(default_factory=list)  # bytes after which the next answers end early
    statuses: list[int] = field(default_factory=list)  # the next answers, before correct ones
    etag: str = '"one"'
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def spec(self, **changes: object) -> ModelSpec:
        return replace(TINY, name="far", weights=self.url + "/model.pth", **changes)


class _Handler(BaseHTTPRequestHandler):
    state: Server

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        state = self.state
        wanted = self.headers.get("Range", "")
        state.asked.append(wanted)
        if state.statuses:
            self.send_error(state.statuses.pop(0))
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
        if self.headers.get("If-Range", state.etag) != state.etag:
            start = 0
        if start >= len(state.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(state.content) - start))
        if state.etag:
            self.send_header("ETag", state.etag)
        self.end_headers()
        end = state.breaks.pop(0) if state.breaks else len(state.content)
        self.wfile.write(state.content[start:end])
        self.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "_PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    state = Server()
    handler = type("Handler", (_Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def _fetch(spec: ModelSpec, cache: Path) -> Path:
    return fetch(spec, progress=False, cache=cache)


def test_fetched_once(server: Server, tmp_path: Path) -> None:
    spec = server.spec(sha256=DIGEST, size_bytes=len(CONTENT))
    assert cached(spec, cache=tmp_path) is None
    path = _fetch(spec, tmp_path)
    assert path.read_bytes() == CONTENT
    assert _fetch(spec, tmp_path) == cached(spec, cache=tmp_path) == path
    assert server.asked == [""]
    assert {p.suffix for p in tmp_path.iterdir()} <= {".pth", ".sha256", ".lock"}  # no .part, no temporary file


def test_many_workers_fetch_once(server: Server, tmp_path: Path) -> None:
    spec = server.spec(sha256=DIGEST)
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: _fetch(spec, tmp_path), range(8)))
    assert [path.read_bytes() for path in paths] == [CONTENT]
    assert server.asked == [""]


def test_a_cache_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="cannot be stored at"):
        _fetch(server.spec(), tmp_path / "file" / "cache")


def test_a_broken_download_is_resumed(server: Server, tmp_path: Path) -> None:
    server.breaks = [100_000, 300_000]
    assert _fetch(server.spec(sha256=DIGEST), tmp_path).read_bytes() == CONTENT
    assert server.asked[0] == ""
    first, second = (int(asked.removeprefix("bytes=").rstrip("-")) for asked in server.asked[1:])
    assert 100_000 - download._CHUNK <= first <= 100_000
    assert 300_000 - download._CHUNK <= second <= 300_000


def test_another_process_resumes_the_download(server: Server, tmp_path: Path) -> None:
    spec = server.spec(sha256=DIGEST)
    server.breaks = [100_000] + [100_000] * 3  # every attempt ends there
    with pytest.raises(DownloadError, match=r"could not be fetched from http://127.*save it as .*model\.pth"):
        _fetch(spec, tmp_path)
    (part,) = tmp_path.glob("*.part")
    have = part.stat().st_size
    assert have > 0
    server.asked.clear()
    assert _fetch(spec, tmp_path).read_bytes() == CONTENT
    assert server.asked == [f"bytes={have}-"]


def test_a_changed_file_is_downloaded_again(server: Server, tmp_path: Path) -> None:
    server.breaks = [100_000] * 4
    spec = server.spec(sha256=hashlib.sha256(CONTENT[::-1]).hexdigest())
    with pytest.raises(DownloadError):
        _fetch(spec, tmp_path)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert _fetch(spec, tmp_path).read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.breaks = [100_000]
    assert _fetch(server.spec(sha256=DIGEST), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_part_longer_than_the_file(server: Server, tmp_path: Path) -> None:
    spec = server.spec(sha256=DIGEST)
    path = _fetch(spec, tmp_path)
    path.rename(path.with_name(path.name + ".part"))
    assert _fetch(spec, tmp_path).read_bytes() == CONTENT  # 416, then from the start
    assert server.asked == ["", f"bytes={len(CONTENT)}-", ""]


def test_a_busy_server_is_retried(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    assert _fetch(server.spec(sha256=DIGEST), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_a_missing_file_is_not_retried(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(
        DownloadError, match=r"of far could not be .*: the server answered 404 Not Found\. If this machine is offline"
    ):
        _fetch(server.spec(), tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("known", "words"),
    [({"sha256": "0" * 64}, f"has SHA-256 {DIGEST} instead of 0000"), ({"size_bytes": 9}, "bytes instead of 9")],
)
def test_the_wrong_file_is_not_kept(server: Server, tmp_path: Path, known: dict[str, object], words: str) -> None:
    with pytest.raises(DownloadError, match=words):
        _fetch(server.spec(**known), tmp_path)
    assert not list(tmp_path.glob("*.pth"))


def test_the_first_download_pins_an_unknown_file(server: Server, tmp_path: Path) -> None:
    torch.save({"params": parameters(TINY)}, tmp_path / "theirs")
    server.content = (tmp_path / "theirs").read_bytes()
    digest = hashlib.sha256(server.content).hexdigest()
    path = _fetch(server.spec(), tmp_path)
    assert path.with_name(path.name + ".sha256").read_text().strip() == digest
    path.write_bytes(b"something else")
    with pytest.raises(DownloadError, match=rf"instead of {digest}\. Delete it"):
        cached(server.spec(), cache=tmp_path)


def test_a_log_in_page_is_not_kept_nor_pinned(server: Server, tmp_path: Path) -> None:
    server.content = b"<!DOCTYPE html><html>Welcome to our hotel: please log in</html>"
    with pytest.raises(DownloadError, match=r"did not send weights of far but perhaps the log-in page .*an HTML page"):
        _fetch(server.spec(), tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} <= {".lock"}


def test_links_in_the_cache_are_not_followed(server: Server, tmp_path: Path) -> None:
    spec, theirs = server.spec(sha256=DIGEST), tmp_path / "theirs"
    theirs.write_bytes(b"precious")
    path = _fetch(spec, tmp_path / "cache")
    path.unlink()
    path.with_name(path.name + ".part").symlink_to(theirs)
    path.with_name(path.name + ".sha256").unlink()
    path.with_name(path.name + ".sha256").symlink_to(theirs)
    assert _fetch(spec, tmp_path / "cache").read_bytes() == CONTENT
    assert theirs.read_bytes() == b"precious"
    path.unlink()
    path.symlink_to(theirs)
    with pytest.raises(DownloadError, match="is a symbolic link, which is not followed"):
        _fetch(spec, tmp_path / "cache")


def test_no_server_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSES", ())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    spec = replace(TINY, weights="http://127.0.0.1:9/model.pth")  # the discard port: nothing listens
    with pytest.raises(DownloadError, match=r"ConnectionError.*download that file elsewhere and save it as"):
        _fetch(spec, tmp_path)


def test_only_web_addresses_are_downloaded(tmp_path: Path) -> None:
    for where in ("ftp://example.org/model.pth", "/etc/passwd", ""):
        with pytest.raises(DownloadError, match="not an http or https URL"):
            _fetch(replace(TINY, weights=where), tmp_path)


def test_loading_fetches_when_allowed(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIN2SR_OPS_CACHE", str(tmp_path / "cache"))
    torch.save({"params": parameters(TINY)}, tmp_path / "model.pth")
    server.content = (tmp_path / "model.pth").read_bytes()
    load_network(server.spec(), download=True)
    assert server.asked == [""]
    load_network(server.spec())  # from the cache
    assert server.asked == [""]


def test_progress_is_shown(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(server.spec(sha256=DIGEST), cache=tmp_path)
    assert "far: 100%" in capsys.readouterr().err
