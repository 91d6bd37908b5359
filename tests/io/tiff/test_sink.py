"""OME-TIFF as tifffile reads it back: pixels, places, names, pyramids."""

from __future__ import annotations

import json
import tracemalloc
from typing import ClassVar

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose, assert_array_equal

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.output.pyramid import halve
from swin2sr_ops.io.tiff.sink import create_sink
from swin2sr_ops.io.tiff.source import open_source
from swin2sr_ops.testing import SinkContract, whole
from tests.io.writing import info_of, writer

RNG = np.random.default_rng(0)
written = writer(create_sink)


class TestTiff(SinkContract):
    options: ClassVar[dict] = {}
    suffix = "tif"

    @pytest.fixture
    def create(self, tmp_path):
        (tmp_path / "out").mkdir()
        path = str(tmp_path / "out" / f"a.{self.suffix}")
        return lambda info, **options: create_sink(path, info, **self.options, **options)


class TestOmeTiff(TestTiff):
    suffix = "ome.tif"
    options: ClassVar[dict] = {"chunks": (1, 32, 64)}


class TestColour(TestTiff):
    axes, shape, dtype = "YXS", (70, 90, 3), "uint8"


class TestPlanarColour(TestTiff):
    axes, shape, dtype = "SYX", (3, 70, 90), "uint16"


class TestBands(TestTiff):
    axes, shape, dtype = "YXC", (70, 90, 5), "int16"


class TestHalf(TestTiff):
    """OME has no float16: the place travels in tifffile's own metadata."""

    axes, shape, dtype = "ZYX", (3, 70, 90), "float16"


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", "f2", "u8", "i8", "?"])
@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (2, 40, 50), (2, 3, 2, 20, 30)])
def test_pixels_of_every_type(tmp_path, dtype, shape):
    axes = {2: "YX", 3: "ZYX", 5: "TZCYX"}[len(shape)]
    image = (RNG.random(shape) * 2 - (dtype[0] in "if")).astype("f8")
    image = (image * 100).astype(dtype)
    back = tifffile.imread(written(tmp_path / "a.tif", image, axes))
    assert back.dtype == image.dtype
    assert_array_equal(back.reshape(shape), image)


@pytest.mark.parametrize(("axes", "shape"), [("YX", (1101, 1300)), ("CYX", (2, 1025, 40)), ("YXS", (600, 700, 3))])
def test_pyramid(tmp_path, axes, shape):
    image = RNG.integers(0, 255, shape).astype("u1")
    known = {"pixel_size": {"Y": 0.5, "X": 0.25}, "units": {"Y": "micrometer", "X": "micrometer"}}
    path = written(tmp_path / "a.ome.tif", image, axes, known=known)
    expected = image
    for k in range(open_source(path).info.levels):
        level = open_source(path, level=k)
        assert_array_equal(level.read(whole(level.info)), expected)
        assert level.info.pixel_size == {"Y": 0.5 * 2**k, "X": 0.25 * 2**k}
        expected = halve(expected, axes)
    assert k == (2 if max(shape) > 1024 else 1)
    assert open_source(written(tmp_path / "b.tif", image, axes, pyramid=False)).info.levels == 1


def test_layout_that_every_reader_knows(tmp_path):
    image = RNG.integers(0, 60000, (700, 900)).astype("u2")
    with tifffile.TiffFile(written(tmp_path / "a.tif", image, "YX")) as tiff:
        page = tiff.pages[0]
        assert (page.is_tiled, page.tile, page.compression, page.predictor) == (True, (512, 512), 8, 2)
        assert not tiff.is_bigtiff
        assert len(page.pages) == 1
    floats = RNG.random((70, 90)).astype("f4")
    with tifffile.TiffFile(written(tmp_path / "b.tif", floats, "YX")) as tiff:
        assert tiff.pages[0].predictor == 1
        assert tiff.pages[0].tile == (80, 96)


def test_large_files_are_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr("swin2sr_ops.io.tiff.sink._CLASSIC", 1000)
    with tifffile.TiffFile(written(tmp_path / "a.tif", np.ones((70, 90), "u1"), "YX")) as tiff:
        assert tiff.is_bigtiff


def test_transparency_is_declared(tmp_path):
    with tifffile.TiffFile(written(tmp_path / "a.tif", np.ones((40, 50, 4), "u1"), "YXS")) as tiff:
        assert tiff.pages[0].photometric == tifffile.PHOTOMETRIC.RGB
        assert tiff.pages[0].extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)


