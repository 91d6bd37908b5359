"""The server: HTTP semantics, access, load, and missing images."""

from __future__ import annotations

import asyncio
import errno
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.errors import RequestError, Swin2SROpsError
from swin2sr_ops.io.storage.files import LocalFiles
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.spec import ModelSpec
from tests import docs_files
from tests.serve.test_store import files_of, held, wait_for

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from starlette.requests import Request

from swin2sr_ops.serve.app import _Gone, _Site
from swin2sr_ops.serve.options import Options
from swin2sr_ops.serve.served import Served
from swin2sr_ops.serve.server import listen
from tests.serve.running import running

PARTS = {"bytes=0-9": (0, 10), "bytes=5-": (5, None), "bytes=-7": (-7, None), "bytes=3-9999999": (3, None)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, gray_model: ModelSpec) -> dict[str, Any]:
    """Return an image, its request, and a run's output."""
    folder = tmp_path_factory.mktemp("made")
    path = folder / "stack.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(100, 4000, (2, 270, 330)).astype("u2"))
    request = RestoreRequest(model=gray_model, chunks=100, axes="ZYX")
    swin2sr_ops.restore_image(path, folder / "stack.ome.zarr", model=gray_model, chunks=100, axes="ZYX")
    return {"path": path, "request": request, "files": files_of(folder / "stack.ome.zarr")}


@pytest.fixture
def site(made: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    with running(made["path"], made["request"]) as (address, served):
        yield f"{address}{served.store}/", served


def test_every_key_by_http(site: tuple[str, Any], made: dict[str, Any]) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(made["files"], pool.map(lambda key: requests.get(site[0] + key), made["files"]), strict=True))
    assert {key: answer.content for key, answer in found.items()} == made["files"]
    assert found["zarr.json"].headers["content-type"] == "application/json"
    assert found["0/c/0/0/0"].headers["content-type"] == "application/octet-stream"
    assert "content-encoding" not in found["0/c/0/0/0"].headers  # compressed once


def test_ranges(site: tuple[str, Any], made: dict[str, Any]) -> None:
    data = made["files"]["0/c/0/1/1"]
    for part, (start, stop) in PARTS.items():
        answer = requests.get(site[0] + "0/c/0/1/1", headers={"Range": part})
        assert answer.status_code == 206
        assert answer.content == data[start:stop]
        assert answer.headers["content-range"].endswith(f"/{len(data)}")
    over = requests.get(site[0] + "0/c/0/1/1", headers={"Range": f"bytes={len(data)}-"})
    assert over.status_code == 416
    many = "9" * 5000
    assert requests.get(site[0] + "0/c/0/1/1", headers={"Range": f"bytes={many}-"}).status_code == 416
    for part, expected in (
        (f"bytes=7-{many}", data[7:]),
        (f"bytes=-{many}", data),
        (f"bytes={'0' * 5000}-3", data[:4]),
    ):
        assert requests.get(site[0] + "0/c/0/1/1", headers={"Range": part}).content == expected
    for odd in ("bytes=1-2,4-5", "lines=1-2", "bytes=-", "bytes=9-3", "bytes=\u00b2-"):
        assert requests.get(site[0] + "0/c/0/1/1", headers={"Range": odd}).content == data


def test_head_and_validators(site: tuple[str, Any], made: dict[str, Any]) -> None:
    address, served = site
    head = requests.head(address + "0/c/0/0/0")
    assert int(head.headers["content-length"]) == len(made["files"]["0/c/0/0/0"])
    assert head.content == b""
    tag = head.headers["etag"]
    assert requests.get(address + "0/c/0/0/0").headers["etag"] == tag
    assert requests.get(address + "0/c/0/1/0").headers["etag"] != tag
    tiles = served.image_of("").queue.tiles
    same = requests.get(address + "0/c/0/0/0", headers={"If-None-Match": f'"other", W/{tag}'})
    assert (same.status_code, same.content) == (304, b"")
    assert served.image_of("").queue.tiles == tiles
    for any_version in ("0/c/0/0/0", "zarr.json", "../", "../view/source/0/0/0.png"):
        known = requests.get(address + any_version, headers={"If-None-Match": "*"})
        assert (known.status_code, known.content) == (304, b"")
    stale = requests.get(address + "0/c/0/0/0", headers={"Range": "bytes=0-3", "If-Range": '"another"'})
    assert stale.status_code == 200


