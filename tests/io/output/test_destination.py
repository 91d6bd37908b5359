"""An output destroys nothing, and a full disk gives a clear error."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from swin2sr_ops.batch.collect import collect
from swin2sr_ops.errors import OutputError
from swin2sr_ops.hooks.dispatch import create_sink as create_any_sink
from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.output.destination import Destination, disk_errors

INFO = ImageInfo(shape=(1024, 2048), axes="YX", dtype=np.dtype("u2"), chunks=(512, 512))


def test_parent_folder_must_exist(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        Destination.at(str(tmp_path / "no" / "out.tif")).check()


@pytest.mark.parametrize("out", ["in.zarr", "in.zarr/out.zarr", "in.zarr/0/out.zarr", "."])
def test_output_may_not_overlap_input(tmp_path, out):
    (tmp_path / "in.zarr" / "0").mkdir(parents=True)
    destination = Destination.at(str(tmp_path / out), overwrite=True)
    with pytest.raises(OutputError, match="input"):
        destination.check(str(tmp_path / "in.zarr"))


def test_a_link_to_the_input_is_the_input(tmp_path):
    (tmp_path / "in.zarr").mkdir()
    (tmp_path / "link.zarr").symlink_to(tmp_path / "in.zarr")
    with pytest.raises(OutputError, match="input"):
        Destination.at(str(tmp_path / "link.zarr"), overwrite=True).check(str(tmp_path / "in.zarr"))


def test_an_unfinished_output_can_be_an_input(tmp_path):
    """Its folder would be emptied when the output of that name is started."""
    (tmp_path / "a.zarr.partial").mkdir()
    with pytest.raises(OutputError, match="input"):
        Destination.at(str(tmp_path / "a.zarr")).check(str(tmp_path / "a.zarr.partial"))


def test_urls_cannot_be_written():
    with pytest.raises(OutputError, match="file system"):
        Destination.at("s3://bucket/out.zarr")


def test_a_file_created_meanwhile_is_kept(tmp_path):
    destination = Destination.at(str(tmp_path / "out.tif"))
    destination.start()
    finished = destination.partial / "image"
    finished.write_text("new")
    destination.path.write_text("someone else's")
    with pytest.raises(OutputError, match="meanwhile"):
        destination.appear(finished)
    assert destination.path.read_text() == "someone else's"


def test_a_folder_is_replaced_by_a_file(tmp_path):
    destination = Destination.at(str(tmp_path / "out"), overwrite=True)
    (destination.path / "old").mkdir(parents=True)
    destination.start()
    finished = destination.partial / "image"
    finished.write_text("new")
    destination.appear(finished)
    assert destination.path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_link_is_replaced_not_what_it_points_to(tmp_path):
    kept = tmp_path / "kept.zarr"
    (kept / "0").mkdir(parents=True)
    destination = Destination.at(str(tmp_path / "out.zarr"), overwrite=True)
    destination.path.symlink_to(kept)
    destination.start()
    destination.appear()
    assert (kept / "0").is_dir()
    assert not destination.path.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept.zarr", "out.zarr"]


def test_disk_errors_name_path_and_free_bytes(tmp_path):
    with pytest.raises(OutputError, match=r"disk is full.*out\.tif.*bytes are free"), disk_errors(tmp_path / "out.tif"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OutputError, match="cannot be written: Permission denied"), disk_errors(tmp_path / "out.tif"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"no tmpfs could be mounted: {made.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("name", ["out.zarr", "out.tif", "out.png"])
def test_a_full_disk_is_reported(small_disk, name):
    noise = np.random.default_rng(0).integers(0, 65535, INFO.shape).astype("u2")
    with pytest.raises(OutputError, match=r"disk is full.*bytes are free"):  # noqa: PT012  # where it fills up differs
        sink = create_any_sink(str(small_disk / name), INFO)
        for y in range(0, 1024, 512):
            for x in range(0, 2048, 512):
                sink[y : y + 512, x : x + 512] = noise[y : y + 512, x : x + 512]
        sink.finish({})
    Destination.at(str(small_disk / name)).discard()
    assert {p.name for p in small_disk.iterdir()} <= {f"{name}.partial.lock"}


def test_links_that_form_a_loop(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(tmp_path / {"a": "b", "b": "a"}[name])
    (tmp_path / "in.tif").touch()
    with pytest.raises(OutputError, match=r"The links in '.*a' form a loop"):
        Destination.at(str(tmp_path / "a" / "o.zarr")).check(str(tmp_path / "in.tif"))
    with pytest.raises(OutputError, match="exists already"):
        Destination.at(str(tmp_path / "a")).check(str(tmp_path / "in.tif"))
    Destination.at(str(tmp_path / "a"), overwrite=True).check(str(tmp_path / "in.tif"))  # the link is replaced
    with pytest.raises(OutputError, match="is not a folder"):
        Destination.at(str(tmp_path / "in.tif" / "o.zarr")).check(None)


@pytest.mark.parametrize("target", ["loop", "nowhere"])
def test_a_folder_of_outputs_that_is_a_link(target: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "out").symlink_to(tmp_path / target)
    for name in ("a.tif", "b.tif"):
        (tmp_path / name).touch()
    with pytest.raises(OutputError, match="form a loop" if target == "loop" else "does not exist"):
        collect([str(tmp_path / "a.tif"), str(tmp_path / "b.tif")], str(tmp_path / "out"), series=0)
