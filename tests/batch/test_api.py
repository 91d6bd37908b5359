"""`restore_batch`: many images in one call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

import swin2sr_ops
from swin2sr_ops.errors import FormatError
from swin2sr_ops.spec import ModelSpec

from .helpers import plate_zarr


def test_a_batch_in_one_call(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", rng.integers(0, 99, (40, 50)).astype("u2"))
    (tmp_path / "c.tif").write_text("no image")
    report = swin2sr_ops.restore_batch(f"{tmp_path}/*.tif", tmp_path / "out", model=gray_model, format="zarr", halo=8)
    assert report.counts == {"done": 2, "failed": 1}
    assert not report.ok
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a_x2.ome.zarr", "b_x2.ome.zarr"]
    again = swin2sr_ops.restore_batch(
        [tmp_path / "a.tif", tmp_path / "b.tif"],
        tmp_path / "out",
        model=gray_model,
        format="zarr",
        halo=8,
        pyramid=False,
    )
    assert again.counts == {"failed": 2}  # other settings: nothing is overwritten


def test_one_image_and_many_have_two_functions(tmp_path: Path) -> None:
    plate = plate_zarr(str(tmp_path / "p.zarr"))
    with pytest.raises(FormatError, match=r"not one image.*swin2sr_ops\.restore_batch"):
        swin2sr_ops.restore_image(plate, tmp_path / "q.zarr", model="nano-x2-gray")
    assert "restore_batch" in str(swin2sr_ops.restore_image.__doc__).split("Parameters")[0]
