"""Law 7: the same request gives the same pixels from every host, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import swin2sr_ops
from tests.conftest import NATIVE

MODEL = "tiny-x2-gray"
SHAPE = (75, 101)  # not multiples of anything
#: Range and engine: numbers, percentiles that every host must compute, and kernels that are not the default.
CASES = [
    ("200,3000", "auto"), ("p1,p99.8", "auto"), pytest.param(("200,3000", "torch"), marks=NATIVE),
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One request, and the same image in memory and in files."""

    range: str
    engine: str
    pixels: np.ndarray
    folder: Path
    restored: np.ndarray

    @property
    def request(self) -> dict[str, str]:
        return {
            "model": MODEL, "range": self.range, "device": "cpu", "precision": "float32", "engine": self.engine
        }  # fmt: skip

    @property
    def words(self) -> list[str]:
        return [word for key, value in self.request.items() for word in (f"--{key}", value)]

    @property
    def ngff(self) -> str:
        return str(self.folder / "image.ome.zarr")

    @property
    def tiff(self) -> str:
        return str(self.folder / "image.tif")

    def out(self, name: str) -> str:
        return str(self.folder / name)


def draw() -> np.ndarray:
    """Blobs and noise, with some pixels far outside."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = 1500 + 900 * np.sin(y / 7) * np.cos(x / 11) + rng.normal(0, 60, SHAPE)
    image[rng.random(SHAPE) < 0.005] = 60000
    return image.clip(0, 65535).astype("u2")


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder, pixels = tmp_path_factory.mktemp("same"), draw()
    write_files(folder, pixels)
    range_, engine = request.param
    restored = swin2sr_ops.restore(
        pixels, model=MODEL, range=range_, device="cpu", precision="float32", halo="exact", engine=engine
    )
    return Case(range_, engine, pixels, folder, restored.compute())


def write_files(folder: Path, pixels: np.ndarray) -> None:
    rasterio = pytest.importorskip("rasterio", reason="rio and QGIS are given a GeoTIFF")
    group = zarr.open_group(folder / "image.ome.zarr", mode="w", zarr_format=3)
    group.create_array("0", data=pixels, chunks=(40, 48), dimension_names=["y", "x"])
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    dataset = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0.5, 0.5]}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"name": "image", "axes": axes, "datasets": [dataset]}]}
    profile = {"height": SHAPE[0], "width": SHAPE[1], "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
    place = rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)
    with rasterio.open(folder / "image.tif", "w", driver="GTiff", transform=place, **profile) as file:
        file.write(pixels, 1)


def run(*words: str) -> str:
    """Run a program like a user."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pixels_of(path: str) -> np.ndarray:
    """Read a Zarr without this package's readers, or a raster by GDAL."""
    if path.endswith(".zarr"):
        return zarr.open_group(path, mode="r")["0"][:]
    import rasterio

    with rasterio.open(path) as file:
        return file.read(1)


def script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


# --- one function per host ------------------------------------------------------------------------


def in_chunks(case: Case) -> np.ndarray:
    """Use Dask's default chunks and small tiles."""
    import dask.array as da

    return swin2sr_ops.restore(da.from_array(case.pixels, chunks=(30, 44)), tile=32, **case.request).compute()


def files(case: Case) -> np.ndarray:
    swin2sr_ops.restore_image(case.ngff, case.out("python.ome.zarr"), tile=48, **case.request)
    return pixels_of(case.out("python.ome.zarr"))


def command_line(case: Case) -> np.ndarray:
    run(script("swin2sr-ops"), "restore", case.ngff, case.out("command.ome.zarr"), *case.words)
    return pixels_of(case.out("command.ome.zarr"))


def xarray(case: Case) -> np.ndarray:
    xr = pytest.importorskip("xarray", reason="the accessor is xarray's")
    import swin2sr_ops_xarray  # noqa: F401  (registers the accessor)

    array = xr.DataArray(case.pixels, dims=("y", "x")).chunk(y=40, x=50)
    return array.swin2sr.restore(**case.request).values


