"""The plugin of ZarrNii: its hooks without ZarrNii, and everything if ZarrNii is installed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, entry_points
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pluggy
import pytest
import zarr
from swin2sr_ops_zarrnii.host import Adapter
from swin2sr_ops_zarrnii.restoration import NAME, Restoration

import swin2sr_ops
from swin2sr_ops.errors import ModelError, RequestError
from swin2sr_ops.spec import ModelSpec
from tests.conftest import write_model

HOOKS = {"scaled_processing_plugin_name", "scaled_processing_plugin_description", "lowres_func", "highres_func"}


@pytest.fixture(scope="session")
def same_size(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """A model that keeps the image's size."""
    return write_model(tmp_path_factory.mktemp("x1") / "x1.safetensors", scale=1, upsampler="", task="denoise")


def stack() -> np.ndarray:
    return np.random.default_rng(0).integers(100, 900, (1, 4, 40, 56)).astype("u2")


def computed(image: np.ndarray, model: ModelSpec, **options: Any) -> np.ndarray:
    return swin2sr_ops.restore(image, model=model, axes="CZYX", **options).compute()


def test_the_entry_point_names_the_plugin(module: Any) -> None:
    (entry,) = (e for e in entry_points(group="zarrnii") if e.name == "swin2sr-ops")
    assert entry.load() is module


@pytest.fixture
def module() -> Any:
    """Return the module that ZarrNii's entry point names."""
    return pytest.importorskip("swin2sr_ops_zarrnii.plugin", reason="ZarrNii loads the plugin", exc_type=ImportError)


@pytest.fixture(params=["module", "object"])
def plugin(request: pytest.FixtureRequest) -> Any:
    return Restoration() if request.param == "object" else request.getfixturevalue("module")


def test_zarrniis_marker_finds_all_hooks(plugin: Any) -> None:
    manager = pluggy.PluginManager("zarrnii")
    manager.register(plugin)
    assert {caller.name for caller in manager.get_hookcallers(plugin) or ()} == HOOKS
    assert manager.hook.scaled_processing_plugin_name() == [NAME]
    assert "size" in manager.hook.scaled_processing_plugin_description()[0]


def test_the_range_comes_from_the_low_resolution_pass(same_size: ModelSpec) -> None:
    """Each channel has its own range, as for other hosts."""
    image = np.concatenate([stack(), stack()[:, ::-1] // 2 + 5000])
    lazy = da.from_array(image, chunks=(1, 2, 16, 16))
    plugin = Restoration(same_size, range="lowres")
    low = image.reshape(2, 4, 10, 4, 14, 4).mean((3, 5))
    upsampled = plugin.lowres_func(low)
    assert (upsampled.shape, upsampled.dtype, upsampled.max()) == (low.shape, np.uint8, 0)
    result = plugin.highres_func(lazy, upsampled)
    assert isinstance(result, da.Array)
    assert (result.shape, result.dtype) == (image.shape, image.dtype)
    restored = result.compute()
    for c in range(2):
        found = (low[c].min(), low[c].max())
        np.testing.assert_array_equal(restored[c : c + 1], computed(image[c : c + 1], same_size, range=found))
        assert (restored[c] != computed(image[c : c + 1], same_size)[0]).any()


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (stack(), {}),
        (stack(), {"range": (0, 1000), "halo": 8, "tile": 32}),
        (stack().astype("u1"), {"range": "lowres"}),  # 8 bits have a fixed range
        # low-resolution pixels would mix nodata with other values
        (stack().astype("f4"), {"range": "lowres", "nodata": 500}),
        (np.full((1, 2, 40, 40), 7, "u2"), {"range": "lowres"}),  # no range at all
    ],
    ids=["auto", "fixed", "bytes", "nodata", "constant"],
)
def test_ranges_that_need_no_low_resolution_pass(
    same_size: ModelSpec, image: np.ndarray, options: dict[str, Any]
) -> None:
    plugin = Restoration(same_size, **options)
    plugin.lowres_func(image[..., ::4, ::4])
    result = plugin.highres_func(da.from_array(image)).compute()
    options = {name: value for name, value in options.items() if value != "lowres"}
    np.testing.assert_array_equal(result, computed(image, same_size, **options))


