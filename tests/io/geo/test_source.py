"""Read georeferenced rasters, and leave other files to other readers."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.io.geo import files as geo_files, source as geo_source
from swin2sr_ops.io.geo.source import GeoSource, is_geotiff, open_source
from swin2sr_ops.testing import SourceContract, whole

rasterio = pytest.importorskip("rasterio", reason="needs swin2sr-ops[geo]")

NORTH_UP = rasterio.Affine(10, 0, 500_000, 0, -20, 5_000_000)
SOUTH_UP = rasterio.Affine(10, 0, 500_000, 0, 20, 5_000_000)
ROTATED = rasterio.Affine(8, 3, 500_000, 3, -8, 5_000_000)


def write(path: Path, pixels: np.ndarray, *, mask=None, fill=None, **profile) -> str:
    """A GeoTIFF by rasterio; ``fill`` gets the dataset before it is closed."""
    bands = pixels if pixels.ndim == 3 else pixels[None]
    settings = {
        "driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2],
        "dtype": bands.dtype, "crs": "EPSG:32632", "transform": NORTH_UP,
    } | profile  # fmt: skip
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", **settings) as dataset:
            dataset.write(bands)
            if mask is not None:
                dataset.write_mask(mask)
            if fill is not None:
                fill(dataset)
    return str(path)


def noise(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(3).integers(0, 200, shape).astype(dtype)


class TestBands(SourceContract):
    @pytest.fixture
    def pixels(self):
        return noise(3, 70, 90)

    @pytest.fixture
    def source(self, tmp_path, pixels):
        return open_source(write(tmp_path / "a.tif", pixels, tiled=True, blockxsize=32, blockysize=16))


class TestOneBand(SourceContract):
    @pytest.fixture
    def pixels(self):
        return noise(33, 47, dtype="int16")

    @pytest.fixture
    def source(self, tmp_path, pixels):
        return open_source(write(tmp_path / "a.tif", pixels, compress="lzw"))


class TestMask(SourceContract):
    @pytest.fixture
    def source(self, tmp_path):
        mask = noise(33, 47, dtype="uint8") > 90
        return open_source(write(tmp_path / "a.tif", noise(33, 47), mask=mask))


class TestOpacity(SourceContract):
    @pytest.fixture
    def source(self, tmp_path):
        pixels = noise(4, 33, 47, dtype="uint8")
        pixels[3] = np.where(pixels[3] > 90, 255, 0)
        return open_source(write(tmp_path / "a.tif", pixels, photometric="RGB", alpha="YES"))


class TestManyControlPoints(SourceContract):
    """Their list is too heavy to travel with every task."""

    @pytest.fixture
    def pixels(self):
        return noise(2, 20, 30)

    @pytest.fixture
    def source(self, tmp_path, pixels):
        points = [rasterio.control.GroundControlPoint(r, r + 1.5, r / 7, r / 11, 3, str(r), "") for r in range(300)]
        return open_source(write(tmp_path / "a.tif", pixels, gcps=points, transform=None))

    def test_has_them_all(self, source):
        assert len(pickle.loads(pickle.dumps(source)).info.extra["geo"]["gcps"]) == 300


class TestOverview(SourceContract):
    @pytest.fixture
    def source(self, tmp_path):
        def overviews(dataset):
            dataset.build_overviews([2, 4], rasterio.enums.Resampling.average)

        return open_source(write(tmp_path / "a.tif", noise(2, 64, 96), fill=overviews), level=1)

    def test_covers_the_same_ground(self, source):
        assert (source.info.shape, source.info.levels) == ((2, 32, 48), 3)
        assert source.info.extra["geo"]["transform"] == [20, 0, 500_000, 0, -40, 5_000_000]
        assert source.info.pixel_size == {"Y": 40, "X": 20}

    def test_levels_that_are_not_there(self, source):
        with pytest.raises(RequestError, match="levels 0 to 2"):
            open_source(source.uri, level=3)


def test_metadata_of_the_bands(tmp_path):
    def fill(dataset):
        dataset.descriptions = ("B02", "B03", "B08")
        dataset.units = ("K", "K", "m")
        dataset.scales, dataset.offsets = (0.1, 0.1, 2.0), (0.0, 5.0, 0.0)
        dataset.update_tags(SATELLITE="S2", STATISTICS_MEAN="4")
        dataset.update_tags(1, WAVELENGTH="490", STATISTICS_MAXIMUM="7")
        dataset.update_tags(ns="IMAGERY", CLOUDCOVER="3")

    info = open_source(write(tmp_path / "scene.tif", noise(3, 20, 30), nodata=0, fill=fill)).info
    geo = info.extra["geo"]
    json.dumps(geo, allow_nan=False)
    assert (info.axes, info.shape, info.format, info.name) == ("CYX", (3, 20, 30), "GeoTIFF", "scene")
    assert [c["label"] for c in info.channels] == ["B02", "B03", "B08"]
    assert info.nodata == 0
    assert (geo["units"], geo["scales"], geo["offsets"]) == (["K", "K", "m"], [0.1, 0.1, 2.0], [0.0, 5.0, 0.0])
    assert geo["tags"] == {"SATELLITE": "S2"}
    assert geo["band_tags"] == [{"WAVELENGTH": "490"}, {}, {}]
    assert geo["domains"] == {"IMAGERY": {"CLOUDCOVER": "3"}}
    assert geo["area_or_point"] == "Area"
    assert rasterio.crs.CRS.from_wkt(geo["crs"]) == rasterio.crs.CRS.from_epsg(32632)


def test_rows_run_south(tmp_path):
    """So two rasters lie side by side as on the map, and a finer one in its place."""
    pixels = noise(20, 30)
    info = open_source(write(tmp_path / "a.tif", pixels)).info
    assert info.pixel_size == {"Y": 20, "X": 10}
    assert info.origin == {"Y": -(5_000_000 - 10), "X": 500_000 + 5}
    assert info.units == {"Y": "meter", "X": "meter"}
    fine = open_source(
        write(tmp_path / "b.tif", noise(40, 60), transform=rasterio.Affine(5, 0, 500_000, 0, -10, 5_000_000))
    ).info
    expected = info.scaled(2)
    assert (fine.pixel_size, fine.origin) == (expected.pixel_size, expected.origin)


@pytest.mark.parametrize(
    "place", [{"crs": "EPSG:4326"}, {"transform": ROTATED}, {"crs": None}, {"transform": SOUTH_UP}]
)
def test_no_pixel_size_where_it_would_not_be_true(tmp_path, place):
    info = open_source(write(tmp_path / "a.tif", noise(20, 30), **place)).info
    assert info.pixel_size == info.origin == info.units == {}
    assert info.extra["geo"]["transform"] == list((place.get("transform") or NORTH_UP)[:6])


def test_survey_feet_become_meters(tmp_path):
    info = open_source(write(tmp_path / "a.tif", noise(20, 30), crs="EPSG:2263")).info
    np.testing.assert_allclose(info.pixel_size["X"], 10 * 1200 / 3937)
    assert info.units["X"] == "meter"


def test_a_mask_inside(tmp_path):
    mask = np.zeros((20, 30), bool)
    mask[4:, 7:] = True
    source = open_source(write(tmp_path / "a.tif", noise(2, 20, 30), mask=mask))
    assert_array_equal(source.valid_mask((slice(0, 20), slice(0, 30))), mask)
    assert_array_equal(source.valid_mask((slice(2, 9), slice(5, 11))), mask[2:9, 5:11])
    assert_array_equal(pickle.loads(pickle.dumps(source)).valid_mask((slice(0, 5), slice(0, 30))), mask[:5])
    assert source.valid_mask((slice(3, 3), slice(0, 30))).shape == (0, 30)
    with pytest.raises(RequestError, match="region"):
        source.valid_mask((slice(0, 21), slice(0, 30)))


def test_a_mask_beside(tmp_path):
    mask = np.zeros((20, 30), bool)
    mask[4:, 7:] = True
    path = tmp_path / "a.tif"
    write(path, noise(2, 20, 30))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    assert (tmp_path / "a.tif.msk").exists()
    assert_array_equal(open_source(str(path)).valid_mask((slice(0, 20), slice(0, 30))), mask)


@pytest.mark.filterwarnings("ignore:Band . of .* counts as opacity")
def test_alpha_is_a_band_and_nodata_is_a_value(tmp_path):
    rgba = open_source(write(tmp_path / "a.tif", noise(4, 20, 30, dtype="uint8"), photometric="RGB", alpha="yes"))
    assert rgba.info.extra["geo"]["colorinterp"] == ["red", "green", "blue", "alpha"]
    assert [c["label"] for c in rgba.info.channels] == ["red", "green", "blue", "alpha"]
    assert rgba.valid_mask((slice(0, 20), slice(0, 30))) is None
    assert (
        open_source(write(tmp_path / "b.tif", noise(20, 30), nodata=7)).valid_mask((slice(0, 9), slice(0, 9))) is None
    )


VRT = """<VRTDataset rasterXSize="30" rasterYSize="20"><SRS>EPSG:32632</SRS>
<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>{bands}</VRTDataset>"""
BAND = """<VRTRasterBand dataType="{dtype}" band="{n}"><NoDataValue>{nodata}</NoDataValue><SimpleSource>
<SourceFilename relativeToVRT="1">{file}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"""


def test_bands_with_nodata_of_their_own_get_one(tmp_path):
    a, b = noise(20, 30), noise(20, 30)[::-1].copy()
    a[0, :5], b[3, 3:9], b[0, 0] = 1000, 2000, 5
    write(tmp_path / "a.tif", a), write(tmp_path / "b.tif", b)
    bands = BAND.format(dtype="UInt16", n=1, nodata=1000, file="a.tif")
    bands += BAND.format(dtype="UInt16", n=2, nodata=2000, file="b.tif")
    (tmp_path / "both.vrt").write_text(VRT.format(bands=bands))
    source = open_source(str(tmp_path / "both.vrt"))
    assert (source.info.format, source.info.nodata) == ("VRT", 1000)
    assert source.info.extra["geo"]["nodata"] == [1000, 2000]
    expected = np.stack([a, np.where(b == 2000, 1000, b)])
    assert_array_equal(source.read(whole(source.info)), expected)
    assert_array_equal(source.read((slice(1, 2), slice(2, 6), slice(0, 30))), expected[1:, 2:6])


def test_bands_of_different_types_get_one_that_holds_both(tmp_path):
    a, b = noise(20, 30, dtype="uint8"), noise(20, 30, dtype="int16") - 100
    write(tmp_path / "a.tif", a), write(tmp_path / "b.tif", b)
    bands = BAND.format(dtype="Byte", n=1, nodata=0, file="a.tif")
    bands += BAND.format(dtype="Int16", n=2, nodata=0, file="b.tif")
    (tmp_path / "both.vrt").write_text(VRT.format(bands=bands))
    source = open_source(str(tmp_path / "both.vrt"))
    assert source.info.dtype == "int16"
    assert_array_equal(source.read(whole(source.info)), np.stack([a, b]))


def test_half_floats_stay_half(tmp_path):
    pixels = noise(20, 30, dtype="float32") / 8
    source = open_source(write(tmp_path / "a.tif", pixels, nbits=16))
    assert source.info.dtype == "float16"
    assert_array_equal(source.read(whole(source.info)), pixels.astype("float16"))


def test_a_usual_nodata_value(tmp_path):
    """tifffile, which is asked what kind of TIFF it is, does not understand it."""
    path = write(tmp_path / "a.tif", noise(20, 30, dtype="float32"), nodata=-3.4e38)
    path = Path(path)
    path.write_bytes(path.read_bytes().replace(b"-3.3999999521442643e+38", b"-3.4e+38".ljust(23, b"\0")))
    np.testing.assert_allclose(open_source(str(path)).info.nodata, -3.4e38)


def test_few_bits_are_known(tmp_path):
    info = open_source(write(tmp_path / "a.tif", noise(20, 30), nbits=12)).info
    assert info.extra["bits_per_sample"] == 12


def test_complex_is_opened(tmp_path):
    source = open_source(write(tmp_path / "a.tif", noise(20, 30).astype("complex64") * 1j))
    assert source.info.dtype == source.read(whole(source.info)).dtype == "complex64"


def test_other_formats_and_names_of_axes(tmp_path):
    pixels = noise(3, 20, 30)
    path = write(tmp_path / "a.img", pixels, driver="HFA")
    assert open_source(path).info.format == "HFA"
    assert open_source(path, axes="TYX").info.axes == "TYX"
    assert open_source(path, axes="TYX").info.channels == ()
    with pytest.raises(RequestError, match="bands come first"):
        open_source(path, axes="YXC")
    with pytest.raises(RequestError, match="array"):
        open_source(path, array="0")
    with pytest.raises(RequestError, match="series=2"):
        open_source(path, series=2)
    assert_array_equal(open_source(Path(path).as_uri()).read((slice(0, 3), slice(0, 20), slice(0, 30))), pixels)


def test_a_page_of_many(tmp_path):
    for number in (1, 2):
        write(tmp_path / "a.tif", noise(20, 30) + number, append_subdataset=number == 2)
    for number in (0, 1):
        source = open_source(str(tmp_path / "a.tif"), series=number)
        assert_array_equal(source.read(whole(source.info)), noise(20, 30) + number + 1)
        twin = pickle.loads(pickle.dumps(source))
        assert_array_equal(twin.read(whole(twin.info)), noise(20, 30) + number + 1)


def test_palettes_are_classes(tmp_path):
    def palette(dataset):
        dataset.write_colormap(1, {0: (0, 0, 0, 255), 1: (255, 0, 0, 255)})

    path = write(tmp_path / "a.tif", noise(20, 30, dtype="uint8"), fill=palette)
    with pytest.raises(FormatError, match="palette"):
        open_source(path)


def test_files_of_other_readers(tmp_path):
    """Microscope TIFFs, pictures and arrays: GDAL opens some of them, and would lose metadata."""
    plain, ome, imagej, picture = (tmp_path / n for n in ("a.tif", "a.ome.tif", "ij.tif", "a.png"))
    write(plain, noise(20, 30), crs=None, transform=None)
    tifffile.imwrite(ome, noise(2, 20, 30), metadata={"axes": "ZYX"})
    tifffile.imwrite(imagej, noise(2, 20, 30), imagej=True)
    write(picture, noise(20, 30, dtype="uint8"), driver="PNG", crs=None, transform=None)
    (tmp_path / "notes.txt").write_text("no raster")
    for name in ("a.tif", "a.ome.tif", "ij.tif", "a.png", "notes.txt", "."):
        assert open_source(str(tmp_path / name)) is None, name
        assert open_source(str(tmp_path / name), series=5) is None
    for uri in ("https://example.org/a.zarr", "memory://a.tif", "s3://bucket/plate.ome.zarr"):
        assert open_source(uri) is None
    with pytest.raises(FormatError, match="no file"):
        open_source(str(tmp_path / "missing.tif"))


def test_a_world_file_gives_a_place(tmp_path):
    pixels = noise(20, 30, dtype="uint8")
    for name in ("a.tif", "a.png"):
        path = write(tmp_path / name, pixels, driver="GTiff" if name == "a.tif" else "PNG", crs=None, transform=None)
        Path(path).with_suffix(".wld").write_text("10\n0\n0\n-20\n500005\n4999990\n")
        source = open_source(path)
        assert source.info.extra["geo"]["transform"] == [10, 0, 500_000, 0, -20, 5_000_000]
        assert_array_equal(source.read(whole(source.info)), pixels)


def test_without_rasterio(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", noise(20, 30))
    monkeypatch.setattr(geo_source, "find_spec", lambda name: None)
    assert open_source(path) is None
    write(tmp_path / "b.tif", noise(20, 30), crs=None, transform=None)
    (tmp_path / "c.tif").write_bytes(b"II*\0")
    assert [is_geotiff(tmp_path / n) for n in ("a.tif", "b.tif", "c.tif", "d.tif", ".")] == [True] + 4 * [False]


@pytest.mark.parametrize(("name", "driver"), [("a.png", "PNG"), ("a.tif", "GTiff")])
def test_rejecting_a_file_loads_no_library(tmp_path, name, driver):
    """GDAL is not loaded for a plain image among other images."""
    for other in (name, f"b_{name}"):
        write(tmp_path / other, noise(20, 30, dtype="uint8"), driver=driver, crs=None, transform=None)
    (tmp_path / "results.ome.zarr").mkdir()
    (tmp_path / ".DS_Store").touch()
    code = (
        "import sys; from swin2sr_ops.io.geo.source import open_source;"
        f"assert open_source({str(tmp_path / name)!r}) is None; sys.exit('rasterio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("beside", ["a.tab", "a_RPC.TXT", "a.tif.aux.xml", "a.tfw", "A.TFW", "notes.txt"])
def test_gdal_is_asked_where_a_file_beside_may_tell_a_place(tmp_path, monkeypatch, beside):
    path = write(tmp_path / "a.tif", noise(20, 30, dtype="uint8"), crs=None, transform=None)
    asked = []
    monkeypatch.setattr(geo_files, "_gdal_has_a_place", lambda uri: bool(asked.append(uri)))
    assert open_source(path) is None
    assert not asked
    (tmp_path / beside).touch()
    assert open_source(path) is None
    assert asked == [path]


def test_a_cog_without_a_place_is_a_raster(tmp_path):
    path = str(tmp_path / "a.tif")
    with rasterio.open(path, "w", driver="COG", width=30, height=20, count=1, dtype="uint8") as dataset:
        dataset.write(noise(20, 30, dtype="uint8"), 1)
    assert open_source(path) is not None


def test_a_folder_of_many_files_is_gdals(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", noise(20, 30, dtype="uint8"), crs=None, transform=None)
    assert not geo_files._may_have_a_place(Path(path))
    monkeypatch.setattr(geo_files, "_MANY_FILES", 0)
    assert geo_files._may_have_a_place(Path(path))


@pytest.mark.parametrize("keep", [0.3, 0.9])
@pytest.mark.parametrize("compress", ["none", "deflate"])
def test_truncated_files_are_named(tmp_path, keep, compress):
    path = Path(write(tmp_path / "a.tif", noise(3, 200, 300), compress=compress))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(FormatError, match=r"a\.tif"):
        open_source(str(path))


def test_damage_is_found_when_it_is_read(tmp_path):
    path = Path(write(tmp_path / "a.tif", noise(200, 300), compress="deflate"))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)
    source = open_source(str(path))
    with pytest.raises(FormatError, match=r"a\.tif"):
        source.read(whole(source.info))


def test_a_source_that_vanished_is_named(tmp_path):
    path = Path(write(tmp_path / "a.tif", noise(20, 30)))
    twin = pickle.loads(pickle.dumps(open_source(str(path))))
    path.unlink()
    with pytest.raises(FormatError, match=r"a\.tif"):
        twin.read(whole(twin.info))


def test_every_thread_has_its_own_dataset(tmp_path, monkeypatch):
    opened = []
    real = geo_source.open_dataset
    source = open_source(write(tmp_path / "a.tif", noise(20, 30)))
    monkeypatch.setattr(geo_source, "open_dataset", lambda *a: opened.append(a) or real(*a))
    region = whole(source.info)
    source.read(region), source.read(region)
    assert not opened
    for _ in range(2):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(source.read, region).result()
            pool.submit(source.read, region).result()
    assert len(opened) == 2
    source.close()
    assert_array_equal(source.read(region), noise(20, 30))
    assert len(opened) == 3


def _read(source: GeoSource) -> int:
    return int(source.read(whole(source.info)).sum())


def test_a_forked_process_opens_for_itself(tmp_path):
    source = open_source(write(tmp_path / "a.tif", noise(20, 30)))
    _read(source)
    with warnings.catch_warnings(), multiprocessing.get_context("fork").Pool(2) as pool:
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests' threads
        assert set(pool.map(_read, [source] * 4)) == {int(noise(20, 30).sum())}