@pytest.mark.parametrize(
    "path",
    ["stack.ome.zarr/9/zarr.json", "stack.ome.zarr/0/c/0/0/99", "other.zarr/zarr.json", "page/app.py", "nothing",
     "stack.ome.zarr/..%2f..%2fetc/passwd", "stack.ome.zarr/../stack.tif", "page/..%2fapp.py", "stack.ome.zarr/../",
     "stack.ome.zarr/0/c/", "stack.ome.zarr/%2e%2e/%2e%2e/",
     f"stack.ome.zarr/0/c/0/0/{'9' * 5000}", f"stack.ome.zarr/{'9' * 5000}/c/0/0/0", "stack.ome.zarr/0/c/0/0/00",
     "view/other/0/0", "view/other/0/0/0.png", "view/result/0/99/0.png", "view/result/77/0/0.png"],
)  # fmt: skip
def test_missing_keys(site: tuple[str, Any], path: str) -> None:
    root = site[0].rsplit("/", 2)[0]
    for headers in ({}, {"If-None-Match": "*"}):
        prepared = requests.Request("GET", root, headers=headers).prepare()
        prepared.url = f"{root}/{path}"
        assert requests.Session().send(prepared).status_code == 404


def test_members_are_listed_as_links(site: tuple[str, Any]) -> None:
    """Clients without a list of names find the levels."""
    assert [key for key, _ in zarr.open_group(site[0], mode="r").arrays()] == ["0", "1"]
    assert "c/" not in requests.get(f"{site[0]}0/").text


def test_viewers_of_other_origins_may_read(site: tuple[str, Any]) -> None:
    viewer, other = "https://neuroglancer-demo.appspot.com", "https://evil.example"
    for origin in (viewer, "http://localhost:3000"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
        asked = requests.options(site[0] + "zarr.json", headers=headers)
        assert asked.headers["access-control-allow-origin"] == origin
        found = requests.get(site[0] + "zarr.json", headers={"Origin": origin})
        assert found.headers["access-control-allow-origin"] == origin
        assert "Content-Range" in found.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in requests.get(site[0] + "zarr.json", headers={"Origin": other}).headers
    # A page of another host whose name was pointed at this machine.
    assert requests.get(site[0] + "zarr.json", headers={"Host": "evil.example"}).status_code == 400


def test_a_token(made: dict[str, Any]) -> None:
    with running(made["path"], made["request"], token="swordfish") as (address, served):
        key = f"{served.store}/zarr.json"
        assert requests.get(address + key).status_code == 401
        assert "token" in requests.get(address).json()["error"]
        for wrong in ("token/other/", "token//"):
            assert requests.get(address + wrong + key).status_code == 401
        assert requests.get(address + key, headers={"Authorization": "Bearer swordfish"}).ok
        assert requests.get(address + key + "?token=swordfish").ok
        assert requests.get(f"{address}token/swordfish/").ok
        # Viewers append keys to this address.
        group = zarr.open_group(f"{address}token/swordfish/{served.store}", mode="r")
        assert group["0"].shape == (2, 540, 660)


@pytest.mark.parametrize("token", ["a b", "a/b", "\u00fcml", "a&b", "", "..", "a\n", "50%"])
def test_a_token_that_no_address_can_carry(token: str, made: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "swin2sr_ops", "serve", str(made["path"]), "--port", "0", "--token", token]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "cannot stand in an address: give letters, digits" in refused.stderr


def test_too_many_requests_get_503(made: dict[str, Any]) -> None:
    with running(made["path"], made["request"], most=3) as (address, served):
        hold, _ = held(SimpleStore(served.image_of("")))
        with ThreadPoolExecutor(8) as pool:
            keys = [f"{address}{served.store}/0/c/0/0/{x}" for x in range(6)]
            asked = [pool.submit(requests.get, key) for key in keys]
            wait_for(lambda: sum(future.done() for future in asked) == 3)
            hold.set()
            answers = [future.result() for future in asked]
        later = [answer for answer in answers if answer.status_code == 503]
        assert len(later) == 3
        assert int(later[0].headers["retry-after"]) >= 1
        assert sum(answer.ok for answer in answers) == 3
        figures = requests.get(f"{address}metrics").json()
        assert (figures["requests"]["refused"], figures["requests"]["in_hand"]) == (3, 0)


class SimpleStore:
    """The part of a store that `held` needs."""

    def __init__(self, image: Any) -> None:
        self.image = image


def test_five_hundred_at_once_are_all_answered(made: dict[str, Any]) -> None:
    keys = [key for key in made["files"] if "/c/" in key]
    wanted = (keys * 20)[:500]
    with running(made["path"], made["request"]) as (address, served), requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=100))
        with ThreadPoolExecutor(100) as pool:
            found = list(pool.map(lambda key: session.get(f"{address}{served.store}/{key}").content, wanted))
        assert found == [made["files"][key] for key in wanted]
        figures = requests.get(f"{address}metrics").json()["images"][served.store]
        assert figures["hits"] + figures["misses"] >= len(set(wanted))
        assert figures["waiting"] == 0
        assert figures["tiles"] < 60


