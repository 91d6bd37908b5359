"""Programs that others wrote read what the server serves: the table in docs/serve.md, as far as a test can hold it."""

from __future__ import annotations

import importlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import requests
import tifffile
import zarr

import swin2sr_ops
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.serve.options import Options
from swin2sr_ops.spec import ModelSpec

running = pytest.importorskip("tests.serve.running", exc_type=ImportError).running
pytest.importorskip("aiohttp")

REGION = (slice(1, 2), slice(0, 2), slice(30, 140), slice(90, 250))


@pytest.fixture(scope="module", params=["0.5", "0.4"])
def site(request: Any, tmp_path_factory: pytest.TempPathFactory, gray_model: ModelSpec) -> Iterator[dict[str, Any]]:
    """A served image of two channels and two planes, and the pixels of a run."""
    folder = tmp_path_factory.mktemp("served")
    image = np.random.default_rng(2).integers(0, 900, (2, 2, 90, 130)).astype("u2")
    metadata = {"axes": "CZYX", "PhysicalSizeX": 0.2, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.2,
                "PhysicalSizeYUnit": "µm", "Channel": {"Name": ["DAPI", "GFP"]}}  # fmt: skip
    tifffile.imwrite(folder / "two.ome.tif", image, metadata=metadata, photometric="minisblack")
    asked = {"model": gray_model, "chunks": 100, "range": (0, 1000)}
    swin2sr_ops.restore_image(folder / "two.ome.tif", folder / "x.ome.zarr", ngff=request.param, **asked)
    pixels = zarr.open_group(folder / "x.ome.zarr", mode="r")["0"][:]
    with running(folder / "two.ome.tif", RestoreRequest(**asked), options=Options(ngff=request.param)) as (
        page,
        served,
    ):
        yield {"page": page, "address": f"{page}{served.store}", "ngff": request.param, "pixels": pixels}


def test_zarr_python(site: dict[str, Any]) -> None:
    group = zarr.open_group(site["address"], mode="r")
    np.testing.assert_array_equal(group["0"][REGION], site["pixels"][REGION])


def test_dask(site: dict[str, Any]) -> None:
    import dask.array as da

    image = da.from_zarr(site["address"], component="0")
    np.testing.assert_array_equal(image[REGION].compute(), site["pixels"][REGION])


def test_xarray(site: dict[str, Any]) -> None:
    """Levels share the names of their dimensions, so one is opened at a time; Zarr v2 has no such names."""
    xarray = pytest.importorskip("xarray")
    if site["ngff"] == "0.4":
        pytest.skip("OME-Zarr 0.4 has no names of dimensions")
    levels = [str(k) for k in range(1, 9)]
    found = xarray.open_zarr(site["address"], consolidated=False, drop_variables=levels)["0"]
    assert found.dims == ("c", "z", "y", "x")
    np.testing.assert_array_equal(found[REGION].values, site["pixels"][REGION])


def test_tensorstore(site: dict[str, Any]) -> None:
    tensorstore = pytest.importorskip("tensorstore")
    driver = {"0.5": "zarr3", "0.4": "zarr"}[site["ngff"]]
    image = tensorstore.open({"driver": driver, "kvstore": f"{site['address']}/0/"}).result()
    np.testing.assert_array_equal(image[REGION].read().result(), site["pixels"][REGION])


def test_gdal(site: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of the page's link, as QGIS takes it; GDAL 3.6 and 3.10 read version 0.4 only."""
    rasterio = pytest.importorskip("rasterio")
    (link,) = (one for one in requests.get(f"{site['page']}info.json").json()["links"] if "GDAL" in one["name"])
    if site["ngff"] == "0.5":
        assert "0.4" in link["note"]
        return
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "60")
    with rasterio.open(link["text"].replace("{zarr}", site["address"])) as raster:
        np.testing.assert_array_equal(raster.read(1), site["pixels"][0, 0])


def test_ourselves(site: dict[str, Any]) -> None:
    source = swin2sr_ops.open_source(site["address"])
    assert [channel["label"] for channel in source.info.channels] == ["DAPI", "GFP"]
    np.testing.assert_array_equal(source.read(REGION), site["pixels"][REGION])


def test_napari_ome_zarr(site: dict[str, Any]) -> None:
    """Where the plugin is installed: it is not part of the tests' environment, for it claims every Zarr in napari."""
    if importlib.util.find_spec("napari_ome_zarr") is None:
        pytest.skip("napari-ome-zarr is not installed")
    plugin = importlib.import_module("napari_ome_zarr")
    ((data, metadata, kind),) = plugin.napari_get_reader(site["address"])(site["address"])
    assert (kind, metadata["channel_axis"], metadata["name"]) == ("image", 0, ["two: DAPI", "two: GFP"])
    np.testing.assert_array_equal(np.asarray(data[0][REGION]), site["pixels"][REGION])


def test_neuroglancer(site: dict[str, Any], tmp_path: Path) -> None:
    """Its client, in a browser, with the state of the page's own link."""
    neuroglancer = pytest.importorskip("neuroglancer")
    playwright = pytest.importorskip("playwright.sync_api")
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("there is no Chromium")
    from PIL import Image

    neuroglancer.set_server_bind_address("127.0.0.1")
    flags = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with playwright.sync_playwright() as opened:
        chromium = opened.chromium.launch(executable_path=browser, args=[*flags, "--ignore-gpu-blocklist"])
        page = chromium.new_page(viewport={"width": 800, "height": 600})
        page.goto(site["page"])
        page.wait_for_function("info !== null && document.querySelector('#links a')")
        state = json.loads(unquote(page.get_attribute("#links a", "href").split("#!")[1]))
        assert [layer["name"] for layer in state["layers"]] == ["DAPI", "GFP"]
        viewer = neuroglancer.Viewer()
        viewer.set_state(neuroglancer.ViewerState(state))
        page.goto(viewer.get_viewer_url())
        colourful, end = False, time.monotonic() + 90
        while not colourful and time.monotonic() < end:
            time.sleep(0.5)
            page.screenshot(path=tmp_path / "shown.png")
            shown = np.asarray(Image.open(tmp_path / "shown.png").convert("RGB")).astype(float)[150:450, 150:650]
            colourful = bool(shown.std() > 15)
        assert colourful
        found = viewer.state
        assert list(found.dimensions.names) == ["x", "y", "z"]
        assert found.position[0] == pytest.approx(129.5, abs=1)  # the middle: the picture is as large as it is
        chromium.close()
    neuroglancer.stop()
