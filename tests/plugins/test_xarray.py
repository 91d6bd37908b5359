"""The xarray accessor gives the pixels of `restore`, lazily, and keeps names, coordinates and attributes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops.errors import RequestError
from swin2sr_ops.spec import ModelSpec
from tests.run.test_trust import calibrated

xr = pytest.importorskip("xarray", reason="the accessor needs xarray")
import swin2sr_ops_xarray  # noqa: E402
from swin2sr_ops_xarray.names import letters_of  # noqa: E402
from swin2sr_ops_xarray_host import XarrayHost  # noqa: E402


@pytest.fixture
def field(rng: np.random.Generator) -> Any:
    """A reanalysis: time, descending latitude, longitude."""
    return xr.DataArray(
        rng.random((2, 20, 30), dtype="f4"),
        {
            "time": np.array(["2026-01-01", "2026-01-02"], "M8[ns]"),
            "lat": ("lat", np.linspace(60, 50.5, 20), {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": ("lon", np.arange(30) * 0.5, {"units": "degrees_east"}),
            "surface": 2.0,
        },
        ("time", "lat", "lon"),
        name="t2m",
        attrs={"units": "K", "valid_range": [0, 400], "STATISTICS_MEAN": 3},
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tiles that were computed."""
    from swin2sr_ops.engine.restorer import Restorer

    tiles: list[int] = []
    whole = Restorer.restore_tile

    def restore_tile(self: Restorer, *args: Any, **options: Any) -> Any:
        tiles.append(1)
        return whole(self, *args, **options)

    monkeypatch.setattr(Restorer, "restore_tile", restore_tile)
    return tiles


def test_same_pixels_lazily(field: Any, gray_model: ModelSpec, counted: list[int]) -> None:
    fine = field.swin2sr.restore(gray_model, range=(0, 1))
    assert fine.chunks is not None
    assert not counted
    expected = swin2sr_ops.restore(field.values, model=gray_model, axes="TYX", range=(0, 1)).compute()
    np.testing.assert_array_equal(fine.values, expected)
    assert fine.dtype == field.dtype
    assert fine.name == "t2m"


def test_best_averages_eight_views(field: Any) -> None:
    fine = field[0].swin2sr.restore("best", range=(0, 1))
    expected = swin2sr_ops.restore(field[0].values, model="best", range=(0, 1))
    np.testing.assert_array_equal(fine, expected)
    assert "ensemble 8" in fine.attrs["swin2sr_ops"]


def test_coordinates(field: Any, gray_model: ModelSpec) -> None:
    fine = field.swin2sr.restore(gray_model)
    np.testing.assert_allclose(fine.lat[:2], [60.125, 59.875], rtol=0, atol=1e-12)
    np.testing.assert_allclose(fine.lat[-1], 50.5 - 0.125, rtol=0, atol=1e-12)
    np.testing.assert_allclose(fine.lon, -0.125 + 0.25 * np.arange(60), rtol=0, atol=1e-12)
    assert fine.lon.attrs == {"units": "degrees_east"}
    np.testing.assert_array_equal(fine.time, field.time)
    assert fine.surface == 2.0
    assert fine.sel(lat=60.1, lon=0.1, method="nearest").sizes == {"time": 2}


def test_attributes(field: Any, gray_model: ModelSpec) -> None:
    fine = field.swin2sr.restore(gray_model)
    assert set(fine.attrs) == {"units", "swin2sr_ops"}
    assert "scale 2" in fine.attrs["swin2sr_ops"]
    assert field.attrs["valid_range"] == [0, 400]
    assert "model small-x2-gray" in field.swin2sr.restore().attrs["swin2sr_ops"]  # the resolved value of "auto"
    colour = xr.DataArray(np.zeros((8, 9, 3), "u1"), dims=("y", "x", "band"))
    assert "model small-x2-rgb" in colour.swin2sr.restore(range="dtype").attrs["swin2sr_ops"]
    assert "model small-x2-gray" in colour.swin2sr.restore(rgb=False).attrs["swin2sr_ops"]


def test_unknown_sizes(gray_model: ModelSpec) -> None:
    dask = pytest.importorskip("dask.array")
    pixels = dask.zeros((8, 9), "f4")
    array = xr.DataArray(pixels[pixels[:, 0] >= 0], dims=("y", "x"))
    with pytest.raises(RequestError, match="compute_chunk_sizes"):
        array.swin2sr.restore(gray_model)


