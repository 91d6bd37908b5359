"""Grid and nodata of arrays, in the conventions of the tools that made them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

xr = pytest.importorskip("xarray", reason="needs swin2sr-ops[xarray]")
import swin2sr_ops_xarray  # noqa: E402, F401

from swin2sr_ops import RequestError  # noqa: E402

NANO = "nano-x2-gray"
_RANGE = (0, 200)


def array(*, at: float = 0.5, dtype: str = "float32", coords=None, **attrs) -> xr.DataArray:
    """Pixels of 10 m whose corner is 500000, 5300000; ``at`` says where in a pixel its coordinate lies."""
    pixels = np.random.default_rng(2).integers(50, 200, (12, 16)).astype(dtype)
    place = {"y": 5_300_000 - 10 * (np.arange(12) + at), "x": 500_000 + 10 * (np.arange(16) + at)}
    return xr.DataArray(pixels, place | (coords or {}), ("y", "x"), attrs=attrs)


def restored(source: xr.DataArray, **options) -> xr.DataArray:
    return source.swin2sr.restore(NANO, range=_RANGE, **options)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("transform", (10.0, 0.0, 5e5, 0.0, -10.0, 5.3e6), (5.0, 0.0, 5e5, 0.0, -5.0, 5.3e6)),
        ("transform", [10.0, 0, 5e5, 0, -10.0, 5.3e6, 0, 0, 1], [5.0, 0, 5e5, 0, -5.0, 5.3e6, 0, 0, 1]),
        ("GeoTransform", "500000 10 0 5300000 0 -10", "500000.0 5.0 0.0 5300000.0 0.0 -5.0"),
        ("spatial:transform", [10, 0, 500000, 0, -10, 5300000], [5, 0, 500000, 0, -5, 5300000]),
        ("res", (10.0, 10.0), (5.0, 5.0)),
        ("resolution", 10.0, 5.0),
        ("cellsize", np.float32(10), np.float32(5)),
        ("proj:shape", [12, 16], [24, 32]),
        ("width", 16, 32),
        ("height", 705.0, 705.0),
        ("long_name", "height of the 10 m grid", "height of the 10 m grid"),
    ],
)
def test_descriptions_of_the_grid_follow(name, value, expected):
    found = restored(array(**{name: value})).attrs[name]
    assert type(found) is type(expected)
    assert found == expected


@pytest.mark.parametrize(
    ("name", "value"), [("resolution", "ten metres"), ("spec", "RasterSpec"), ("transform", "?"), ("shape", [5, 5])]
)
def test_metadata_of_the_old_grid_are_removed(name, value):
    assert name not in restored(array(**{name: value})).attrs


def test_attributes_of_coordinates_follow(monkeypatch):
    source = array()
    source.x.attrs["resolution"], source.y.attrs["resolution"] = 10.0, -10.0
    fine = restored(source)
    assert (fine.x.attrs["resolution"], fine.y.attrs["resolution"]) == (5.0, -5.0)


def test_attributes_of_a_dataset_follow():
    dataset = xr.Dataset({"red": array()}, attrs={"res": (10.0, 10.0), "title": "scene"})
    attrs = dataset.swin2sr.restore(NANO, range=_RANGE).attrs
    assert attrs == {"res": (5.0, 5.0), "title": "scene"}


@pytest.mark.parametrize("part", [slice(None), slice(3, 9)])
def test_coordinates_of_corners_stay_corners(part):
    place = (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_300_000.0)
    source = array(at=0, transform=place).isel(x=part, y=part)
    fine = restored(source)
    np.testing.assert_allclose(fine.x[:3], source.x.values[0] + np.array([0, 5, 10]))
    np.testing.assert_allclose(fine.y[:3], source.y.values[0] - np.array([0, 5, 10]))
    centres = restored(array(transform=place).isel(x=part, y=part))
    np.testing.assert_allclose(centres.x[:2], fine.x[:2] + 2.5)


def test_one_column_has_the_step_of_the_affine():
    mapping = {"spatial_ref": ((), 0, {"GeoTransform": "500000 10 0 5300000 0 -10"})}
    fine = restored(array(coords=mapping).isel(x=slice(4, 5)))
    np.testing.assert_allclose(fine.x, [500_042.5, 500_047.5])


@pytest.mark.parametrize(
    "attrs",
    [{"nodata": 0}, {"nodatavals": (0.0,)}, {"fill_value": 0}, {"_FillValue": 0}, {"missing_value": 0},
     {"nodata": "0", "nodatavals": ()}],
)  # fmt: skip
def test_every_attribute_for_nodata_is_used(attrs):
    source = array(dtype="uint16", **attrs)
    source[:4] = 0
    fine = restored(source).compute()
    assert (fine[:8] == 0).all()
    assert fine[8:].min() > 0


def test_rioxarray_changes_nothing():
    pytest.importorskip("rioxarray")
    code = (
        "import {}numpy as np, xarray as xr, swin2sr_ops_xarray\n"
        "pixels = np.arange(48, 240, dtype='uint16').reshape(12, 16); pixels[:4] = 0\n"
        "for attrs in ({{'nodata': 0}}, {{'nodatavals': (0.0,)}}, {{'fill_value': 0}}):\n"
        "    array = xr.DataArray(pixels, dims=('y', 'x'), attrs=attrs)\n"
        "    print(int(array.swin2sr.restore('nano-x2-gray', range=(0, 300)).sum()))"
    )
    told = [
        subprocess.run([sys.executable, "-c", code.format(extra)], capture_output=True, text=True, check=True).stdout
        for extra in ("", "rioxarray, ")
    ]
    assert told[0] == told[1] != ""


def test_bands_of_different_nodata_are_not_mixed_up():
    with pytest.raises(RequestError, match="different nodata values"):
        restored(array(nodatavals=(0.0, 255.0)))


def test_an_index_of_a_scalar_coordinate_stays():
    xproj = pytest.importorskip("xproj")
    source = array(coords={"spatial_ref": 0}).proj.assign_crs(spatial_ref="EPSG:32633")
    assert restored(source).proj.crs.to_epsg() == 32633
    assert xproj is not None


def test_a_stack_keeps_its_specification():
    spec_of = pytest.importorskip("stackstac.raster_spec").RasterSpec
    spec = spec_of(32633, (500_000, 5_299_880, 500_160, 5_300_000), (10.0, 10.0))
    fine = restored(array(at=0, spec=spec, transform=spec.transform, resolution=10.0)).attrs
    assert fine["spec"].resolutions_xy == (5.0, 5.0)
    assert fine["spec"].bounds == spec.bounds
    assert tuple(fine["transform"])[:6] == (5.0, 0.0, 500_000.0, 0.0, -5.0, 5_300_000.0)


@pytest.mark.parametrize(
    ("lon", "expected"),
    [
        ([359.5, 0.5], [359.25, 359.75, 360.25, 360.75]),
        ([179.5, -179.5], [179.25, 179.75, 180.25, 180.75]),
        ([0.5, 359.5], [0.75, 0.25, -0.25, -0.75]),
        ([-179.5, 179.5], [-179.25, -179.75, -180.25, -180.75]),
        ([358.5, 359.5, 0.5], [358.25, 358.75, 359.25, 359.75, 360.25, 360.75]),
        ([358.0, 359.5, 0.5], [357.625, 358.375, 359.125, 359.75, 360.25, 360.75]),
        ([90.0, 270.0], [45.0, 135.0, 225.0, 315.0]),
        ([0.5, 1.5], [0.25, 0.75, 1.25, 1.75]),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_longitudes_across_the_date_line(lon, expected, dtype):
    degrees = {"units": "degrees_east"}
    source = xr.DataArray(
        np.zeros((2, len(lon)), "float32"),
        {"lat": ("lat", [90.0, -90.0], {"units": "degrees_north"}), "lon": ("lon", np.array(lon, dtype), degrees)},
        ("lat", "lon"),
    ).assign_coords(inner=(("lat", "lon"), np.tile(np.array(lon, dtype), (2, 1)), degrees))
    found = restored(source)
    np.testing.assert_allclose(found.lon, expected)
    np.testing.assert_allclose(found.inner, np.tile(expected, (4, 1)))
    np.testing.assert_allclose(found.lat, [135, 45, -45, -135])


def test_a_single_longitude_has_no_size():
    source = xr.DataArray(
        np.zeros((2, 1), "float32"), {"lon": ("lon", [359.5], {"units": "degrees_east"})}, ("lat", "lon")
    )
    with pytest.raises(RequestError, match="'lon' has a single value"):
        restored(source)
