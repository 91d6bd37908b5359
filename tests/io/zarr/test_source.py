"""Zarr of all versions, OME-Zarr groups, plain arrays, and other groups."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings, strategies as st
from numpy.testing import assert_array_equal

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.zarr.source import open_source
from swin2sr_ops.testing import SourceContract, whole

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 60000, (3, 70, 90)).astype("u2")


def plain(path, image=IMAGE, **options):
    array = zarr.create_array(str(path), shape=image.shape, dtype=image.dtype, **{"chunks": "auto", **options})
    array[...] = image
    return str(path)


def ome(path, *, version="0.5", image=IMAGE, axes="cyx", datasets=None, **multiscale):
    v3 = version == "0.5"
    group = zarr.create_group(str(path), zarr_format=3 if v3 else 2)
    for name in ("0", "1"):
        level = image if name == "0" else image[..., ::2, ::2]
        array = group.create_array(
            name, shape=level.shape, dtype=level.dtype, chunks=(1,) * (level.ndim - 2) + (32, 32)
        )
        array[...] = level
    kinds = {"t": "time", "c": "channel"}
    datasets = datasets or [
        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 0.5, 0.25]}]},
        {
            "path": "1",
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, 1.0, 0.5]},
                {"type": "translation", "translation": [0.0, 0.25, 0.125]},
            ],
        },
    ]
    content = {
        "multiscales": [
            {
                "axes": [
                    {"name": a, "type": kinds.get(a, "space"), **({"unit": "micrometer"} if a in "zyx" else {})}
                    for a in axes
                ],
                "datasets": datasets,
                **multiscale,
            }
        ],
        "omero": {"channels": [{"label": "DAPI", "color": "0000FF", "lookup": "x"}, {"label": "GFP"}, {}]},
    }
    if v3:
        group.attrs["ome"] = {"version": "0.5", **content}
    else:
        content["multiscales"][0]["version"] = version
        group.attrs.update(content)
    return str(path)


def zipped(folder, path, top=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
            archive.write(file, f"{top}{file.relative_to(folder).as_posix()}")
    return str(path)


class TestPlainV2(SourceContract):
    @pytest.fixture
    def source(self, tmp_path):
        return open_source(plain(tmp_path / "a.zarr", zarr_format=2, chunks=(1, 32, 32)))

    @pytest.fixture
    def pixels(self):
        return IMAGE


class TestBigEndian(TestPlainV2):
    @pytest.fixture
    def source(self, tmp_path):
        return open_source(plain(tmp_path / "a.zarr", IMAGE.astype(">u2"), zarr_format=2))


class TestSharded(TestPlainV2):
    @pytest.fixture
    def source(self, tmp_path):
        return open_source(plain(tmp_path / "a.zarr", zarr_format=3, chunks=(1, 16, 16), shards=(1, 64, 64)))


class TestOme05(TestPlainV2):
    @pytest.fixture
    def source(self, tmp_path):
        return open_source(ome(tmp_path / "a.zarr"))


class TestZip(TestPlainV2):
    @pytest.fixture
    def source(self, tmp_path):
        return open_source(zipped(plain(tmp_path / "a.zarr", chunks=(1, 32, 32)), tmp_path / "a.zarr.zip"))


class TestUrl(TestPlainV2):
    @pytest.fixture
    def source(self, tmp_path):
        url = f"memory://{tmp_path.name}.zarr"
        zarr.create_array(url, name="a/b/c", shape=IMAGE.shape, dtype="u2", chunks=(1, 32, 32))[...] = IMAGE
        return open_source(url, array="a/b/c", axes="ZYX", storage_options={})


class TestOme04(TestPlainV2):
    @pytest.fixture
    def source(self, tmp_path):
        return open_source(ome(tmp_path / "a.zarr", version="0.4"))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_metadata(tmp_path, version):
    info = open_source(ome(tmp_path / "cells.ome.zarr", version=version)).info
    assert (info.axes, info.levels, info.format, info.name) == ("CYX", 2, f"OME-Zarr {version}", "cells")
    assert info.pixel_size == {"Y": 0.5, "X": 0.25}
    assert info.origin == {"Y": 0.0, "X": 0.0}
    assert info.units == {"Y": "micrometer", "X": "micrometer"}
    assert info.channels == ({"label": "DAPI", "color": "0000FF", "lookup": "x"}, {"label": "GFP"}, {})
    assert info.chunks == (1, 32, 32)


def test_a_level_has_its_own_place(tmp_path):
    source = open_source(ome(tmp_path / "a.zarr"), level=1)
    assert source.info.shape == (3, 35, 45)
    assert source.info.pixel_size == {"Y": 1.0, "X": 0.5}
    assert source.info.origin == {"Y": 0.25, "X": 0.125}
    assert_array_equal(source.read(whole(source.info)), IMAGE[..., ::2, ::2])


def test_transformations_of_dataset_and_image_combine(tmp_path):
    outer = [{"type": "scale", "scale": [1, 10, 100]}, {"type": "translation", "translation": [0, 7, 8]}]
    path = ome(tmp_path / "a.zarr", coordinateTransformations=outer)
    info = open_source(path, level=1).info
    assert info.pixel_size == {"Y": 10.0, "X": 50.0}
    assert info.origin == {"Y": 0.25 * 10 + 7, "X": 0.125 * 100 + 8}


@pytest.mark.parametrize(
    ("shape", "dtype", "axes"),
    [
        ((30, 40), "u1", "YX"),
        ((5, 30, 40), "u1", "ZYX"),
        ((30, 40, 3), "u1", "YXS"),
        ((30, 40, 4), "u1", "YXS"),
        ((30, 40, 3), "u2", "ZYX"),
        ((2, 5, 30, 40), "u2", "CZYX"),
        ((2, 2, 5, 30, 40), "f4", "TCZYX"),
        ((5, 30, 40, 3), "u1", "ZYXS"),
    ],
)
def test_axes_are_guessed(tmp_path, shape, dtype, axes):
    assert open_source(plain(tmp_path / "a.zarr", np.ones(shape, dtype))).info.axes == axes


def test_axes_are_read_or_given(tmp_path):
    named = plain(tmp_path / "named.zarr", dimension_names=["band", "y", "x"])
    assert open_source(named).info.axes == "CYX"
    assert open_source(named, axes="tyx").info.axes == "TYX"
    old = plain(tmp_path / "old.zarr", zarr_format=2, attributes={"_ARRAY_DIMENSIONS": ["time", "lat", "lon"]})
    assert open_source(old).info.axes == "TYX"
    odd = plain(tmp_path / "odd.zarr", dimension_names=["a1", None, "x"])
    assert open_source(odd).info.axes == "ZYX"  # unknown names are ignored
    with pytest.raises(RequestError, match="3"):
        open_source(named, axes="YX")


def test_fill_value_of_xarray_is_nodata(tmp_path):
    path = plain(tmp_path / "a.zarr", zarr_format=2, attributes={"_FillValue": -9999})
    assert open_source(path).info.nodata == -9999.0


def test_a_group_of_one_array(tmp_path):
    group = zarr.create_group(str(tmp_path / "g.zarr"))
    group.create_array("only", shape=(4, 5), dtype="u1")
    assert open_source(str(tmp_path / "g.zarr")).info.shape == (4, 5)
    group.create_array("other", shape=(6, 7), dtype="u1")
    with pytest.raises(FormatError, match=r"'only', 'other'.*array="):
        open_source(str(tmp_path / "g.zarr"))
    assert open_source(str(tmp_path / "g.zarr"), array="other").info.shape == (6, 7)
    assert open_source(str(tmp_path / "g.zarr" / "other")).info.shape == (6, 7)


def test_a_plate_says_which_images_it_has(tmp_path):
    plate = zarr.create_group(str(tmp_path / "plate.zarr"))
    plate.attrs["ome"] = {"version": "0.5", "plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}}
    for well in ("A/1", "B/2"):
        plate.create_group(well).attrs["ome"] = {"version": "0.5", "well": {"images": [{"path": "0"}, {"path": "1"}]}}
    ome(tmp_path / "plate.zarr" / "A" / "1" / "0")
    with pytest.raises(FormatError, match=r"plate of 4 images.*'A/1/0'.*plate\.zarr/A/1/0'"):
        open_source(str(tmp_path / "plate.zarr"))
    with pytest.raises(FormatError, match=r"`swin2sr-ops restore .*plate\.zarr OUT\.ome\.zarr`"):
        open_source(str(tmp_path / "plate.zarr"))
    with pytest.raises(FormatError, match="well of 2 images"):
        open_source(str(tmp_path / "plate.zarr" / "A" / "1"))
    assert open_source(str(tmp_path / "plate.zarr" / "A" / "1" / "0")).info.axes == "CYX"
    assert open_source(str(tmp_path / "plate.zarr"), array="A/1/0").info.axes == "CYX"


def test_a_series_of_one_image_is_that_image(tmp_path):
    root = zarr.create_group(str(tmp_path / "b2r.zarr"), zarr_format=2, attributes={"bioformats2raw.layout": 3})
    root.create_group("OME")
    ome(tmp_path / "b2r.zarr" / "0", version="0.4")
    assert open_source(str(tmp_path / "b2r.zarr")).info.axes == "CYX"
    ome(tmp_path / "b2r.zarr" / "1", version="0.4")
    with pytest.raises(FormatError, match="series of 2 images"):
        open_source(str(tmp_path / "b2r.zarr"))


def test_folders_that_are_not_zarr(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert open_source(str(tmp_path / "notes.txt")) is None
    with pytest.raises(FormatError, match="not a Zarr"):
        open_source(str(tmp_path))
    plain(tmp_path / "inside.zarr")
    with pytest.raises(FormatError, match=r"contains 'inside\.zarr'"):
        open_source(str(tmp_path))
    with pytest.raises(FormatError, match="no file or folder"):
        open_source(str(tmp_path / "no.zarr"))


@pytest.mark.parametrize(
    "content",
    [
        {"multiscales": []},
        {"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}]}]},
        {"multiscales": [{"axes": 3, "datasets": [{"path": "0"}]}]},
        {"multiscales": [{"axes": ["y", "x"], "datasets": []}]},
        {"multiscales": [{"axes": ["p", "q"], "datasets": [{"path": "0"}]}]},
        {"multiscales": [{"axes": ["y", "x"], "datasets": [{"path": "0"}]}]},
        {"multiscales": [{"axes": ["c", "y", "x"], "datasets": [{"path": "gone"}]}]},
        {
            "multiscales": [
                {
                    "axes": ["c", "y", "x"],
                    "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 2]}]}],
                }
            ]
        },
    ],
)
def test_broken_ome_metadata(tmp_path, content):
    path = ome(tmp_path / "a.zarr")
    zarr.open_group(path, mode="r+").attrs.put({"ome": {"version": "0.5", **content}})
    with pytest.raises(FormatError, match=r"a\.zarr"):
        open_source(path)


def test_broken_zarr_metadata(tmp_path):
    path = plain(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "zarr.json").write_text("{")
    with pytest.raises(FormatError, match="metadata"):
        open_source(path)
    (tmp_path / "a.zarr" / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "array"}))
    with pytest.raises(FormatError, match="metadata"):
        open_source(path)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_damaged_chunk(tmp_path, zarr_format):
    path = plain(tmp_path / "a.zarr", zarr_format=zarr_format, chunks=IMAGE.shape)
    source = open_source(path)
    chunk = next(p for p in (tmp_path / "a.zarr").rglob("*") if p.is_file() and not p.name.startswith((".z", "zarr")))
    chunk.write_bytes(chunk.read_bytes()[:100])
    with pytest.raises(FormatError, match="decoding"):
        source.read(whole(source.info))


def test_arrays_that_are_not_images(tmp_path):
    with pytest.raises(FormatError, match="6 dimensions"):
        open_source(plain(tmp_path / "six.zarr", np.ones((1, 1, 1, 1, 4, 4), "u1")))
    with pytest.raises(FormatError, match="1 dimensions"):
        open_source(plain(tmp_path / "one.zarr", np.ones(4, "u1")))
    with pytest.raises(FormatError, match="instead of numbers"):
        open_source(plain(tmp_path / "date.zarr", np.ones((4, 4), "M8[s]")))


def test_options_that_do_not_fit(tmp_path):
    path = ome(tmp_path / "a.zarr")
    with pytest.raises(RequestError, match="levels 0 to 1"):
        open_source(path, level=2)
    with pytest.raises(RequestError, match="series"):
        open_source(path, series=1)
    with pytest.raises(RequestError, match="without levels"):
        open_source(path + "/0", level=1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_region_of_any_grid(tmp_path, data):
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)))
    chunks = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 17), st.integers(1, 17)))
    shards = tuple(c * data.draw(st.integers(1, 3)) for c in chunks) if data.draw(st.booleans()) else None
    image = np.arange(np.prod(shape), dtype="u2").reshape(shape)
    source = open_source(plain(tmp_path / "any.zarr", image, chunks=chunks, shards=shards, overwrite=True))
    region = []
    for n in shape:
        start = data.draw(st.integers(0, n - 1))
        region.append(slice(start, data.draw(st.integers(start + 1, n))))
    assert_array_equal(source.read(tuple(region)), image[tuple(region)])


def test_a_url_without_its_library_or_server(tmp_path):
    with pytest.raises(FormatError, match="cannot be read"):
        open_source("http://127.0.0.1:9/image.zarr")
    assert open_source("http://127.0.0.1:9/image.tif") is None


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_other_attributes_are_carried(tmp_path, version):
    path = ome(tmp_path / "a.zarr", version=version)
    group = zarr.open_group(path, mode="r+")
    group.attrs.update({"_creator": {"name": "x"}, "lab": {"operator": "K."}, "gain": 2.5})
    group.attrs["swin2sr_ops"] = {"fingerprint": "f", "nodata": 3}
    info = open_source(path).info
    assert info.extra == {
        "attributes": {"lab": {"operator": "K."}, "gain": 2.5},
        "provenance": {"fingerprint": "f", "nodata": 3},
    }
    assert info.nodata == 3.0


def test_attributes_of_plain_arrays(tmp_path):
    attributes = {"_ARRAY_DIMENSIONS": ["band", "y", "x"], "coordinates": "lat lon", "long_name": "height", "b": None}
    path = plain(tmp_path / "a.zarr", zarr_format=2, attributes=attributes)
    assert open_source(path).info.extra == {"attributes": {"long_name": "height", "b": None}}
    assert open_source(plain(tmp_path / "none.zarr")).info.extra == {}


def test_a_table_in_the_attributes_is_not_copied(tmp_path):
    attributes = {"first": 1, "table": ["0123456789"] * 10_000, "last": "x" * 1000}
    extra = open_source(plain(tmp_path / "a.zarr", attributes=attributes)).info.extra
    assert extra == {"attributes": {"first": 1, "last": "x" * 1000}, "attributes_left_out": ["table"]}
    json.dumps(extra, allow_nan=False)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("dtype", "fill", "expected"), [("f4", np.nan, "nan"), ("i2", -9999, -9999), ("u1", 0, None)])
def test_fill_values(tmp_path, zarr_format, dtype, fill, expected):
    path = str(tmp_path / "a.zarr")
    zarr.create_array(path, shape=(4, 5), dtype=dtype, fill_value=fill, zarr_format=zarr_format)
    source = open_source(path)
    assert source.info.extra.get("fill_value") == expected
    assert_array_equal(source.read(whole(source.info)), np.full((4, 5), fill, dtype))


def test_zip_files(tmp_path):
    folder = ome(tmp_path / "a.zarr")
    for name, top in (("b.zarr.zip", ""), ("c.ozx", ""), ("d.ome.zarr.zip", "a.zarr/")):
        source = open_source(zipped(folder, tmp_path / name, top))
        assert (source.info.axes, source.info.levels, source.info.name) == ("CYX", 2, name[0])
        assert_array_equal(source.read(whole(source.info)), IMAGE)
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda c: source.read((slice(c % 3, c % 3 + 1), slice(0, 70), slice(0, 90))), range(60)))
    assert all((part[0] == IMAGE[c % 3]).all() for c, part in enumerate(parts))
    (tmp_path / "e.zarr.zip").write_bytes(b"no zip")
    with pytest.raises(FormatError, match=r"e\.zarr\.zip"):
        open_source(str(tmp_path / "e.zarr.zip"))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("")
    with pytest.raises(FormatError, match="contains no Zarr"):
        open_source(zipped(tmp_path / "text", tmp_path / "f.zarr.zip"))


def test_a_path_that_does_not_exist(tmp_path):
    path = ome(tmp_path / "a.zarr")
    with pytest.raises(FormatError, match=r"no group or array 'x/y' in .*a\.zarr"):
        open_source(path, array="x/y")
    with pytest.raises(FormatError, match=r"no Zarr at 'memory://nothing\.zarr'"):
        open_source("memory://nothing.zarr")


def test_stale_consolidated_metadata_are_ignored(tmp_path):
    path = ome(tmp_path / "a.zarr", version="0.4")
    zarr.consolidate_metadata(path, zarr_format=2)
    shutil.rmtree(tmp_path / "a.zarr" / "0")
    zarr.create_array(path, name="0", shape=(3, 80, 90), dtype="u1", zarr_format=2)
    zarr.open_group(path, mode="r+", use_consolidated=False).attrs["new"] = 1
    info = open_source(path).info
    assert (info.shape, info.dtype, info.extra) == ((3, 80, 90), "u1", {"attributes": {"new": 1}})


def changed(path):
    """Write the same bytes a second later."""
    later = os.stat(path).st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


@pytest.mark.parametrize("make", [plain, ome])
def test_identity_is_that_of_the_content(tmp_path, make):
    path = make(tmp_path / "a.zarr")
    first = open_source(path).identity()
    assert json.loads(json.dumps(first)) == first
    assert set(first) == {"metadata", "files", "bytes", "listing"}
    os.rename(path, tmp_path / "moved.zarr")
    moved = open_source(str(tmp_path / "moved.zarr"))
    assert moved.identity() == pickle.loads(pickle.dumps(moved)).identity() == first
    file = next(p for p in sorted((tmp_path / "moved.zarr").rglob("*")) if p.is_file() and p.name != "zarr.json")
    changed(file)
    second = moved.identity()
    assert {key for key in first if first[key] != second[key]} == {"listing"}
    file.unlink()
    assert {key for key in first if first[key] != moved.identity()[key]} == {"files", "bytes", "listing"}


def test_identity_covers_metadata_but_not_bookkeeping(tmp_path):
    path = ome(tmp_path / "a.zarr")
    first = open_source(path).identity()
    (tmp_path / "a.zarr" / "1" / "c" / "0" / "0" / "0").unlink()  # metadata of another level
    zarr.open_group(path, mode="r+").create_group("labels")
    zarr.consolidate_metadata(path)
    assert open_source(path).identity() == first
    zarr.open_group(path, mode="r+").attrs["note"] = "x"
    assert open_source(path).identity()["metadata"] != first["metadata"]
    assert open_source(path).identity()["listing"] == first["listing"]


def test_identity_in_zips_and_behind_urls(tmp_path):
    folder = ome(tmp_path / "a.zarr")
    name = zipped(folder, tmp_path / "b.zarr.zip")
    first = open_source(name).identity()
    changed(name)
    assert open_source(name).identity() == first == open_source(zipped(folder, tmp_path / "c.ozx", "x/")).identity()
    zarr.open_group(folder, mode="r+")["0"][0, 0, 0] = 1
    assert open_source(zipped(folder, tmp_path / "d.ozx")).identity()["listing"] != first["listing"]

    url = f"memory://identity-{tmp_path.name}.zarr"
    zarr.create_array(url, name="a", shape=(8, 8), dtype="u1", chunks=(4, 4))[:4] = 1
    first = open_source(url, array="a").identity()
    assert (first["files"], open_source(url, array="a").identity()) == (2, first)
    zarr.open_array(url, path="a", mode="r+")[0, 0] = 2
    assert open_source(url, array="a").identity()["listing"] != first["listing"]


def test_identity_where_nothing_is_listed(tmp_path, monkeypatch):
    import fsspec.implementations.memory

    url = f"memory://blind-{tmp_path.name}.zarr"
    zarr.create_array(url, shape=(8, 8), dtype="u1", chunks=(4, 4))

    def refuse(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(fsspec.implementations.memory.MemoryFileSystem, "find", refuse)
    assert set(open_source(url).identity()) == {"metadata"}


def test_identity_of_many_chunks_takes_no_time(tmp_path):
    path = str(tmp_path / "a.zarr")
    zarr.create_array(path, shape=(4_000, 8), dtype="u1", chunks=(1, 8))
    for i in range(4_000):
        folder = tmp_path / "a.zarr" / "c" / str(i)
        folder.mkdir(parents=True)
        (folder / "0").touch()
    source = open_source(path)
    begun = time.process_time()
    assert source.identity()["files"] == 4_000
    assert time.process_time() - begun < 0.5