def rio(case: Case) -> np.ndarray:
    run(script("rio"), "restore", case.tiff, case.out("rio.tif"), *case.words)
    return pixels_of(case.out("rio.tif"))


def fractal(case: Case) -> np.ndarray:
    pytest.importorskip("fractal_task_tools", reason="fractal-task-tools runs tasks")
    args, out = case.out("args.json"), case.out("out.json")
    Path(args).write_text(json.dumps({"zarr_url": case.ngff, "suffix": "fractal", **case.request}))
    task = Path(swin2sr_ops.__file__).parent / "fractal_tasks/restore_image.py"
    run(sys.executable, str(task), "--args-json", args, "--out-json", out)
    return pixels_of(json.loads(Path(out).read_text())["image_list_updates"][0]["zarr_url"])


def qgis(case: Case) -> np.ndarray:
    """Run the command that the QGIS plugin runs; test_qgis.py tests QGIS itself."""
    from swin2sr_ops_qgis.provider import runner

    options: dict[str, Any] = {**case.request, "halo": "exact", "nodata": None, "tile": None, "mask": None}
    words = runner.command(sys.executable, case.tiff, case.out("qgis.tif"), options)
    runner.follow(words, lambda event: None, lambda: False)
    return pixels_of(case.out("qgis.tif"))


HOSTS: list[Callable[[Case], np.ndarray]] = [
    in_chunks, files, command_line, xarray, rio, fractal, qgis
]  # fmt: skip


def test_there_is_something_to_compare(case: Case) -> None:
    assert case.restored.shape == (2 * SHAPE[0], 2 * SHAPE[1])
    assert case.restored.dtype == np.uint16
    other = swin2sr_ops.restore(case.pixels, model=MODEL, range="dtype", device="cpu").compute()
    assert (case.restored != other).mean() > 0.5  # the range changes pixels, so a host that ignores it is detected
    if case.engine != "auto":  # so does the engine: a few values are close to a rounding boundary
        default = swin2sr_ops.restore(case.pixels, model=MODEL, range=case.range, device="cpu").compute()
        assert 0 < (case.restored != default).sum() < 200


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.__name__)
def test_same_pixels(case: Case, host: Callable[[Case], np.ndarray]) -> None:
    found = host(case)
    assert found.dtype == case.restored.dtype
    np.testing.assert_array_equal(found, case.restored)


@pytest.mark.parametrize("output", ["memory", "disk", "lazy"])
def test_same_pixels_from_napari(case: Case, output: str) -> None:
    """Restore like the widget, for each of its outputs; this needs a layer, but no window."""
    layers = pytest.importorskip("napari.layers", reason="napari has layers")
    from swin2sr_ops_napari.layers import describe
    from swin2sr_ops_napari.request import Request

    found = NAPARI[output](case, describe(layers.Image(case.pixels)), Request(**case.request))
    assert found.dtype == case.restored.dtype
    np.testing.assert_array_equal(found, case.restored)


def napari_memory(case: Case, image: Any, request: Any) -> np.ndarray:
    from swin2sr_ops_napari.layer_run import to_memory
    from swin2sr_ops_napari.memory_io import Pyramid

    target = Pyramid(case.restored.shape, "YX", image.dtype)
    to_memory(image, request, target, tell=lambda event: None)
    return target.levels[0]


def napari_disk(case: Case, image: Any, request: Any) -> np.ndarray:
    from swin2sr_ops_napari.layer_run import to_disk

    to_disk(image, request, case.out("napari.ome.zarr"), tell=lambda event: None)
    return pixels_of(case.out("napari.ome.zarr"))


def napari_lazy(case: Case, image: Any, request: Any) -> np.ndarray:
    from swin2sr_ops_napari.lazy import Restored, serve
    from swin2sr_ops_napari.ranges import exact_maps

    server = serve(image, Restored(image, request.restorer(image), exact_maps(image, request)))
    return np.asarray(server.levels[0])


NAPARI = {"memory": napari_memory, "disk": napari_disk, "lazy": napari_lazy}
