"""``consistent="mean"`` in every interface: the reduced result equals the input exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.audit import audit
from swin2sr_ops.cli import main
from swin2sr_ops.errors import RequestError
from swin2sr_ops.placement import Consistency
from swin2sr_ops.spec import ModelSpec
from tests.conftest import write_model
from tests.pixels.test_consistency import sums


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_any_cut_gives_the_means_of_the_input(dtype: str, gray_model: ModelSpec, rng: np.random.Generator) -> None:
    limits = np.iinfo(dtype)
    image = rng.integers(limits.min, limits.max, (2, 45, 52), endpoint=True).astype(dtype)
    found = [
        swin2sr_ops.restore(image, model=gray_model, axes="CYX", tile=tile, consistent="mean").compute()
        for tile in (16, 40, None)
    ]
    assert (sums(found[0], 2) == image.astype(object) * 4).all()
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    plain = swin2sr_ops.restore(image, model=gray_model, axes="CYX").compute()
    assert (plain != found[0]).any()


def test_nodata_masks_and_flags(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    """Holes come back as stored; the means of all other pixels are exact, and none becomes nodata."""
    image = rng.integers(0, 40, (60, 70)).astype("u2")  # often next to nodata
    image[20:30, 10:40] = 7
    mask = (rng.random((60, 70)) > 0.2).astype("u1")
    tifffile.imwrite(tmp_path / "in.tif", image)
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    out = tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image(
        tmp_path / "in.tif", out, model=gray_model, nodata=7, mask=tmp_path / "mask.tif", tile=32, chunks=64,
        consistent="mean", context=True,
    )  # fmt: skip
    result = zarr.open_array(out / "0", mode="r")[:]
    assert (sums(result, 2) == image.astype(object) * 4).all()
    valid = (image != 7) & (mask > 0)
    assert (result[valid.repeat(2, 0).repeat(2, 1)] != 7).all()
    settings = json.loads((out / "zarr.json").read_text())["attributes"]["swin2sr_ops"]["settings"]
    assert settings["consistent"] == "mean"
    found = audit(out, model=gray_model.weights, sample=None)
    assert found.ok, str(found)


def test_colours_opacity_and_ensembles(rgb_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    near = write_model(tmp_path / "near.safetensors", channels=3, depths=(1,), heads=(2,))
    image = rng.integers(0, 256, (40, 44, 4)).astype("u1")
    for model, options in ((rgb_model, {}), (near, {"ensemble": 8})):
        given: dict[str, Any] = options
        result = swin2sr_ops.restore(image, model=model, axes="YXC", consistent="mean", **given).compute()
        assert (sums(np.moveaxis(result, -1, 0), 2) == np.moveaxis(image, -1, 0).astype(object) * 4).all()
        np.testing.assert_array_equal(result[..., 3], image[..., 3].repeat(2, 0).repeat(2, 1))


def test_ndvi_of_a_scene(rgb_model: ModelSpec, gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    """Red is restored with its colours and near infrared alone; at the old resolution, their index is unchanged."""
    pytest.importorskip("rasterio", reason="GeoTIFF needs rasterio")
    import rasterio

    from tests.run.test_geo import write

    pixels = rng.integers(1, 9000, (4, 50, 60)).astype("u2")
    src = write(tmp_path / "in.tif", pixels, "blue green red undefined", nodata=0)
    models = f"{rgb_model.weights},{gray_model.weights}"
    swin2sr_ops.restore_image(src, tmp_path / "out.tif", model=models, tile=32, consistent="mean")
    with rasterio.open(tmp_path / "out.tif") as raster:
        fine = raster.read()
    red, near = (sums(fine[band], 2).astype("i8") / 4 for band in (2, 3))
    before = [pixels[band].astype("f8") for band in (2, 3)]
    np.testing.assert_array_equal((near - red) / (near + red), (before[1] - before[0]) / (before[1] + before[0]))


def test_floats_and_noise(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    image = rng.random((40, 50)).astype("f4")
    image[3, 4] = np.nan
    result = swin2sr_ops.restore(image, model=gray_model, consistent="mean").compute()
    means = result.astype("f8").reshape(40, 2, 50, 2).mean((1, 3))
    np.testing.assert_allclose(means, image, atol=1e-6)
    loose = swin2sr_ops.restore(image, model=gray_model, consistent="mean,noise=0.05").compute()
    means = loose.astype("f8").reshape(40, 2, 50, 2).mean((1, 3))
    np.testing.assert_allclose(means, image, atol=0.05 + 1e-6)
    assert np.nanmax(np.abs(means - image)) > 0.01


def test_it_is_part_of_the_fingerprint(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    tifffile.imwrite(tmp_path / "in.tif", rng.integers(0, 255, (30, 30)).astype("u1"))
    out = tmp_path / "out.ome.zarr"
    prints = [
        swin2sr_ops.restore_image(
            tmp_path / "in.tif", out, model=gray_model, overwrite=True, consistent=how
        ).fingerprint
        for how in (None, "mean", "mean,noise=3")
    ]
    assert len(set(prints)) == 3
    restorer = swin2sr_ops.Restorer(gray_model, consistent="mean")
    assert "consistent='mean'" in repr(restorer)


def test_command_line(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator, capsys: Any) -> None:
    image = rng.integers(0, 255, (30, 34)).astype("u1")
    tifffile.imwrite(tmp_path / "in.tif", image)
    given = [str(tmp_path / "in.tif"), str(tmp_path / "out.ome.tif"), "--model", gray_model.weights, "--quiet"]
    assert main(["restore", *given, "--consistent", "mean"]) == 0
    assert (sums(tifffile.imread(tmp_path / "out.ome.tif"), 2) == image.astype(object) * 4).all()
    assert main(["restore", *given, "--consistent", "median"]) == 2
    assert "consistent='median' is not understood: give 'mean'" in capsys.readouterr().err


def test_requests_that_are_refused(tmp_path: Path) -> None:
    for text in ("", "mean,noise", "mean,noise=-1", "mean,noise=nan", "mean,psf=2", "Mean", 3):
        with pytest.raises(RequestError, match="is not understood"):
            Consistency.parse(text)  # type: ignore[arg-type]
    assert Consistency.parse(None) is None
    same = write_model(tmp_path / "same.safetensors", scale=1, upsampler="")
    with pytest.raises(RequestError, match="makes one of one"):
        swin2sr_ops.restore(np.zeros((8, 8), "u1"), model=same, consistent="mean")