def test_abandoned_requests_are_not_restored(made: dict[str, Any]) -> None:
    with running(made["path"], made["request"]) as (address, served), ExitStack() as stack:
        hold, queue = held(SimpleStore(served.image_of("")))
        host, port = address.split("/")[2].split(":")
        lines = []
        for y in range(5):
            line = stack.enter_context(socket.create_connection((host, int(port))))
            line.sendall(f"GET /{served.store}/0/c/0/{y}/0 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            lines.append(line)
            # The tile must have begun before the next request, which it would serve, too.
            wait_for(lambda y=y: queue._working and queue.waiting + len(queue._working) > y)
        for line in lines[1:]:
            line.close()
        wait_for(lambda: requests.get(f"{address}metrics").json()["requests"]["given_up"] == 4)
        hold.set()
        assert lines[0].recv(20).startswith(b"HTTP/1.1 200")
        wait_for(lambda: not queue._working)
        requests.get(f"{address}{served.store}/0/c/1/0/0")
        assert (queue.dropped, queue.cells) == (4, 2)


def test_a_request_counts_as_given_up_once_its_work_has_ended() -> None:
    """So who reads the figure knows that nothing waits for it any more."""

    async def counts() -> list[int]:
        site = _Site(served=None, most=1)  # type: ignore[arg-type]
        found = []

        async def work() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                found.append(site.counts.given_up)

        async def receive() -> dict[str, str]:
            await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        with pytest.raises(_Gone):
            await site._while_there(Request({"type": "http"}, receive), work())
        return [*found, site.counts.given_up]

    assert asyncio.run(counts()) == [0, 1]


def test_a_client_that_never_reads_blocks_no_other(made: dict[str, Any]) -> None:
    with running(made["path"], made["request"]) as (address, served), ExitStack() as stack:
        host, port = address.split("/")[2].split(":")
        line = stack.enter_context(socket.create_connection((host, int(port))))
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        ask = f"GET /{served.store}/0/c/0/0/0 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        line.sendall(ask * 50)
        began = time.monotonic()
        assert requests.get(f"{address}{served.store}/0/c/1/1/1").content == made["files"]["0/c/1/1/1"]
        assert time.monotonic() - began < 30


def test_prefetching_waits(made: dict[str, Any]) -> None:
    with running(made["path"], made["request"]) as (address, served):
        hold, queue = held(SimpleStore(served.image_of("")))
        with ThreadPoolExecutor(3) as pool:
            ahead = {"Sec-Purpose": "prefetch"}
            asked = [pool.submit(requests.get, f"{address}{served.store}/0/c/0/0/0")]
            wait_for(lambda: queue._working)
            asked.append(pool.submit(requests.get, f"{address}{served.store}/0/c/0/5/5", headers=ahead))
            wait_for(lambda: queue.waiting == 1)
            assert [entry.urgent for entry in queue._waiting.values()] == [False]
            hold.set()
            assert all(future.result().ok for future in asked)


def test_a_missing_source_is_reported(made: dict[str, Any], tmp_path: Path) -> None:
    """Once it is back, it is served again."""
    path = shutil.copy2(made["path"], tmp_path / "stack.tif")
    with running(path, made["request"]) as (address, served):
        assert requests.get(f"{address}{served.store}/0/c/0/0/0").ok
        served.image_of("").job.source.close()
        Path(path).rename(tmp_path / "away.tif")
        answer = requests.get(f"{address}{served.store}/0/c/1/0/0")
        assert answer.status_code == 500
        assert "stack.tif" in answer.json()["error"]
        Path(tmp_path / "away.tif").rename(path)
        assert requests.get(f"{address}{served.store}/0/c/1/0/0").content == made["files"]["0/c/1/0/0"]


def test_pictures_for_the_page(site: tuple[str, Any], made: dict[str, Any]) -> None:
    import io

    from PIL import Image

    root = site[0].rsplit("/", 2)[0]
    info = requests.get(f"{root}/info.json").json()
    assert [slider["axis"] for slider in info["sliders"]] == ["Z"]
    shown = {}
    for which in ("source", "result"):
        for level, row, column in ((0, 0, 0), (0, 1, 1), (1, 0, 0)):
            answer = requests.get(f"{root}/view/{which}/{level}/{row}/{column}.png?Z=1&show=0:100:4000:FFFFFF")
            assert answer.headers["content-type"] == "image/png"
            shown[which, level, row] = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert shown["source", 0, 0].shape == shown["result", 0, 0].shape == (512, 512)
    assert shown["source", 0, 1].shape == shown["result", 0, 1].shape == (28, 148)
    image = tifffile.imread(made["path"])[1].astype(np.float32)
    expected = np.clip((image - 100) / 3900, 0, 1) * 255
    pixels = expected.repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(shown["source", 0, 0], pixels[:512, :512], atol=0.51)
    np.testing.assert_allclose(shown["source", 1, 0], expected, atol=0.51)
    assert requests.get(f"{root}/view/result/0/0/0.png?Z=7").status_code == 404
    for bad in ("Z=x", "show=0", "show=0:1:2:red", "show=x:1:2:FFFFFF", "show=0:1:nan:FFFFFF", "show=0:1:2:FFFFFG"):
        assert "whole numbers" in requests.get(f"{root}/view/result/0/0/0.png?{bad}").json()["error"]
    assert requests.get(f"{root}/view/result/0/0/0.png?show=9:0:1:FFFFFF").status_code == 200  # it has no channels


def test_channels_are_added_in_their_colours(tmp_path: Path, gray_model: ModelSpec) -> None:
    import io

    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 255, (3, 40, 50)).astype("u1")
    tifffile.imwrite(tmp_path / "three.ome.tif", pixels, metadata={"axes": "CYX"}, photometric="minisblack")
    with running(tmp_path / "three.ome.tif", RestoreRequest(model=gray_model)) as (address, served):
        info = requests.get(f"{address}info.json").json()
        assert [one["number"] for one in info["channels"]] == [0, 1, 2]
        assert info["sliders"] == []
        restored = zarr.open_group(f"{address}{served.store}", mode="r")["0"][:].astype(float)
        sources = pixels.repeat(2, 1).repeat(2, 2).astype(float)
        colors = np.array([[255, 0, 0], [0, 128, 255]])
        for which, image in (("result", restored), ("source", sources)):
            answer = requests.get(f"{address}view/{which}/0/0/0.png?show=0:0:255:FF0000,2:0:510:0080FF")
            shown = np.asarray(Image.open(io.BytesIO(answer.content))).astype(float)
            expected = np.tensordot(image[[0, 2]] / [[[255]], [[510]]], colors, (0, 0))
            np.testing.assert_allclose(shown, expected.clip(0, 255), atol=0.6)
            none = requests.get(f"{address}view/{which}/0/0/0.png?show=")
            assert not np.asarray(Image.open(io.BytesIO(none.content))).any()
        assert requests.get(f"{address}view/result/0/0/0.png?show=3:0:1:FFFFFF").status_code == 404


