"""Every file that a request names is an input: no output replaces one, even with overwrite."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.batch.collect import Entry
from swin2sr_ops.batch.runner import _make_room, _Origins
from swin2sr_ops.errors import OutputError
from swin2sr_ops.hooks.dispatch import resolve_model
from swin2sr_ops.pixels.intervals import Calibration
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.archive import run_collection
from swin2sr_ops.spec import ModelSpec
from tests.batch.helpers import plate_zarr

MODEL = "nano-x2-gray"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("s.tif", rng.integers(0, 255, (32, 32), dtype="u1"))
    tifffile.imwrite("mask.tif", np.ones((32, 32), "u1"))
    swin2sr_ops.restore_image("s.tif", "like.ome.zarr", model=MODEL)
    zarr.save_array("mask.zarr", np.ones((32, 32), "u1"))
    Path("kernel.tif").write_text("1 4 4 1")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}


Call = Callable[..., object]


def one(dst: str, **given: Any) -> object:
    return swin2sr_ops.restore_image("s.tif", dst, overwrite=True, restart=True, **{"model": MODEL} | given)


def many(dst: str, **given: Any) -> object:
    report = swin2sr_ops.restore_batch(["s.tif"], dst, overwrite=True, restart=True, **{"model": MODEL} | given)
    raise OutputError(report.images[0].reason)


@pytest.mark.parametrize("call", [one, many])
@pytest.mark.parametrize(
    ("dst", "given"),
    [
        ("mask.tif", {"mask": "mask.tif"}),
        ("mask.tif", {"mask": Path("mask.tif")}),
        ("mask.zarr", {"mask": "mask.zarr"}),
        ("kernel.tif", {"consistent": "kernel=kernel.tif,noise=3"}),
        ("like.ome.zarr", {"range": "like:like.ome.zarr"}),
    ],
)
def test_an_output_replaces_no_file_of_the_request(call: Call, dst: str, given: dict[str, Any], folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(OutputError, match="in or above the input"):
        call(dst, **given)
    assert contents(folder) == before


def test_an_output_replaces_neither_model_nor_calibration(folder: Path, gray_model: ModelSpec) -> None:
    assert gray_model.weights is not None
    shutil.copy(gray_model.weights, "model.tif")
    with pytest.raises(OutputError, match=r"in or above the input.*model\.tif"):
        one("model.tif", model=ModelSpec(**{**vars(gray_model), "weights": "model.tif"}))
    assert RestoreRequest(model=f"{MODEL},model.tif").files == ("model.tif",)
    spec = resolve_model(MODEL)
    Calibration(MODEL, spec.sha256, 1, None, gain=(1.0,), floor=0.01, scale={"90": 1.0}, patches=9, pixels=9).write(
        "cal.ome.zarr"
    )
    before = contents(folder)
    with pytest.raises(OutputError, match=r"in or above the input.*cal\.ome\.zarr"):
        one("cal.ome.zarr", interval=90, calibration="cal.ome.zarr")
    assert contents(folder) == before


def test_an_archive_replaces_no_file_of_the_request(folder: Path) -> None:
    plate_zarr("plate.zarr")
    before = contents(folder)
    request = RestoreRequest(model=MODEL, range="like:like.ome.zarr")
    with pytest.raises(OutputError, match="in or above the input"):
        run_collection("plate.zarr", "like.ome.zarr", request, overwrite=True)
    assert contents(folder) == before


def test_a_batch_protects_the_file_in_an_address(folder: Path) -> None:
    pytest.importorskip("rasterio")
    with pytest.raises(OutputError, match="in or above a source of this batch"):
        _make_room(Entry("x.tif", "s.tif"), "s.tif", _Origins.of([Entry("GTIFF_DIR:1:s.tif", "o.tif")]))


def test_the_raster_behind_a_mask_is_an_input(folder: Path) -> None:
    pytest.importorskip("rasterio")
    Path("mask.vrt").write_text(
        '<VRTDataset rasterXSize="32" rasterYSize="32"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">mask.tif</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    before = contents(folder)
    with pytest.raises(OutputError, match=r"'mask\.vrt' contains 'mask\.tif'"):
        one("mask.tif", mask="mask.vrt")
    assert contents(folder) == before
