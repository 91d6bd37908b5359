"""The cache is the unfinished output of a run: no tile is computed twice, and a run finishes it to the same bytes."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings, strategies as st
from zarr.core.sync import sync

import swin2sr_ops
from swin2sr_ops.errors import OutputError, Stopped
from swin2sr_ops.io.output.destination import Destination
from swin2sr_ops.io.output.lock import FileLock
from swin2sr_ops.io.storage.files import LocalFiles
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.job import prepare
from swin2sr_ops.run.run import run
from swin2sr_ops.serve.chunk_cache import DiskCache
from swin2sr_ops.serve.codec import ChunkCodec
from swin2sr_ops.serve.image import RestoredImage
from swin2sr_ops.serve.limits import DiskLimit
from swin2sr_ops.serve.options import Options
from swin2sr_ops.serve.store import RestoredStore
from swin2sr_ops.spec import ModelSpec
from tests.serve.test_store import files_of, values_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, gray_model: ModelSpec) -> dict[str, Any]:
    """Return an image, its request, and a run's output."""
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "image.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(100, 4000, (2, 270, 330)).astype("u2"))
    asked = {"model": gray_model, "chunks": 100, "axes": "ZYX"}
    swin2sr_ops.restore_image(path, folder / "x.ome.zarr", **asked)
    files = files_of(folder / "x.ome.zarr")
    return {"path": path, "asked": asked, "files": files, "chunks": sorted(k for k in files if "/c/" in k)}


def opened(whole: dict[str, Any], cache: Path, **more: Any) -> RestoredStore:
    return swin2sr_ops.restored_store(whole["path"], cache=cache, **whole["asked"], **more)


def look(store: RestoredStore, whole: dict[str, Any], keys: list[str]) -> None:
    look_at(store.image, whole, keys)


def look_at(image: RestoredImage, whole: dict[str, Any], keys: list[str]) -> None:
    for key in keys:
        assert sync(image.get(key)) == whole["files"][key], key


def some(whole: dict[str, Any], count: int = 12, seed: int = 0) -> list[str]:
    return random.Random(seed).sample(whole["chunks"], count)


def test_served_chunks_are_not_computed_again(whole: dict[str, Any], tmp_path: Path) -> None:
    cache, keys = tmp_path / "x.ome.zarr", some(whole)
    with opened(whole, cache) as store:
        look(store, whole, keys)
        assert store.image.queue.tiles > 0
    assert not cache.exists()  # unfinished
    with opened(whole, cache) as store:
        look(store, whole, keys)
        assert store.image.queue.tiles == 0


def test_a_run_finishes_the_cache_to_the_same_bytes(whole: dict[str, Any], tmp_path: Path) -> None:
    cache = tmp_path / "x.ome.zarr"
    with opened(whole, cache) as store:
        look(store, whole, some(whole, 40))
    report = swin2sr_ops.restore_image(whole["path"], cache, **whole["asked"])
    assert files_of(cache) == whole["files"]
    assert not list(tmp_path.glob("*.partial*"))
    assert report.state == "done"
    with opened(whole, cache) as store:  # and a finished output is served as it is
        assert values_of(store) == whole["files"]
        assert store.image.queue.tiles == 0


def test_a_run_skips_served_tiles(whole: dict[str, Any], tmp_path: Path) -> None:
    cache = tmp_path / "x.ome.zarr"
    with opened(whole, cache) as store:
        look(store, whole, [key for key in whole["chunks"] if key.startswith("0/")])
    report = swin2sr_ops.restore_image(whole["path"], cache, **whole["asked"])
    assert report.resumed == report.tiles
    assert files_of(cache) == whole["files"]


def test_finished_tiles_of_a_run_are_served(whole: dict[str, Any], tmp_path: Path) -> None:
    """Chunks are served during the run, after it was stopped, and after it has finished."""
    cache, asked = tmp_path / "x.ome.zarr", {**whole["asked"], "tile": 100}
    done = []
    stop = lambda: len(done) > 4  # noqa: E731
    with pytest.raises(Stopped):
        run(
            prepare(whole["path"], RestoreRequest(**asked)),
            cache,
            stop=stop,
            on_block=lambda region, _: done.append(region),
        )
    with opened(whole, cache) as store:
        look(store, whole, whole["chunks"][:4])
        assert store.image.queue.tiles == 0
        swin2sr_ops.restore_image(whole["path"], cache, **whole["asked"])
        look(store, whole, whole["chunks"])
        assert store.image.queue.tiles == 0
    assert files_of(cache) == whole["files"]
    assert not list(tmp_path.glob("*.partial*"))


