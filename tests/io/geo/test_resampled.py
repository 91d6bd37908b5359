"""Bands of different pixel size, joined by a VRT: the same pixels in every window, at the place of the coarse ones."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops.io.geo.resampled import is_resampled
from tests.conftest import write_model

rasterio = pytest.importorskip("rasterio")

NAMES = {"nearest": "", "bilinear": ' resampling="Bilinear"', "cubic": ' resampling="Cubic"'}


def joined(folder: Path, fine: np.ndarray, coarse: np.ndarray, how: str, nodata: float | None = None) -> Path:
    """Write two files and the VRT that `gdalbuildvrt -separate -resolution highest -r HOW` writes for them."""
    (height, width), ratio = fine.shape, fine.shape[0] // coarse.shape[0]
    kind = {"uint16": "UInt16", "float32": "Float32"}[fine.dtype.name]
    bands = []
    for name, pixels, size, asked in (("fine", fine, 10, ""), ("coarse", coarse, 10 * ratio, NAMES[how])):
        profile = {"driver": "GTiff", "count": 1, "dtype": pixels.dtype.name, "crs": "EPSG:32632", "nodata": nodata}
        place = rasterio.Affine(size, 0, 600000, 0, -size, 5000000)
        with rasterio.open(
            folder / f"{name}.tif", "w", height=pixels.shape[0], width=pixels.shape[1], transform=place, **profile
        ) as dataset:
            dataset.write(pixels, 1)
        bands.append(
            f'<VRTRasterBand dataType="{kind}" band="{len(bands) + 1}"><Description>{name}</Description>'
            + (f"<NoDataValue>{nodata}</NoDataValue>" if nodata is not None else "")
            + f"<{'ComplexSource' if nodata is not None else 'SimpleSource'}{asked}>"
            f'<SourceFilename relativeToVRT="1">{name}.tif</SourceFilename><SourceBand>1</SourceBand>'
            f'<SrcRect xOff="0" yOff="0" xSize="{pixels.shape[1]}" ySize="{pixels.shape[0]}"/>'
            f'<DstRect xOff="0" yOff="0" xSize="{width}" ySize="{height}"/>'
            + (f"<NODATA>{nodata}</NODATA></ComplexSource>" if nodata is not None else "</SimpleSource>")
            + "</VRTRasterBand>"
        )
    path = folder / "joined.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>EPSG:32632</SRS>'
        "<GeoTransform>600000, 10, 0, 5000000, 0, -10</GeoTransform>" + "".join(bands) + "</VRTDataset>"
    )
    return path


@pytest.mark.parametrize("how", NAMES)
@pytest.mark.parametrize("nodata", [None, 0])
@pytest.mark.parametrize(("ratio", "dtype"), [(2, "u2"), (3, "f4"), (6, "f4")])
def test_any_window_has_the_pixels_of_the_whole(
    tmp_path: Path, ratio: int, dtype: str, nodata: float | None, how: str
) -> None:
    rng = np.random.default_rng(ratio)
    fine, coarse = ((rng.random((90 * n, 100 * n)) * 4000 + 1).astype(dtype) for n in (ratio, 1))
    if nodata is not None:
        coarse[30:40, 20:50] = nodata
    source = swin2sr_ops.open_source(joined(tmp_path, fine, coarse, how, nodata))
    whole = source.read(tuple(slice(0, n) for n in source.info.shape))
    np.testing.assert_array_equal(whole[0], fine)
    for _ in range(40):
        y, x = (int(rng.integers(0, n - 1)) for n in fine.shape)
        bottom, right = (int(rng.integers(a + 1, min(a + 300, n) + 1)) for a, n in zip((y, x), fine.shape, strict=True))
        part = source.read((slice(0, 2), slice(y, bottom), slice(x, right)))
        np.testing.assert_array_equal(part, whole[:, y:bottom, x:right])
    again = pickle.loads(pickle.dumps(source)).read((slice(1, 2), slice(5, 9), slice(7, 11)))
    np.testing.assert_array_equal(again[0], whole[1, 5:9, 7:11])


@pytest.mark.parametrize("how", ["bilinear", "cubic"])
def test_corners_do_not_move(tmp_path: Path, how: str) -> None:
    """A ramp stays a ramp: the centre of a coarse pixel lies between fine ones."""
    coarse = np.add.outer(np.arange(30) * 10.0, np.arange(40) * 4.0).astype("f4")
    source = swin2sr_ops.open_source(joined(tmp_path, np.zeros((60, 80), "f4"), coarse, how))
    band = source.read((slice(1, 2), slice(0, 60), slice(0, 80)))[0]
    y, x = ((np.arange(n) + 0.5) / 2 - 0.5 for n in (60, 80))
    np.testing.assert_allclose(band[6:-6, 6:-6], np.add.outer(y * 10, x * 4)[6:-6, 6:-6], atol=1e-3)


def test_only_resampling_vrts_are_read_in_blocks(tmp_path: Path) -> None:
    fine = np.ones((20, 20), "u2")
    with rasterio.open(joined(tmp_path, fine, np.ones((10, 10), "u2"), "cubic")) as dataset:
        assert is_resampled(dataset)
    with rasterio.open(joined(tmp_path, fine, fine, "nearest")) as dataset:
        assert not is_resampled(dataset)
    with rasterio.open(tmp_path / "fine.tif") as dataset:
        assert not is_resampled(dataset)


def test_a_model_sharpens_them_together_under_any_cut(tmp_path: Path) -> None:
    """From files of 10 and 30 m to a COG of 10 m: the tiles do not matter."""
    spec = write_model(tmp_path / "two.safetensors", name="two", channels=2, scale=1, upsampler="")
    rng = np.random.default_rng(0)
    fine, coarse = (rng.random((30 * n, 32 * n)).astype("f4") for n in (3, 1))
    source, found = joined(tmp_path, fine, coarse, "cubic"), []
    for tile in (24, 200):
        out = tmp_path / f"{tile}.tif"
        swin2sr_ops.restore_image(source, out, model=spec, tile=tile, range=(0, 1))
        with rasterio.open(out) as dataset:
            assert dataset.transform == rasterio.Affine(10, 0, 600000, 0, -10, 5000000)
            assert dataset.descriptions == ("fine", "coarse")
            found.append(dataset.read())
    np.testing.assert_array_equal(*found)