def test_requests_that_are_refused(same_size: ModelSpec, gray_model: ModelSpec) -> None:
    lazy = da.from_array(stack())
    for call in (lambda: Restoration().lowres_func(stack()), lambda: Restoration().highres_func(lazy)):
        with pytest.raises(RequestError, match=r"Choose a model .*small-x1-gray"):
            call()
    with pytest.raises(RequestError, match="method='default'"):  # ZarrNii's probe of method="map_blocks"
        Restoration(same_size).highres_func(np.ones((1, 1, 1, 1), "u2"), np.ones((1, 1, 1, 1), "f4"))
    with pytest.raises(ModelError, match="scale=1"):
        Restoration(gray_model).highres_func(lazy)
    with pytest.raises(RequestError, match="low-resolution pass"):
        Restoration(same_size, range="lowres").highres_func(lazy)
    with pytest.raises(RequestError, match="6 dimensions"):
        Restoration(same_size).highres_func(lazy[None, None])


def test_status_without_zarrnii(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("swin2sr_ops_zarrnii.host.version", missing)
    status = Adapter().status()
    assert not status.present
    assert "swin2sr-ops[zarrnii]" in status.detail
    with pytest.raises(RequestError, match="by itself"):
        Adapter().install()


def test_errors_without_zarrnii() -> None:
    code = "import sys; sys.modules['zarrnii'] = None\nimport swin2sr_ops_zarrnii.plugin"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    told = done.stderr.strip().splitlines()[-1]
    assert told == "ImportError: ZarrNii is not installed: `pip install 'swin2sr-ops[zarrnii]'` brings it."


# --- with ZarrNii -------------------------------------------------------------------------------


def test_zarrnii_lists_the_plugin(module: Any) -> None:
    plugins = pytest.importorskip("zarrnii.plugins", reason="ZarrNii has plugins")
    assert ("swin2sr-ops", module) in plugins.get_plugin_manager().list_name_plugin()
    status = Adapter().status()
    assert (status.present, status.registered, status.working) == (True, True, True), status.detail


def write_image(path: Path, image: np.ndarray) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=image, chunks=(1, 1, 32, 32))
    axes = [{"name": "c", "type": "channel"}] + [
        {"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"
    ]  # fmt: skip
    place = [{"type": "scale", "scale": [1, 2, 0.5, 0.5]}]
    dataset = {"path": "0", "coordinateTransformations": place}
    group.attrs["multiscales"] = [{"version": "0.4", "name": "brain", "axes": axes, "datasets": [dataset]}]


def test_scaled_processing(module: Any, same_size: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where ZarrNii leaves its enlarged low-resolution image
    zarrnii = pytest.importorskip("zarrnii", reason="ZarrNii runs the plugin")
    image = np.random.default_rng(0).integers(100, 900, (1, 8, 48, 64)).astype("u2")
    write_image(tmp_path / "brain.ome.zarr", image)
    brain = zarrnii.ZarrNii.from_ome_zarr(str(tmp_path / "brain.ome.zarr"))
    low = brain.downsample(level=2).data.compute()
    found = (float(low.min()), float(low.max()))
    plugin = brain.apply_scaled_processing(Restoration, model=same_size, range="lowres")
    np.testing.assert_array_equal(plugin.data.compute(), computed(image, same_size, range=found))
    assert plugin.data.dtype == image.dtype
    exact = brain.apply_scaled_processing(Restoration(same_size), downsample_factor=2)
    exact.to_ome_zarr(str(tmp_path / "clean.ome.zarr"))
    written = swin2sr_ops.open_source(str(tmp_path / "clean.ome.zarr"))
    np.testing.assert_array_equal(written.read((slice(None),) * 4), computed(image, same_size))
    with pytest.raises(RequestError, match="method='default'"):
        brain.apply_scaled_processing(Restoration(same_size), method="map_blocks")
    with pytest.raises(RequestError, match="Choose a model"):
        brain.apply_scaled_processing(module)


@pytest.mark.parametrize("given", [{"interval": 90, "calibration": "c.json"}, {"spread": True, "ensemble": 8}])
def test_what_lies_beside_an_image_has_no_place(given: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"ZarrNii stores one image.*swin2sr-ops restore"):
        Restoration("tiny-x1-gray", **given)
