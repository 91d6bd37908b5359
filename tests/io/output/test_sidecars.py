"""Sidecar files belong to the new output, not to the one that it replaces."""

from __future__ import annotations

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio", reason="needs swin2sr-ops[geo]")

import swin2sr_ops  # noqa: E402
from swin2sr_ops.errors import OutputError  # noqa: E402

_OLD = (
    '<PAMDataset><SRS>EPSG:3857</SRS><PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>'
)
_PLACE = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)


@pytest.fixture
def scene(tmp_path):
    path = tmp_path / "scene.tif"
    settings = {"width": 20, "height": 16, "count": 1, "dtype": "uint8", "crs": "EPSG:32632", "transform": _PLACE}
    with rasterio.open(path, "w", driver="GTiff", **settings) as dataset:
        dataset.write(np.arange(320, dtype="uint8").reshape(1, 16, 20))
    return path


def restore(scene, output, **options):
    return swin2sr_ops.restore_image(scene, output, model="nano-x2-gray", **options)


def test_those_of_a_replaced_output_go(scene, tmp_path):
    output = tmp_path / "out.tif"
    restore(scene, output)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False),
        rasterio.open(output, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset,
    ):
        dataset.write_mask(np.zeros((32, 40), "uint8"))
    for name, text in (("out.tif.aux.xml", _OLD), ("out.tfw", "1\n0\n0\n-1\n0\n0\n"), ("out.tif.ovr", "old")):
        (tmp_path / name).write_text(text)
    other = tmp_path / "other.tif.aux.xml"
    other.write_text(_OLD)
    restore(scene, output, overwrite=True, range="0,200")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.tif.aux.xml", "out.tif", "scene.tif"]
    with rasterio.open(output) as dataset:
        assert dataset.crs.to_epsg() == 32632
        assert dataset.nodata is None
        assert dataset.dataset_mask().min() == 255


def test_those_that_a_viewer_adds_to_a_finished_output_stay(scene, tmp_path):
    output, beside = tmp_path / "out.tif", tmp_path / "out.tif.aux.xml"
    restore(scene, output)
    beside.write_text("<PAMDataset/>")
    assert restore(scene, output).state == "already"
    assert beside.exists()


@pytest.mark.parametrize("name", ["out.tif", "out.png"])
def test_those_without_an_image_are_not_taken_over(scene, tmp_path, name):
    beside = tmp_path / f"{name}.aux.xml"
    beside.write_text(_OLD)
    with pytest.raises(OutputError, match="readers would take it for a part of the new image: remove it"):
        restore(scene, tmp_path / name)
    assert beside.read_text() == _OLD
    restore(scene, tmp_path / name, overwrite=True)
    assert not beside.exists()


def test_a_crs_that_geotiff_cannot_hold_lies_beside(scene, tmp_path):
    wide = tmp_path / "heights.tif"
    crs = rasterio.CRS.from_user_input("EPSG:32651+4326")
    settings = {"width": 20, "height": 16, "count": 1, "dtype": "uint8", "transform": _PLACE}
    with rasterio.open(wide, "w", driver="GTiff", crs=crs, **settings) as dataset:
        dataset.write(np.arange(320, dtype="uint8").reshape(1, 16, 20))
    output = tmp_path / "out.tif"
    restore(wide, output)
    with rasterio.open(wide) as source, rasterio.open(output) as result:
        assert result.crs == source.crs
    restore(scene, output, overwrite=True)
    with rasterio.open(output) as result:
        assert result.crs.to_epsg() == 32632
    assert not (tmp_path / "out.tif.aux.xml").exists()
