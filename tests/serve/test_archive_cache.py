"""The cache of a plate is the unfinished output of the archive's run, which finishes it to the same bytes."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from zarr.core.sync import sync

from swin2sr_ops.errors import OutputError
from swin2sr_ops.events import ImageEnd
from swin2sr_ops.io.output.destination import RECORD
from swin2sr_ops.io.output.journal import OWN_FOLDER
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.archive import run_collection
from swin2sr_ops.serve.options import Options
from swin2sr_ops.serve.served import Served
from swin2sr_ops.spec import ModelSpec
from tests import docs_files
from tests.serve.test_store import files_of


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory, gray_model: ModelSpec) -> dict[str, Any]:
    """A plate, its request, and what the archive's run makes of it."""
    folder = tmp_path_factory.mktemp("plate")
    docs_files.plate(folder / "plate.zarr")
    request = RestoreRequest(model=gray_model, chunks=16)
    run_collection(str(folder / "plate.zarr"), folder / "out.zarr", request)
    files = files_of(folder / "out.zarr")
    chunks = sorted(key for key in files if "/c/" in key)
    return {"path": folder / "plate.zarr", "request": request, "files": files, "chunks": chunks}


def opened(plate: dict[str, Any], cache: Path, **more: Any) -> Served:
    cache.mkdir(exist_ok=True)
    return Served(str(plate["path"]), plate["request"], Options(cache=str(cache), **more))


def look(served: Served, plate: dict[str, Any], keys: list[str]) -> None:
    for key in keys:

        async def get(key: str = key) -> bytes | None:
            image, inside = await served.locate(key)
            return await served.group(inside) if image is None else await image.get(inside)

        assert sync(get()) == plate["files"][key], key


def tiles(served: Served) -> int:
    return sum(image.queue.tiles for image in served.opened.values())


def finish(plate: dict[str, Any], cache: Path, **more: Any) -> Any:
    return run_collection(str(plate["path"]), cache / "plate.zarr", plate["request"], **more)


def some(plate: dict[str, Any], count: int, seed: int = 0) -> list[str]:
    return random.Random(seed).sample(plate["chunks"], count)


def test_the_archive_command_finishes_it(plate: dict[str, Any], tmp_path: Path) -> None:
    cache, keys = tmp_path / "looked", some(plate, 8)
    served = opened(plate, cache)
    look(served, plate, keys)
    served.close()
    assert not (cache / "plate.zarr").exists()  # unfinished
    again = opened(plate, cache)
    look(again, plate, keys)
    assert tiles(again) == 0
    again.close()
    report = finish(plate, cache)
    assert report.state == "done"
    assert files_of(cache / "plate.zarr") == plate["files"]
    assert not list(cache.glob("*.partial*"))
    done = opened(plate, cache)  # and the finished archive is served as it is
    look(done, plate, list(plate["files"]))
    assert tiles(done) == 0
    done.close()


def test_all_was_looked_at(plate: dict[str, Any], tmp_path: Path) -> None:
    """Then the archive's run restores nothing."""
    served = opened(plate, tmp_path / "looked")
    look(served, plate, plate["chunks"])
    served.close()
    report = finish(plate, tmp_path / "looked")
    assert report.resumed == report.tiles
    assert files_of(tmp_path / "looked" / "plate.zarr") == plate["files"]


def test_the_run_finishes_while_it_is_served(plate: dict[str, Any], tmp_path: Path) -> None:
    """Its chunks move to another folder: chunks that are absent there must not count as empty."""
    cache = tmp_path / "looked"
    served = opened(plate, cache)
    look(served, plate, some(plate, 5))
    finish(plate, cache)
    for image in served.opened.values():
        image.memory.clear()
    before = tiles(served)
    look(served, plate, plate["chunks"])
    assert tiles(served) == before
    served.close()
    assert files_of(cache / "plate.zarr") == plate["files"]


def test_images_that_a_stopped_run_has_finished(plate: dict[str, Any], tmp_path: Path) -> None:
    """They are read where they are; when the run resumes, it takes them apart again, and they are restored."""
    cache = tmp_path / "looked"
    cache.mkdir()

    def stop_after_one(event: Any) -> None:
        if isinstance(event, ImageEnd):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(plate, cache, progress=stop_after_one)
    first = plate["chunks"][0].split("/c/")[0].rsplit("/", 1)[0]
    own = [key for key in plate["chunks"] if key.startswith(f"{first}/")]
    served = opened(plate, cache)
    look(served, plate, own[:3])
    assert tiles(served) == 0
    partial = cache / "plate.zarr.partial" / first
    partial.rename(partial.with_name(f"{partial.name}.partial"))  # as a run that resumes does
    for image in served.opened.values():
        image.memory.clear()
    look(served, plate, own)
    served.close()
    finish(plate, cache)
    assert files_of(cache / "plate.zarr") == plate["files"]