@pytest.mark.parametrize(
    ("dims", "shape", "letters"),
    [
        (("y", "x"), (4, 5), "YX"),
        (("band", "row", "column"), (4, 5, 6), "CYX"),
        (("time", "Latitude", "Longitude"), (4, 5, 6), "TYX"),
        (("time", "level", "lat", "lon"), (4, 3, 5, 6), "TZYX"),
        (("y", "x", "rgb"), (4, 5, 3), "YXS"),
        (("member", "y", "x"), (4, 5, 6), "AYX"),
        (("x", "y", "channel"), (4, 5, 2), "XYC"),
    ],
)
def test_names_of_dimensions(dims: tuple[str, ...], shape: tuple[int, ...], letters: str) -> None:
    assert xr.DataArray(np.zeros(shape), dims=dims).swin2sr.axes == letters


def test_attributes_name_dimensions_too() -> None:
    array = xr.DataArray(np.zeros((4, 5)), {"a": ("a", range(4), {"axis": "Y"}), "x": range(5)}, ("a", "x"))
    array["x"].attrs["standard_name"] = "projection_x_coordinate"
    assert array.swin2sr.axes == "YX"


@pytest.mark.parametrize(
    ("dims", "axes", "message"),
    [
        (("a", "b"), None, "known to be rows"),
        (("y", "b"), None, "known to be columns"),
        (("lat", "y", "x"), None, "Both 'lat' and 'y' look like rows"),
        (("y", "x"), "ZYX", "give one letter for each"),
    ],
)
def test_ambiguous_dimensions(dims: tuple[str, ...], axes: str | None, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        letters_of(xr.DataArray(np.zeros((4,) * len(dims)), dims=dims), axes)


@pytest.mark.parametrize("axes", ["ZYX", {"scan": "Y", "pixel": "x"}])
def test_axes_can_be_given(axes: Any, gray_model: ModelSpec, rng: np.random.Generator) -> None:
    array = xr.DataArray(rng.random((2, 12, 16), dtype="f4"), dims=("view", "scan", "pixel"))
    fine = array.swin2sr.restore(gray_model, axes=axes)
    assert fine.sizes == {"view": 2, "scan": 24, "pixel": 32}


def test_colour(rgb_model: ModelSpec, gray_model: ModelSpec, rng: np.random.Generator) -> None:
    bands = xr.DataArray(rng.integers(0, 255, (3, 20, 24), "u1"), dims=("band", "y", "x"))
    together = bands.swin2sr.restore(rgb_model, rgb=True)
    expected = swin2sr_ops.restore(bands.values, model=rgb_model, axes="SYX").compute()
    np.testing.assert_array_equal(together, expected)
    last = bands.transpose("y", "x", "band").copy()
    np.testing.assert_array_equal(last.swin2sr.restore(rgb_model), expected.transpose(1, 2, 0))
    apart = last.swin2sr.restore(gray_model, rgb=False, range="p1,p99")
    assert apart.dims == ("y", "x", "band")
    lone = swin2sr_ops.restore(bands.values, model=gray_model, axes="CYX", range="p1,p99").compute()
    np.testing.assert_array_equal(apart, lone.transpose(1, 2, 0))
    with pytest.raises(RequestError, match="rgb=True needs"):
        bands[0].swin2sr.restore(rgb=True)


def test_uneven_coordinates_are_interpolated(gray_model: ModelSpec) -> None:
    y = np.array([0.0, 1, 3, 7, 15, 31, 63, 127])
    fine = xr.DataArray(np.zeros((8, 9), "f4"), {"y": y}, ("y", "x")).swin2sr.restore(gray_model)
    np.testing.assert_array_equal(fine.y[:6], [-0.25, 0.25, 0.75, 1.5, 2.5, 4])
    np.testing.assert_array_equal(fine.y[-2:], [111, 143])
    assert "x" not in fine.coords


def test_longitudes_go_the_short_way_round(gray_model: ModelSpec) -> None:
    lon = ("lon", (355.0 + np.arange(9)) % 360, {"units": "degrees_east"})
    fine = xr.DataArray(np.zeros((8, 9), "f4"), {"lon": lon}, ("lat", "lon")).swin2sr.restore(gray_model)
    assert np.abs((np.diff(fine.lon) + 180) % 360 - 180 - 0.5).max() < 1e-9


def test_times_along_columns(gray_model: ModelSpec) -> None:
    times = np.datetime64("2026-01-01T00:00:00", "ns") + np.arange(9) * np.timedelta64(4, "s")
    array = xr.DataArray(np.zeros((8, 9), "f4"), {"ping": times}, ("depth", "ping"))
    fine = array.swin2sr.restore(gray_model, axes="YX")
    assert fine.ping[0] == np.datetime64("2025-12-31T23:59:59")
    assert (np.diff(fine.ping) == np.timedelta64(2, "s")).all()


@pytest.mark.parametrize(("y", "message"), [([0, 2, 1, 3], "is not monotonic"), ([5], "gives no pixel size")])
def test_coordinates_without_a_pixel_size(y: list[int], message: str, gray_model: ModelSpec) -> None:
    array = xr.DataArray(np.zeros((len(y), 9), "f4"), {"y": y}, ("y", "x"))
    with pytest.raises(RequestError, match=message):
        array.swin2sr.restore(gray_model)
    assert array.drop_vars("y").swin2sr.restore(gray_model).sizes["y"] == 2 * len(y)


def test_other_coordinates_along_rows_and_columns(gray_model: ModelSpec) -> None:
    dask = pytest.importorskip("dask.array")
    y, x = np.mgrid[:8, :9]
    array = xr.DataArray(
        np.zeros((8, 9), "f4"),
        {
            "xc": (("y", "x"), dask.from_array(10.0 * x + y)),
            "line": ("y", list("abcdefgh")),
            "cloud": (("y", "x"), x > 4),
        },
        ("y", "x"),
    )
    fine = array.swin2sr.restore(gray_model)
    fine_y, fine_x = (np.mgrid[:16, :18] + 0.5) / 2 - 0.5
    assert fine.xc.chunks is not None
    np.testing.assert_allclose(fine.xc, 10 * fine_x + fine_y, rtol=0, atol=1e-12)
    assert "".join(fine.line.values[:4]) == "aabb"
    np.testing.assert_array_equal(fine.cloud, np.kron(x > 4, np.ones((2, 2), bool)))


def test_nodata_comes_back(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    array = xr.DataArray(rng.integers(1, 999, (12, 16)).astype("u2"), dims=("y", "x"), attrs={"_FillValue": 0})
    array[:4, :4] = 0
    fine = array.swin2sr.restore(gray_model)
    expected = swin2sr_ops.restore(array.values, model=gray_model, nodata=0).compute()
    np.testing.assert_array_equal(fine, expected)
    assert (fine[:8, :8] == 0).all()
    lone = array.drop_attrs()
    assert lone.swin2sr.restore(gray_model, nodata=0).attrs["_FillValue"] == 0
    ignored = array.swin2sr.restore(gray_model, nodata=None)
    np.testing.assert_array_equal(ignored, swin2sr_ops.restore(array.values, model=gray_model).compute())


def test_packed_values_are_not_packed_again(field: Any, gray_model: ModelSpec, tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    kept = {
        "t2m": {"dtype": "u2", "scale_factor": 2.0**-16, "add_offset": 0.0, "_FillValue": 65535, "chunks": (1, 20, 30)}
    }
    field.drop_attrs().to_dataset().to_zarr(tmp_path / "in.zarr", encoding=kept, consolidated=False)
    stored = xr.open_zarr(tmp_path / "in.zarr", consolidated=False).t2m
    fine = stored.swin2sr.restore(gray_model)
    assert not {"dtype", "scale_factor", "chunks"} & set(fine.encoding)
    fine.to_dataset().to_zarr(tmp_path / "out.zarr", consolidated=False)
    again = xr.open_zarr(tmp_path / "out.zarr", consolidated=False)
    np.testing.assert_array_equal(again.t2m, fine)
    np.testing.assert_array_equal(again.lat, fine.lat)
    raw = xr.open_zarr(tmp_path / "in.zarr", consolidated=False, mask_and_scale=False).t2m
    assert raw.swin2sr.restore(gray_model).dtype == "u2"
    assert raw.swin2sr.restore(gray_model).attrs["_FillValue"] == 65535


def test_pixels_in_a_file_are_not_read(field: Any, gray_model: ModelSpec, tmp_path: Path) -> None:
    field.to_dataset().to_zarr(tmp_path / "in.zarr", consolidated=False)
    stored = xr.open_dataset(tmp_path / "in.zarr", engine="zarr", consolidated=False).t2m
    assert stored.chunks is None
    fine = stored.swin2sr.restore(gray_model)
    assert not stored._in_memory
    np.testing.assert_array_equal(fine, field.swin2sr.restore(gray_model))


def test_dataset(field: Any, gray_model: ModelSpec) -> None:
    bounds = np.zeros((20, 2))
    field.lat.attrs["bounds"] = "lat_bnds"
    dataset = xr.Dataset(
        {"t2m": field, "u10": field * 3, "days": ("time", [31, 28]), "area": ("lat", np.arange(20.0)),
         "lat_bnds": (("lat", "b"), bounds), "rgb": (("c", "lat", "lon"), np.zeros((2, 20, 30), "u1"))},
        attrs={"title": "weather"},
    )  # fmt: skip
    with pytest.warns(UserWarning, match="The cell bounds lat_bnds describe the old grid and are left out"):
        fine = dataset.swin2sr.restore(gray_model, range=(0, 1))
    np.testing.assert_array_equal(fine.t2m, field.swin2sr.restore(gray_model, range=(0, 1)))
    assert list(fine.data_vars) == ["t2m", "u10", "days", "area", "rgb"]
    assert "bounds" not in fine.lat.attrs
    np.testing.assert_array_equal(fine.area[:3], [-0.25, 0.25, 0.75])
    np.testing.assert_array_equal(fine.days, [31, 28])
    assert fine.attrs == {"title": "weather"}
    assert fine.sizes["lat"] == 40
    assert fine.sizes["lon"] == 60


def test_dataset_names_what_it_cannot_restore(field: Any, gray_model: ModelSpec) -> None:
    classes = field.astype("u1").assign_attrs(flag_values=[0, 1])
    with pytest.raises(RequestError, match=r"'cover' cannot be restored.*drop_vars\('cover'\)"):
        xr.Dataset({"t2m": field, "cover": classes}).swin2sr.restore(gray_model)
    with pytest.raises(RequestError, match="None of the variables t has rows and columns"):
        xr.Dataset({"t": ("time", [1.0])}).swin2sr.restore()


# --- rioxarray ------------------------------------------------------------------------------------


def raster(path: Path, *, rotated: bool = False) -> Any:
    pytest.importorskip("rasterio")
    import rasterio

    turned = rasterio.Affine(10, 2 * rotated, 5e5, rotated, -10, 5e6)
    profile = {"driver": "GTiff", "width": 30, "height": 20, "count": 2, "dtype": "uint16", "nodata": 7}
    with rasterio.open(path, "w", **profile, crs="EPSG:32633", transform=turned) as dataset:
        dataset.write(np.random.default_rng(0).integers(0, 999, (2, 20, 30)).astype("u2"))
        dataset.descriptions = ("red", "nir")
    return path


@pytest.mark.filterwarnings("ignore:Transform that is non-rectilinear:UserWarning")  # rioxarray's, as it writes
@pytest.mark.parametrize("rotated", [False, True])
def test_rasters(rotated: bool, gray_model: ModelSpec, tmp_path: Path) -> None:
    rioxarray = pytest.importorskip("rioxarray")
    path = raster(tmp_path / "in.tif", rotated=rotated)
    array = rioxarray.open_rasterio(path, chunks={})
    fine = array.swin2sr.restore(gray_model)
    expected = swin2sr_ops.restore(array.values, model=gray_model, axes="CYX", nodata=7).compute()
    np.testing.assert_array_equal(fine, expected)
    assert fine.rio.transform() == array.rio.transform() @ array.rio.transform().scale(0.5)
    assert fine.rio.crs == array.rio.crs
    assert fine.rio.nodata == 7
    if rotated:  # centres of pixels, by the affine
        column, row = fine.rio.transform() @ (10.5, 4.5)
        np.testing.assert_allclose([fine.xc[4, 10], fine.yc[4, 10]], [column, row], rtol=1e-12)
    else:
        assert fine.rio.bounds() == array.rio.bounds()
        assert fine.rio.transform(recalc=True) == fine.rio.transform()
    assert fine.attrs["long_name"] == ("red", "nir")
    fine.rio.to_raster(tmp_path / "out.tif")
    import rasterio

    with rasterio.open(tmp_path / "out.tif") as written:
        np.testing.assert_array_equal(written.read(), expected)
        assert written.nodata == 7
        assert written.transform == fine.rio.transform()


def test_dataset_of_bands(gray_model: ModelSpec, tmp_path: Path) -> None:
    rioxarray = pytest.importorskip("rioxarray")
    bands = rioxarray.open_rasterio(raster(tmp_path / "in.tif"), band_as_variable=True, chunks={})
    fine = bands.swin2sr.restore(gray_model, range=(0, 1000))
    assert fine.rio.bounds() == bands.rio.bounds()
    assert fine.rio.crs == bands.rio.crs
    assert fine.rio.transform() == bands.rio.transform() @ bands.rio.transform().scale(0.5)
    expected = swin2sr_ops.restore(bands.band_2.values, model=gray_model, range=(0, 1000), nodata=7).compute()
    np.testing.assert_array_equal(fine.band_2, expected)
    assert fine.band_2.attrs["long_name"] == "nir"


def test_masked_rasters(gray_model: ModelSpec, tmp_path: Path) -> None:
    rioxarray = pytest.importorskip("rioxarray")
    array = rioxarray.open_rasterio(raster(tmp_path / "in.tif"), masked=True)
    array[:, :4, :4] = np.nan
    fine = array.swin2sr.restore(gray_model)
    assert np.isnan(fine[:, :8, :8]).all()
    np.testing.assert_array_equal(fine, swin2sr_ops.restore(array.values, model=gray_model, axes="CYX").compute())
    fine.rio.to_raster(tmp_path / "out.tif")
    np.testing.assert_array_equal(rioxarray.open_rasterio(tmp_path / "out.tif", masked=True), fine)


def test_metadata_that_only_rioxarray_knows(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    pytest.importorskip("rioxarray")
    array = xr.DataArray(rng.integers(0, 9, (12, 16)).astype("u1"), dims=("a", "b"))
    array = array.rio.set_spatial_dims(x_dim="b", y_dim="a").rio.set_nodata(3)
    fine = array.swin2sr.restore(gray_model, axes="YX")
    assert fine.rio.nodata == 3
    assert (fine.rio.x_dim, fine.rio.y_dim) == ("b", "a")
    np.testing.assert_array_equal(fine, swin2sr_ops.restore(array.values, model=gray_model, nodata=3).compute())


def test_control_points_follow() -> None:
    from swin2sr_ops_xarray.grid import finer_mapping

    points = {"type": "FeatureCollection", "features": [{"properties": {"id": "1", "row": 3.0, "col": 4.5}}]}
    mapping = xr.DataArray(0, attrs={"gcps": json.dumps(points), "crs_wkt": "x"})
    found = finer_mapping({"spatial_ref": mapping}, 2)["spatial_ref"]
    assert json.loads(found.attrs["gcps"])["features"][0]["properties"] == {"id": "1", "row": 6.0, "col": 9.0}
    assert found.attrs["crs_wkt"] == "x"


# --- the host -------------------------------------------------------------------------------------


def test_host() -> None:
    status = XarrayHost().status()
    assert (status.present, status.registered, status.working) == (True, True, True)
    assert status.version == xr.__version__
    with pytest.raises(RequestError, match="Nothing needs to be installed"):
        XarrayHost().install()


def test_import_registers() -> None:
    """The adapter alone does not import xarray."""
    code = (
        "import sys, swin2sr_ops_xarray_host as host; host.swin2sr_ops_hosts(); print('xarray' in sys.modules)\n"
        "import xarray as xr; print(hasattr(xr.DataArray, 'swin2sr'))\n"
        "import swin2sr_ops_xarray; print(hasattr(xr.DataArray, 'swin2sr'), hasattr(xr.Dataset, 'swin2sr'))\n"
        "print('torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["False", "False", "True", "True", "False"]


def test_without_xarray() -> None:
    code = (
        "import sys; sys.modules['xarray'] = None\n"
        "from swin2sr_ops_xarray_host import XarrayHost; print(XarrayHost().status().detail)\n"
        "try:\n    XarrayHost().install()\nexcept ValueError as exc:\n    print(exc)\n"
        "try:\n    import swin2sr_ops_xarray\nexcept ImportError as exc:\n    print(exc)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.count("pip install 'swin2sr-ops[xarray]'") == 3


def test_public_names_are_documented() -> None:
    for name in swin2sr_ops_xarray.__all__:
        assert getattr(swin2sr_ops_xarray, name).restore.__doc__


def test_half_widths_are_a_coordinate(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    """Lazy, the same as `swin2sr_ops.restore` gives, on the result's grid; of a dataset they need one variable."""
    cal = calibrated(gray_model, tmp_path / "cal.json")
    field = xr.DataArray(rng.random((30, 40), "f4"), {"y": np.arange(30.0)}, ("y", "x"))
    fine = field.swin2sr.restore(gray_model, interval=90, calibration=cal)
    expected = swin2sr_ops.restore(field.values, model=gray_model, interval=90, calibration=cal)
    assert fine.coords["half_width"].chunks is not None
    np.testing.assert_array_equal(fine, expected[0])
    np.testing.assert_array_equal(fine.coords["half_width"], expected[1])
    with pytest.raises(RequestError, match="restore it alone"):
        field.to_dataset(name="a").swin2sr.restore(gray_model, interval=90, calibration=cal)
