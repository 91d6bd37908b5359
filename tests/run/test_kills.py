"""SIGKILL at any moment, in any phase: the same command ends with the same bytes, and computes no tile twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from swin2sr_ops.spec import ModelSpec
from tests import kills
from tests.conftest import write_model

#: Kills per format. ``python -m tests.kills`` makes as many as one likes.
TIMES = {"out.ome.zarr": 20, "sharded.ome.zarr": 16, "old.ome.zarr": 6, "out.ome.tif": 10, "out.png": 4, "cog.tif": 16}


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    spec: ModelSpec = write_model(tmp_path / "model.safetensors", dim=4, depths=(1,), heads=(1,))
    assert spec.scale == 2
    return tmp_path / "model.safetensors"


def write_source(path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    if name != "cog.tif":
        tifffile.imwrite(path, rng.integers(0, 999, (300, 280)).astype("u2"), tile=(64, 64))
        return
    rasterio = pytest.importorskip("rasterio", reason="GeoTIFF needs rasterio")
    profile = {"driver": "GTiff", "width": 280, "height": 300, "count": 2, "dtype": "uint16", "crs": "EPSG:32633"}
    with rasterio.open(path, "w", **profile, transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)) as dataset:
        dataset.write(rng.integers(0, 999, (2, 300, 280)).astype("u2"))


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("name", sorted(kills.OPTIONS))
def test_killed_and_resumed(name: str, tmp_path: Path, model_file: Path) -> None:
    source, folder = tmp_path / "source.tif", tmp_path / "out"
    folder.mkdir()
    write_source(source, name)
    command = [sys.executable, "-m", "tests.kills", source, name, model_file, str(TIMES[name]), "1", folder]
    root = Path(__file__).parents[2]
    done = subprocess.run([str(part) for part in command], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["tiles"] >= 20
    # Finished before the moment of the kill: the speed of a busy machine varies.
    assert told["killed"] >= TIMES[name] * 0.3
    assert (told["different"], told["again"], told["left"]) == ([], 0, []), done.stderr
