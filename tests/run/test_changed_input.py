"""An input that is replaced during a run, and put back, never gives an output of two images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import swin2sr_ops
from swin2sr_ops.errors import OutputError
from swin2sr_ops.run.input_watch import InputWatch
from swin2sr_ops.spec import ModelSpec
from tests.run.test_archive import tree

RNG = np.random.default_rng(0)
FIRST = RNG.integers(1, 250, (2, 70, 100)).astype("u1")
SECOND = FIRST[:, ::-1].copy()  # the same histogram


class Killed(Exception):
    """Ends a run in the middle."""


def tiff(path: Path, pixels: Any) -> None:
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX"}, photometric="minisblack")


def zarr(path: Path, pixels: Any) -> None:
    import zarr as library

    shutil.rmtree(path, ignore_errors=True)
    library.create_array(path, data=pixels, chunks=(1, 35, 50), dimension_names=list("cyx"))


def raster(path: Path, pixels: Any) -> None:
    rasterio = pytest.importorskip("rasterio")
    count, height, width = pixels.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:32633", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **profile) as out:
        out.write(pixels)


KINDS: dict[str, tuple[str, Callable[[Path, Any], None]]] = {
    "tiff": ("in.tif", tiff),
    "zarr": ("in.zarr", zarr),
    "raster": ("in_geo.tif", raster),
}


def copied(place: Path, aside: Path) -> None:
    """Copy with all times, into a place that is emptied first."""
    if aside.is_dir():
        shutil.rmtree(aside)
    shutil.copytree(place, aside) if place.is_dir() else shutil.copy2(place, aside)


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name, write = KINDS[request.param]
    write(tmp_path / name, FIRST)
    copied(tmp_path / name, tmp_path / "first")
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / name, SECOND)
    return tmp_path / name


def options(model: ModelSpec, **more: Any) -> dict[str, Any]:
    return {"model": model, "range": (0, 250), "tile": 32, "chunks": 64, **more}


def replacing(source: Path, killed: bool) -> Callable[[Any], None]:
    """Replace ``source`` by another input for some tiles; then end the run if ``killed``, or continue."""

    def progress(event: Any) -> None:
        if event.kind == "tile" and event.done == 3:
            copied(source.parent / "other" / source.name, source)
        if event.kind == "tile" and event.done == 14:
            copied(source.parent / "first", source)
            if (
                killed
            ):  # no code of ours runs after a SIGKILL: with the old input back, this run detects nothing at its end
                raise Killed

    return progress


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "in one run"])
def test_an_input_that_was_replaced_and_put_back(
    killed: bool, source: Path, gray_model: ModelSpec, tmp_path: Path
) -> None:
    out, given = tmp_path / "o.ome.zarr", options(gray_model)
    cached = source.name == KINDS["raster"][0]  # GDAL had decoded all: no tile is of the other image
    raised: Any = pytest.raises(Killed if killed else OutputError, match=None if killed else "of two images")
    with nullcontext() if cached and not killed else raised:
        swin2sr_ops.restore_image(source, out, progress=replacing(source, killed), **given)
    for _ in range(2):  # and it stays so
        with nullcontext() if cached else pytest.raises(OutputError, match=r"two images.*\(--restart\)\.$"):
            swin2sr_ops.restore_image(source, out, **given)
    if not cached:
        swin2sr_ops.restore_image(source, out, restart=True, **given)
    swin2sr_ops.restore_image(source, tmp_path / "whole.ome.zarr", **given)
    assert tree(out) == tree(tmp_path / "whole.ome.zarr")


def test_an_input_that_was_only_copied(
    source: Path, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy from a backup or another disk: its pixels are compared once, and the run is resumed."""
    out, given = tmp_path / "o.ome.zarr", options(gray_model)

    def killed_at(event: Any) -> None:
        if event.kind == "tile" and event.done >= limit:
            raise Killed

    limit = 9
    with pytest.raises(Killed):
        swin2sr_ops.restore_image(source, out, progress=killed_at, **given)
    copied(tmp_path / "first", source)
    compared: list[bool] = []
    other = InputWatch._other
    monkeypatch.setattr(InputWatch, "_other", lambda self: compared.append(other(self)) or compared[-1])
    limit = 0
    with pytest.raises(Killed):
        swin2sr_ops.restore_image(source, out, progress=killed_at, **given)
    assert compared == [False]
    report = swin2sr_ops.restore_image(source, out, **given)
    assert report.resumed > 0
    assert compared == [False]  # not again
    swin2sr_ops.restore_image(source, tmp_path / "whole.ome.zarr", **given)
    assert tree(out) == tree(tmp_path / "whole.ome.zarr")


def test_a_mask_that_was_replaced_and_put_back(gray_model: ModelSpec, tmp_path: Path) -> None:
    source, mask = tmp_path / "in.tif", tmp_path / "mask.tif"
    tifffile.imwrite(source, FIRST[0])
    valid = np.ones((70, 100), "u1")
    valid[10:30, 10:30] = 0
    tifffile.imwrite(mask, valid)
    shutil.copy2(mask, tmp_path / "first")
    (tmp_path / "other").mkdir()
    tifffile.imwrite(tmp_path / "other/mask.tif", 1 - valid)
    given = options(gray_model, mask=mask)

    def progress(event: Any) -> None:
        if event.kind == "tile" and event.done == 2:
            shutil.copy2(tmp_path / "other/mask.tif", mask)
        if event.kind == "tile" and event.done == 9:
            shutil.copy2(tmp_path / "first", mask)
            raise Killed

    with pytest.raises(Killed):
        swin2sr_ops.restore_image(source, tmp_path / "o.ome.zarr", progress=progress, **given)
    with pytest.raises(OutputError, match="of two images"):
        swin2sr_ops.restore_image(source, tmp_path / "o.ome.zarr", **given)


def test_a_range_is_of_one_image(gray_model: ModelSpec, tmp_path: Path) -> None:
    """The range is decided before any tile, so an input that was there only then leaves no tile to compare."""
    source, given = tmp_path / "in.tif", options(gray_model, range="auto")
    tifffile.imwrite(source, FIRST[0].astype("u2"))
    old, when = source.read_bytes(), source.stat()
    seen = []

    def progress(event: Any) -> None:
        seen.append(event.kind)
        if event.kind == "range" and seen.count("range") == 1:
            tifffile.imwrite(source, FIRST[0].astype("u2") * 100)
        if event.kind == "start":
            source.write_bytes(old)
            os.utime(source, ns=(when.st_atime_ns, when.st_mtime_ns))

    with pytest.raises(OutputError, match="of two images"):
        swin2sr_ops.restore_image(source, tmp_path / "o.ome.zarr", progress=progress, **given)
    assert seen.count("range") > 1
    assert "tile" not in seen
