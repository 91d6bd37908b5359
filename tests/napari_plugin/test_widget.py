"""The widget in a real viewer: menu, whole runs, kinds of layers, cancel, errors."""

from __future__ import annotations

import errno
from typing import Any

import dask.array as da
import numpy as np
import pytest

import swin2sr_ops
from swin2sr_ops.errors import RequestError
from swin2sr_ops.spec import ModelSpec
from tests.napari_plugin.conftest import finish, prepare, spots


def sentences(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What napari's notifications are given."""
    from napari.utils.notifications import notification_manager

    told: list[str] = []
    monkeypatch.setattr(notification_manager, "dispatch", lambda notification: told.append(notification.message))
    return told


def test_the_menu_opens_it(viewer: Any) -> None:
    from napari._app_model import get_app_model

    app = get_app_model()
    titles = {item.command.id for item in app.menus.get_menu("swin2sr-ops/restoration")}
    assert titles == {"swin2sr-ops.restore", "swin2sr-ops.preview", "swin2sr-ops.train"}
    assert any(
        getattr(i, "submenu", "") == "swin2sr-ops/restoration" for i in app.menus.get_menu("napari/layers/filter")
    )
    app.commands.execute_command("swin2sr-ops.restore")
    docked = list(viewer.window.dock_widgets.values())
    assert any(type(d).__name__ == "RestoreWidget" for d in docked)


def test_the_menu_previews(viewer: Any, qtbot: Any) -> None:
    from napari._app_model import get_app_model

    viewer.add_image(spots(60, 50))
    get_app_model().commands.execute_command("swin2sr-ops.preview")
    (found,) = [d for d in viewer.window.dock_widgets.values() if type(d).__name__ == "RestoreWidget"]
    qtbot.waitUntil(lambda: found.preview.finished, timeout=60_000)
    assert viewer.layers[-1].name.startswith("Preview of")
    found.stop_preview()
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=60_000)


def test_a_whole_layer_in_memory(widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec) -> None:
    image = spots(300, 280)
    source = viewer.add_image(
        image, name="spots", scale=(0.5, 0.25), translate=(10, 20), units=("um", "um"), axis_labels=("y", "x"),
        colormap="magma", contrast_limits=(100, 3000), gamma=0.8,
    )  # fmt: skip
    result = finish(widget, qtbot)
    assert result.name == "spots x2"
    np.testing.assert_array_equal(result.data, swin2sr_ops.restore(image, model=gray_model).compute())
    np.testing.assert_allclose(result.scale, (0.25, 0.125))
    np.testing.assert_allclose(result.translate, (10 - 0.125, 20 - 0.0625))
    assert result.units == source.units
    assert result.axis_labels == ("y", "x")
    assert (result.colormap.name, tuple(result.contrast_limits), result.gamma) == ("magma", (100, 3000), 0.8)
    told = result.metadata["swin2sr_ops"]
    assert told["weights_sha256"] == gray_model.sha256
    assert told["settings"]["intensity"] == [{"lo": float(image.min()), "hi": float(image.max())}]
    assert viewer.layers.selection.active == source  # the choice stays where it was
    assert "4 tiles" in widget.status.text()


@pytest.mark.parametrize(
    ("data", "more", "axes"),
    [
        (spots(2, 2, 3, 40, 50), {}, "TCZYX"),
        (spots(3, 40, 50, dtype="uint8"), {"axis_labels": ("t", "y", "x")}, "TYX"),
        (da.from_array(spots(2, 40, 50, dtype="float32"), chunks=(1, 16, 16)), {}, "ZYX"),
        (spots(40, 50, dtype="float64"), {}, "YX"),
        (np.stack([spots(40, 50, dtype="uint8", seed=s) for s in range(3)], -1), {"rgb": True}, "YXS"),
        (np.stack([spots(2, 40, 50, dtype="uint8", seed=s) for s in range(4)], -1), {"rgb": True}, "ZYXS"),
    ],
    ids=["5-D", "time", "Dask", "float64", "RGB", "RGBA stack"],
)
def test_any_layer(
    widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec, rgb_model: ModelSpec, data: Any, more: Any, axes: str
) -> None:
    viewer.add_image(data, **more)
    model = rgb_model if "S" in axes else gray_model
    result = finish(widget, qtbot, model=model.weights)
    expected = swin2sr_ops.restore(np.asarray(data), model=model, axes=axes).compute()
    np.testing.assert_array_equal(result.data, expected)
    assert result.rgb == ("S" in axes)
    assert result.data.dtype == data.dtype


