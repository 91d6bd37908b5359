"""Regions, blocks, axes and paths: checks and their messages."""

from __future__ import annotations

import numpy as np
import pytest

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.base import ImageInfo, check_axes, check_block, check_region, chunk_grid, json_ready
from swin2sr_ops.io.storage.paths import existing_path, local_path

INFO = ImageInfo(shape=(100, 130), axes="YX", dtype=np.dtype("u2"), chunks=(50, 50), pixel_size={"Y": 2.0, "X": 2.0})


def test_open_ends_are_filled_in():
    assert check_region((slice(None), slice(5, None)), (10, 20)) == (slice(0, 10), slice(5, 20))


@pytest.mark.parametrize("part", [slice(0, 11), slice(-1, 4), slice(5, 4), slice(0, 4, 2)])
def test_bad_bounds_are_refused(part):
    with pytest.raises(RequestError, match="region"):
        check_region((part,), (10,))


def test_blocks_must_keep_to_the_grid():
    unit = (50, 50)
    block = np.zeros((50, 30), np.uint16)
    assert check_block((slice(50, 100), slice(100, 130)), block, INFO, unit)  # the image's end is an end
    with pytest.raises(RequestError, match="multiple of 50"):
        check_block((slice(50, 100), slice(70, 100)), block, INFO, unit)
    with pytest.raises(RequestError, match="block"):
        check_block((slice(50, 100), slice(100, 130)), block.T, INFO, unit)
    with pytest.raises(RequestError, match="dtype"):
        check_block((slice(50, 100), slice(100, 130)), block.astype("f4"), INFO, unit)


@pytest.mark.parametrize("axes", ["YXC", "YY", "CX", "Y1"])
def test_axes_must_name_an_image(axes):
    with pytest.raises(RequestError, match="axes"):
        check_axes(axes, 2)


def test_chunks_for_every_axis_or_for_the_plane():
    stack = ImageInfo(shape=(9, 100, 130, 3), axes="ZYXS", dtype=np.dtype("u1"), chunks=(1, 50, 50, 3))
    assert chunk_grid(stack, None) == (1, 100, 130, 1)
    assert chunk_grid(stack, (64, 32)) == (1, 64, 32, 1)
    assert chunk_grid(stack, (2, 64, 32, 3)) == (2, 64, 32, 3)
    for bad in ((4, 4, 4), (0, 4)):
        with pytest.raises(RequestError, match="chunks"):
            chunk_grid(stack, bad)


def test_provenance_becomes_strict_json():
    given = {"a": np.float32("nan"), "b": (1, np.int64(2)), 3: {"c": None, "d": INFO.dtype}}
    assert json_ready(given) == {"a": "nan", "b": [1, 2], "3": {"c": None, "d": "uint16"}}


def test_axes_may_be_small_letters():
    assert check_axes("cyx", 3) == "CYX"


def test_urls_and_paths():
    assert str(local_path("file:///a%20b/c.tif")) == "/a b/c.tif"
    assert local_path("https://host/x.zarr") is None
    assert existing_path("s3://bucket/x.zarr") is None
    with pytest.raises(FormatError, match="no file or folder"):
        existing_path("/no/such/image.tif")


def test_scaling_keeps_the_corner():
    fine = INFO.scaled(4)
    assert fine.shape == (400, 520)
    for axis in "YX":
        corner = fine.origin[axis] - fine.pixel_size[axis] / 2
        assert corner == -INFO.pixel_size[axis] / 2
