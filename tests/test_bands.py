"""Models of many bands: trained by a recipe, restored together, as exactly as any other model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import swin2sr_ops
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder, channel_groups
from swin2sr_ops.training import train
from swin2sr_ops.training.degrade import Degrade
from swin2sr_ops.training.recipe import Recipe
from tests.conftest import write_model

BANDS = 5


def scene(bands: int = BANDS, height: int = 70, width: int = 84) -> np.ndarray:
    """Bands that resemble each other, as 16-bit reflectances."""
    y, x = np.mgrid[:height, :width] / 5
    found = [np.sin(x + 0.1 * b) * np.cos(y) + 0.1 * b for b in range(bands)]
    rng = np.random.default_rng(bands)
    return ((np.stack(found) + 2) * 1000 + rng.integers(0, 60, (bands, height, width))).astype("u2")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bands") / "five.safetensors"
    write_model(path, channels=BANDS, name="five")
    return path


@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_any_cut_gives_the_same_bits(model: Path, engine: str) -> None:
    """Law 1, in float32; and a band depends on the others."""
    image = scene()
    options: dict[str, Any] = {"model": model, "axes": "CYX", "precision": "float32", "engine": engine}
    whole = swin2sr_ops.restore(image, tile=512, **options).compute()
    assert whole.shape == (BANDS, 140, 168)
    for tile in (16, (24, 40)):
        np.testing.assert_array_equal(swin2sr_ops.restore(image, tile=tile, **options).compute(), whole)
    changed = image.copy()
    changed[0, 30:40, 30:40] = 1200
    other = swin2sr_ops.restore(changed, tile=24, range=(0, 5000), **options).compute()
    before = swin2sr_ops.restore(image, tile=24, range=(0, 5000), **options).compute()
    assert not np.array_equal(other[4], before[4])


@pytest.mark.parametrize("axes", ["TCYX", "YXC", "CZYX"])
def test_bands_lie_anywhere(model: Path, axes: str) -> None:
    image = scene()
    expected = swin2sr_ops.restore(image, model=model, axes="CYX", range=(0, 5000)).compute()
    moved = {"TCYX": image[None], "YXC": image.transpose(1, 2, 0), "CZYX": image[:, None]}[axes]
    found = swin2sr_ops.restore(moved, model=model, axes=axes, range=(0, 5000)).compute()
    back = {"TCYX": lambda a: a[0], "YXC": lambda a: a.transpose(2, 0, 1), "CZYX": lambda a: a[:, 0]}[axes]
    np.testing.assert_array_equal(back(found), expected)


@pytest.mark.parametrize("name", ["out.ome.zarr", "out.ome.tif"])
def test_files_have_the_arrays_pixels(model: Path, name: str, tmp_path: Path) -> None:
    image = scene()
    tifffile.imwrite(tmp_path / "in.ome.tif", image, metadata={"axes": "CYX"}, ome=True)
    expected = swin2sr_ops.restore(image, model=model, axes="CYX").compute()
    report = swin2sr_ops.restore_image(tmp_path / "in.ome.tif", tmp_path / name, model=model, tile=32)
    assert report.model == "five"
    source = swin2sr_ops.open_source(tmp_path / name)
    assert source.info.axes == "CYX"
    np.testing.assert_array_equal(source.read(tuple(slice(0, n) for n in source.info.shape)), expected)


def test_a_raster_keeps_its_place(model: Path, tmp_path: Path) -> None:
    """All bands enter together, whatever colours three of them have."""
    rasterio = pytest.importorskip("rasterio")
    image = scene()
    profile = {"driver": "GTiff", "count": BANDS, "dtype": "uint16", "height": 70, "width": 84, "crs": "EPSG:32632"}
    place = rasterio.Affine(10, 0, 600000, 0, -10, 5000000)
    with rasterio.open(tmp_path / "in.tif", "w", transform=place, nodata=0, **profile) as dataset:
        dataset.write(image)
        dataset.colorinterp = [
            rasterio.enums.ColorInterp[n] for n in ("blue", "green", "red", "undefined", "undefined")
        ]
    swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / "out.tif", model=model, range=(0, 5000))
    expected = swin2sr_ops.restore(image, model=model, axes="CYX", range=(0, 5000), nodata=0).compute()
    with rasterio.open(tmp_path / "out.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), expected)
        assert dataset.transform == rasterio.Affine(5, 0, 600000, 0, -5, 5000000)


@pytest.mark.parametrize("bands", [2, 4])
def test_two_and_four_bands_hold_no_opacity(bands: int, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_model(path, channels=bands, name="m")
    image = scene(bands, 32, 40)
    image[-1] = 0  # as opacity this would hide all
    result = swin2sr_ops.restore(image, model=path, axes="CYX", range=(0, 5000)).compute()
    assert result.shape == (bands, 64, 80)
    assert not np.array_equal(result[0], image[0].repeat(2, 0).repeat(2, 1))


def test_another_number_of_bands_is_said(model: Path) -> None:
    for array, axes, have in ((scene(4), "CYX", 4), (scene()[0], "YX", 1), (scene(), "ZYX", 1)):
        with pytest.raises(
            RequestError, match=f"restores 5 bands together, and the image with axes {axes} has {have}:"
        ):
            swin2sr_ops.restore(array, model=model, axes=axes)
    with pytest.raises(RequestError, match=r"A model of 5 bands was given 3 channel\(s\)"):
        channel_groups(3, 5)
    assert AxisOrder.of((5, 8, 8), "CYX").banded(3).colour is None  # three-channel models restore channels apart


def test_a_toy_recipe_trains_one(tmp_path: Path) -> None:
    """It uses a folder of rasters with five bands; others are not training images."""
    (tmp_path / "data").mkdir()
    for i in range(3):
        tifffile.imwrite(
            tmp_path / "data" / f"{i}.ome.tif", np.roll(scene(), 9 * i, -1), metadata={"axes": "CYX"}, ome=True
        )
    tifffile.imwrite(tmp_path / "data" / "other.tif", scene(2), metadata={"axes": "CYX"})
    values: dict[str, Any] = {
        "name": "toy", "task": "classical_sr", "scale": 2, "channels": BANDS, "dim": 10, "depths": [2], "heads": [2],
        "upsampler": "pixelshuffledirect", "licence": "CC0-1.0",
    }  # fmt: skip
    recipe = Recipe(model=values, steps=160, batch=2, patch=16, lr=5e-3, warmup=5, ema=0.9, levels=0, seed=1)
    out = tmp_path / "toy.safetensors"
    said: list[str] = []
    trainer = train(
        recipe, data=tmp_path / "data", out=tmp_path / "run", validate=tmp_path / "data", export_to=out,
        save_every=80, log=said.append,
    )  # fmt: skip
    assert len(trainer.sampler) == 3
    image = scene().astype("f4")
    small = image.reshape(BANDS, 35, 2, 42, 2).mean((2, 4))
    result = swin2sr_ops.restore(small, model=out, axes="CYX", range=(0, 5000)).compute()
    assert result.shape == image.shape
    errors = [float(np.mean((a - image) ** 2)) for a in (result, small.repeat(2, 1).repeat(2, 2))]
    assert errors[0] < errors[1]


def test_a_recipe_trains_a_sharpener(tmp_path: Path) -> None:
    """A few steps suffice: the coarse band gets detail that its enlargement lacks; the fine ones stay."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :88]
    ground = ((x // 7 + y // 5) % 3 + rng.integers(0, 2, (16, 22)).repeat(5, 0).repeat(4, 1)) * 900.0
    scene = np.stack([ground + 300 * b for b in range(3)] + [4000 - ground]).astype("u2")
    (tmp_path / "data").mkdir()
    for i in range(2):
        tifffile.imwrite(
            tmp_path / "data" / f"{i}.ome.tif", np.roll(scene, 3 * i, -1), metadata={"axes": "CYX"}, ome=True
        )
    values: dict[str, Any] = {
        "name": "toy", "scale": 1, "channels": 4, "dim": 12, "depths": [2], "heads": [2], "upsampler": "",
    }  # fmt: skip
    coarse = Recipe.read("nano-x1-sharpen").degrade
    recipe = Recipe(model=values, steps=100, batch=2, patch=24, lr=5e-3, warmup=5, ema=0.9, levels=0, degrade=coarse)
    out = tmp_path / "toy.safetensors"
    train(recipe, data=tmp_path / "data", out=tmp_path / "run", export_to=out, log=lambda _: None)
    truth = (scene / 5000).astype("f4")
    given = Degrade(coarse, 1).apply(truth, rng)
    result = swin2sr_ops.restore(given, model=out, axes="CYX", range=(0, 1)).compute()
    before, after = (np.mean((a - truth) ** 2, (1, 2)) for a in (given, result))
    assert after[3] < before[3] / 2
