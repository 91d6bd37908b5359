"""A source that changes while it is served: answers are of the source opened anew, and no ETag has two contents."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.io.output.destination import RECORD
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.spec import ModelSpec
from tests import docs_files
from tests.serve.test_store import files_of, held, wait_for

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from swin2sr_ops.serve.image import RestoredImage
from swin2sr_ops.serve.options import Options
from swin2sr_ops.serve.served import Served
from swin2sr_ops.serve.source_guard import SourceGuard
from tests.serve.running import running

STILL = "swin2sr_ops.serve.source_guard._STILL"
OLD = docs_files.picture(72, 80, seed=1)
NEW = OLD[::-1, ::-1].copy()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request looks at the source."""
    monkeypatch.setattr(STILL, 0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, gray_model: ModelSpec) -> dict[str, Any]:
    """Return a request, and the files that a run makes of the new source."""
    folder = tmp_path_factory.mktemp("made")
    tifffile.imwrite(folder / "x.tif", NEW)
    swin2sr_ops.restore_image(folder / "x.tif", folder / "x.ome.zarr", model=gray_model, chunks=32)
    files = files_of(folder / "x.ome.zarr")
    return {
        "request": RestoreRequest(model=gray_model, chunks=32),
        "chunks": {key: data for key, data in files.items() if key.startswith("0/c/")},
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "x.tif", OLD)
    return tmp_path / "x.tif"


@pytest.fixture
def site(path: Path, made: dict[str, Any]) -> Iterator[tuple[str, Served]]:
    with running(path, made["request"]) as (address, served):
        yield address, served


def keys_of(address: str, served: Served, made: dict[str, Any]) -> dict[str, bytes]:
    """Return the addresses of the chunks, with the new content."""
    return {f"{address}{served.store}/{key}": data for key, data in made["chunks"].items()}


def compute_then(image: RestoredImage, change: Any) -> None:
    """Call ``change`` once, when the first tile was computed, before anything else is done with it."""
    restorer = image.restorer
    compute, once = restorer.compute, threading.Lock()

    def call(box: Any) -> Any:
        tile = compute(box)
        if once.acquire(blocking=False):
            change()
        return tile

    restorer.compute = call  # type: ignore[method-assign]


@pytest.mark.usefixtures("at_once")
def test_answers_that_compute_nothing_look_at_the_source(
    site: tuple[str, Served], path: Path, made: dict[str, Any]
) -> None:
    """Cached chunks, documents, pictures and what a client already has."""
    address, served = site
    expected = keys_of(address, served, made)
    others = [f"{address}{served.store}/zarr.json", *(f"{address}view/{w}/0/0/0.png" for w in ("result", "source"))]
    before = {key: requests.get(key) for key in [*expected, *others]}
    print_of = requests.get(f"{address}info.json").json()["fingerprint"]
    tifffile.imwrite(path, NEW)
    assert requests.get(f"{address}info.json").json()["fingerprint"] != print_of
    for key, old in before.items():
        new = requests.get(key, headers={"If-None-Match": old.headers["etag"]})
        assert new.status_code == 200, key
        assert new.headers["etag"] != old.headers["etag"]
        assert new.content == expected[key] if key in expected else new.content != old.content, key


@pytest.mark.parametrize("first", ["info.json", "x.ome.zarr/", "x.ome.zarr/zarr.json", "x.ome.zarr/0/c/0/0"])
@pytest.mark.usefixtures("at_once")
def test_any_request_notices(first: str, site: tuple[str, Served], path: Path) -> None:
    address, served = site
    old = served.image_of("").fingerprint
    tifffile.imwrite(path, NEW)
    assert requests.get(address + first).ok
    assert served.opened[""].fingerprint != old


def test_looks_are_rare(site: tuple[str, Served], monkeypatch: pytest.MonkeyPatch) -> None:
    address, served = site
    key = f"{address}{served.store}/zarr.json"
    assert requests.get(key).ok
    looks: list[int] = []
    compare = SourceGuard._compare
    monkeypatch.setattr(SourceGuard, "_compare", lambda self: (looks.append(1), compare(self)))
    monkeypatch.setattr(STILL, 3600.0)
    assert all(requests.get(key).ok for _ in range(5))
    assert not looks
    monkeypatch.setattr(STILL, 0.0)
    assert all(requests.get(key).ok for _ in range(5))
    assert len(looks) == 5


