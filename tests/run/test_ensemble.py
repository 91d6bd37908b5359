"""Ensembles of files: `restore_image`, batches, the command line, and the spread beside the image."""

from __future__ import annotations

import json
from pathlib import Path

import dask
import numpy as np
import pytest
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.errors import RequestError
from swin2sr_ops.spec import ModelSpec
from tests.conftest import write_model


@pytest.fixture(scope="session")
def near(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """x2, one channel, with a short reach."""
    return write_model(tmp_path_factory.mktemp("models") / "near.safetensors", depths=(1,), heads=(2,))


@pytest.fixture
def stack(tmp_path: Path, rng: np.random.Generator) -> np.ndarray:
    """Write ``in.tif`` with two channels of 60 x 70 px."""
    pixels = rng.integers(100, 900, (2, 60, 70)).astype("u2")
    tifffile.imwrite(tmp_path / "in.tif", pixels, metadata={"axes": "CYX"})
    return pixels


@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_zarr_beside_the_image(ngff: str, near: ModelSpec, stack: np.ndarray, tmp_path: Path) -> None:
    options: dict = {"model": near, "ensemble": 8, "spread": True}
    files: dict = {"ngff": ngff, "tile": 32}
    out = tmp_path / "out.zarr"
    report = swin2sr_ops.restore_image(tmp_path / "in.tif", out, **files, **options)
    assert report.settings["ensemble"] == 8
    lazy = swin2sr_ops.restore(stack, axes="CYX", **options)
    expected, spread = dask.compute(*lazy)
    np.testing.assert_array_equal(zarr.open_array(out / "0")[:], expected)
    found = zarr.open_array(out / "spread" / "0")
    np.testing.assert_array_equal(found[:], spread)
    assert found.dtype == np.float32
    source = swin2sr_ops.open_source(str(out / "spread"))  # the spread is an image, too
    assert source.info.axes == "CYX"
    assert source.info.shape == expected.shape
    # The same request is finished; without the spread, or with one pass, it is another output.
    again = swin2sr_ops.restore_image(tmp_path / "in.tif", out, **files, **options)
    assert again.state == "already"
    one = swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / "one.zarr", model=near, **files)
    mean = swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / "mean.zarr", model=near, ensemble=8, **files)
    assert len({report.fingerprint, one.fingerprint, mean.fingerprint}) == 3
    assert "ensemble" not in one.settings
    assert not (tmp_path / "mean.zarr" / "spread").exists()


def test_stopped_and_resumed(
    near: ModelSpec, stack: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict = {"model": near, "ensemble": 8, "spread": True, "tile": 32, "chunks": 64}
    whole, out = tmp_path / "whole.zarr", tmp_path / "out.zarr"
    swin2sr_ops.restore_image(tmp_path / "in.tif", whole, **options)
    calls = []
    real = Restorer.restore_tile_with_spread

    def stopping(*given: object) -> object:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(Restorer, "restore_tile_with_spread", stopping)
    with pytest.raises(KeyboardInterrupt):
        swin2sr_ops.restore_image(tmp_path / "in.tif", out, **options)
    report = swin2sr_ops.restore_image(tmp_path / "in.tif", out, **options)
    assert report.resumed > 0
    for path in ("0", "spread/0"):
        np.testing.assert_array_equal(zarr.open_array(out / path)[:], zarr.open_array(whole / path)[:])


def test_nodata_has_no_spread(near: ModelSpec, stack: np.ndarray, tmp_path: Path) -> None:
    stack[:, 10:14, 40:] = 0
    stack[1, 32:, :] = 0  # whole tiles
    tifffile.imwrite(tmp_path / "in.tif", stack, metadata={"axes": "CYX"})
    out = tmp_path / "out.zarr"
    swin2sr_ops.restore_image(
        tmp_path / "in.tif", out, model=near, ensemble=8, spread=True, context=True, nodata=0, tile=32
    )
    missing = (stack == 0).repeat(2, 1).repeat(2, 2)
    np.testing.assert_array_equal(np.isnan(zarr.open_array(out / "spread/0")[:]), missing)
    np.testing.assert_array_equal(zarr.open_array(out / "labels/nodata_context/0")[:] == 2, missing)


def test_command_line(near: ModelSpec, stack: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scans").mkdir()
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / "scans" / name, stack[0], metadata={"axes": "YX"})
    words = ["--model", near.weights, "--quiet"]
    batch = ["restore", str(tmp_path / "scans"), str(tmp_path / "out"), "--format", "zarr"]
    assert main([*batch, *words, "--ensemble", "8", "--spread"]) == 0
    expected = dask.compute(*swin2sr_ops.restore(stack[0], model=near, ensemble=8, spread=True))
    for name in ("a", "b"):
        out = tmp_path / "out" / f"{name}_x2.ome.zarr"
        for path, pixels in zip(("0", "spread/0"), expected, strict=True):
            np.testing.assert_array_equal(zarr.open_array(out / path)[:], pixels)
    one = ["restore", str(tmp_path / "in.tif")]
    assert main([*one, str(tmp_path / "x.zarr"), *words, "--spread"]) == 2
    assert "give ensemble=8 with it (--ensemble 8)" in capsys.readouterr().err
    assert main([*one, str(tmp_path / "x.zarr"), *words, "--ensemble", "3"]) == 2
    assert "ensemble=3 is not valid" in capsys.readouterr().err
    assert main([*one, str(tmp_path / "x.tif"), *words, "--ensemble", "8", "--spread"]) == 2
    assert "'spread' is not an option of TIFF" in capsys.readouterr().err
    assert main([*one, str(tmp_path / "x.tif"), *words, "--ensemble", "8"]) == 0
    whole = swin2sr_ops.restore(stack, axes="CYX", model=near, ensemble=8).compute()
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "x.tif"), whole)


def test_the_plan_names_the_passes(near: ModelSpec) -> None:
    one, eight = (Restorer(near, ensemble=n).plan(100, 90, 40) for n in (1, 8))
    assert eight.over_compute == pytest.approx(8 * one.over_compute)
    assert eight.over_read >= one.over_read
    assert eight.peak_bytes > one.peak_bytes
    assert "8 passes" in str(eight)
    assert "passes" not in str(one)
    assert json.dumps(eight.to_dict())
    assert eight.to_dict()["ensemble"] == 8


def test_evaluation_of_an_ensemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the shipped model: a real gain."""
    from PIL import Image

    (tmp_path / "set").mkdir()
    y, x = np.mgrid[:48, :40]
    Image.fromarray((127 + 90 * np.sin(y / 3) * np.cos(x / 4)).astype("u1")).save(tmp_path / "set" / "a.png")
    found = []
    for more in ([], ["--ensemble", "8"]):
        words = ["--model", "tiny-x2-gray", "--data", str(tmp_path / "set"), "--scale", "2", "--quiet", "--json"]
        assert main(["evaluate", *words, *more]) == 0
        found.append(json.loads(capsys.readouterr().out)["mean"]["psnr"])
    assert found[1] > found[0]


def test_requests_that_are_refused(near: ModelSpec, stack: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="spread needs an ensemble"):
        swin2sr_ops.restore_image(tmp_path / "in.tif", tmp_path / "out.zarr", model=near, spread=True)
    assert not list(tmp_path.glob("out*"))
