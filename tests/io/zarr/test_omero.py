"""The ``omero`` block: what is not read comes along as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import swin2sr_ops
from swin2sr_ops import ModelSpec
from swin2sr_ops.io.zarr.ngff import ome_attributes
from swin2sr_ops.io.zarr.omero import read_rest

RDEFS = {"defaultT": 0, "defaultZ": 2, "model": "greyscale"}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_rendering_comes_along(version: str, gray_model: ModelSpec, tmp_path: Path) -> None:
    window = {"start": 0, "end": 9, "min": 0, "max": 9}
    channel = {"label": "DAPI", "color": "0000FF", "window": window, "active": False}
    more = {"inverted": True, "coefficient": 1.5, "family": "linear"}
    axes = [{"name": "c", "type": "channel"}, {"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    scale = {"type": "scale", "scale": [1.0, 1.0, 1.0]}
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
    omero = {"id": 7, "version": "0.3", "channels": [channel | more, {"inverted": False}], "rdefs": RDEFS}
    group = zarr.create_group(tmp_path / "a.ome.zarr")
    group.create_array("0", data=np.random.default_rng(0).integers(0, 9, (2, 12, 14)).astype("u1"))
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image], "omero": omero}
    swin2sr_ops.restore_image(tmp_path / "a.ome.zarr", tmp_path / "b.ome.zarr", model=gray_model, ngff=version)
    found = ome_attributes(dict(zarr.open_group(tmp_path / "b.ome.zarr", mode="r").attrs))["omero"]
    assert found["channels"][0] == channel | more
    assert found["channels"][1]["inverted"] is False
    assert found["rdefs"] == RDEFS
    assert "id" not in found  # the number of another image
    assert "version" not in found


@pytest.mark.parametrize("omero", [None, 3, [], {"channels": []}])
def test_there_may_be_nothing_else(omero: Any) -> None:
    assert read_rest(omero) == {}
