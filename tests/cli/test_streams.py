"""Streams that are closed, full or ASCII decide nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

SCRIPT = str(Path(sys.executable).with_name("swin2sr-ops"))
pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="a shell and /dev/full")


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">/dev/full", "2>/dev/full", "<&- >&- 2>&-"])
def test_a_run_ends_well(tmp_path: Path, streams: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20), "u1"))
    command = f"{SCRIPT} restore a.tif b.ome.zarr --model nano-x2-gray {streams}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert (tmp_path / "b.ome.zarr" / "zarr.json").is_file()


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">/dev/full", "2>/dev/full", "<&- >&- 2>&-"])
def test_an_error_keeps_its_status(tmp_path: Path, streams: str) -> None:
    command = f"{SCRIPT} info missing.tif {streams}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["\u00e4\u00b5.tif".encode(), b"caf\xe9.tif"])
def test_a_name_that_the_terminal_cannot_show(tmp_path: Path, name: bytes) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20), "u1"))
    os.rename(tmp_path / "a.tif", os.path.join(os.fsencode(tmp_path), name))
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [os.fsencode(SCRIPT), b"info", name], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"\\" in done.stdout