def test_a_plate(tmp_path: Path, gray_model: ModelSpec) -> None:
    from swin2sr_ops.io.zarr.collection import open_collection
    from swin2sr_ops.run.archive import run_collection

    docs_files.plate(tmp_path / "plate.zarr")
    collection = open_collection(str(tmp_path / "plate.zarr"))
    assert collection is not None
    request = RestoreRequest(model=gray_model, chunks=64)
    run_collection(str(tmp_path / "plate.zarr"), tmp_path / "out.zarr", request)
    expected = files_of(tmp_path / "out.zarr")
    (tmp_path / "cache").mkdir()
    options = Options(cache=str(tmp_path / "cache"))
    with running(tmp_path / "plate.zarr", request, options=options) as (address, served):
        for key, data in expected.items():
            assert requests.get(f"{address}{served.store}/{key}").content == data, key
        info = requests.get(f"{address}info.json").json()
        assert info["images"] == list(collection.images)
        assert requests.get(f"{address}info.json?image=none").status_code == 404
        assert requests.get(f"{address}{served.store}/A/../../cache").status_code == 404


def test_a_taken_port() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(RequestError, match="another program listens"):
            listen("127.0.0.1", port)
    with pytest.raises(RequestError, match="--port"):
        listen("127.0.0.1", 99999)
    with pytest.raises(RequestError, match="--host"):
        listen("192.0.2.1", 0)


