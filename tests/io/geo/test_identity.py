"""The identity of a raster changes with each of its files, but not with files that viewers add."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio", reason="needs swin2sr-ops[geo]")

import swin2sr_ops  # noqa: E402
from swin2sr_ops.errors import OutputError  # noqa: E402
from swin2sr_ops.io.geo.source import open_source  # noqa: E402

_VRT = (
    '<VRTDataset rasterXSize="20" rasterYSize="16"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
    '<SourceFilename relativeToVRT="1">{}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
)
_STATISTICS = '<Metadata><MDI key="STATISTICS_MEAN">4</MDI></Metadata><Histograms><HistItem/></Histograms>'


@pytest.fixture
def tile(tmp_path) -> Path:
    return write(tmp_path / "tile.tif", 0)


def write(path: Path, value: int, **profile) -> Path:
    settings = {"driver": "GTiff", "width": 20, "height": 16, "count": 1, "dtype": "uint8", "crs": "EPSG:32632"}
    place = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)
    with rasterio.open(path, "w", **(settings | {"transform": place} | profile)) as dataset:
        dataset.write(np.full((1, 16, 20), value, "uint8"))
    return path


def touch(path: Path) -> None:
    seen = path.stat()
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns + 1_000_000_000))


def identity(path: Path) -> dict:
    return open_source(str(path)).identity()


@pytest.mark.parametrize("depth", [1, 3])
def test_tiles_behind_a_vrt_count_through_vrts_of_vrts(tile, depth):
    name, beside = tile.name, tile.with_name("tile.tif.msk")
    for k in range(depth):
        vrt = tile.with_name(f"{k}.vrt")
        vrt.write_text(_VRT.format(name))
        name = vrt.name
    before = identity(vrt)
    touch(tile)
    changed = identity(vrt)
    beside.write_bytes(b"a mask that came later")
    assert len({str(before), str(changed), str(identity(vrt))}) == 3


def test_a_header_and_a_coordinate_system_beside_count(tmp_path):
    path = write(tmp_path / "scene.dat", 3, driver="ENVI")
    before = identity(path)
    touch(path.with_suffix(".hdr"))
    changed = identity(path)
    Path(f"{path}.aux.xml").write_text("<PAMDataset><SRS>EPSG:3857</SRS></PAMDataset>")
    assert len({str(before), str(changed), str(identity(path))}) == 3


def test_statistics_and_overviews_that_a_viewer_left_do_not_count(tile):
    before = identity(tile)
    Path(f"{tile}.ovr").write_bytes(tile.read_bytes())
    Path(f"{tile}.aux.xml").write_text(
        f'<PAMDataset><PAMRasterBand band="1">{_STATISTICS}</PAMRasterBand></PAMDataset>'
    )
    assert identity(tile) == before


def test_an_archive_counts(tile):
    import zipfile

    archive = tile.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        file.write(tile, "in/tile.tif")
    source = open_source(f"/vsizip/{archive}/in/tile.tif")
    before = source.identity()
    touch(archive)
    assert before["files"]
    assert source.identity() != before


def test_a_changed_tile_is_another_input(tile, tmp_path):
    vrt, output = tmp_path / "all.vrt", tmp_path / "out.tif"
    vrt.write_text(_VRT.format(tile.name))
    assert swin2sr_ops.restore_image(vrt, output, model="nano-x2-gray").state == "done"
    assert swin2sr_ops.restore_image(vrt, output, model="nano-x2-gray").state == "already"
    write(tile, 90)
    touch(tile)
    with pytest.raises(OutputError, match="exists already"):
        swin2sr_ops.restore_image(vrt, output, model="nano-x2-gray")


def test_a_file_behind_the_input_is_not_replaced(tile):
    vrt = tile.with_suffix(".vrt")
    vrt.write_text(_VRT.format(tile.name))
    before = tile.read_bytes()
    with pytest.raises(OutputError, match="contains"):
        swin2sr_ops.restore_image(vrt, tile, model="nano-x2-gray", overwrite=True)
    assert tile.read_bytes() == before