def test_metadata(tmp_path):
    image = RNG.integers(0, 60000, (2, 3, 40, 50)).astype("u2")
    known = {
        "pixel_size": {"T": 2.0, "Z": 3.0, "Y": 0.5, "X": 0.25},
        "origin": {"Z": -1.0, "X": 7.0},
        "units": {"T": "second", "Z": "micrometer", "Y": "micrometer", "X": "micrometer"},
        "name": "embryo",
    }
    path = written(tmp_path / "a.tif", image, "TZYX", known=known, provenance={"model": "<m>"})
    with tifffile.TiffFile(path) as tiff:
        ome = tifffile.xml2dict(tiff.ome_metadata)["OME"]
        assert ome["Image"]["Name"] == "embryo"
        assert json.loads(ome["StructuredAnnotations"]["CommentAnnotation"]["Value"]) == {"model": "<m>"}
        assert_allclose(tiff.pages[0].get_resolution("MICROMETER"), (4, 2), rtol=1e-6)
    info = open_source(path).info
    assert info.pixel_size == known["pixel_size"]
    assert info.units == known["units"]
    assert info.origin == known["origin"]


def test_sizes_without_units_stay_without(tmp_path):
    path = written(tmp_path / "a.tif", np.ones((4, 5), "u1"), "YX", known={"pixel_size": {"Y": 2.0, "X": 2.0}})
    info = open_source(path).info
    assert info.pixel_size == {"Y": 2.0, "X": 2.0}
    assert info.units == {}


@pytest.mark.parametrize("nodata", [-999.0, 0.5, -3.4028234663852886e38, float("nan"), float("inf"), float("-inf")])
def test_nodata_comes_back(tmp_path, nodata):
    path = written(tmp_path / "a.tif", np.ones((4, 5), "f4"), "YX", known={"nodata": nodata})
    assert_array_equal(open_source(path).info.nodata, nodata)


def test_nodata_is_written_as_gdal_does(tmp_path):
    values = {-9999.0: "-9999", 0.5: "0.5", float("nan"): "nan", float("-inf"): "-inf", -3.4e38: "-3.4e+38"}
    for i, (value, text) in enumerate(values.items()):
        path = written(tmp_path / f"{i}.tif", np.ones((4, 5), "f4"), "YX", known={"nodata": value})
        with tifffile.TiffFile(path) as tiff:
            assert tiff.pages[0].tags[42113].value == text


def test_memory_does_not_grow_with_the_image(tmp_path, monkeypatch):
    monkeypatch.setattr("swin2sr_ops.io.tiff.sink._BUFFER", 1 << 20)

    def peak(rows):
        info = ImageInfo(shape=(rows, 4096), axes="YX", dtype=np.dtype("u1"), chunks=(512, 512))
        sink = create_sink(str(tmp_path / f"{rows}.tif"), info, pyramid=False)
        block = RNG.integers(0, 255, (512, 4096)).astype("u1")
        for y in range(0, rows, 512):
            sink[slice(y, y + 512), slice(0, 4096)] = block
        tracemalloc.start()
        sink.finish({})
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(512)  # libraries, loaded once
    assert peak(8192) < 1.5 * peak(2048) + (1 << 20)


def test_miniswhite_stays(tmp_path):
    known = {"extra": {"photometric": "miniswhite"}}
    path = written(tmp_path / "a.tif", np.ones((4, 5), "u1"), "YX", known=known)
    assert open_source(path).info.extra == known["extra"]


def test_images_that_tiff_cannot_store(tmp_path):
    for uri, axes, shape, dtype, options in [
        ("a.tif", "QYX", (2, 4, 5), "u1", {}),
        ("a.ome.tif", "YX", (4, 5), "f2", {}),
        ("a.tif", "YX", (4, 5), "u1", {"ngff": "0.4"}),
        ("a.tif", "YX", (4, 5), "u1", {"chunks": (4,)}),
    ]:
        with pytest.raises(RequestError):
            create_sink(str(tmp_path / uri), info_of(np.ones(shape, dtype), axes), **options)
    assert create_sink(str(tmp_path / "a.zarr"), info_of(np.ones((4, 5)), "YX")) is None
    assert list(tmp_path.iterdir()) == []
