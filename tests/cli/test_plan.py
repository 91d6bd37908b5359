"""``swin2sr-ops plan`` for a raster with many bands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swin2sr_ops import cli
from tests.batch.helpers import raster

rasterio = pytest.importorskip("rasterio")


@pytest.fixture(autouse=True)
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blue, green, red, two more, and opacity."""
    monkeypatch.chdir(tmp_path)
    raster("scene.tif", bands=6)
    with rasterio.open("scene.tif", "r+") as dataset:
        names = ("blue", "green", "red", "undefined", "undefined", "alpha")
        dataset.colorinterp = [rasterio.enums.ColorInterp[name] for name in names]
        dataset.set_band_description(4, "B08")


@pytest.mark.filterwarnings("ignore:Band . of .* counts as opacity")
def test_all_models_bands_and_tiles(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "scene.tif", "--tile", "32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if line.startswith(("bands", "model", "all tiles"))]
    assert told == [
        "bands       red + green + blue",
        "model       small-x2-rgb (x2)",
        "bands       B08, 5",
        "model       small-x2-gray (x2)",
        "bands       alpha: opacity, repeated pixel by pixel",
        "all tiles   16: 4 tiles in each of 4 passes; bands that go together are one",
    ]
    assert lines[-1].startswith("time        about ")


@pytest.mark.filterwarnings("ignore:Band . of .* counts as opacity")
def test_the_same_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "scene.tif", "--tile", "32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["tiles"], found["all_tiles"]) == (4, 16)
    assert found["parts"] == [
        {"model": "small-x2-rgb", "bands": [["red", "green", "blue"]]},
        {"model": "small-x2-gray", "bands": [["B08"], ["5"]]},
        {"model": None, "bands": [["alpha"]]},
    ]


def test_planes(capsys: pytest.CaptureFixture[str]) -> None:
    raster("plain.tif", bands=3, photometric="minisblack")
    assert cli.main(["plan", "plain.tif", "--tile", "32"]) == 0
    assert "all tiles   12: 3 planes of 4 tiles" in capsys.readouterr().out