def test_a_run_at_work_and_two_servers(plate: dict[str, Any], tmp_path: Path) -> None:
    """None of them disturbs another, whichever comes first."""
    cache = tmp_path / "looked"
    first, second = opened(plate, cache), opened(plate, cache)
    reports: list[Any] = []
    run = threading.Thread(target=lambda: reports.append(finish(plate, cache)))
    readers = [
        threading.Thread(target=look, args=(served, plate, some(plate, len(plate["chunks"]), seed)))
        for seed, served in enumerate((first, second))
    ]
    for thread in (readers[0], run, readers[1]):
        thread.start()
    for thread in (run, *readers):
        thread.join()
    first.close()
    second.close()
    if reports[0].state != "done":  # an image's chunk was added for longer than the run waits
        reports.append(finish(plate, cache))
    assert reports[-1].state in ("done", "already")
    assert files_of(cache / "plate.zarr") == plate["files"]


def test_a_limit_is_for_all_images(plate: dict[str, Any], tmp_path: Path) -> None:
    cache, limit = tmp_path / "looked", 3000
    served = opened(plate, cache, limit=limit)
    look(served, plate, plate["chunks"])
    assert len(served.opened) == 3
    kept = sum(len(value) for key, value in files_of(cache).items() if "/c/" in key and "/done/" not in key)
    assert 0 < kept <= limit
    assert sum(image.disk.bytes for image in served.opened.values() if image.disk) == kept
    served.close()
    again = opened(plate, cache, limit=1000)  # images that hold something count before they are asked for
    kept = sum(len(value) for key, value in files_of(cache).items() if "/c/" in key and "/done/" not in key)
    assert kept <= 1000
    again.close()
    finish(plate, cache)
    assert files_of(cache / "plate.zarr") == plate["files"]


def test_a_bad_image_does_not_stop_the_start(
    plate: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A limit opens the images that have chunks in the cache: one that fails then fails its own requests only."""
    cache = tmp_path / "looked"
    served = opened(plate, cache)
    first, *others = served.names
    look(served, plate, plate["chunks"])
    served.close()
    record = cache / "plate.zarr.partial" / f"{first}.partial" / RECORD
    record.write_text(json.dumps({"fingerprint": "of another run", "settings": {}}))
    again = opened(plate, cache, limit=10_000_000)
    assert list(again.opened) == others
    assert f"The cached chunks of '{first}' do not count." in caplog.text
    look(again, plate, [key for key in plate["chunks"] if not key.startswith(f"{first}/")])
    with pytest.raises(OutputError, match="unfinished output of a different run"):
        again.image_of(first)
    again.close()


def test_a_limit_makes_no_folders(plate: dict[str, Any], tmp_path: Path) -> None:
    cache = tmp_path / "looked"
    opened(plate, cache, limit=1000).close()
    assert {path.name for path in (cache / "plate.zarr.partial").iterdir()} == {OWN_FOLDER}


def test_memory_is_shared(plate: dict[str, Any]) -> None:
    served = Served(str(plate["path"]), plate["request"], Options(limit=3000))
    look(served, plate, plate["chunks"])
    assert len(served.opened) == 3
    assert {image.memory.bytes for image in served.opened.values()} == {
        sum(sum(map(len, filter(None, v.values()))) for v in image.memory._kept.units.values())
        for image in served.opened.values()
    }
    assert served.image_of(served.names[0]).memory.bytes <= 3000
    served.close()


def test_another_request_is_refused(plate: dict[str, Any], tmp_path: Path) -> None:
    opened(plate, tmp_path / "looked").close()
    other = {**plate, "request": RestoreRequest(model=plate["request"].model, chunks=32)}
    with pytest.raises(OutputError, match="chunk was"):
        opened(other, tmp_path / "looked")


_SERVE = """
import asyncio, sys
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.serve.options import Options
from swin2sr_ops.serve.served import Served
served = Served(sys.argv[1], RestoreRequest(model=sys.argv[3], chunks=16), Options(cache=sys.argv[2]))

async def main():
    for key in sys.argv[4:]:
        image, inside = await served.locate(key)
        await image.get(inside)
        print(key, flush=True)

asyncio.run(main())
"""


def test_servers_killed_at_any_moment(plate: dict[str, Any], tmp_path: Path, gray_model: ModelSpec) -> None:
    """Several processes on one cache, killed one after the other."""
    cache = tmp_path / "looked"
    cache.mkdir()
    processes = []
    for seed in range(3):
        keys = some(plate, len(plate["chunks"]), seed)
        command = [sys.executable, "-c", _SERVE, str(plate["path"]), str(cache), str(gray_model.weights), *keys]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    for count, process in enumerate(processes):
        with process:
            assert process.stdout is not None
            for _ in range(2 * count + 1):
                assert process.stdout.readline()
            process.send_signal(signal.SIGKILL)
    served = opened(plate, cache)
    look(served, plate, some(plate, 6, seed=9))
    served.close()
    finish(plate, cache)
    assert files_of(cache / "plate.zarr") == plate["files"]
