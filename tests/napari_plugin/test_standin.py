"""Preview and result stand in place of their source, look like it, and never outlive what they show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr

import swin2sr_ops
from swin2sr_ops.spec import ModelSpec
from tests.napari_plugin.conftest import finish, prepare, spots
from tests.napari_plugin.test_preview import follow, shown, start


def brightness(viewer: Any) -> float:
    """Mean blue in the middle of the canvas."""
    picture = viewer.screenshot(canvas_only=True, flash=False)
    height, width = picture.shape[:2]
    return float(picture[height // 2 - 20 : height // 2 + 20, width // 2 - 20 : width // 2 + 20, 2].mean())


def dapi(viewer: Any, **more: Any) -> Any:
    look = {"colormap": "blue", "blending": "additive", "contrast_limits": (0, 1000)} | more
    return viewer.add_image((400 + spots(120, 140) // 40).astype("uint16"), name="DAPI", **look)


@pytest.mark.parametrize("more", [{}, {"blending": "translucent", "opacity": 0.5}], ids=["additive", "half"])
@pytest.mark.usefixtures("drawn")
def test_nothing_is_twice_as_bright(widget: Any, viewer: Any, qtbot: Any, more: dict[str, Any]) -> None:
    source = dapi(viewer, **more)
    widget.form.range_box.setCurrentText("0,1000")
    qtbot.wait(300)
    alone = brightness(viewer)
    assert alone > 20
    start(widget, qtbot, model="nano-x2-gray")
    qtbot.waitUntil(lambda: not source.visible, timeout=5000)
    qtbot.wait(300)
    assert abs(brightness(viewer) - alone) < 3
    widget.compare_button.setChecked(True)
    assert source.visible
    assert not widget.preview.layer.visible
    widget.compare_button.setChecked(False)
    widget.stop_preview()
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=60_000)
    assert source.visible  # it comes back when the preview ends
    finish(widget, qtbot, model="nano-x2-gray")
    qtbot.wait(300)
    assert not source.visible
    assert source in viewer.layers
    if not more:
        assert abs(brightness(viewer) - alone) < 3


def test_where_the_preview_has_nothing_yet_it_shows_the_source(widget: Any, viewer: Any, qtbot: Any) -> None:
    from swin2sr_ops_napari import painter

    source = dapi(viewer)
    real = painter.compute
    seen: list[np.ndarray] = []

    def slow(*given: Any) -> Any:
        qtbot_done.wait(5)
        return real(*given)

    qtbot_done = threading.Event()
    painter.compute = slow
    try:
        prepare(widget)
        widget.start_preview()
        qtbot.waitUntil(lambda: widget.preview.layer is not None and not source.visible, timeout=60_000)
        seen.append(np.asarray(widget.preview.layer.data).copy())
    finally:
        painter.compute = real
        qtbot_done.set()
    np.testing.assert_array_equal(
        seen[0], source.data.repeat(2, 0).repeat(2, 1)[: seen[0].shape[0], : seen[0].shape[1]]
    )
    follow(widget, qtbot)


def test_sliders_of_the_source_reach_the_preview(widget: Any, viewer: Any, qtbot: Any) -> None:
    source = viewer.add_image(spots(100, 100), contrast_limits=(0, 4000))
    layer = start(widget, qtbot)
    source.contrast_limits, source.gamma, source.colormap = (100, 2000), 0.5, "magma"
    assert (tuple(layer.contrast_limits), layer.gamma, layer.colormap.name) == ((100, 2000), 0.5, "magma")
    source.opacity = 0.4
    assert layer.opacity == 0.4
    source.opacity = 1.0
    follow(widget, qtbot)
    source.visible = False
    assert not layer.visible
    source.visible = True
    assert layer.visible
    layer.gamma = 2.0  # the person's own
    source.gamma = 0.7
    assert layer.gamma == 2.0
    source.contrast_limits = (0, 1000)
    assert tuple(layer.contrast_limits) == (0, 1000)


@pytest.mark.parametrize("how", ["replaced", "NumPy", "Dask", "Zarr"])
def test_other_pixels_begin_a_new_preview(
    widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec, tmp_path: Any, how: str
) -> None:
    """Data that are replaced, and data that are edited in place and refreshed, of each kind of array."""
    pixels = spots(100, 100)
    array: Any = pixels
    if how in ("Dask", "Zarr"):
        pixels = zarr.create_array(tmp_path / "a.zarr", shape=(100, 100), chunks=(40, 40), dtype="uint16")
        pixels[:] = spots(100, 100)
        array = pixels if how == "Zarr" else da.from_zarr(pixels)
    source = viewer.add_image(array, contrast_limits=(0, 4000))
    viewer.scene.camera.zoom = 3
    start(widget, qtbot)
    new = spots(100, 100, seed=7) * 3 + 11  # another intensity range, too
    if how == "replaced":
        source.data = new
    else:
        pixels[:] = new
        source.refresh()
    expected = swin2sr_ops.restore(new, model=gray_model).compute()
    qtbot.waitUntil(lambda: not widget.preview.finished or np.array_equal(widget.preview.layer.data, expected))
    layer = follow(widget, qtbot)
    shown(layer, expected, source)


def test_pixels_out_of_sight_are_forgotten_after_a_refresh(
    widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec
) -> None:
    image = spots(900, 900)
    source = viewer.add_image(image, contrast_limits=(0, 4000))
    widget.form.range_box.setCurrentText("0,4000")
    viewer.scene.camera.zoom, viewer.scene.camera.center = 6.0, (0, 200, 200)
    start(widget, qtbot)
    viewer.scene.camera.center = (0, 650, 650)
    follow(widget, qtbot)
    image[:400, :400] = spots(400, 400, seed=5)
    source.refresh()
    qtbot.wait(500)
    viewer.scene.camera.center = (0, 200, 200)
    layer = follow(widget, qtbot)
    shown(layer, swin2sr_ops.restore(image, model=gray_model, range=(0, 4000)).compute(), source)


def test_a_refresh_without_an_edit_computes_nothing(
    widget: Any, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swin2sr_ops_napari import painter

    source = viewer.add_image(spots(100, 100))
    start(widget, qtbot)
    computed: list[Any] = []
    real = painter.compute
    monkeypatch.setattr(painter, "compute", lambda *a: computed.append(a) or real(*a))
    source.refresh()
    qtbot.wait(500)
    assert widget.preview.finished
    assert not computed


@pytest.mark.parametrize("what", ["source", "preview"])
def test_a_removal_ends_the_preview_with_a_sentence(widget: Any, viewer: Any, qtbot: Any, what: str) -> None:
    viewer.add_image(spots(60, 60), name="other")
    source = viewer.add_image(spots(100, 100), name="spots")
    layer = start(widget, qtbot)
    viewer.layers.remove(source if what == "source" else layer)
    qtbot.waitUntil(lambda: not widget.preview.running, timeout=5000)
    qtbot.wait(800)  # it does not jump to another layer
    assert [la.name for la in viewer.layers] == (["other"] if what == "source" else ["other", "spots"])
    assert widget.status.text().startswith("The preview ended")
    assert not widget.preview_button.isChecked()


@pytest.mark.parametrize("view", ["3D", "transposed"])
def test_a_view_that_is_no_plane_shows_the_source_and_says_why(widget: Any, viewer: Any, qtbot: Any, view: str) -> None:
    viewer.add_image(spots(4, 60, 60), axis_labels=("z", "y", "x"))
    layer = start(widget, qtbot)
    if view == "3D":
        viewer.dims.ndisplay = 3
    else:
        viewer.dims.order = (1, 0, 2)
    qtbot.waitUntil(lambda: not layer.visible, timeout=5000)
    assert "2D" in widget.status.text() or "turn the axes back" in widget.status.text()
    viewer.dims.ndisplay = 2
    viewer.dims.order = (0, 1, 2)
    assert follow(widget, qtbot).visible


@pytest.mark.parametrize(("factor", "step"), [("1", 2), ("2", 1)])
def test_a_real_screen_of_two_device_pixels(tmp_path: Any, factor: str, step: int) -> None:
    """In a process of its own: Qt reads the factor when it begins."""
    from tests.napari_plugin.conftest import missing

    if missing():
        pytest.skip(missing())
    environment = os.environ | {"QT_SCALE_FACTOR": factor, "NAPARI_CONFIG": str(tmp_path / "settings.yaml")}
    done = subprocess.run(
        [sys.executable, "-c", _SCREEN], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    ratio, found, canvas, width = json.loads(done.stdout.splitlines()[-1]) if done.stdout else (0, 0, 0, 0)
    assert (ratio, found) == (float(factor), step), done.stderr
    assert canvas * ratio == width  # the canvas has the pixels of the picture


#: Preview an image at half a logical pixel per pixel, and print what the preview restores.
_SCREEN = """
import json, os, time
import napari, numpy as np
from napari.qt import get_qapp
from swin2sr_ops_napari.viewport import canvas_size, main_window, pixel_ratio

