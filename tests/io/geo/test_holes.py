"""Invalid pixels of a raster: hidden by opacity, or nodata of a band by GDAL's comparison."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

rasterio = pytest.importorskip("rasterio", reason="needs swin2sr-ops[geo]")

import swin2sr_ops  # noqa: E402
from swin2sr_ops.audit.api import audit  # noqa: E402
from swin2sr_ops.io.geo.source import open_source  # noqa: E402
from swin2sr_ops.request import RestoreRequest  # noqa: E402
from swin2sr_ops.run.job import prepare  # noqa: E402

_PLACE = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)


def picture(bands: int, dtype: str = "uint8", low: int = 60, high: int = 200) -> np.ndarray:
    return np.random.default_rng(4).integers(low, high, (bands, 24, 32)).astype(dtype)


def write(path: Path, pixels: np.ndarray, **profile) -> str:
    bands, height, width = pixels.shape
    settings = {"driver": "GTiff", "count": bands, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(path, "w", **settings, crs="EPSG:32632", **({"transform": _PLACE} | profile)) as dataset:
        dataset.write(pixels)
    return str(path)


def restored(source: str, model: str = "nano-x2-gray", **options) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, and GDAL's masks of all bands."""
    output = Path(source).with_name(f"out_{Path(source).stem}.tif")
    swin2sr_ops.restore_image(source, output, model=model, **options)
    with rasterio.open(output) as dataset:
        return dataset.read(), dataset.read_masks()


def large(flags: np.ndarray) -> np.ndarray:
    return flags.repeat(2, -1).repeat(2, -2)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_colours_under_opacity_zero_count_for_nothing(tmp_path, dtype):
    opacity = np.full((24, 32), np.iinfo(dtype).max)
    opacity[:, :9] = 0
    found = []
    for under in (0, np.iinfo(dtype).max):
        colours = np.where(opacity == 0, under, picture(3, dtype))
        pixels = np.concatenate([colours, opacity[None]]).astype(dtype)
        path = write(tmp_path / f"{under}.tif", pixels, photometric="RGB", alpha="YES")
        found.append(restored(path, "nano-x2-rgb")[0])
    assert_array_equal(*(pixels[:, :, 18:] for pixels in found))
    assert_array_equal(found[0][3], large(opacity))
    assert (found[1][:3, :, :18] == np.iinfo(dtype).max).all()


def test_opacity_makes_no_mask_of_its_own(tmp_path):
    pixels = picture(4)
    pixels[3] = 0
    source = open_source(write(tmp_path / "a.tif", pixels, photometric="RGB", alpha="YES"))
    assert source.valid_mask((slice(0, 4), slice(0, 4))) is None
    assert not source.shown((slice(0, 4), slice(0, 4))).any()


def test_opacity_of_a_gray_raster_hides_as_well(tmp_path):
    found = []
    for under in (0, 255):
        pixels = picture(2)
        pixels[1] = 255
        pixels[:, :8] = np.array([under, 0])[:, None, None]
        found.append(restored(write(tmp_path / f"{under}.tif", pixels, alpha="YES"))[0])
    assert_array_equal(found[0][0, 16:], found[1][0, 16:])


def test_an_alpha_band_with_a_picture_is_reported(tmp_path):
    path = write(tmp_path / "a.tif", picture(4), photometric="RGB", alpha="YES")
    with pytest.warns(UserWarning, match="Band 4 of .* counts as opacity"):
        open_source(path)


