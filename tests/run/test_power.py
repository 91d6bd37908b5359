"""After a power cut, outputs with their final name are complete, and torn pieces are detected and made again."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import swin2sr_ops
from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.output import destination
from swin2sr_ops.io.storage import durable
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.archive import run_collection
from swin2sr_ops.spec import ModelSpec
from tests.run.stopping import Stop, stopped
from tests.run.test_archive import tree, write_plate

CUT: dict[str, Any] = {"tile": 32, "chunks": 64}


class ForgetfulDisk:
    """A disk that stores names at once but bytes only when synced: the worst case of a power cut."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.bytes: dict[str, bytes] = {}
        self.names: set[str] = set()  # folders whose names are synced
        rename = os.replace

        def sync(path: Path) -> None:
            self.bytes |= {str(p): p.read_bytes() for p in (path, *path.rglob("*")) if p.is_file()}

        def replace(old: Any, new: Any) -> None:
            if ".partial" in str(old) and ".partial" not in str(new):  # appears under its name
                moved = [p for p in (Path(old), *Path(old).rglob("*")) if p.is_file()]
                assert all(str(p) in self.bytes for p in moved), "the name came before the bytes"
            rename(old, new)
            for name in [n for n in self.bytes if n == str(old) or n.startswith(f"{old}/")]:
                self.bytes[str(new) + name.removeprefix(str(old))] = self.bytes.pop(name)
            self.names.discard(str(Path(new).parent))

        patch.setattr(destination, "sync_tree", sync)
        patch.setattr(destination, "sync_folder", lambda path: self.names.add(str(path)))
        patch.setattr(destination.os, "replace", replace)

    def check(self, out: Path) -> None:
        """Compare what the disk holds with what the program wrote."""
        written = [p for p in (out, *out.rglob("*")) if p.is_file()]
        assert written
        assert {str(p): self.bytes.get(str(p)) for p in written} == {str(p): p.read_bytes() for p in written}
        assert str(out.parent) in self.names


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(1, 250, (70, 100)).astype("u1"))
    return path


