"""``swin2sr-ops info`` of an archive."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from swin2sr_ops.cli import main
from tests.batch.helpers import raster
from tests.run.test_archive import write_plate


def test_a_plate_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_plate(tmp_path / "plate.zarr", "0.5")
    assert main(["info", str(tmp_path / "plate.zarr")]) == 0
    assert "A/1/0, A/1/1, B/02/0" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "plate.zarr"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["format"], told["images"], told["missing"]) == ("plate", "OME-Zarr 0.5", 3, {})
    assert main(["info", str(tmp_path / "plate.zarr"), "--array", "A/1/0"]) == 0
    assert "micrometer" in capsys.readouterr().out


def test_a_raster_has_its_georeference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With enough digits to find a pixel again."""
    rasterio = pytest.importorskip("rasterio")
    path = str(tmp_path / "turned.tif")
    affine = rasterio.Affine(1e-5, 2e-6, 11.123456789, 3e-6, -1e-5, 48.987654321)
    profile = {"width": 8, "height": 6, "count": 3, "dtype": "uint8", "photometric": "rgb"}
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:4326", transform=affine, **profile) as dataset:
        dataset.write(np.zeros((3, 6, 8), "u1"))
    assert main(["info", path]) == 0
    facts = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts["crs"] == "EPSG:4326"
    assert facts["affine"] == "1e-05, 2e-06, 11.123456789, 3e-06, -1e-05, 48.987654321"
    assert facts["bounds"] == "11.123456789, 48.987594321, 11.123548789, 48.987678321"
    assert facts["colours"] == "red, green, blue"
    assert main(["info", path, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["affine"] == list(affine[:6])
    assert told["bounds"][0] == affine.c
    assert told["colours"] == ["red", "green", "blue"]


def test_utm_coordinates_are_not_rounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rasterio")
    assert main(["info", raster(str(tmp_path / "scene.tif"))]) == 0
    text = capsys.readouterr().out
    assert "origin      Y -5399995, X 399965" in text
    assert "bounds      399960, 5399520, 400600, 5400000" in text
