"""Preview and result stand in place of their source, look like it, and never outlive what they show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=10_000)
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

    import threading

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


@pytest.mark.parametrize("how", ["replaced", "edited"])
def test_other_pixels_begin_a_new_preview(
    widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec, how: str
) -> None:
    source = viewer.add_image(spots(100, 100))
    viewer.scene.camera.zoom = 3
    start(widget, qtbot)
    new = spots(100, 100, seed=7)
    if how == "replaced":
        source.data = new
    else:
        source.data[:] = new
        source.refresh()
    layer = follow(widget, qtbot)
    shown(layer, swin2sr_ops.restore(new, model=gray_model).compute(), source)


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
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=10_000)
    monkeypatch.setattr(live, "pixel_ratio", lambda _window: 2.0)
    start(widget, qtbot)
    assert widget.preview._wish.view.step == 1


def test_the_thumbnail_shows_the_preview(widget: Any, viewer: Any, qtbot: Any) -> None:
    viewer.add_image(spots(300, 300), contrast_limits=(0, 4000))
    layer = start(widget, qtbot, model="nano-x2-gray")
    qtbot.waitUntil(lambda: layer.thumbnail[..., :3].mean() > 20, timeout=5000)
