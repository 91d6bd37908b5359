"""Warnings are printed as lines, and other libraries print nothing between them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from swin2sr_ops.cli.notes import warnings_as_notes
from tests.conftest import NATIVE

SCRIPT = Path(sys.executable).parent / "swin2sr-ops"


def stderr_of(*words: str) -> str:
    """Return the real program's standard error: pytest would capture logs and warnings."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([SCRIPT, *words], capture_output=True, text=True, env=environment, check=False).stderr


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # whatever pytest's own options are
        yield


@pytest.mark.parametrize("place", [[], [(33550, "d", 3, (1, 1, 0), True), (33922, "d", 6, (0, 0, 0, 5, 5, 0), True)]])
def test_tifffile_prints_nothing(place: list[Any]) -> None:
    """tifffile, which also sees rasters, would log that GDAL's usual nodata value is not a float32."""
    tags = [(42113, "s", 0, "-3.4e+38", True), *place]
    tifffile.imwrite("dem.tif", np.eye(16, dtype="f4"), extratags=tags)
    assert stderr_of("info", "dem.tif") == ""
    assert stderr_of("restore", "dem.tif", "out.tif", "--model", "tiny-x2-gray") == ""


def test_gdal_prints_nothing() -> None:
    """GDAL prints "ERROR 4: ..." if rasterio calls it outside of an environment."""
    pytest.importorskip("rasterio")
    band = "<SourceFilename>gone.tif</SourceFilename><SourceBand>1</SourceBand>"
    Path("mosaic.vrt").write_text(
        '<VRTDataset rasterXSize="16" rasterYSize="16"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource>{band}</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    (line,) = stderr_of("restore", "mosaic.vrt", "out.tif").splitlines()
    assert line.startswith("swin2sr-ops: error: 'mosaic.vrt' cannot be read (gone.tif")


@NATIVE
def test_building_kernels_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note, not a warning: on a new machine nothing is wrong."""
    monkeypatch.setenv("SWIN2SR_OPS_CACHE", str(Path("cache").resolve()))
    tifffile.imwrite("a.tif", np.zeros((16, 16), "u1"))
    first, again = (
        stderr_of("restore", "a.tif", f"{i}.tif", "--model", "tiny-x2-gray", "--device", "cpu") for i in (1, 2)
    )
    assert first.startswith("swin2sr-ops: note: built kernels for this processor in ")
    assert again == ""


def test_a_warning_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    before = warnings.showwarning
    with warnings_as_notes():
        for _ in range(2):
            warnings.warn("The labels\n  are left out.", stacklevel=1)
        warnings.warn("will change", FutureWarning, stacklevel=1)
        logging.getLogger("swin2sr_ops.engine.restorer").warning("no memory for %d px", 7)
        try:
            raise ValueError("no")
        except ValueError:
            logging.getLogger("swin2sr_ops.hooks.dispatch").exception("observer %s failed", "mine")
    assert capsys.readouterr().err.splitlines() == [
        "swin2sr-ops: warning: The labels are left out.",
        "swin2sr-ops: warning: no memory for 7 px",
        "swin2sr-ops: warning: observer mine failed: ValueError('no')",
    ]
    assert warnings.showwarning is before
    assert logging.getLogger("swin2sr_ops").handlers == []


def test_a_warning_is_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings_as_notes(as_json=True):
        warnings.warn("careful", stacklevel=1)
    event = json.loads(capsys.readouterr().err)
    assert event == {"kind": "note", "text": "swin2sr-ops: warning: careful"}
