"""An output says what it was made of; other files say nothing, whatever they hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from PIL import Image
from rasterio.transform import from_origin

from swin2sr_ops.hooks.dispatch import create_sink, open_source
from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.io.output.provenance import read_provenance

SAID = {"model": "a", "settings": {"halo": "exact", "note": "µm, 中"}, "fingerprint": "f" * 64}


def image(axes: str, dtype: str) -> ImageInfo:
    shape = (40, 50, 3) if axes == "YXS" else (40, 50)
    return ImageInfo(shape=shape, axes=axes, dtype=np.dtype(dtype), chunks=shape)


def raster(path: Path) -> ImageInfo:
    place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", count=1, height=40, width=50, dtype="uint16", **place) as file:
        file.write(np.ones((40, 50), "u2"), 1)
    return open_source(path).info


@pytest.mark.parametrize(
    ("name", "info"),
    [
        ("a.ome.zarr", image("YX", "u2")),
        ("a.ome.tif", image("YX", "u2")),
        ("a.tif", None),  # a raster: COG
        ("a.png", image("YXS", "u1")),
    ],
)
def test_every_format_returns_what_it_was_given(tmp_path: Path, name: str, info: ImageInfo | None) -> None:
    info = raster(tmp_path / "in.tif") if info is None else info
    sink = create_sink(tmp_path / name, info)
    sink[tuple(slice(0, n) for n in info.shape)] = np.ones(info.shape, info.dtype)
    assert read_provenance(str(tmp_path / name)) is None  # it is not finished
    sink.finish(SAID)
    assert read_provenance(str(tmp_path / name)) == SAID


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("own", [None, "text", ["a"], 3])
def test_a_zarr_of_others_says_nothing(tmp_path: Path, version: int, own: object) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    if own is not None:
        group.attrs["swin2sr_ops"] = own
    assert read_provenance(str(tmp_path / "a.zarr")) is None


def test_files_of_others_say_nothing(tmp_path: Path) -> None:
    pixels = np.ones((30, 40), "u1")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata={"axes": "YX"})
    with rasterio.open(tmp_path / "geo.tif", "w", driver="GTiff", count=1, height=30, width=40, dtype="uint8") as file:
        file.write(pixels, 1)
    (tmp_path / "a.txt").write_text(json.dumps({"swin2sr_ops": SAID}))
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:20])
    (tmp_path / "cut.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:6])
    for path in sorted(tmp_path.iterdir()):
        assert read_provenance(str(path)) is None, path.name
    assert read_provenance(str(tmp_path / "missing.tif")) is None
