"""The place of an output: pixel size, origin, units, levels and georeference are those that the run writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import swin2sr_ops
from swin2sr_ops.audit import audit
from swin2sr_ops.audit.metadata import differing_metadata
from swin2sr_ops.cli import main
from swin2sr_ops.io.base import ImageInfo
from swin2sr_ops.spec import ModelSpec

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A time series with every kind of place, and two levels at the double size."""
    pixels = rng.integers(0, 4000, (2, 2, 10, 270)).astype("u2")
    place = {"PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.3, "PhysicalSizeYUnit": "µm",
             "PhysicalSizeZ": 1.7, "PhysicalSizeZUnit": "µm", "TimeIncrement": 2.5, "TimeIncrementUnit": "s",
             "Plane": {"PositionX": [12.3] * 4, "PositionXUnit": ["µm"] * 4}}  # fmt: skip
    tifffile.imwrite(tmp_path / "in.ome.tif", pixels, metadata={"axes": "TZYX", **place})
    return tmp_path / "in.ome.tif"


def changed(out: Path, document: str, edit: Edit) -> None:
    path = out / document
    found = json.loads(path.read_text())
    attributes = found.get("attributes", found)
    edit(attributes.get("ome", attributes)["multiscales"][0])
    path.write_text(json.dumps(found))


def scaled(level: int, axis: int, value: float) -> Edit:
    def edit(image: dict[str, Any]) -> None:
        image["datasets"][level]["coordinateTransformations"][0]["scale"][axis] = value

    return edit


def moved(image: dict[str, Any]) -> None:
    image["datasets"][0]["coordinateTransformations"][1]["translation"][2] += 1


def renamed(image: dict[str, Any]) -> None:
    image["axes"][-1]["unit"] = "meter"


def without_unit(image: dict[str, Any]) -> None:
    del image["axes"][0]["unit"]


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
def test_ome_zarr(
    ngff: str, source: Path, gray_model: ModelSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out = tmp_path / "whole.ome.zarr", tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image(source, whole, model=gray_model, ngff=ngff, noise=50)
    assert audit(whole, model=gray_model.weights).ok
    name = "zarr.json" if ngff == "0.5" else ".zattrs"
    cases: list[tuple[str, Edit, str]] = [
        (name, scaled(0, -1, 99), "metadata: the pixel size along X is 99, but the run writes 0.05."),
        (name, scaled(1, 1, 3), "metadata of level 1: the pixel size along Z is 3, but the run writes 1.7."),
        (name, scaled(0, 0, 5), "metadata: the pixel size along T is 5, but the run writes 2.5."),
        (name, moved, "metadata: the origin along Y is 0.925, but the run writes -0.075."),
        (name, renamed, "the unit along X is meter, but the run writes micrometer."),
        (name, without_unit, "the unit along T is missing, but the run writes second."),
        (f"labels/not_trusted/{name}", renamed, "metadata of not_trusted: the unit along X is meter"),
    ]
    for document, edit, expected in cases:
        shutil.copytree(whole, out)
        changed(out, document, edit)
        found = audit(out, model=gray_model.weights, sample=1)
        assert (found.ok, found.wrong) == (False, 0)
        assert expected in str(found), str(found)
        shutil.rmtree(out)
    changed(whole, name, scaled(0, -1, 99))
    assert main(["audit", str(whole), "--model", str(gray_model.weights), "--all"]) == 1
    assert "1 difference concerns a whole array or the metadata." in capsys.readouterr().out


def test_ome_tiff(source: Path, gray_model: ModelSpec, tmp_path: Path) -> None:
    out = tmp_path / "out.ome.tif"
    swin2sr_ops.restore_image(source, out, model=gray_model)
    assert audit(out, model=gray_model.weights, sample=1).ok
    data = out.read_bytes()
    assert b'PhysicalSizeX="0.05"' in data
    out.write_bytes(data.replace(b'PhysicalSizeX="0.05"', b'PhysicalSizeX="0.06"'))
    found = audit(out, model=gray_model.weights, sample=1)
    assert "metadata: the pixel size along X is 0.06, but the run writes 0.05." in str(found)


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tif", ".tif", ".png"])
@pytest.mark.parametrize("given", ["nothing", "imagej", "half"])
def test_clean_outputs_of_other_inputs(
    given: str, suffix: str, gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator
) -> None:
    """No pixel size at all, an odd unit, and a pixel type that OME does not know."""
    pixels = rng.integers(0, 99, (14, 20))
    options: dict[str, Any] = {"imagej": True, "resolution": (3.3, 7.7), "metadata": {"unit": "um"}}
    kind = "f2" if given == "half" else "u2"
    tifffile.imwrite(tmp_path / "in.tif", pixels.astype(kind), **(options if given == "imagej" else {}))
    if given == "half" and suffix in (".ome.tif", ".png"):
        return  # these formats do not store it
    out = tmp_path / f"out{suffix}"
    swin2sr_ops.restore_image(tmp_path / "in.tif", out, model=gray_model)
    found = audit(out, model=gray_model.weights)
    assert found.ok, str(found)


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326"])
def test_rasters(crs: str, gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    rasterio = pytest.importorskip("rasterio", reason="GeoTIFF needs rasterio")
    from rasterio.transform import from_origin

    profile = {"driver": "GTiff", "width": 20, "height": 14, "count": 1, "dtype": "uint16", "nodata": 7}
    affine = from_origin(500_000.3, 5_200_000.7, 10, 10) if crs == "EPSG:32632" else from_origin(11.1, 47.3, 0.01, 0.02)
    with rasterio.open(tmp_path / "in.tif", "w", crs=crs, transform=affine, **profile) as raster:
        raster.write(rng.integers(8, 999, (14, 20)).astype("u2"), 1)
    zarr = tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image(tmp_path / "in.tif", zarr, model=gray_model)
    assert audit(zarr, model=gray_model.weights).ok
    out = tmp_path / "out.tif"
    for change, expected in (
        ({}, ""),
        ({"transform": rasterio.Affine(*affine[:5], affine[5] + 50)}, "the affine of the georeference is ["),
        ({"crs": "EPSG:3857"}, "the coordinate reference system is not the one that the run writes."),
        ({"nodata": 9}, "the nodata value is 9.0, but the run writes 7.0."),
    ):
        swin2sr_ops.restore_image(tmp_path / "in.tif", out, model=gray_model, overwrite=True)
        with rasterio.open(out, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as raster:
            for name, value in change.items():
                setattr(raster, name, value)
        found = audit(out, model=gray_model.weights)
        assert found.ok == (not expected), str(found)
        assert expected in str(found)
        out.unlink()


def test_formats_without_a_place_are_not_compared() -> None:
    info = ImageInfo(shape=(4, 4), axes="YX", dtype=np.dtype("u1"), chunks=(4, 4), pixel_size={"X": 2.0, "Y": 2.0})
    assert not list(differing_metadata(info, replace(info, pixel_size={}, format="PNG")))
    assert len(list(differing_metadata(info, replace(info, pixel_size={}, format="OME-Zarr 0.5")))) == 2
