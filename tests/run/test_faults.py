"""Disk failures during a run: a clear error, no lost tiles, and the same command resumes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import swin2sr_ops
from swin2sr_ops.errors import OutputError, Swin2SROpsError
from swin2sr_ops.events import Event
from tests.conftest import write_model
from tests.kills import digest
from tests.run.stopping import stopped

CUT: dict[str, Any] = {"tile": 64, "chunks": 128}
TILES = 10


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_model(path, dim=4, depths=(1,), heads=(1,))
    return path


def write_source(path: Path, seed: int = 0) -> None:
    image = np.random.default_rng(seed).integers(1, 999, (100, 280)).astype("u2")
    tifffile.imwrite(path, image, tile=(64, 64))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small image whose result has a pyramid."""
    write_source(tmp_path / "source.tif")
    return tmp_path / "source.tif"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real small disk: a tmpfs."""
    folder, mount = tmp_path / "disk", shutil.which("mount")
    folder.mkdir()
    if mount is None or subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True
    ).returncode:  # fmt: skip
        pytest.skip("a tmpfs cannot be mounted here (needs root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def at(kind: str, done: int, act: Callable[[], object]) -> Callable[[Event], None]:
    """Progress that acts at one moment of the run."""

    def told(event: Event) -> None:
        if (event.kind, event.done) == (kind, done):
            act()

    return told


def fill(disk: Path) -> None:
    """Fill the disk, while other programs write there, too."""
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


# --- the output's disk ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.ome.zarr", "out.ome.tif"])
@pytest.mark.parametrize(("kind", "done"), [("tile", 4), ("tile", TILES), ("pyramid", 3)])
def test_full_disk(
    name: str, kind: str, done: int, disk: Path, source: Path, model: Path, tmp_path: Path, computed: list[str]
) -> None:
    """The disk fills up between tiles, in the pyramid, or at the end; with more space, the run is resumed."""
    swin2sr_ops.restore_image(source, tmp_path / name, model=model, **CUT)
    assert len(computed) == TILES
    computed.clear()
    with pytest.raises(OutputError, match=r"The disk is full: .*same command"):
        swin2sr_ops.restore_image(source, disk / name, model=model, progress=at(kind, done, lambda: fill(disk)), **CUT)
    assert not (disk / name).exists()
    first = len(computed)
    subprocess.run(["mount", "-o", "remount,size=32m", disk], check=True)
    report = swin2sr_ops.restore_image(source, disk / name, model=model, **CUT)
    assert report.resumed >= done if kind == "tile" else report.resumed == TILES
    assert len(computed) - first == TILES - report.resumed
    assert digest(disk / name) == digest(tmp_path / name)
    assert {p.name for p in disk.iterdir()} == {name, "filler"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes into read-only folders")
def test_read_only_folder(source: Path, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    for name in ("out.ome.zarr", "out.tif"):
        with pytest.raises(OutputError, match=r"cannot be written: Permission denied"):
            swin2sr_ops.restore_image(source, folder / name, model=model)


@pytest.mark.parametrize("name", ["out.ome.zarr", "out.ome.tif"])
@pytest.mark.parametrize("what", ["partial", "folder"])
@pytest.mark.parametrize("done", [4, TILES])
def test_the_half_done_output_is_removed(
    name: str, what: str, done: int, source: Path, model: Path, tmp_path: Path
) -> None:
    """Another program removes it during the run: no output without all tiles may look finished."""
    folder = tmp_path / "folder"
    folder.mkdir()
    lost = folder / f"{name}.partial" if what == "partial" else folder

    def remove() -> None:
        while lost.exists():  # others write there meanwhile
            shutil.rmtree(lost, ignore_errors=True)

    options = {**CUT, "pyramid": False} if name.endswith("zarr") else CUT
    with pytest.raises(OutputError, match=f"{name}.*removed.*restart"):
        swin2sr_ops.restore_image(source, folder / name, model=model, progress=at("tile", done, remove), **options)
    assert not (folder / name).exists()
    folder.mkdir(exist_ok=True)
    assert swin2sr_ops.restore_image(source, folder / name, model=model, restart=True, **options).state == "done"
    swin2sr_ops.restore_image(source, tmp_path / name, model=model, **options)
    assert digest(folder / name) == digest(tmp_path / name)


@pytest.mark.parametrize("record", [b"", bytes(700)], ids=["empty", "zeros"])
def test_a_record_that_a_power_cut_emptied(record: bytes, source: Path, model: Path, tmp_path: Path) -> None:
    """The run of the output is unknown: the same command starts anew instead of failing for ever."""
    out = tmp_path / "out.ome.zarr"
    stopped(source, out, model=model, **CUT)
    (tmp_path / "out.ome.zarr.partial" / ".swin2sr_ops" / "run.json").write_bytes(record)
    assert swin2sr_ops.restore_image(source, out, model=model, **CUT).resumed == 0
    swin2sr_ops.restore_image(source, tmp_path / "whole.ome.zarr", model=model, **CUT)
    assert digest(out) == digest(tmp_path / "whole.ome.zarr")


@pytest.mark.parametrize("record", [b"{", b"[1]", b"\xff\xfe\0"])
def test_a_damaged_record(record: bytes, source: Path, model: Path, tmp_path: Path) -> None:
    """The run of the unfinished output is unknown: it stays until the user discards it."""
    out = tmp_path / "out.ome.zarr"
    stopped(source, out, model=model, **CUT)
    (tmp_path / "out.ome.zarr.partial" / ".swin2sr_ops" / "run.json").write_bytes(record)
    before = digest(tmp_path / "out.ome.zarr.partial")
    with pytest.raises(OutputError, match=r"no run of this program.*restart"):
        swin2sr_ops.restore_image(source, out, model=model, **CUT)
    assert digest(tmp_path / "out.ome.zarr.partial") == before
    report = swin2sr_ops.restore_image(source, out, model=model, restart=True, **CUT)
    assert (report.state, report.resumed) == ("done", 0)


# --- the input ------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.mark.parametrize("when", ["in a run", "between two"])
def test_truncated_source(when: str, source: Path, model: Path, tmp_path: Path) -> None:
    """Truncation is detected and finished tiles are kept; a run that read another input starts anew."""
    out, whole, stamp = tmp_path / "out.ome.zarr", source.read_bytes(), source.stat().st_mtime_ns
    progress = None
    if when == "between two":
        stopped(source, out, model=model, **CUT)
        truncate(source)
    else:
        progress = at("tile", 4, lambda: truncate(source))
    with pytest.raises(Swin2SROpsError, match=r"source.tif.*(truncated|changed|damaged)|source .*was"):
        swin2sr_ops.restore_image(source, out, model=model, progress=progress, **CUT)
    assert not out.exists()
    source.write_bytes(whole)
    os.utime(source, ns=(stamp, stamp))
    if when == "between two":
        assert swin2sr_ops.restore_image(source, out, model=model, **CUT).resumed >= 4
    else:
        with pytest.raises(OutputError, match="start anew with restart"):
            swin2sr_ops.restore_image(source, out, model=model, **CUT)
        swin2sr_ops.restore_image(source, out, model=model, restart=True, **CUT)
    swin2sr_ops.restore_image(source, tmp_path / "undisturbed.ome.zarr", model=model, **CUT)
    assert digest(out / "0") == digest(tmp_path / "undisturbed.ome.zarr" / "0")


@pytest.mark.parametrize("what", ["pixels", "time"])
@pytest.mark.parametrize("form", ["tif", "zarr"])
def test_another_source(what: str, form: str, source: Path, model: Path, tmp_path: Path) -> None:
    """Another source of the same name and size does not complete an unfinished output, unless it is restarted."""
    out = tmp_path / "out.ome.zarr"
    if form == "zarr":
        source = as_zarr(source)
    stopped(source, out, model=model, **CUT)
    change(source, what)
    with pytest.raises(
        OutputError, match=r"unfinished output of a different run.*source .*was .*, now .*restart"
    ) as caught:
        swin2sr_ops.restore_image(source, out, model=model, **CUT)
    first = str(caught.value).split("source ")[1].split(". Give the same")[0].split(";")[0]
    was, now = first.split(" was ")[1].split(", now ")
    assert was != now
    assert (tmp_path / "out.ome.zarr.partial").is_dir()
    report = swin2sr_ops.restore_image(source, out, model=model, restart=True, **CUT)
    assert (report.state, report.resumed) == ("done", 0)


@pytest.mark.parametrize("form", ["tif", "zarr"])
def test_a_source_that_changes_meanwhile(form: str, source: Path, model: Path, tmp_path: Path) -> None:
    """An output of two images never becomes finished."""
    out = tmp_path / "out.ome.zarr"
    if form == "zarr":
        source = as_zarr(source)
    with pytest.raises(Swin2SROpsError, match=r"changed during the run.*restart"):
        swin2sr_ops.restore_image(
            source, out, model=model, progress=at("tile", 4, lambda: change(source, "pixels")), **CUT
        )
    assert not out.exists()
    assert swin2sr_ops.restore_image(source, out, model=model, restart=True, **CUT).state == "done"


def as_zarr(source: Path) -> Path:
    import zarr

    path = source.with_suffix(".zarr")
    zarr.create_array(path, data=tifffile.imread(source), chunks=(64, 64))
    return path


def change(source: Path, what: str) -> None:
    """Change the pixels, or only the modification time."""
    if source.is_dir():
        (chunk,) = (p for p in source.rglob("0/1") if p.is_file())
        os.utime(chunk, ns=(0, chunk.stat().st_mtime_ns + 10**9))
        return
    stamp = source.stat().st_mtime_ns
    if what == "pixels":
        write_source(source, seed=1)
    os.utime(source, ns=(stamp, stamp + 10**9))