def test_a_zarr_array(widget: Any, viewer: Any, qtbot: Any, tmp_path: Any, gray_model: ModelSpec) -> None:
    import zarr

    stored = zarr.create_array(tmp_path / "a.zarr", shape=(40, 50), chunks=(16, 16), dtype="uint16")
    stored[:] = spots(40, 50)
    viewer.add_image(stored, contrast_limits=(0, 4000))
    result = finish(widget, qtbot)
    np.testing.assert_array_equal(result.data, swin2sr_ops.restore(spots(40, 50), model=gray_model).compute())


def test_a_large_result_has_levels(widget: Any, viewer: Any, qtbot: Any) -> None:
    viewer.add_image(spots(40, 1100, dtype="uint8"))
    result = finish(widget, qtbot)
    assert result.multiscale
    assert [level.shape for level in result.data] == [(80, 2200), (40, 1100), (20, 550), (10, 275)]
    assert result.data[-1].any()


def test_lazy_levels_come_from_their_own_source_levels(
    widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec
) -> None:
    """Else napari would compute the whole image for a thumbnail."""
    touched: list[int] = []

    def level(number: int, size: int) -> da.Array:
        def block(block_info: Any = None) -> np.ndarray:
            touched.append(number)
            (y0, y1), (x0, x1) = block_info[None]["array-location"]
            return (np.add.outer(np.arange(y0, y1), np.arange(x0, x1)) % 200).astype("uint8")

        chunks = da.core.normalize_chunks(128, (size, size), dtype="uint8")
        return da.map_blocks(block, chunks=chunks, dtype="uint8", meta=np.empty((0, 0), "uint8"))

    levels = [level(i, 2048 >> i) for i in range(4)]
    viewer.add_image(levels, multiscale=True, contrast_limits=(0, 255))
    touched.clear()
    result = finish(widget, qtbot, "lazy")
    assert result.multiscale
    assert [lv.shape for lv in result.data] == [(4096, 4096), (2048, 2048), (1024, 1024), (512, 512)]
    assert touched.count(0) < 32  # of 256 chunks
    expected = swin2sr_ops.restore(np.asarray(levels[1])[:200, :200], model=gray_model).compute()
    np.testing.assert_array_equal(np.asarray(result.data[1][:100, :100]), expected[:100, :100])


def test_cancel_leaves_what_is_done(widget: Any, viewer: Any, qtbot: Any) -> None:
    viewer.add_image(spots(1100, 1100, dtype="uint8"))
    prepare(widget)
    widget.restore()
    assert widget.cancel_button.isEnabled()
    assert not widget.restore_button.isEnabled()
    seen: list[int] = []
    widget.running.moved.connect(lambda _told, done, _total: (seen.append(done), done and widget.cancel()))
    with qtbot.waitSignal(widget.running.ended, timeout=60_000) as ended:
        pass
    assert ended.args[0].stopped
    assert max(seen) < 25
    assert "Cancelled" in widget.status.text()
    part = viewer.layers[-1]
    assert part.name.endswith("(part)")
    assert part.metadata["swin2sr_ops"]["unfinished"]
    assert 0 < np.count_nonzero(part.data[0]) < part.data[0].size
    assert widget.restore_button.isEnabled()


def test_napari_s_own_cancel_button(widget: Any, viewer: Any, qtbot: Any) -> None:
    from napari.utils import progress

    viewer.add_image(spots(1100, 1100, dtype="uint8"))
    prepare(widget)
    widget.restore()
    run = widget.running
    qtbot.waitUntil(lambda: len(progress._all_instances) > 0, timeout=60_000)
    (bar,) = progress._all_instances
    qtbot.waitUntil(lambda: bar.total == 25, timeout=60_000)
    bar.cancel()
    with qtbot.waitSignal(run.ended, timeout=60_000) as ended:
        pass
    assert ended.args[0].stopped
    assert not progress._all_instances


def test_tiles_appear_as_they_are_done(widget: Any, viewer: Any, qtbot: Any) -> None:
    viewer.add_image(spots(1100, 1100, dtype="uint8"), name="spots")
    prepare(widget)
    widget.restore()
    qtbot.waitUntil(lambda: "spots x2 (growing)" in viewer.layers, timeout=60_000)
    growing = viewer.layers["spots x2 (growing)"]
    assert np.isnan(growing.data).any()  # transparent where nothing is done yet
    qtbot.waitUntil(lambda: not np.isnan(growing.data[0, 0]), timeout=60_000)
    np.testing.assert_allclose(growing.extent.world, viewer.layers["spots"].extent.world, atol=1.5)
    qtbot.waitUntil(lambda: "Mpx/s" in widget.status.text(), timeout=60_000)
    assert "left" in widget.status.text()
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    assert [layer.name for layer in viewer.layers] == ["spots", "spots x2"]


