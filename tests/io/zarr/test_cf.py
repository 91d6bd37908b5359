"""Nodata and packing of Zarr arrays, in the encodings that xarray writes and reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import swin2sr_ops
from swin2sr_ops import ModelSpec
from swin2sr_ops.io.zarr.cf import array_attributes
from swin2sr_ops.io.zarr.source import open_source

NAN64 = "AAAAAAAA+H8="
LESS9999 = "AAAAAICHw8A="


def stored(path: Path, dtype: str, attributes: dict[str, Any], version: int = 3, fill: Any = 0) -> str:
    array = zarr.create_array(
        path,
        shape=(4, 5),
        dtype=dtype,
        zarr_format=version,
        fill_value=fill,
        attributes=attributes,
    )
    array[...] = np.ones((4, 5), dtype)
    return str(path)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("encoding", "nodata"),
    [
        ({"dtype": "int16", "_FillValue": -999}, -999),
        ({"dtype": "float32", "_FillValue": -9999.0}, -9999),
        ({"dtype": "float32"}, None),  # NaN by default
        ({"dtype": "uint16", "_FillValue": 65535, "scale_factor": 0.5, "add_offset": 10.0}, 65535),
        ({"dtype": "int16", "_FillValue": -1, "_Unsigned": "true"}, 65535),
        ({"dtype": "int16", "_FillValue": -7, "missing_value": -7}, -7),
    ],
)
def test_holes_are_those_of_xarray(
    version: Any, encoding: dict[str, Any], nodata: float | None, gray_model: ModelSpec, tmp_path: Path
) -> None:
    xr = pytest.importorskip("xarray")
    pytest.importorskip("swin2sr_ops_xarray")
    values = np.random.default_rng(0).uniform(500, 600, (20, 24)).astype("f4")
    values[8:14, 6:13] = np.nan
    data = xr.Dataset({"height": (("y", "x"), values, {"units": "m"})})
    data.to_zarr(
        tmp_path / "in.zarr",
        zarr_format=version,
        consolidated=False,
        encoding={"height": {**encoding, "chunks": (9, 9)}},
    )
    source = open_source(str(tmp_path / "in.zarr"))
    assert source is not None
    assert source.info.nodata == nodata
    swin2sr_ops.restore_image(tmp_path / "in.zarr", tmp_path / "out.ome.zarr", model=gray_model)
    group = zarr.open_group(tmp_path / "out.ome.zarr", mode="r")
    assert group.attrs["units"] == "m"
    assert not {"_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned"} & set(group.attrs)
    found = xr.open_zarr(tmp_path / "out.ome.zarr", consolidated=False)["0"]
    expected = xr.open_zarr(tmp_path / "in.zarr", consolidated=False).height.swin2sr.restore(gray_model).compute()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    assert np.isnan(found).sum() == 4 * 6 * 7
    np.testing.assert_allclose(found, expected, rtol=0, atol=encoding.get("scale_factor", 1))  # integers round


def test_an_output_has_it_on_every_level_and_keeps_it(gray_model: ModelSpec, tmp_path: Path) -> None:
    image = np.random.default_rng(0).uniform(1, 9, (300, 20)).astype("f4")
    image[:9] = -9999
    array = zarr.create_array(tmp_path / "in.zarr", data=image, attributes={"_FillValue": LESS9999, "add_offset": 3.0})
    swin2sr_ops.restore_image(array.store_path.store.root, tmp_path / "a.ome.zarr", model=gray_model, context=True)
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    for level in "01":
        assert dict(group[level].attrs) == {"_FillValue": LESS9999, "add_offset": 3.0}
    assert dict(group["labels/nodata_context/0"].attrs) == {}
    with pytest.warns(UserWarning, match="Beside the image lie labels"):
        swin2sr_ops.restore_image(tmp_path / "a.ome.zarr", tmp_path / "b.ome.zarr", model=gray_model, ngff="0.4")
    old = zarr.open_group(tmp_path / "b.ome.zarr", mode="r")["0"]
    assert dict(old.attrs) == {"_FillValue": -9999.0, "add_offset": 3.0}


@pytest.mark.parametrize(
    ("dtype", "attributes", "nodata"),
    [
        ("f4", {"_FillValue": NAN64}, None),
        ("f4", {"_FillValue": "NaN"}, None),
        ("f4", {"_FillValue": "-9999"}, -9999),
        ("f8", {"_FillValue": [1e20]}, 1e20),
        ("f4", {"_FillValue": LESS9999, "missing_value": -9999.0}, -9999),
        ("f4", {"missing_value": -5}, -5),
        ("u1", {"_FillValue": -9999, "missing_value": 7}, 7),  # no pixel can be -9999
        ("u1", {"_FillValue": None}, None),
        ("u1", {"_FillValue": -1, "_Unsigned": "true"}, -1),  # already unsigned
    ],
)
def test_forms_of_the_attribute(dtype: str, attributes: dict[str, Any], nodata: float | None, tmp_path: Path) -> None:
    source = open_source(stored(tmp_path / "a.zarr", dtype, attributes))
    assert source is not None
    assert source.info.nodata == nodata


def test_the_fill_value_is_nodata_only_for_xarray(tmp_path: Path) -> None:
    named = {"_ARRAY_DIMENSIONS": ["y", "x"]}
    found = {
        (version, tuple(attributes)): open_source(
            stored(tmp_path / f"{version}{len(attributes)}.zarr", "u1", attributes, version)
        )
        for version in (2, 3)
        for attributes in ({}, named)
    }
    marked = [key for key, source in found.items() if source is not None and source.info.nodata is not None]
    assert marked == [(2, ("_ARRAY_DIMENSIONS",))]
    group = zarr.create_group(tmp_path / "image.ome.zarr", zarr_format=2)
    group.create_array("0", shape=(4, 5), dtype="u1", attributes=named, fill_value=0)
    axes = [{"name": name, "type": "space"} for name in "yx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    path = str(tmp_path / "image.ome.zarr")
    for image in (open_source(path), open_source(path, array="0"), open_source(f"{path}/0")):
        assert image is not None
        assert image.info.nodata is None


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"_FillValue": "none"}, "has _FillValue='none', which is not a number.* give their value with nodata"),
        ({"missing_value": True}, "has missing_value=True, which is not a number"),
        ({"_FillValue": {"a": 1}}, "which is not a number"),
        (
            {"_FillValue": 3, "missing_value": [3, 4]},
            "several values: 3 is nodata, and pixels of 4 count as brightness",
        ),
    ],
)
def test_what_cannot_be_used_is_said(attributes: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = stored(tmp_path / "a.zarr", "i2", attributes)
    with pytest.warns(UserWarning, match=says):
        open_source(path)


def test_nodata_that_no_pixel_can_have_is_not_written() -> None:
    assert array_attributes(-9999, np.dtype("u1"), {}, 3) == {}
    assert array_attributes(float("nan"), np.dtype("f4"), {"scale_factor": 2.0}, 3) == {"scale_factor": 2.0}
    assert array_attributes(-9999, np.dtype("f4"), {}, 2) == {"_FillValue": -9999.0}
