"""``consistent="psf=..."`` through every way to restore: blurred and sampled, the result is the input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.audit import audit
from swin2sr_ops.cli import main
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.back_projection import blur_of
from swin2sr_ops.pixels.back_projection import blurred
from swin2sr_ops.pixels.nodata_flags import CLEAN
from swin2sr_ops.placement import Consistency
from swin2sr_ops.spec import ModelSpec
from tests.conftest import write_model

HOW = "psf=0.4"


def gap(result: np.ndarray, given: np.ndarray, how: str = HOW) -> np.ndarray:
    blur = blur_of(how, result.shape[-1] // given.shape[-1])
    assert blur is not None
    return np.abs(blurred(result, blur) - given.astype("f8"))


def smooth(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """An image in the middle of the range, which no step drives to the limits of its type."""
    return rng.integers(20_000, 24_000, shape).astype("u2")


@pytest.mark.parametrize("options", [{}, {"ensemble": 8}, {"halo": 8}])
def test_any_cut_gives_the_input(options: dict[str, Any], gray_model: ModelSpec, rng: np.random.Generator) -> None:
    image = smooth(rng, 2, 75, 92)
    given = {"model": gray_model, "axes": "CYX", "range": (0, 65535), "consistent": HOW, **options}
    whole = swin2sr_ops.restore(image, **given).compute()
    assert gap(whole, image).max() < 1.5  # half a level, and what two steps leave of a gap of thousands
    parts = swin2sr_ops.restore(da.from_array(image, chunks=(1, 30, 41)), tile=(32, 40), **given).compute()
    if "halo" in options:  # the network's own result depends on the tile
        assert gap(parts, image).max() < 1.5
    else:
        np.testing.assert_array_equal(parts, whole)


def test_map_overlap_reads_the_margin(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    image = smooth(rng, 300, 100)
    restorer = swin2sr_ops.Restorer(gray_model, consistent=HOW)
    chunked = da.from_array(image, chunks=(150, 100))
    options = restorer.map_overlap_options(chunked, range="dtype")
    plain = swin2sr_ops.Restorer(gray_model).map_overlap_options(chunked, range="dtype")
    assert options["depth"][0] == plain["depth"][0] + restorer.margin
    found = da.map_overlap(restorer, chunked, **options).compute()
    whole = swin2sr_ops.restore(image, model=gray_model, range="dtype", consistent=HOW).compute()
    np.testing.assert_array_equal(found, whole)


def test_holes_flags_and_an_audit(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    """Holes come back; pixels beyond the reach of a hole do not depend on its values."""
    image, mask = smooth(rng, 150, 170), np.ones((150, 170), "u1")
    image[20:24, 10:16], mask[50:52, 60:70] = 7, 0
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    results = []
    for i, filled in enumerate((9_000, 60_000)):
        image[50:52, 60:70] = filled
        tifffile.imwrite(tmp_path / f"in{i}.tif", image)
        out = tmp_path / f"out{i}.ome.zarr"
        swin2sr_ops.restore_image(
            tmp_path / f"in{i}.tif", out, model=gray_model, nodata=7, mask=tmp_path / "mask.tif", tile=50, chunks=100,
            range=(0, 65535), consistent=HOW, context=True,
        )  # fmt: skip
        results.append(
            (zarr.open_array(out / "0", mode="r")[:], zarr.open_array(out / "labels/nodata_context/0", mode="r")[:])
        )
    (result, flags), (other, _) = results
    assert (result[40:48, 20:32] == 7).all()
    assert (result[flags == CLEAN] == other[flags == CLEAN]).all()
    assert 0.2 < (flags == CLEAN).mean() < 1
    clean = (flags == CLEAN).reshape(150, 2, 170, 2).all((1, 3))
    assert gap(result, image)[clean].max() < 5  # 0.04 % of what the network makes of the jump at a hole
    assert audit(tmp_path / "out1.ome.zarr", model=gray_model.weights, sample=None).ok
    settings = json.loads((tmp_path / "out1.ome.zarr/zarr.json").read_text())["attributes"]["swin2sr_ops"]["settings"]
    assert settings["consistent"] == HOW


def test_colours_and_opacity(rgb_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    image = rng.random((50, 54, 4), "f4")
    result = swin2sr_ops.restore(image, model=rgb_model, axes="YXC", range=(0, 1), consistent=HOW).compute()
    assert gap(np.moveaxis(result, -1, 0)[:3], np.moveaxis(image, -1, 0)[:3]).max() < 0.005
    np.testing.assert_array_equal(result[..., 3], image[..., 3].repeat(2, 0).repeat(2, 1))


def test_spread_has_the_shape_of_the_result(gray_model: ModelSpec, rng: np.random.Generator) -> None:
    image, how = smooth(rng, 80, 60), {"model": gray_model, "ensemble": 8, "consistent": HOW}
    result, spread = swin2sr_ops.restore(image, spread=True, tile=32, **how)
    plain = swin2sr_ops.restore(image, spread=True, **{**how, "consistent": None})[1]
    assert result.shape == spread.shape
    np.testing.assert_array_equal(spread.compute(), plain.compute())


def test_a_kernel_and_noise(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    image = smooth(rng, 60, 70)
    (tmp_path / "line.txt").write_text("1 6\n6 1\n")
    given = {"model": gray_model, "range": (0, 65535)}
    by_file = swin2sr_ops.restore(image, consistent=f"kernel={tmp_path / 'line.txt'}", **given).compute()
    by_text = swin2sr_ops.restore(image, consistent="kernel=1/6/6/1", **given).compute()
    np.testing.assert_array_equal(by_file, by_text)
    assert gap(by_text, image, "kernel=1/6/6/1").max() < 1.5
    loose = swin2sr_ops.restore(image, consistent="kernel=1/6/6/1,noise=300", **given).compute()
    assert 250 < gap(loose, image, "kernel=1/6/6/1").max() < 301.5


def test_workers_and_outputs_know_the_weights_and_not_the_file(
    gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator
) -> None:
    line = tmp_path / "line.txt"
    line.write_text("1, 6, 6, 1")
    tifffile.imwrite(tmp_path / "in.tif", smooth(rng, 40, 40))
    out, how = tmp_path / "out.ome.zarr", f"kernel={line},noise=2"
    assert main(["restore", str(tmp_path / "in.tif"), str(out), "--model", gray_model.weights, "--quiet",
                 "--consistent", how]) == 0  # fmt: skip
    settings = json.loads((out / "zarr.json").read_text())["attributes"]["swin2sr_ops"]["settings"]
    assert settings["consistent"] == "kernel=1.0/6.0/6.0/1.0,noise=2.0"
    line.unlink()
    assert audit(out, model=gray_model.weights, sample=None).ok


def test_requests_that_are_refused(tmp_path: Path) -> None:
    for text in ("psf", "psf=", "psf=0", "psf=-1", "psf=nan", "psf=1/2", "kernel=", "psf=0.3,noise=-1", "psf=.3,.4"):
        with pytest.raises(RequestError, match=r"is not understood: give 'mean' .* 'psf=SIGMA'"):
            Consistency.parse(text)
    with pytest.raises(RequestError, match=r"cannot be read .* give weights such as 1/4/4/1, or a text file"):
        Consistency.parse(f"kernel={tmp_path / 'none.txt'}")
    for text in ("kernel=1/2", "kernel=-1/4/-1", "kernel=0/0", "kernel=inf/inf", "kernel=nan/nan"):
        with pytest.raises(RequestError, match="must be one row of weights that are not negative"):
            Consistency.parse(text)
    same = write_model(tmp_path / "same.safetensors", scale=1, upsampler="")
    with pytest.raises(RequestError, match="makes one of one"):
        swin2sr_ops.restore(np.zeros((8, 8), "u1"), model=same, consistent=HOW)
    large = write_model(tmp_path / "large.safetensors")
    with pytest.raises(RequestError, match="blurs too much"):
        swin2sr_ops.restore(np.zeros((8, 8), "u1"), model=large, consistent="psf=2")
    assert str(Consistency.parse("psf=0.5,noise=3")) == "psf=0.5,noise=3.0"
    assert str(Consistency.parse("mean")) == "mean"
