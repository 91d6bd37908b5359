"""Rasters through the whole program: place, bands, masks and nodata kept; a COG comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops.errors import ModelError, RequestError
from swin2sr_ops.spec import ModelSpec

rasterio = pytest.importorskip("rasterio", reason="GeoTIFF needs rasterio")
FORMATS = Path(__file__).parents[3] / "shared" / "data" / "formats" / "geotiff"
SIZE = (90, 120)


def write(path: Path, pixels: np.ndarray, colours: str = "", **profile: object) -> Path:
    count, height, width = pixels.shape
    given = {
        "driver": "GTiff", "width": width, "height": height, "count": count, "dtype": pixels.dtype,
        "crs": "EPSG:32633", "transform": rasterio.Affine(10, 2, 5e5, 1, -10, 5e6),
    }  # fmt: skip
    with rasterio.open(path, "w", **(given | profile)) as dataset:
        dataset.write(pixels)
        if colours:
            names = [getattr(rasterio.enums.ColorInterp, name) for name in colours.split()]
            dataset.colorinterp = names
        dataset.descriptions = tuple(f"band {i}" for i in range(count))
    return path


@pytest.fixture
def bands(rng: np.random.Generator) -> np.ndarray:
    """Blue, green, red, near infrared, as satellites order them."""
    return rng.integers(1, 3000, (4, *SIZE)).astype("u2")


def test_colours_are_restored_together_and_other_bands_alone(
    bands: np.ndarray, rgb_model: ModelSpec, gray_model: ModelSpec, tmp_path: Path
) -> None:
    src = write(tmp_path / "in.tif", bands, "blue green red undefined")
    models = f"{Path(rgb_model.weights)},{Path(gray_model.weights)}"
    report = swin2sr_ops.restore_image(src, tmp_path / "out.tif", model=models, tile=64, range=(0, 3000))
    assert report.tiles == 2 * 4
    rgb = swin2sr_ops.restore(bands[[2, 1, 0]].transpose(1, 2, 0), model=rgb_model, axes="YXC", range=(0, 3000))
    lone = swin2sr_ops.restore(bands[3], model=gray_model, range=(0, 3000)).compute()
    with rasterio.open(tmp_path / "out.tif") as result:
        pixels = result.read()
        assert result.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert [c.name for c in result.colorinterp] == ["blue", "green", "red", "undefined"]
        assert result.descriptions == ("band 0", "band 1", "band 2", "band 3")
        with rasterio.open(src) as source:
            assert result.crs == source.crs
            np.testing.assert_allclose(result.transform @ (240, 180), source.transform @ (120, 90))
            np.testing.assert_allclose(result.transform @ (0, 0), source.transform @ (0, 0))
    np.testing.assert_array_equal(pixels[[2, 1, 0]], rgb.compute().transpose(2, 0, 1))
    np.testing.assert_array_equal(pixels[3], lone)
    again = swin2sr_ops.restore_image(src, tmp_path / "out.tif", model=models, tile=64, range=(0, 3000))
    assert again.state == "already"


def test_colours_share_their_intensity_map(
    bands: np.ndarray, rgb_model: ModelSpec, gray_model: ModelSpec, tmp_path: Path
) -> None:
    bands[3] += 10_000
    src = write(tmp_path / "in.tif", bands, "blue green red undefined")
    models = f"{rgb_model.weights},{gray_model.weights}"
    report = swin2sr_ops.restore_image(src, tmp_path / "out.tif", model=models)
    found = sorted((m["lo"], m["hi"]) for m in report.settings["intensity"])
    rgb = (float(bands[:3].min()), float(bands[:3].max()))
    assert found == sorted({rgb, (float(bands[3].min()), float(bands[3].max()))})
    expected = swin2sr_ops.restore(bands[[2, 1, 0]].transpose(1, 2, 0), model=rgb_model, axes="YXC").compute()
    with rasterio.open(tmp_path / "out.tif") as result:
        np.testing.assert_array_equal(result.read([3, 2, 1]), expected.transpose(2, 0, 1))


@pytest.mark.filterwarnings("ignore:Band . of .* counts as opacity")
def test_alpha_is_enlarged_and_auto_chooses_models(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 255, (5, 40, 50)).astype("u1")
    src = write(tmp_path / "in.tif", pixels, "red green blue alpha undefined")
    report = swin2sr_ops.restore_image(src, tmp_path / "out.tif")
    assert report.model == "small-x2-rgb,small-x2-gray"
    with rasterio.open(tmp_path / "out.tif") as result:
        np.testing.assert_array_equal(result.read(4), pixels[3].repeat(2, 0).repeat(2, 1))
        assert not np.array_equal(result.read(5), pixels[4].repeat(2, 0).repeat(2, 1))


def test_nodata_and_mask(bands: np.ndarray, gray_model: ModelSpec, tmp_path: Path) -> None:
    bands[:, 10:30, 20:60] = 0
    src = write(tmp_path / "in.tif", bands, nodata=0)
    mask = np.full(SIZE, 255, "u1")
    mask[60:, :40] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(src, "r+") as dataset:
        dataset.write_mask(mask)
    swin2sr_ops.restore_image(src, tmp_path / "out.tif", model=gray_model, tile=64)
    with rasterio.open(tmp_path / "out.tif") as result:
        pixels = result.read()
        assert result.nodata == 0
        np.testing.assert_array_equal(result.read_masks(1) != 0, enlarged(mask != 0))
    np.testing.assert_array_equal(pixels == 0, enlarged(bands == 0))
    hidden = enlarged(mask == 0)
    np.testing.assert_array_equal(pixels[:, hidden], enlarged(bands)[:, hidden])


def enlarged(a: np.ndarray) -> np.ndarray:
    return a.repeat(2, -2).repeat(2, -1)


def test_to_zarr_and_back_to_pixels(bands: np.ndarray, gray_model: ModelSpec, tmp_path: Path) -> None:
    import zarr

    src = write(tmp_path / "in.tif", bands, transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6))
    swin2sr_ops.restore_image(src, tmp_path / "out.tif", model=gray_model)
    swin2sr_ops.restore_image(src, tmp_path / "out.zarr", model=gray_model)
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    with rasterio.open(tmp_path / "out.tif") as result:
        np.testing.assert_array_equal(group["0"][:], result.read())
        assert list(group.attrs["spatial:transform"]) == list(result.transform)[:6]
        assert "WGS 84" in group.attrs["proj:wkt2"]


def test_requests_that_are_refused(
    bands: np.ndarray, gray_model: ModelSpec, rgb_model: ModelSpec, tmp_path: Path
) -> None:
    src = write(tmp_path / "in.tif", bands)
    with pytest.raises(ModelError, match=r"names (2|several)"):
        swin2sr_ops.restore_image(src, tmp_path / "o.tif", model=f"{rgb_model.weights},{gray_model.weights}")


@pytest.mark.skipif(not FORMATS.is_dir(), reason=f"there are no shared images at {FORMATS}")
@pytest.mark.parametrize("name", [
    "rotated.tif", "riotiler_cog_tags.tif", "mapchete_gcps.tif", "float_nan.tif",
    "LS5_TM_NBAR_P54_GANBAR01-002_090_084_19920323_B10.tif",
])  # fmt: skip
def test_real_rasters_keep_their_place(name: str, gray_model: ModelSpec, tmp_path: Path) -> None:
    swin2sr_ops.restore_image(FORMATS / name, tmp_path / "out.tif", model=gray_model, range=(0, 4000))
    with rasterio.open(FORMATS / name) as source, rasterio.open(tmp_path / "out.tif") as result:
        assert result.crs == source.crs
        if not source.gcps[0]:
            np.testing.assert_allclose(result.bounds, source.bounds)
        assert result.nodata == source.nodata or np.isnan(result.nodata)
        for old, new in zip(source.gcps[0], result.gcps[0], strict=True):
            assert (new.row, new.col, new.x, new.y) == (2 * old.row, 2 * old.col, old.x, old.y)
        corners = [] if source.gcps[0] else [(0, 0), (source.width, 0), (source.width, source.height)]
        for x, y in corners:
            np.testing.assert_allclose(result.transform @ (2 * x, 2 * y), source.transform @ (x, y))
        assert len(result.gcps[0]) == len(source.gcps[0])


def test_a_rasters_zarr_keeps_its_place_again(bands: np.ndarray, gray_model: ModelSpec, tmp_path: Path) -> None:
    """Restored twice, from raster to Zarr to Zarr: the affine follows the pixels."""
    import zarr

    src = write(tmp_path / "in.tif", bands[:1], transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6))
    swin2sr_ops.restore_image(src, tmp_path / "once.zarr", model=gray_model)
    swin2sr_ops.restore_image(tmp_path / "once.zarr", tmp_path / "twice.zarr", model=gray_model)
    found = zarr.open_group(tmp_path / "twice.zarr", mode="r").attrs["spatial:transform"]
    assert list(found) == [2.5, 0, 5e5, 0, -2.5, 5e6]


def test_ome_tiff_cannot_store_a_georeference(bands: np.ndarray, gray_model: ModelSpec, tmp_path: Path) -> None:
    src = write(tmp_path / "in.tif", bands[:1])
    with pytest.raises(RequestError, match="georeference"):
        swin2sr_ops.restore_image(src, tmp_path / "out.ome.tif", model=gray_model)


def test_bands_called_by_their_colours(bands: np.ndarray, rgb_model: ModelSpec, tmp_path: Path) -> None:
    src = write(tmp_path / "in.tif", bands[:3], photometric="minisblack")
    with rasterio.open(src, "r+") as dataset:
        dataset.colorinterp = [rasterio.enums.ColorInterp.gray] + [rasterio.enums.ColorInterp.undefined] * 2
        dataset.descriptions = ("blue", "green", "red")
    swin2sr_ops.restore_image(src, tmp_path / "out.tif", model=rgb_model, range=(0, 3000))
    expected = swin2sr_ops.restore(bands[[2, 1, 0]].transpose(1, 2, 0), model=rgb_model, axes="YXC", range=(0, 3000))
    with rasterio.open(tmp_path / "out.tif") as result:
        np.testing.assert_array_equal(result.read([3, 2, 1]), expected.compute().transpose(2, 0, 1))