@pytest.mark.parametrize("name", ["o.ome.zarr", "o.ome.tif", "o.png"])
def test_an_output_is_on_the_disk_before_it_has_its_name(
    name: str, source: Path, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = ForgetfulDisk(monkeypatch)
    swin2sr_ops.restore_image(source, tmp_path / name, model=gray_model, **CUT)
    disk.check(tmp_path / name)


def test_an_output_that_replaces_another(
    source: Path, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "o.ome.zarr"
    swin2sr_ops.restore_image(source, out, model=gray_model, **CUT)
    disk = ForgetfulDisk(monkeypatch)
    swin2sr_ops.restore_image(source, out, model=gray_model, range=(0, 200), overwrite=True, **CUT)
    disk.check(out)


def test_a_cog_with_its_sidecars(gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "height": 40, "width": 50, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(
        tmp_path / "g.tif", "w", transform=rasterio.transform.from_origin(5e5, 5e6, 10, 10), **profile
    ) as file:
        file.write(np.full((1, 40, 50), 7, "u1"))
    disk = ForgetfulDisk(monkeypatch)
    swin2sr_ops.restore_image(tmp_path / "g.tif", tmp_path / "o.tif", model=gray_model)
    disk.check(tmp_path / "o.tif")


def test_a_plate_is_on_the_disk_before_it_has_its_name(
    gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plate(tmp_path / "plate.zarr", "0.5")
    disk = ForgetfulDisk(monkeypatch)
    run_collection(tmp_path / "plate.zarr", tmp_path / "out.zarr", RestoreRequest(model=gray_model))
    disk.check(tmp_path / "out.zarr")
    assert not list((tmp_path / "out.zarr").rglob(".swin2sr_ops"))


def test_the_record_of_a_run_is_synced(
    source: Path, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power cut leaves an empty one, and the run of the unfinished output is unknown."""
    synced: list[str] = []
    sync = os.fsync

    def note(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        sync(handle)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not name open files")
    monkeypatch.setattr(os, "fsync", note)
    swin2sr_ops.restore_image(source, tmp_path / "o.ome.zarr", model=gray_model, **CUT)
    assert any("run.json" in name for name in synced)
    assert str(tmp_path / "o.ome.zarr.partial" / ".swin2sr_ops") in synced


# --- torn pieces of an unfinished output ----------------------------------------------------------


LAYOUTS: dict[str, dict[str, Any]] = {
    "chunks": {"chunks": 64},
    "shards": {"chunks": 32, "shards": 64},
    "v2": {"chunks": 64, "ngff": "0.4"},
}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("marked", [True, False], ids=["marked", "marker gone"])
def test_torn_pieces_are_made_again(
    layout: str, damage: str, marked: bool, source: Path, gray_model: ModelSpec, tmp_path: Path
) -> None:
    options = {"model": gray_model, "tile": 32, **LAYOUTS[layout]}
    swin2sr_ops.restore_image(source, tmp_path / "whole.ome.zarr", **options)
    out = tmp_path / "o.ome.zarr"
    stopped(source, out, "tile", 5, **options)
    partial = tmp_path / "o.ome.zarr.partial"
    for piece in [p for p in sorted((partial / "0").rglob("*")) if p.is_file()]:  # a chunk or two, and documents
        piece.write_bytes(DAMAGES[damage](piece.read_bytes()))
    if not marked:
        shutil.rmtree(partial / ".swin2sr_ops" / "done")
    swin2sr_ops.restore_image(source, out, **options)
    assert tree(out) == tree(tmp_path / "whole.ome.zarr")


@pytest.mark.parametrize("damage", [*DAMAGES, "gone", "one bit"])
def test_finished_images_of_an_unfinished_plate_are_verified(
    damage: str, gray_model: ModelSpec, tmp_path: Path
) -> None:
    write_plate(tmp_path / "plate.zarr", "0.5")
    request = RestoreRequest(model=gray_model, chunks=64)
    run_collection(tmp_path / "plate.zarr", tmp_path / "whole.zarr", request)
    ended = []

    def progress(event: Any) -> None:
        kind = event.kind
        ended.append(kind) if kind == "image end" else None
        if len(ended) == 1:
            raise Stop

    with pytest.raises(Stop):
        run_collection(tmp_path / "plate.zarr", tmp_path / "out.zarr", request, progress=progress)
    chunk = next(p for p in sorted((tmp_path / "out.zarr.partial" / "A/1/0/0/c").rglob("*")) if p.is_file())
    data = chunk.read_bytes()
    if damage == "gone":
        chunk.unlink()
    else:
        chunk.write_bytes(DAMAGES.get(damage, lambda b: b[:99] + bytes([b[99] ^ 4]) + b[100:])(data))
    report = run_collection(tmp_path / "plate.zarr", tmp_path / "out.zarr", request)
    assert report.resumed > 0
    assert tree(tmp_path / "out.zarr") == tree(tmp_path / "whole.zarr")


@pytest.mark.parametrize("damage", [*DAMAGES, "gone"])
@pytest.mark.parametrize("finished", [True, False], ids=["finished image", "begun image"])
def test_a_torn_record_of_an_image_of_an_archive(
    damage: str, finished: bool, gray_model: ModelSpec, tmp_path: Path
) -> None:
    """It is not synced: without it the image is begun anew, for nothing else vouches for its chunks."""
    write_plate(tmp_path / "plate.zarr", "0.5")
    request = RestoreRequest(model=gray_model, chunks=64)
    run_collection(tmp_path / "plate.zarr", tmp_path / "whole.zarr", request)

    def progress(event: Any) -> None:
        if event.kind == ("image end" if finished else "tile"):
            raise Stop

    with pytest.raises(Stop):
        run_collection(tmp_path / "plate.zarr", tmp_path / "out.zarr", request, progress=progress)
    image = tmp_path / "out.zarr.partial" / ("A/1/0" if finished else "A/1/0.partial")
    record = image / ".swin2sr_ops/run.json"
    if damage == "gone":
        record.unlink()
    else:
        record.write_bytes(DAMAGES[damage](record.read_bytes()))
    for chunk in [p for p in (image / "0/c").rglob("*") if p.is_file()]:
        chunk.write_bytes(bytes(chunk.stat().st_size))
    report = run_collection(tmp_path / "plate.zarr", tmp_path / "out.zarr", request)
    assert report.state == "done"
    assert tree(tmp_path / "out.zarr") == tree(tmp_path / "whole.zarr")


def test_syncs_do_not_grow_with_the_images_of_an_archive(
    gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zarr

    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(handle) or sync(handle))  # type: ignore[func-returns-value]
    counts = []
    for count in (2, 6):
        root = zarr.open_group(tmp_path / f"{count}.zarr", mode="w")
        for number in range(count):
            root.create_array(str(number), data=np.full((20, 20), 7, "u1"), dimension_names=["y", "x"])
        synced.clear()
        out = tmp_path / f"{count}.out.zarr"
        run_collection(tmp_path / f"{count}.zarr", out, RestoreRequest(model=gray_model, range=(0, 250)))
        counts.append(len(synced))
    assert counts[0] == counts[1] < 8


@pytest.mark.parametrize("code", ["ENOSYS", "EPERM", "EINVAL"])
def test_a_file_system_without_syncfs(
    code: str, source: Path, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is synced instead."""

    def refused(handle: int) -> int:
        ctypes.set_errno(getattr(errno, code))
        return -1

    synced = []
    monkeypatch.setattr(durable, "_syncfs", lambda: refused)
    monkeypatch.setattr(durable, "sync_file", synced.append)
    swin2sr_ops.restore_image(source, tmp_path / "o.ome.zarr", model=gray_model, **CUT)
    assert any(path.name == "zarr.json" for path in synced)


@pytest.mark.parametrize("ends", ["at its end", "in the middle"])
def test_a_source_that_changed_spoils_the_run(ends: str, source: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    """Otherwise, with the old file back in place, the same command would finish with pixels of both."""
    out, old, when = tmp_path / "o.ome.zarr", source.read_bytes(), source.stat()
    options = {"model": gray_model, "range": (0, 250), **CUT}

    def change(event: Any) -> None:
        kind, done = event.kind, event.done
        if kind == "tile" and done == 2:
            tifffile.imwrite(source, np.full((70, 100), 9, "u1"))
        if kind == "tile" and done == 6 and ends == "in the middle":
            raise Stop

    with pytest.raises((OutputError, Stop)):
        swin2sr_ops.restore_image(source, out, progress=change, **options)
    source.write_bytes(old)
    os.utime(source, ns=(when.st_atime_ns, when.st_mtime_ns))
    with pytest.raises(
        OutputError, match=r"the partial output mixes two images: start anew with restart \(--restart\)\.$"
    ):
        swin2sr_ops.restore_image(source, out, **options)
    swin2sr_ops.restore_image(source, out, restart=True, **options)
    swin2sr_ops.restore_image(source, tmp_path / "whole.ome.zarr", **options)
    assert tree(out) == tree(tmp_path / "whole.ome.zarr")