def test_a_run_at_work_is_not_disturbed(whole: dict[str, Any], tmp_path: Path) -> None:
    """Its lock is respected: existing chunks are read, missing ones restored, and none is added."""
    cache = tmp_path / "x.ome.zarr"
    with opened(whole, cache) as first:
        look(first, whole, whole["chunks"][:3])
        lock = Destination.at(str(cache)).lock()
        lock.acquire()
        try:
            before = files_of(tmp_path / "x.ome.zarr.partial")
            with opened(whole, cache) as store:
                look(store, whole, whole["chunks"][:6])
                assert store.image.queue.cells == 3
            assert files_of(tmp_path / "x.ome.zarr.partial") == before
        finally:
            lock.release()


def test_two_servers_share_a_cache(whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "x.ome.zarr"
    with opened(whole, cache) as first, opened(whole, cache) as second:
        look(first, whole, some(whole, 20, seed=1))
        tiles = second.image.queue.tiles
        look(second, whole, some(whole, 20, seed=1))
        assert second.image.queue.tiles == tiles
        look(second, whole, some(whole, 20, seed=2))
    swin2sr_ops.restore_image(whole["path"], cache, **whole["asked"])
    assert files_of(cache) == whole["files"]


@pytest.mark.parametrize("by_a_run", [False, True])
def test_a_limit_evicts_whole_chunks(whole: dict[str, Any], tmp_path: Path, by_a_run: bool) -> None:
    cache, limit = tmp_path / "x.ome.zarr", 200_000
    if by_a_run:  # then a marker stands for a tile of several chunks
        done: list[Any] = []
        with pytest.raises(Stopped):
            run(
                prepare(whole["path"], RestoreRequest(**whole["asked"], tile=200)), cache,
                stop=lambda: len(done) > 2, on_block=lambda *block: done.append(block),
            )  # fmt: skip
    with opened(whole, cache, limit=limit) as store:
        look(store, whole, whole["chunks"])
        assert store.image.disk is not None
        assert store.image.disk.bytes <= limit
        partial = files_of(tmp_path / "x.ome.zarr.partial")
        kept = sum(len(value) for key, value in partial.items() if "/c/" in key and not key.startswith("."))
        assert 0 < kept <= limit
    with opened(whole, cache, limit=limit) as store:
        assert store.image.disk is not None
        assert store.image.disk.bytes == kept
    swin2sr_ops.restore_image(whole["path"], cache, **whole["asked"])
    assert files_of(cache) == whole["files"]


def test_torn_chunks_are_restored_again(whole: dict[str, Any], tmp_path: Path) -> None:
    cache, key = tmp_path / "x.ome.zarr", "0/c/0/1/1"
    with opened(whole, cache) as store:
        look(store, whole, [key])
    (tmp_path / "x.ome.zarr.partial" / key).write_bytes(b"torn")
    with opened(whole, cache) as store:
        look(store, whole, [key])
        assert store.image.queue.tiles == 1


def test_a_full_disk_is_reported_and_serving_continues(
    whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(whole, tmp_path / "x.ome.zarr") as store:
        write = LocalFiles.write

        def full(self: LocalFiles, key: str, data: bytes, *, durable: bool = False) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(LocalFiles, "write", full)
        look(store, whole, some(whole))
        assert "The disk is full" in store.image.metrics()["cache"]["problem"]
        assert caplog.text.count("The disk is full") == 1
        monkeypatch.setattr(LocalFiles, "write", write)
        look(store, whole, some(whole, seed=3))
        assert store.image.metrics()["cache"]["problem"] == ""


def test_sentences(whole: dict[str, Any], tmp_path: Path) -> None:
    cache = tmp_path / "x.ome.zarr"
    opened(whole, cache).close()
    with pytest.raises(OutputError, match="chunk was"):
        swin2sr_ops.restored_store(whole["path"], cache=cache, **{**whole["asked"], "chunks": 64})
    (tmp_path / "other.ome.zarr").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        opened(whole, tmp_path / "other.ome.zarr")
    with pytest.raises(OutputError, match="does not exist"):
        opened(whole, tmp_path / "none" / "x.ome.zarr")


def test_a_changed_source_spoils_the_cache(
    whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swin2sr_ops.serve.source_guard._STILL", 0.0)
    path = tmp_path / "image.tif"
    path.write_bytes(Path(whole["path"]).read_bytes())
    with opened({**whole, "path": path}, tmp_path / "x.ome.zarr") as store:
        sync(store.image.get("0/c/0/0/0"))
        stamp = path.stat()
        path.write_bytes(path.read_bytes() + b"more")
        with pytest.raises(OutputError, match="changed while it was served"):
            sync(store.image.get("0/c/1/0/0"))
        path.write_bytes(Path(whole["path"]).read_bytes())
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with pytest.raises(OutputError, match="mixes two images"):
        swin2sr_ops.restore_image(path, tmp_path / "x.ome.zarr", **whole["asked"])


_SERVE = """
import sys, swin2sr_ops
from zarr.core.sync import sync
store = swin2sr_ops.restored_store(sys.argv[1], cache=sys.argv[2], model=sys.argv[3], chunks=100, axes="ZYX")
print("open", flush=True)
for key in sys.argv[4:]:
    sync(store.image.get(key))
    print(key, flush=True)
"""


@pytest.mark.parametrize("after", [1, 6, 15])
def test_killed_at_any_moment(whole: dict[str, Any], gray_model: ModelSpec, tmp_path: Path, after: int) -> None:
    """A killed server leaves an ordinary unfinished output, for a run and for the next server."""
    cache, keys = tmp_path / "x.ome.zarr", some(whole, 30, seed=after)
    command = [sys.executable, "-c", _SERVE, str(whole["path"]), str(cache), str(gray_model.weights), *keys]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(after + 1):
            assert process.stdout.readline()
        time.sleep(0.003 * after)
        process.send_signal(signal.SIGKILL)
    with opened(whole, cache) as store:
        look(store, whole, keys)
    swin2sr_ops.restore_image(whole["path"], cache, **whole["asked"])
    assert files_of(cache) == whole["files"]


def test_a_finished_output_that_is_removed_or_moved(whole: dict[str, Any], tmp_path: Path) -> None:
    """Absent chunks do not count as fill values: they are restored."""
    cache = tmp_path / "x.ome.zarr"
    swin2sr_ops.restore_image(whole["path"], cache, **whole["asked"])
    with opened(whole, cache) as store:
        look(store, whole, some(whole, 3))
        assert store.image.queue.tiles == 0
        cache.rename(tmp_path / "moved.ome.zarr")
        look(store, whole, some(whole, 12, seed=5))
        assert store.image.queue.tiles > 0
        store.image.memory.clear()
        (tmp_path / "moved.ome.zarr").rename(cache)
        look(store, whole, some(whole, 12, seed=6))


def test_caches_of_two_machines_merge_by_copying(whole: dict[str, Any], tmp_path: Path) -> None:
    """Both are partly filled and share chunks; a run finishes the merged cache to the same bytes."""
    halves = []
    for number, keys in enumerate((whole["chunks"][:60:2], whole["chunks"][30:90])):
        machine = tmp_path / f"machine{number}"
        machine.mkdir()
        copied = shutil.copy2(whole["path"], machine / "image.tif")  # with its time, which is a part of its identity
        with opened({**whole, "path": copied}, machine / "x.ome.zarr") as store:
            look(store, whole, keys)
        halves.append(machine / "x.ome.zarr.partial")
    both = set(files_of(halves[0])) | set(files_of(halves[1]))
    shutil.copytree(halves[0], halves[1], dirs_exist_ok=True)
    assert set(files_of(halves[1])) == both
    source = tmp_path / "machine1" / "image.tif"
    looked = [*whole["chunks"][:60:2], *whole["chunks"][30:90]]
    with opened({**whole, "path": source}, tmp_path / "machine1" / "x.ome.zarr") as store:
        look(store, whole, looked)
        assert store.image.queue.tiles == 0
    swin2sr_ops.restore_image(source, tmp_path / "machine1" / "x.ome.zarr", **whole["asked"])
    found, expected = files_of(tmp_path / "machine1" / "x.ome.zarr"), dict(whole["files"])
    for files in (found, expected):  # which names the source
        document = json.loads(files.pop("zarr.json"))
        assert document["attributes"]["swin2sr_ops"].pop("source").endswith("image.tif")
        files["rest"] = json.dumps(document).encode()
    assert found == expected


def test_a_run_that_finishes_while_a_server_waits_for_it(whole: dict[str, Any], tmp_path: Path) -> None:
    """The server reads what the run has finished, and begins nothing beside it; another run is refused."""
    cache = tmp_path / "x.ome.zarr"
    swin2sr_ops.restore_image(whole["path"], tmp_path / "done.ome.zarr", **whole["asked"])
    lock = Destination.at(str(cache)).lock()
    lock.acquire()

    def finished() -> None:
        (tmp_path / "done.ome.zarr").rename(cache)
        lock.release()

    threading.Timer(0.5, finished).start()
    with opened(whole, cache) as store:
        look(store, whole, some(whole, 5))
        assert store.image.queue.tiles == 0
    assert not list(tmp_path.glob("*.partial*"))
    cache.rename(tmp_path / "done.ome.zarr")
    lock.acquire()
    threading.Timer(0.5, finished).start()
    with pytest.raises(OutputError, match="finished by another run meanwhile"):
        swin2sr_ops.restore_image(whole["path"], cache, **whole["asked"])
    assert files_of(cache) == whole["files"]


def test_a_run_waits_a_moment_for_a_server(
    whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server holds the lock while it adds a chunk: a run that starts just then is not refused."""
    cache = tmp_path / "x.ome.zarr"
    opened(whole, cache).close()
    lock = Destination.at(str(cache)).lock()
    lock.acquire()
    threading.Timer(0.4, lock.release).start()
    report = swin2sr_ops.restore_image(whole["path"], cache, **whole["asked"])
    assert report.state == "done"


DAMAGE = {
    "a chunk is gone": lambda path: path.unlink(),
    "a chunk is cut": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "a chunk is empty": lambda path: path.write_bytes(b""),
    "a chunk has another byte": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"),
}


@settings(max_examples=8)
@given(data=st.data())
def test_any_cache_state(data: st.DataObject, whole: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever was kept, evicted or torn, two servers with several readers each give the bytes of a run, and so does
    the run that finishes the cache."""
    cache = tmp_path_factory.mktemp("state") / "x.ome.zarr"
    chunks = st.lists(st.sampled_from(whole["chunks"]), max_size=20)
    with opened(whole, cache) as store:
        look(store, whole, data.draw(chunks, "kept"))
    partial = cache.with_name("x.ome.zarr.partial")
    there = sorted(path for path in partial.rglob("*") if path.is_file() and path.parent.name != ".swin2sr_ops")
    written = [path for path in there if "c" in path.relative_to(partial).parts or "done" in path.parts]
    for path in data.draw(st.lists(st.sampled_from(written), max_size=3, unique=True), "torn") if written else ():
        DAMAGE[data.draw(st.sampled_from(sorted(DAMAGE)))](path)
    limits = st.sampled_from([None, 1, 60_000, 1 << 30])
    with (
        opened(whole, cache, limit=data.draw(limits)) as first,
        opened(whole, cache, limit=data.draw(limits)) as second,
        ThreadPoolExecutor(data.draw(st.integers(1, 6), "readers")) as pool,
    ):
        asked = [(store, key) for store in (first, second) for key in data.draw(chunks, "asked")]
        order = data.draw(st.permutations(asked))
        found = list(pool.map(lambda one: sync(one[0].image.get(one[1])), order))
        assert found == [whole["files"][key] for _, key in order]
    if data.draw(st.booleans(), "finished"):
        swin2sr_ops.restore_image(whole["path"], cache, **whole["asked"])
        assert files_of(cache) == whole["files"]


_READ = """
import sys, zlib, swin2sr_ops
from zarr.core.sync import sync
with swin2sr_ops.restored_store(sys.argv[1], cache=sys.argv[2], model=sys.argv[3], chunks=100, axes="ZYX") as store:
    print("open", flush=True)
    sys.stdin.readline()
    for key in sys.argv[4:]:
        print(key, zlib.crc32(sync(store.image.get(key))), flush=True)
"""


def test_several_processes_at_once(whole: dict[str, Any], gray_model: ModelSpec, tmp_path: Path) -> None:
    """Servers of their own on one cache, begun together: each gives the bytes of a run."""
    cache, keys = tmp_path / "x.ome.zarr", [some(whole, 25, seed) for seed in range(3)]
    processes = []
    for own in keys:
        command = [sys.executable, "-c", _READ, str(whole["path"]), str(cache), str(gray_model.weights), *own]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
    outputs = [""] * len(processes)

    def talk(number: int) -> None:
        outputs[number] = processes[number].communicate("go\n", timeout=120)[0]

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(talk, range(3)))
    for own, process, output in zip(keys, processes, outputs, strict=True):
        assert process.returncode == 0
        assert output.splitlines() == [f"{key} {zlib.crc32(whole['files'][key])}" for key in own]
    swin2sr_ops.restore_image(whole["path"], cache, **whole["asked"])
    assert files_of(cache) == whole["files"]


def test_a_finished_output_does_not_count_against_a_limit(whole: dict[str, Any], tmp_path: Path) -> None:
    """Its chunks are not evicted, so those of other caches must not go instead of them."""
    limit = DiskLimit(400_000)
    swin2sr_ops.restore_image(whole["path"], tmp_path / "finished.ome.zarr", **whole["asked"])
    images = [
        RestoredImage(
            str(whole["path"]),
            Options(cache=str(tmp_path / name), name="x.ome.zarr"),
            RestoreRequest(**whole["asked"]),
            limit=limit,
        )
        for name in ("finished.ome.zarr", "other.ome.zarr")
    ]
    finished, other = images
    look_at(other, whole, whole["chunks"][:4])
    assert other.disk is not None
    kept = other.disk.bytes
    look_at(finished, whole, whole["chunks"])
    look_at(other, whole, whole["chunks"][4:5])
    assert other.disk.units == 5
    assert 0 < kept < other.disk.bytes <= 400_000
    assert finished.disk is not None
    assert finished.disk.bytes == 0
    for image in images:
        image.close()


def test_a_cache_that_a_run_finishes_counts_no_longer(whole: dict[str, Any], tmp_path: Path) -> None:
    cache = tmp_path / "x.ome.zarr"
    with opened(whole, cache, limit=10_000_000) as store:
        look(store, whole, whole["chunks"][:4])
        assert store.image.disk is not None
        assert store.image.disk.bytes > 0
        swin2sr_ops.restore_image(whole["path"], cache, **whole["asked"])
        store.image.memory.clear()
        look(store, whole, whole["chunks"][:1])
        assert (store.image.disk.bytes, store.image.disk.units, store.image.disk.oldest) == (0, 0, None)


def test_units_are_evicted_under_one_lock(
    whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "x.ome.zarr"
    with opened(whole, cache) as store:
        look(store, whole, whole["chunks"])
    locks = []
    acquire = FileLock.acquire
    monkeypatch.setattr(FileLock, "acquire", lambda self: (locks.append(self), acquire(self)))
    with opened(whole, cache, limit=200_000) as store:
        assert store.image.disk is not None
        assert 0 < store.image.disk.bytes <= 200_000
    assert len(locks) == 2  # to open it, and to evict


def test_a_chunk_that_cannot_be_removed_stops_no_other_cache(
    whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "x.ome.zarr"
    with opened(whole, cache) as store:
        look(store, whole, whole["chunks"])

    def refused(self: LocalFiles, key: str) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(LocalFiles, "remove", refused)
    with opened(whole, cache, limit=200_000) as store:
        assert store.image.disk is not None
        assert "cannot be written: Permission denied" in store.image.disk.problem
        assert store.image.disk.bytes > 200_000
        look(store, whole, whole["chunks"][:3])


def test_the_event_loop_waits_for_no_disk(
    whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of every level are read, kept, encoded and decoded in other threads."""
    threads: dict[str, set[threading.Thread]] = {}
    levels = set()

    def watched(owner: type, name: str) -> None:
        function = getattr(owner, name)

        def call(self: Any, *args: Any, **more: Any) -> Any:
            threads.setdefault(name, set()).add(threading.current_thread())
            if name == "put":
                levels.update(unit.level for unit in args[0])
            return function(self, *args, **more)

        monkeypatch.setattr(owner, name, call)

    for owner, names in ((DiskCache, ("get", "put")), (ChunkCodec, ("encode", "decode"))):
        for name in names:
            watched(owner, name)

    async def all_keys(image: RestoredImage) -> threading.Thread:
        for key in (*whole["chunks"], "zarr.json"):
            await image.get(key)
        await image.block(1, tuple(slice(0, n) for n in image.codec.shapes[1]))
        return threading.current_thread()

    with opened(whole, tmp_path / "x.ome.zarr") as store:
        loop = sync(all_keys(store.image))
    assert set(threads) == {"get", "put", "encode", "decode"}
    assert levels == {0, 1}
    assert all(loop not in found for found in threads.values())


def test_a_finished_output_says_its_range(
    whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pixels are not looked at again when it is opened."""
    cache = tmp_path / "x.ome.zarr"
    report = swin2sr_ops.restore_image(whole["path"], cache, **whole["asked"])
    monkeypatch.setattr("swin2sr_ops.run.ranges.intensity_maps", None)
    with opened(whole, cache) as store:
        assert [one.to_dict() for one in store.image.maps] == report.settings["intensity"]
        look(store, whole, whole["chunks"][:2])