def test_closing_napari_in_the_middle_is_safe(viewer: Any, widget: Any, qtbot: Any) -> None:
    viewer.add_image(spots(1100, 1100, dtype="uint8"))
    prepare(widget)
    widget.restore()
    run = widget.running
    qtbot.waitUntil(lambda: widget.bar.value() > 0, timeout=60_000)
    viewer.close()
    qtbot.waitUntil(lambda: not run._worker.is_running, timeout=60_000)
    widget.closed = True


# --- errors ---------------------------------------------------------------------------------------


def test_no_layer(widget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told = sentences(monkeypatch)
    widget.restore()
    widget.start_preview()
    assert len(told) == 2
    assert all("no image layer" in t for t in told)
    assert not widget.preview_button.isChecked()


def test_a_labels_layer(widget: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer.add_labels(np.ones((20, 20), int), name="nuclei")
    told = sentences(monkeypatch)
    assert widget.form.layer_box.count() == 0  # only images can be restored, so only they are listed
    widget.restore()
    assert "no image layer" in told[0]
    with pytest.raises(RequestError, match="'nuclei' is a labels layer"):
        widget.form.image(viewer.layers["nuclei"])


def test_a_model_that_does_not_fit(widget: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    viewer.add_image(spots(20, 20))
    wrong = tmp_path / "photo.pth"
    wrong.write_bytes(b"nothing")
    widget.form.add_model(str(wrong))
    told = sentences(monkeypatch)
    widget.restore()
    assert "photo.pth" in told[0]
    assert widget.running is None


def test_a_device_that_is_not_there(widget: Any, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told = sentences(monkeypatch)
    viewer.add_image(spots(20, 20))
    widget.form.device_box.setCurrentText("toaster")
    finish(widget, qtbot)
    assert told == ["The device 'toaster' cannot be used here: choose 'auto' in the box 'Device'."]


def test_the_engine_is_used(widget: Any, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice reaches the run; where there is no compiler, that is told."""

    def none() -> None:
        raise RequestError("engine='native' needs a C compiler")

    monkeypatch.setattr("swin2sr_ops.engine.native.build.find_compiler", none)
    told = sentences(monkeypatch)
    viewer.add_image(spots(20, 20))
    widget.form.engine_box.setCurrentText("native")
    finish(widget, qtbot)
    assert "needs a C compiler" in told[0]
    assert "--engine native" in widget.form.request().command("a.tif", "b.ome.zarr", widget.form.image())


def test_a_device_without_memory(widget: Any, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an engine raises, in the network itself."""
    from swin2sr_ops.engine.native.engine import NativeEngine
    from swin2sr_ops.engine.tile_engine import TileEngine

    def full(*_: Any, **__: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    for engine in (TileEngine, NativeEngine):
        monkeypatch.setattr(engine, "run", full)
    told = sentences(monkeypatch)
    viewer.add_image(spots(20, 20))
    finish(widget, qtbot)
    assert "fits the memory of device" in told[0]
    assert len(viewer.layers) == 1


def test_a_full_disk(widget: Any, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from swin2sr_ops.io.output.staging import Staging

    def full(*_: Any, **__: Any) -> Any:
        from swin2sr_ops.io.output.destination import disk_errors

        with disk_errors(tmp_path / "out.ome.zarr"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Staging, "write", full)
    told = sentences(monkeypatch)
    viewer.add_image(spots(20, 20))
    finish(widget, qtbot, "disk", path=tmp_path / "out.ome.zarr")
    assert told[0].startswith("The disk is full")


def test_a_result_that_does_not_fit_memory(widget: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    viewer.add_image(spots(100, 100))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Free", (), {"available": 100_000}))
    prepare(widget)
    told = sentences(monkeypatch)
    widget.restore()
    assert "GB of memory" in told[0]
    assert "OME-Zarr on disk" in told[0]


def test_more_dimensions_than_can_be_restored(widget: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer.add_image(np.zeros((1, 1, 1, 1, 20, 20), "uint8"))
    told = sentences(monkeypatch)
    widget.restore()
    assert "6 dimensions" in told[0]


def test_only_models_that_fit_are_listed(widget: Any, viewer: Any) -> None:
    form = widget.form

    def listed() -> list[str]:
        return [form.model_box.itemData(i) for i in range(form.model_box.count())]

    viewer.add_image(spots(20, 20), name="gray")
    viewer.add_image(np.zeros((20, 20, 3), "uint8"), rgb=True, name="rgb")
    form.layer_box.setCurrentText("rgb")
    assert form.spec().name == "small-x2-rgb"
    assert "small-x2-gray" not in listed()
    form.layer_box.setCurrentText("gray")
    assert form.spec().name == "small-x2-gray"
    assert "small-x2-rgb" not in listed()
    assert "Apache-2.0" in form.advice.text()
    form.model_box.setCurrentIndex(form.model_box.findData("more"))
    form._model_activated()
    form.model_box.hidePopup()
    assert "small-x2-rgb" in listed()
