"""The label image ``not_trusted`` beside a result: which pixels it flags, for any cut, in batches and audits."""

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
from swin2sr_ops.pixels.intervals import Calibration
from swin2sr_ops.pixels.trust import NO_VALUE, OFF, WIDE
from swin2sr_ops.spec import ModelSpec


def calibrated(spec: ModelSpec, path: Path, **changes: Any) -> Path:
    """Write an artificial calibration, whose half widths grow with contrast and brightness."""
    values = {"gain": (0.5, 1.0, 2.0, 4.0), "floor": 0.01, "scale": {"80": 1.0, "90": 1.5}, "ensemble": 1}
    values |= {"consistent": None, **changes}
    Calibration(spec.name, spec.sha256, patches=40, pixels=1000, **values).write(path)
    return path


def opened(out: Path, name: str) -> np.ndarray:
    return zarr.open_array(out / name / "0", mode="r")[:]


def test_flags_follow_the_half_widths_and_the_input(
    gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator
) -> None:
    image = rng.integers(1, 40_000, (2, 60, 70)).astype("u2")
    image[0, 10:14, 20:30] = 0
    tifffile.imwrite(tmp_path / "in.ome.tif", image, metadata={"axes": "CYX"})
    cal, found = calibrated(gray_model, tmp_path / "cal.json"), []
    for tile in (32, 64):
        out = tmp_path / f"{tile}.ome.zarr"
        swin2sr_ops.restore_image(
            tmp_path / "in.ome.tif", out, model=gray_model, tile=tile, chunks=64, nodata=0, interval=90,
            calibration=cal, limit=20_000, noise=3_000,
        )  # fmt: skip
        found.append(opened(out, "labels/not_trusted"))
    np.testing.assert_array_equal(*found)
    flags, half, result = found[1], opened(out, "interval"), zarr.open_array(out / "0", mode="r")[:]
    hole = image == 0
    means = result.reshape(2, 60, 2, 70, 2).mean((2, 4))
    off = (np.abs(means - image) > 3_000).repeat(2, 1).repeat(2, 2)
    expected = WIDE * (half > 20_000) + OFF * off
    np.testing.assert_array_equal(flags, np.where(hole.repeat(2, 1).repeat(2, 2), NO_VALUE, expected))
    assert set(np.unique(flags)) == {0, WIDE, OFF, WIDE | OFF, NO_VALUE}
    document = json.loads((out / "labels/not_trusted/zarr.json").read_text())["attributes"]["ome"]
    assert document["image-label"]["properties"][0]["meaning"] == "the interval is wider than the limit"
    assert "not_trusted" in json.loads((out / "labels/zarr.json").read_text())["attributes"]["ome"]["labels"]
    settings = json.loads((out / "zarr.json").read_text())["attributes"]["swin2sr_ops"]["settings"]
    assert settings["not_trusted"] == {"limit": 20_000, "noise": 3_000}


def test_an_audit_recomputes_the_flags(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    tifffile.imwrite(tmp_path / "in.tif", rng.integers(0, 255, (40, 40)).astype("u1"))
    out = tmp_path / "out.ome.zarr"
    swin2sr_ops.restore_image(tmp_path / "in.tif", out, model=gray_model, noise=5, context=True)
    assert audit(out, model=gray_model.weights, sample=None).ok
    zarr.open_array(out / "labels/not_trusted/0", mode="r+")[30, 30] = 4
    assert audit(out, model=gray_model.weights, sample=None).differences[0].place.endswith("of not_trusted")


def test_batches_and_what_is_refused(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        tifffile.imwrite(tmp_path / "in" / f"{name}.tif", rng.integers(0, 255, (30, 30)).astype("u1"))
    common = ["--model", gray_model.weights, "--quiet"]
    given = ["restore", str(tmp_path / "in"), str(tmp_path / "out"), *common, "--format", "zarr"]
    assert main([*given, "--noise", "10"]) == 0
    flags = [opened(path, "labels/not_trusted") for path in sorted((tmp_path / "out").iterdir())]
    assert len(flags) == 2
    assert all(0 < (one == OFF).mean() < 1 for one in flags)
    with pytest.raises(RequestError, match="limit compares the half widths of intervals"):
        swin2sr_ops.restore_image(tmp_path / "in" / "a.tif", tmp_path / "a.ome.zarr", model=gray_model, limit=3)
    with pytest.raises(RequestError, match=r".not_trusted. is not an option of TIFF: only OME-Zarr"):
        swin2sr_ops.restore_image(tmp_path / "in" / "a.tif", tmp_path / "a.ome.tif", model=gray_model, noise=3)