def test_the_command(made: dict[str, Any], gray_model: ModelSpec, tmp_path: Path) -> None:
    path = shutil.copy2(made["path"], tmp_path / "my #1 stack.tif")
    command = [
        sys.executable, "-m", "swin2sr_ops", "serve", str(path), "--model", str(gray_model.weights), "--axes",
        "ZYX", "--chunks", "100", "--port", "0", "--cache", str(tmp_path / "looked"), "--limit", "1MB",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "a page" in process.stdout.readline()
        address = process.stdout.readline().split()[0]
        assert requests.get(f"{address}/0/c/0/0/0").content == made["files"]["0/c/0/0/0"]
        taken = subprocess.run(
            [*command[:-5], address.split(":")[2].split("/")[0]], capture_output=True, text=True, check=False
        )
        assert taken.returncode == 2
        assert "cannot be used" in taken.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, 130)
        assert "Traceback" not in process.stderr.read()
    assert (tmp_path / "looked" / "my #1 stack.ome.zarr.partial").is_dir()


def test_threads_end_with_the_server(made: dict[str, Any]) -> None:
    before = threading.active_count()
    with running(made["path"], made["request"]) as (address, served):
        requests.get(f"{address}{served.store}/0/c/0/0/0")
    wait_for(lambda: threading.active_count() <= before + 8)  # zarr-python keeps a few of its own
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("serve-")]


def test_a_truncated_source_is_reported(made: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The answer and the log name it, and the server continues once it is whole again."""
    path = Path(shutil.copy2(made["path"], tmp_path / "stack.tif"))
    with running(path, made["request"]) as (address, served):
        key = f"{address}{served.store}/0/c/0/0/0"
        assert requests.get(key).ok
        served.image_of("").job.source.close()
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        for other in ("0/c/1/5/5", "0/c/1/4/4"):
            answer = requests.get(f"{address}{served.store}/{other}")
            assert answer.status_code == 500
            assert "stack.tif" in answer.json()["error"]
            assert "Traceback" not in answer.text
        assert "stack.tif" in caplog.text
        assert "Traceback" not in caplog.text
        shutil.copy2(made["path"], path)
        assert requests.get(key).content == made["files"]["0/c/0/0/0"]


def test_a_missing_model_is_reported(
    made: dict[str, Any], tmp_path: Path, gray_model: ModelSpec, caplog: pytest.LogCaptureFixture
) -> None:
    """It never existed, or was removed before the first tile; once it is back, it is used."""
    weights = Path(shutil.copy2(gray_model.weights, tmp_path / "model.safetensors"))
    request = RestoreRequest(model=str(weights), chunks=100, axes="ZYX")
    with pytest.raises(Swin2SROpsError, match=r"other\.safetensors"):
        Served(str(made["path"]), RestoreRequest(model=str(tmp_path / "other.safetensors")), Options())
    with running(made["path"], request) as (address, served):
        weights.rename(tmp_path / "away.safetensors")
        answer = requests.get(f"{address}{served.store}/0/c/0/0/0")
        if not answer.ok:  # it may have been loaded when the server started
            assert "model.safetensors" in answer.json()["error"]
            assert "Traceback" not in caplog.text
        (tmp_path / "away.safetensors").rename(weights)
        assert requests.get(f"{address}{served.store}/0/c/0/0/0").content == made["files"]["0/c/0/0/0"]


def test_a_full_disk_answers_all_the_same(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The cache takes nothing more; the log and the figures say so, and chunks are restored without it."""
    (tmp_path / "looked").mkdir()
    with running(made["path"], made["request"], options=Options(cache=str(tmp_path / "looked"))) as (address, served):

        def full(self: LocalFiles, key: str, data: bytes, *, durable: bool = False) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(LocalFiles, "write", full)
        for key in ("0/c/0/0/0", "0/c/1/3/3"):
            assert requests.get(f"{address}{served.store}/{key}").content == made["files"][key]
        figures = requests.get(f"{address}metrics").json()["images"][served.store]
        assert "The disk is full" in figures["cache"]["problem"]
        assert caplog.text.count("The disk is full") == 1


def test_a_damaged_image_of_a_plate_affects_no_other(tmp_path: Path, gray_model: ModelSpec) -> None:
    """Its requests get an error message; other images and the plate's documents are served."""
    docs_files.plate(tmp_path / "plate.zarr")
    request = RestoreRequest(model=gray_model, chunks=64)
    (tmp_path / "plate.zarr" / "B" / "2" / "0" / "0" / ".zarray").write_text("{")
    with running(tmp_path / "plate.zarr", request) as (address, served):
        zarr_address = f"{address}{served.store}"
        assert requests.get(f"{zarr_address}/A/1/0/0/zarr.json").ok
        assert requests.get(f"{zarr_address}/zarr.json").ok
        answer = requests.get(f"{zarr_address}/B/2/0/0/zarr.json")
        assert not answer.ok
        assert "B/2/0" in answer.json()["error"]
        assert requests.get(f"{zarr_address}/A/1/1/0/zarr.json").ok
