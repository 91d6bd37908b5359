"""OME-Zarr for other readers: valid metadata, axes in order, pyramids in the right place."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import yaozarrs
import zarr
from numpy.testing import assert_allclose, assert_array_equal

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.output.pyramid import halve
from swin2sr_ops.io.zarr.sink import create_sink
from swin2sr_ops.io.zarr.source import open_source
from swin2sr_ops.testing import SinkContract, pieces, whole
from tests.io.writing import info_of, writer

RNG = np.random.default_rng(0)
written = writer(create_sink)


class TestOme05(SinkContract):
    options: ClassVar[dict] = {}

    @pytest.fixture
    def create(self, tmp_path):
        (tmp_path / "out").mkdir()
        path = str(tmp_path / "out" / "a.ome.zarr")
        return lambda info, **options: create_sink(path, info, **self.options, **options)


class TestOme04(TestOme05):
    options: ClassVar[dict] = {"ngff": "0.4", "chunks": (1, 32, 64)}


class TestSharded(TestOme05):
    options: ClassVar[dict] = {"chunks": (1, 16, 16), "shards": (1, 32, 64)}


class TestColour(TestOme05):
    axes, shape, dtype = "YXS", (70, 90, 3), "uint8"


class TestFloat(TestOme05):
    axes, shape, dtype = "ZCYX", (3, 2, 40, 50), "float32"


CASES = {
    "plane": ("YX", (600, 40), "YX"),
    "imagej": ("TZCYX", (2, 3, 2, 40, 600), "TCZYX"),
    "colour": ("YXS", (40, 600, 3), "CYX"),
    "planar colour": ("SYX", (3, 40, 50), "CYX"),
    "colour stack": ("ZYXS", (2, 40, 50, 4), "CZYX"),
    "bands": ("YXC", (40, 50, 6), "CYX"),
    "own axis": ("QYX", (2, 40, 50), "QYX"),
}


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
@pytest.mark.parametrize("case", CASES)
def test_valid_and_in_order(tmp_path, case, ngff):
    axes, shape, stored = CASES[case]
    image = RNG.integers(0, 60000, shape).astype("u2")
    path = written(tmp_path / "a.zarr", image, axes, ngff=ngff)
    yaozarrs.validate_zarr_store(path)
    source = open_source(path)
    assert source.info.axes == stored
    moved = [axes.index(a) if a in axes else axes.index("S") for a in stored]
    assert_array_equal(source.read(whole(source.info)), image.transpose(moved))


def test_validation_looks_at_something(tmp_path):
    """The validator must be able to fail, or the tests above prove nothing."""
    path = written(tmp_path / "a.zarr", np.ones((4, 5), "u1"), "YX")
    group = zarr.open_group(path, mode="r+")
    broken = json.loads(json.dumps(group.attrs["ome"]))
    del broken["multiscales"][0]["axes"]
    group.attrs["ome"] = broken
    with pytest.raises(ValueError, match="axes"):
        yaozarrs.validate_zarr_store(path)


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_pyramid_pixels_and_place(tmp_path, ngff):
    image = RNG.integers(0, 60000, (2, 1101, 1300)).astype("u2")
    known = {"pixel_size": {"Y": 0.5, "X": 0.25}, "origin": {"Y": 10.0}, "units": {"Y": "micrometer", "X": "nanometer"}}
    path = written(tmp_path / "a.zarr", image, "CYX", known=known, ngff=ngff, chunks=(1, 200, 300))
    expected, k = image, 0
    while True:
        level = open_source(path, level=k)
        assert_array_equal(level.read(whole(level.info)), expected)
        assert level.info.pixel_size == {"Y": 0.5 * 2**k, "X": 0.25 * 2**k}
        assert_allclose(level.info.origin["Y"], 10 + 0.25 * (2**k - 1))
        assert_allclose(level.info.origin["X"], 0.125 * (2**k - 1))
        assert level.info.units == known["units"]
        k += 1
        if k == level.info.levels:
            break
        expected = halve(expected, "CYX")
    assert k == 3
    assert level.info.shape == (2, 276, 325)
    single = written(tmp_path / "b.zarr", image, "CYX", pyramid=False)
    assert open_source(single).info.levels == 1


def test_pyramid_ignores_nan_and_nodata(tmp_path):
    image = RNG.random((600, 600)).astype("f4")
    image[:301, :301] = np.nan
    path = written(tmp_path / "a.zarr", image, "YX")
    level = open_source(path, level=1)
    assert_array_equal(level.read(whole(level.info)), halve(image, "YX"))
    assert np.isnan(level.read(whole(level.info))).sum() == 150 * 150
    image = np.where(np.isnan(image), -999, image).astype("i2")
    path = written(tmp_path / "b.zarr", image, "YX", known={"nodata": -999.0})
    level = open_source(path, level=1)
    assert level.info.nodata == -999.0
    assert set(np.unique(level.read(whole(level.info)))) == {-999, 0}


def test_nan_as_nodata_survives_json(tmp_path):
    path = written(tmp_path / "a.zarr", np.ones((4, 5), "f4"), "YX", known={"nodata": float("nan")})
    assert np.isnan(open_source(path).info.nodata)
    json.loads((tmp_path / "a.zarr" / "zarr.json").read_text(), parse_constant=pytest.fail)


def test_channels_and_windows(tmp_path):
    image = np.zeros((2, 40, 50), "u2")
    image[0, 0, 0], image[1, 0, 0] = 900, 7
    known = {"channels": ({"label": "DAPI", "color": "0000FF", "window": {"start": 5, "end": 6, "min": 0, "max": 9}},)}
    channels = open_source(written(tmp_path / "a.zarr", image, "CYX", known=known)).info.channels
    assert channels[0] == {**known["channels"][0], "active": True}
    assert channels[1]["label"] == "Channel 1"
    assert channels[1]["window"] == {"start": 0.0, "end": 7.0, "min": 0.0, "max": 7.0}
    colour = open_source(written(tmp_path / "b.zarr", np.ones((4, 5, 3), "u1"), "YXS")).info.channels
    assert [(c["label"], c["color"]) for c in colour] == [("Red", "FF0000"), ("Green", "00FF00"), ("Blue", "0000FF")]
    assert all((c["window"]["start"], c["window"]["end"]) == (0, 255) for c in colour)


def test_provenance_and_storage(tmp_path):
    image = RNG.integers(0, 60000, (3, 700, 700)).astype("u2")
    path = written(tmp_path / "a.zarr", image, "CYX", provenance={"model": "m", "scale": 2})
    group = zarr.open_group(path, mode="r")
    assert group.attrs["swin2sr_ops"] == {"model": "m", "scale": 2}
    assert group["0"].chunks == (1, 512, 512)
    assert group["0"].metadata.dimension_names == ("c", "y", "x")
    assert "zstd" in repr(group["0"].compressors)
    old = zarr.open_group(written(tmp_path / "b.zarr", image, "CYX", ngff="0.4"), mode="r")
    assert old["0"].metadata.dimension_separator == "/"
    assert "zstd" in repr(old["0"].compressors)
    sharded = zarr.open_group(written(tmp_path / "c.zarr", image, "CYX", shards=(1, 1024, 512)), mode="r")
    assert (sharded["0"].chunks, sharded["0"].shards) == ((1, 512, 512), (1, 1024, 512))


def test_bad_grids_and_axes_are_refused_before_anything_is_made(tmp_path):
    image = np.ones((2, 70, 90), "u1")
    for axes, options in [
        ("CYX", {"chunks": (16, 16, 16, 16)}),
        ("CYX", {"chunks": (1, 0, 16)}),
        ("CYX", {"chunks": (1, 16, 16), "shards": (1, 24, 24)}),
        ("CYX", {"shards": (1, 512, 512), "ngff": "0.4"}),
        ("CYX", {"ngff": "0.3"}),
    ]:
        with pytest.raises(RequestError):
            create_sink(str(tmp_path / "a.zarr"), info_of(image, axes), **options)
    with pytest.raises(RequestError, match="C, S"):
        create_sink(str(tmp_path / "a.zarr"), info_of(np.ones((2, 4, 5, 3), "u1"), "CYXS"))
    assert create_sink(str(tmp_path / "a.tif"), info_of(image, "CYX")) is None
    assert list(tmp_path.iterdir()) == []


def test_overwrite_does_not_mind_a_trailing_slash(tmp_path):
    image = np.ones((4, 5), "u1")
    path = written(tmp_path / "a.zarr", image, "YX")
    assert_array_equal(
        open_source(written(f"{path}/", image + 1, "YX", overwrite=True)).read(whole(info_of(image, "YX"))), 2
    )


def test_processes_write_together(tmp_path):
    image = np.arange(128 * 128, dtype="u2").reshape(128, 128)
    sink = create_sink(str(tmp_path / "a.zarr"), info_of(image, "YX"), chunks=(32, 32))
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        regions = list(pieces(image.shape, sink.write_unit))
        list(pool.map(sink.__setitem__, regions, [image[r] for r in regions]))
    sink.finish({})
    source = open_source(sink.uri)
    assert_array_equal(source.read(whole(source.info)), image)


KILLED = """
import os, sys, numpy as np
from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.hooks.dispatch import create_sink
info = ImageInfo(shape=(40, 50), axes="YX", dtype=np.dtype("u1"), chunks=(40, 50))
sink = create_sink(sys.argv[1], info)
sink[0:40, 0:50] = np.ones((40, 50), "u1")
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("name", ["a.zarr", "a.tif", "a.png"])
def test_a_killed_run_leaves_no_output(tmp_path, name):
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / name)], check=False).returncode == -9
    assert sorted(p.name for p in tmp_path.iterdir()) == [name + ".partial", name + ".partial.lock"]


def test_scaled_info_keeps_the_corner_through_the_file(tmp_path):
    small = info_of(np.ones((20, 30), "u1"), "YX", pixel_size={"Y": 4.0, "X": 4.0}, origin={"Y": 100.0, "X": 0.0})
    big = replace(small.scaled(4), dtype=np.dtype("u1"))
    path = written(
        tmp_path / "a.zarr", np.ones(big.shape, "u1"), "YX", known={"pixel_size": big.pixel_size, "origin": big.origin}
    )
    info = open_source(path).info
    assert info.pixel_size == {"Y": 1.0, "X": 1.0}
    assert info.origin == {"Y": 98.5, "X": -1.5}