def together(tmp_path: Path, pixels: np.ndarray, values: list[float | None]) -> str:
    """A VRT whose bands have nodata values of their own, or none."""
    paths = [write(tmp_path / f"{k}.tif", pixels[k : k + 1], nodata=values[k]) for k in range(len(pixels))]
    name = {"uint8": "Byte", "float32": "Float32"}[pixels.dtype.name]
    bands = "".join(
        f'<VRTRasterBand dataType="{name}" band="{k + 1}">'
        + (f"<NoDataValue>{values[k]}</NoDataValue>" if values[k] is not None else "")
        + f"<SimpleSource><SourceFilename>{path}</SourceFilename></SimpleSource></VRTRasterBand>"
        for k, path in enumerate(paths)
    )
    vrt = tmp_path / "all.vrt"
    vrt.write_text(
        f'<VRTDataset rasterXSize="32" rasterYSize="24"><SRS>EPSG:32632</SRS>'
        f"<GeoTransform>500000,10,0,5000000,0,-10</GeoTransform>{bands}</VRTDataset>"
    )
    return str(vrt)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_every_band_keeps_its_own_holes_and_no_others(tmp_path, dtype):
    pixels = picture(3, dtype)
    holes = np.zeros((3, 24, 32), bool)
    holes[0, :6], holes[1, :, :6] = True, True
    pixels[0][holes[0]], pixels[1][holes[1]] = 0, 255
    pixels[1, 12, 20] = pixels[2, 3, 20] = 0  # valid, though it is another band's nodata
    values = [0, 255, None]
    _, masks = restored(together(tmp_path, pixels, values))
    assert_array_equal(masks == 0, large(holes))


@pytest.mark.parametrize("given", [7, 0, np.nan])
def test_a_value_that_is_given_counts_for_all_bands_instead_of_their_own(tmp_path, given):
    pixels = picture(3, "float32")
    pixels[0, :6], pixels[1, :, :6], pixels[2, :3] = 0, 255, 255  # each is nodata of one band
    pixels[:, 15:20, 15:20] = given
    source = together(tmp_path, pixels, [0, 255, None])
    _, masks = restored(source, nodata=given)
    expected = np.isnan(pixels) if np.isnan(given) else pixels == given
    assert_array_equal(masks == 0, large(expected))
    stored = prepare(source, RestoreRequest(nodata=given)).source
    assert_array_equal(pickle.loads(pickle.dumps(stored)).read((slice(0, 3), slice(0, 24), slice(0, 32))), pixels)
    own = open_source(source)
    assert stored.identity() != own.identity()


def test_an_audit_knows_which_value_was_given(tmp_path):
    pixels = picture(2)
    pixels[0, :6], pixels[1, :, :6] = 0, 255
    source = together(tmp_path, pixels, [0, 255])
    for options in ({}, {"nodata": 0}):
        restored(source, **options)
        assert audit(tmp_path / "out_all.tif").ok
        (tmp_path / "out_all.tif").unlink()


@pytest.mark.parametrize(
    ("dtype", "stored", "said"),
    [
        ("float32", np.finfo("f4").min, "-3.402823e+38"),
        ("float32", np.finfo("f4").min, "-3.4028234663852886e+38"),
        ("float64", float(np.float32(-3.4e38)), "-3.4e+38"),
        ("float32", np.float32(9.96921e36), "9.9692100e+36"),
    ],
)
def test_nodata_in_other_digits_is_nodata(tmp_path, dtype, stored, said):
    tifffile = pytest.importorskip("tifffile")
    pixels = picture(1, dtype)[0]
    pixels[:8, :8] = stored
    tags = [
        (33550, "d", 3, (10.0, 10.0, 0.0), True), (33922, "d", 6, (0, 0, 0, 5e5, 5e6, 0), True),
        (42113, "s", 0, said, True),
    ]  # fmt: skip
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="minisblack", extratags=tags, metadata=None)
    with rasterio.open(path) as dataset:
        holes = dataset.read_masks(1) == 0
    assert holes.sum() == 64
    found, masks = restored(str(path))
    assert_array_equal(masks[0] == 0, large(holes))
    assert -100 < found[0][masks[0] > 0].min() < found[0][masks[0] > 0].max() < 400


def test_a_mask_beside_a_tiff_without_place_counts(tmp_path):
    path = tmp_path / "chip.tif"
    with rasterio.open(path, "w", driver="GTiff", width=32, height=24, count=1, dtype="uint8") as dataset:
        dataset.write(picture(1))
    mask = np.full((24, 32), 255, "uint8")
    mask[:5] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    assert_array_equal(restored(str(path))[1][0], large(mask))