def test_pixels_of_old_and_new_never_share_a_tag(
    site: tuple[str, Served], path: Path, made: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source changes while a tile is made of it, just after a look: the tile is not used."""
    monkeypatch.setattr(STILL, 3600.0)
    address, served = site
    first, *rest = keys_of(address, served, made)
    old = {first: requests.get(first)}
    old_tag = served.image_of("").fingerprint
    compute_then(served.image_of(""), lambda: tifffile.imwrite(path, NEW))
    answers = {key: requests.get(key) for key in [*rest, first]}
    assert served.image_of("").fingerprint != old_tag
    assert {key: answer.content for key, answer in answers.items()} == keys_of(address, served, made)
    assert answers[first].headers["etag"] != old[first].headers["etag"]


def test_a_picture_of_the_source_is_of_the_source_that_was_opened(
    site: tuple[str, Served], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(STILL, 3600.0)
    address, _ = site
    picture = f"{address}view/source/0/0/0.png?show=0:0:4000:FFFFFF"
    old = requests.get(picture)
    tifffile.imwrite(path, NEW)
    new = requests.get(picture)
    assert new.content != old.content
    assert new.headers["etag"] != old.headers["etag"]


@pytest.mark.usefixtures("at_once")
def test_who_waits_gets_the_source_opened_anew(
    site: tuple[str, Served], path: Path, made: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Many readers wait for tiles, and some go away, while the source changes."""
    address, served = site
    expected = keys_of(address, served, made)
    hold, queue = held(Image(served))
    host, port = address.split("/")[2].split(":")
    with ThreadPoolExecutor(2 * len(expected)) as pool, ExitStack() as stack:
        asked = {key: pool.submit(requests.get, key) for key in expected}
        wait_for(lambda: queue.waiting)
        for key in list(expected)[::3]:
            line = stack.enter_context(socket.create_connection((host, int(port))))
            line.sendall(f"GET {key.removeprefix(address[:-1])} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        tifffile.imwrite(path, NEW)
        late = {key: pool.submit(requests.get, key) for key in expected}
        stack.close()  # these clients do not wait
        time.sleep(0.2)
        hold.set()
        answers = {key: [asked[key].result(), late[key].result()] for key in expected}
    assert {answer.status_code for both in answers.values() for answer in both} == {200}
    assert {key: answer.content for key, both in answers.items() for answer in both[1:]} == expected
    assert {key: answer.content for key, both in answers.items() for answer in both[:1]} == expected
    assert "Traceback" not in caplog.text
    assert served.image_of("").queue is not queue


class Image:
    """The part of a store that `held` needs."""

    def __init__(self, served: Served) -> None:
        self.image = served.image_of("")


def test_a_source_that_is_written_all_the_time(site: tuple[str, Served], path: Path) -> None:
    """The client may ask again later."""
    address, served = site
    numbers = iter(range(100, 1000))
    opened = served._opened

    def touched(name: str) -> Any:
        image = opened(name)
        compute_then(image, lambda: tifffile.imwrite(path, OLD + next(numbers)))
        return image

    served._opened = touched  # type: ignore[method-assign]
    compute_then(served.image_of(""), lambda: tifffile.imwrite(path, NEW))
    answer = requests.get(f"{address}{served.store}/0/c/1/1")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert "changes again and again" in answer.json()["error"]
    served._opened = opened  # type: ignore[method-assign]
    served._images.pop("").close()
    assert requests.get(f"{address}{served.store}/0/c/1/1").ok


@pytest.mark.usefixtures("at_once")
def test_a_source_that_is_away_has_not_changed(site: tuple[str, Served], path: Path, made: dict[str, Any]) -> None:
    """What is cached is served meanwhile."""
    address, served = site
    key, other = list(keys_of(address, served, made))[:2]
    old = requests.get(key)
    served.image_of("").job.source.close()
    path.rename(path.with_suffix(".away"))
    assert requests.get(key).content == old.content
    assert "x.tif" in requests.get(other).json()["error"]
    path.with_suffix(".away").rename(path)
    assert requests.get(other).ok
    assert requests.get(key).headers["etag"] == old.headers["etag"]


@pytest.mark.usefixtures("at_once")
def test_one_image_of_a_plate(tmp_path: Path, gray_model: ModelSpec) -> None:
    """The others keep their chunks and tags."""
    docs_files.plate(tmp_path / "plate.zarr")
    request = RestoreRequest(model=gray_model, chunks=16)
    with running(tmp_path / "plate.zarr", request) as (address, served):
        keys = [f"{address}{served.store}/{name}/0/c/0/0/0" for name in served.names]
        before = [requests.get(key) for key in keys]
        array = zarr.open_group(tmp_path / "plate.zarr" / served.names[1], mode="r+")["0"]
        array[:] = array[:][..., ::-1]
        after = [requests.get(key) for key in keys]
    same = [old.headers["etag"] == new.headers["etag"] for old, new in zip(before, after, strict=True)]
    assert same == [True, False, True]
    assert [old.content == new.content for old, new in zip(before, after, strict=True)] == same


@pytest.mark.usefixtures("at_once")
def test_a_smaller_level_of_the_source(tmp_path: Path, gray_model: ModelSpec) -> None:
    """Chunks and pictures that are made of it are made anew; others keep their tags, and the cache is kept."""
    pixels = docs_files.picture(32, 600)  # whose result has three levels
    group = zarr.create_group(tmp_path / "x.zarr", zarr_format=3)
    axes = [{"name": a, "type": "space"} for a in "yx"]
    places = [
        {"path": str(k), "coordinateTransformations": [{"type": "scale", "scale": [2.0**k] * 2}]} for k in range(3)
    ]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": places}]}
    for k in range(3):
        group.create_array(str(k), data=pixels[:: 2**k, :: 2**k].copy(), chunks=(32, 32))
    request, options = RestoreRequest(model=gray_model, chunks=32), Options(affordable=1, cache=str(tmp_path))
    with running(tmp_path / "x.zarr", request, options=options) as (address, served):
        store = f"{address}{served.store}"
        made_of = [f"{store}/1/c/0/0", f"{address}view/source/2/0/0.png", f"{address}view/result/1/0/0.png"]
        others = [f"{store}/0/c/0/0", f"{store}/zarr.json", f"{address}view/source/0/0/0.png"]
        before = {key: requests.get(key) for key in [*made_of, *others]}
        array = zarr.open_group(tmp_path / "x.zarr", mode="r+")["1"]
        array[:] = array[:][::-1]
        after = {key: requests.get(key) for key in before}
        for key, old in before.items():
            assert (old.headers["etag"] == after[key].headers["etag"]) == (key in others), key
            assert (old.content == after[key].content) == (key in others), key
        again = requests.get(made_of[0], headers={"If-None-Match": after[made_of[0]].headers["etag"]})
        assert again.status_code == 304
        assert "cache" in requests.get(f"{address}metrics").json()["images"][served.store]


@pytest.mark.usefixtures("at_once")
def test_the_cache_stays_the_former_images(
    path: Path, made: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The image opened anew is served without it, and the log says so."""
    (tmp_path / "looked").mkdir()
    with running(path, made["request"], options=Options(cache=str(tmp_path / "looked"))) as (address, served):
        expected = keys_of(address, served, made)
        assert requests.get(next(iter(expected))).ok
        cached = files_of(tmp_path / "looked")
        assert cached
        tifffile.imwrite(path, NEW)
        assert {key: requests.get(key).content for key in expected} == expected
        assert "kept in memory only" in caplog.text
        assert "cache" not in requests.get(f"{address}metrics").json()["images"][served.store]
    now = files_of(tmp_path / "looked")
    assert {key for key in cached if cached[key] != now[key]} == {f"x.ome.zarr.partial/{RECORD}"}


def test_the_cache_of_another_run_is_left_alone(path: Path, made: dict[str, Any], tmp_path: Path) -> None:
    """A run with the new source has begun in its place: its record is not touched."""
    cache = tmp_path / "x.ome.zarr"
    model = made["request"].model
    with swin2sr_ops.restored_store(path, cache=cache, model=model, chunks=32) as store:
        tifffile.imwrite(path, NEW)
        (tmp_path / "x.ome.zarr.partial").rename(tmp_path / "away")
        with swin2sr_ops.restored_store(path, cache=cache, model=model, chunks=32):
            there = files_of(tmp_path / "x.ome.zarr.partial")
            assert store.image.guard.has_changed()
            assert files_of(tmp_path / "x.ome.zarr.partial") == there


def test_looks_that_take_long(site: tuple[str, Served], path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take a tenth of the time; meanwhile, answers have no ETag."""
    address, served = site
    guard = served.image_of("").guard
    guard._costs = (1000.0, 1000.0)
    monkeypatch.setattr(STILL, 0.0)
    assert not guard.due
    key = f"{address}{served.store}/0/c/0/0"
    assert "etag" not in requests.get(key).headers
    assert not guard.sure
    guard._looked -= 10_001
    assert "etag" in requests.get(key).headers
    tifffile.imwrite(path, NEW)
    guard._costs, guard.sure = (1000.0, 1000.0), True
    assert requests.get(f"{address}{served.store}/0/c/1/1").ok
    assert not guard.changed
    guard._looked -= 10_001
    assert requests.get(key).ok
    assert guard.changed
