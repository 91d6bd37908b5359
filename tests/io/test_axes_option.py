"""Errors ask for ``axes=``: every source must use it, and the letters in every error must work."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops.errors import RequestError
from swin2sr_ops.hooks.dispatch import create_sink, open_source
from swin2sr_ops.io.base import ImageInfo


def tiff(path: Path, *, ome: bool = False) -> str:
    import tifffile

    axes = {"axes": "TCYX"} if ome else None
    tifffile.imwrite(path, np.ones((2, 3, 20, 30), "u2"), photometric="minisblack", metadata=axes)
    return str(path)


def raster(path: Path) -> str:
    rasterio = pytest.importorskip("rasterio")
    place = rasterio.transform.from_origin(5e5, 5e6, 10, 10)
    options = {"driver": "GTiff", "count": 3, "dtype": "uint16", "crs": "EPSG:32632", "transform": place}
    with rasterio.open(path, "w", height=20, width=30, **options) as file:
        file.write(np.ones((3, 20, 30), "u2"))
    return str(path)


def plain_zarr(path: Path) -> str:
    import zarr

    zarr.create_array(path, data=np.ones((2, 3, 20, 30), "u2"))
    return str(path)


def picture(path: Path) -> str:
    from PIL import Image

    Image.fromarray(np.ones((20, 30, 3), "u1")).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("make", "name", "axes"),
    [(tiff, "a.tif", "ZYX"), (tiff, "a.ome.tif", "ZTYX"), (raster, "geo.tif", "TYX"), (plain_zarr, "a.zarr", "CTYX"),
     (picture, "a.png", "XYS"), (picture, "a.bmp", "YXC")],
)  # fmt: skip
@pytest.mark.parametrize("spelling", [str, str.lower, tuple, list])
def test_every_source_uses_axes(make, name: str, axes: str, spelling, tmp_path: Path) -> None:
    uri = tiff(tmp_path / name, ome=True) if name == "a.ome.tif" else make(tmp_path / name)
    source = open_source(uri, axes=spelling(axes))
    assert source.info.axes == axes
    region = tuple(slice(0, 1) for _ in axes)
    assert source.read(region).shape == (1,) * len(axes)


@pytest.mark.parametrize("axes", [5, ("y", "lat"), {"y": "Y"}, b"YX"])
def test_axes_that_are_not_letters_are_refused(axes: object, tmp_path: Path) -> None:
    for make, name in ((tiff, "a.tif"), (raster, "geo.tif"), (plain_zarr, "a.zarr"), (picture, "a.png")):
        uri = make(tmp_path / name)
        with pytest.raises(RequestError, match="give a string with one letter per dimension"):
            open_source(uri, axes=axes)
    with pytest.raises(RequestError, match="give a string with one letter per dimension"):
        swin2sr_ops.restore(np.ones((20, 30), "u1"), axes=axes)


def test_arrays_take_tuples() -> None:
    assert swin2sr_ops.restore(np.ones((3, 20, 30), "u1"), axes=("C", "Y", "X")).shape == (3, 40, 60)


@pytest.mark.parametrize("shape", [(), (20,)])
def test_no_letters_help_an_array_without_planes(shape: tuple[int, ...]) -> None:
    with pytest.raises(RequestError, match=r"has the shape .*: an image has 2 to 5 dimensions"):
        swin2sr_ops.restore(np.ones(shape, "u1"))


@pytest.mark.parametrize(
    ("name", "axes", "says"),
    [
        ("o.tif", "QYX", "rename it to one of these with axes="),
        ("o.ome.zarr", "QCYX", "name one of them T or Z with axes="),
        ("o.ome.zarr", "TCQYX", "name one of them Z with axes="),
        ("o.ome.zarr", "CYXS", r"write \.ome\.tif"),
        ("o.png", "YXC", "name the colours S: axes=YXS"),
    ],
)
def test_an_output_names_letters_that_it_takes(name: str, axes: str, says: str, tmp_path: Path) -> None:
    shape = tuple({"Y": 20, "X": 30}.get(a, 3) for a in axes)
    info = ImageInfo(shape=shape, axes=axes, dtype=np.dtype("u1"), chunks=shape)
    with pytest.raises(RequestError, match=says):
        create_sink(str(tmp_path / name), info)


def test_xarray_names_both_dimensions() -> None:
    """The example in the error works."""
    xarray = pytest.importorskip("xarray")
    letters_of = importlib.import_module("swin2sr_ops_xarray.names").letters_of
    array = xarray.DataArray(np.ones((3, 20, 30), "u1"), dims=("time", "line", "pixel"))
    with pytest.raises(RequestError, match=r"axes=\{'line': 'Y', 'pixel': 'X'\}\."):
        letters_of(array)
    assert letters_of(array, {"line": "Y", "pixel": "X"}) == letters_of(array, ("T", "Y", "X")) == "TYX"
    half = array.rename(pixel="x")
    with pytest.raises(RequestError, match=r"axes=\{'line': 'Y'\}\."):
        letters_of(half)
    assert letters_of(half, {"line": "Y"}) == "TYX"
