"""Half widths beside a lazy array: those that a run of files writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.errors import RequestError
from swin2sr_ops.spec import ModelSpec
from tests.run.test_trust import calibrated


@pytest.mark.parametrize("ensemble", [1, 8])
def test_the_same_half_widths_as_in_files(
    ensemble: int, gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator
) -> None:
    image = rng.integers(1, 50_000, (2, 50, 60)).astype("u2")
    image[1, 5:20, 7:9] = 0
    tifffile.imwrite(tmp_path / "in.ome.tif", image, metadata={"axes": "CYX"})
    cal = calibrated(gray_model, tmp_path / "cal.json", ensemble=ensemble)
    given: dict[str, Any] = {
        "model": gray_model, "nodata": 0, "ensemble": ensemble, "interval": 90, "calibration": cal
    }  # fmt: skip
    swin2sr_ops.restore_image(tmp_path / "in.ome.tif", tmp_path / "out.ome.zarr", **given)
    chunked = da.from_array(image, chunks=(1, 20, 33))
    result, half = swin2sr_ops.restore(chunked, axes="CYX", tile=32, **given)
    assert half.dtype == np.float32
    result, half = dask.compute(result, half)
    np.testing.assert_array_equal(result, zarr.open_array(tmp_path / "out.ome.zarr/0", mode="r")[:])
    np.testing.assert_array_equal(half, zarr.open_array(tmp_path / "out.ome.zarr/interval/0", mode="r")[:])
    assert np.isnan(half[1, 10:40, 14:18]).all()


def test_spread_and_half_widths_together(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    image = rng.random((30, 30), "f4")
    cal = calibrated(gray_model, tmp_path / "cal.json", ensemble=8)
    result, spread, half = swin2sr_ops.restore(
        image, model=gray_model, ensemble=8, spread=True, interval=80, calibration=cal
    )
    assert result.shape == spread.shape == half.shape
    assert (half.compute() > 0).all()
    other = swin2sr_ops.restore(image, model=gray_model, ensemble=8, spread=True, interval=90, calibration=cal)[2]
    assert other.name != half.name
    with pytest.raises(RequestError, match="errors differ"):
        swin2sr_ops.restore(image, model=gray_model, interval=80, calibration=cal)
    with pytest.raises(RequestError, match="Intervals need a coverage and a calibration"):
        swin2sr_ops.restore(image, model=gray_model, interval=80)  # type: ignore[call-overload]