viewer, app = napari.Viewer(), get_qapp()
_, widget = viewer.window.add_plugin_dock_widget("swin2sr-ops", "Restore")
window = main_window(widget)
viewer.add_image(np.zeros((3000, 3000), "uint8"), contrast_limits=(0, 255))
widget.form.choose_model("nano-x2-gray")
viewer.scene.camera.zoom = 0.5
widget.start_preview()
end = time.monotonic() + 120
while widget.preview._wish is None and time.monotonic() < end:
    app.processEvents()
    time.sleep(0.01)
picture = viewer.screenshot(canvas_only=True, flash=False)
print(json.dumps([pixel_ratio(window), widget.preview._wish.view.step, canvas_size(window)[1], picture.shape[1]]))
os._exit(0)
"""


def test_two_device_pixels_are_two_pixels(
    widget: Any, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view has a pixel for each device pixel, not for each logical one."""
    from swin2sr_ops_napari import live

    viewer.add_image(spots(2000, 2000, dtype="uint8"))
    viewer.scene.camera.zoom = 0.5
    start(widget, qtbot)
    assert widget.preview._wish.view.step == 2
    widget.stop_preview()
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=60_000)
    monkeypatch.setattr(live, "pixel_ratio", lambda _window: 2.0)
    start(widget, qtbot)
    assert widget.preview._wish.view.step == 1


def test_the_thumbnail_shows_the_preview(widget: Any, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first tile on: a preview of a large image takes its time."""
    from swin2sr_ops_napari import painter

    go, count, real = threading.Event(), 0, painter.compute

    def slow(*given: Any) -> Any:
        nonlocal count
        count += 1
        if count > 3:
            go.wait(30)
        return real(*given)

    monkeypatch.setattr(painter, "compute", slow)
    viewer.add_image(spots(300, 300), contrast_limits=(0, 4000))
    prepare(widget, model="nano-x2-gray")
    widget.start_preview()
    qtbot.waitUntil(lambda: widget.preview.layer is not None and count > 3, timeout=60_000)
    layer = widget.preview.layer
    qtbot.waitUntil(lambda: layer.thumbnail[..., :3].max() > 50, timeout=5000)
    assert not widget.preview.finished
    go.set()
    follow(widget, qtbot)
    qtbot.waitUntil(lambda: layer.thumbnail[..., :3].mean() > 20, timeout=5000)
