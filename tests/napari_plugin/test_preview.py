"""The preview follows what is visible, and shows the pixels of the run."""

from __future__ import annotations

import time
from typing import Any

import dask.array as da
import numpy as np
import pytest
from swin2sr_ops_napari.view import boxes

import swin2sr_ops
from swin2sr_ops.spec import ModelSpec
from tests.napari_plugin.conftest import prepare, spots


def start(widget: Any, qtbot: Any, **chosen: Any) -> Any:
    prepare(widget, **chosen)
    widget.start_preview()
    return follow(widget, qtbot)


def follow(widget: Any, qtbot: Any) -> Any:
    """Wait until it has noticed and done what changed."""
    qtbot.wait(150)
    qtbot.waitUntil(lambda: widget.preview.finished, timeout=60_000)
    return widget.preview.layer


def shown(layer: Any, expected: np.ndarray, source: Any) -> None:
    """The layer's pixels are those of ``expected``, the whole result, at the same place."""
    y, x = (round(float(v)) for v in (np.subtract(layer.translate, source.translate) / layer.scale + 0.5)[-2:])
    rows, columns = layer.data.shape[-2:]
    np.testing.assert_array_equal(layer.data.reshape(rows, columns), expected[y : y + rows, x : x + columns])


def test_the_pixels_are_those_of_the_run(widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec) -> None:
    image = spots(700, 700)
    source = viewer.add_image(image, name="spots", scale=(0.5, 0.5), translate=(3, 4), colormap="green")
    viewer.scene.camera.zoom, viewer.scene.camera.center = 8.0, (0, 150, 160)  # 4 screen pixels per pixel
    layer = start(widget, qtbot)
    expected = swin2sr_ops.restore(image, model=gray_model).compute()
    assert layer.data.shape[0] < 1400
    assert not np.isnan(layer.data).any()
    shown(layer, expected, source)
    assert layer.colormap.name == "green"
    assert viewer.layers.selection.active == source
    assert widget.form.layer_box.count() == 1  # nobody can choose the preview

    before = layer.translate
    viewer.scene.camera.center = (0, 100, 100)
    layer = follow(widget, qtbot)
    assert not np.allclose(layer.translate, before)
    shown(layer, expected, source)

    widget.stop_preview()
    qtbot.waitUntil(lambda: [la.name for la in viewer.layers] == ["spots"], timeout=60_000)


def test_panning_back_computes_nothing(widget: Any, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from swin2sr_ops_napari import painter

    viewer.add_image(spots(900, 900))
    viewer.scene.camera.zoom, viewer.scene.camera.center = 6.0, (0, 200, 200)
    computed: list[Any] = []
    real = painter.compute
    monkeypatch.setattr(painter, "compute", lambda *a: computed.append(a[1]) or real(*a))
    start(widget, qtbot)
    viewer.scene.camera.center = (0, 600, 600)
    follow(widget, qtbot)
    count = len(computed)
    viewer.scene.camera.center = (0, 200, 200)
    follow(widget, qtbot)
    assert len(computed) == count
    assert len(set(computed)) == count  # and nothing was computed twice


def test_a_pan_cancels_what_is_under_way(widget: Any, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from swin2sr_ops_napari import painter

    viewer.add_image(spots(3000, 3000, dtype="uint8"))
    viewer.scene.camera.zoom, viewer.scene.camera.center = 1.0, (0, 700, 700)
    computed: list[tuple[Any, Any]] = []  # view and box of each tile, in the order of their beginning
    real = painter.compute

    def slow(*given: Any) -> Any:
        computed.append(given[:2])
        time.sleep(0.05)
        return real(*given)

    monkeypatch.setattr(painter, "compute", slow)
    prepare(widget)
    widget.start_preview()
    qtbot.waitUntil(lambda: len(computed) >= 2, timeout=60_000)
    before = computed[-1][0]
    viewer.scene.camera.center = (0, 2300, 2300)

    def after() -> list[tuple[Any, Any]]:
        return [tile for tile in list(computed) if tile[0].centre[0] > before.centre[0] + 1000]

    qtbot.waitUntil(lambda: len(after()) >= 2, timeout=60_000)
    # The tile at work ended; the next one was the centre of the new view, and none of the old view came later.
    view, first = after()[0]
    assert first.holds(view.centre)
    old = [i for i, tile in enumerate(computed) if tile[0] is before]
    assert max(old) < computed.index(after()[0])
    assert len(old) < len(boxes(before, window=8))


def test_time_and_channels_are_followed(widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec) -> None:
    stack = spots(3, 2, 120, 110)
    source = viewer.add_image(stack, axis_labels=("t", "c", "y", "x"), scale=(2, 1, 1, 1), contrast_limits=(0, 4000))
    expected = swin2sr_ops.restore(stack, model=gray_model, axes="TCYX").compute()
    viewer.reset_view()
    viewer.scene.camera.zoom = 3
    viewer.dims.set_current_step(0, 1)
    viewer.dims.set_current_step(1, 1)
    layer = start(widget, qtbot)
    assert layer.data.shape[:2] == (1, 1)
    np.testing.assert_allclose(layer.translate[:2], (2, 1))
    shown(layer, expected[1, 1], source)
    viewer.dims.set_current_step(0, 2)
    layer = follow(widget, qtbot)
    np.testing.assert_allclose(layer.translate[:2], (4, 1))
    shown(layer, expected[2, 1], source)


def test_colour_and_rotation(widget: Any, viewer: Any, qtbot: Any, rgb_model: ModelSpec) -> None:
    image = np.stack([spots(200, 210, dtype="uint8", seed=s) for s in range(3)], -1)
    source = viewer.add_image(image, rgb=True, rotate=30, translate=(5, 5), affine=[[1, 0.2, 3], [0, 1, 1], [0, 0, 1]])
    viewer.scene.camera.zoom = 4
    layer = start(widget, qtbot, model=rgb_model.weights)
    expected = swin2sr_ops.restore(image, model=rgb_model, axes="YXS").compute()
    # Where it begins, found through the world: its first pixel's corner in the source's pixels.
    y, x = (round(float(v) * 2) for v in np.add(source.world_to_data(layer.data_to_world((-0.5, -0.5))), 0.5))
    rows, columns = layer.data.shape[:2]
    np.testing.assert_array_equal(layer.data[..., :3], expected[y : y + rows, x : x + columns])
    assert (layer.data[..., 3] == 255).all()


@pytest.mark.usefixtures("drawn")
def test_zoomed_out_the_displayed_level_is_restored(
    widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec
) -> None:
    full = spots(2048, 2048, dtype="uint8")
    levels = [da.from_array(full[:: 2**i, :: 2**i].copy(), chunks=256) for i in range(4)]
    source = viewer.add_image(levels, multiscale=True, contrast_limits=(0, 255))
    viewer.reset_view()
    qtbot.waitUntil(lambda: source.data_level > 0, timeout=5000)
    layer = start(widget, qtbot)
    at = source.data_level
    expected = swin2sr_ops.restore(np.asarray(levels[at]), model=gray_model).compute()
    np.testing.assert_array_equal(layer.data, expected)
    np.testing.assert_allclose(layer.data_to_world((-0.5, -0.5)), source.data_to_world((-0.5, -0.5)))
    assert "displayed resolution" in widget.status.text()


def test_other_choices_begin_anew(widget: Any, viewer: Any, qtbot: Any, gray_model: ModelSpec) -> None:
    image = spots(100, 100)
    source = viewer.add_image(image)
    viewer.scene.camera.zoom = 3
    start(widget, qtbot)
    widget.form.range_box.setCurrentText("500,2500")
    layer = follow(widget, qtbot)
    shown(layer, swin2sr_ops.restore(image, model=gray_model, range=(500, 2500)).compute(), source)


def test_its_layer_goes_with_its_source(widget: Any, viewer: Any, qtbot: Any) -> None:
    source = viewer.add_image(spots(100, 100))
    start(widget, qtbot)
    viewer.layers.remove(source)
    qtbot.waitUntil(lambda: not widget.preview.running, timeout=60_000)
    qtbot.waitUntil(lambda: len(viewer.layers) == 0, timeout=60_000)
    assert not widget.preview_button.isChecked()


def test_three_dimensions_are_refused_with_a_sentence(widget: Any, viewer: Any, qtbot: Any) -> None:
    viewer.add_image(spots(4, 60, 60))
    viewer.dims.ndisplay = 3
    prepare(widget)
    widget.start_preview()
    qtbot.waitUntil(lambda: "2D" in widget.status.text(), timeout=5000)
    viewer.dims.ndisplay = 2
    follow(widget, qtbot)


def test_the_first_tile_is_small() -> None:
    """What it costs decides how soon something is seen."""
    from swin2sr_ops_napari.layers import LayerImage
    from swin2sr_ops_napari.view import visible

    image = LayerImage((np.zeros((4000, 4000), "uint8"),), "YX")
    view = visible(image, 0, np.array([(900.0, 900.0), (1700, 2100)]), [0, 0], 1.0)
    first = boxes(view, 8)[0]
    assert (first.y1 - first.y0) * (first.x1 - first.x0) == 64 * 64


def test_an_edit_that_is_found_after_a_pan_counts(widget: Any, viewer: Any, qtbot: Any) -> None:
    """The answer is of an older view; the remembered tiles are of the same pixels."""
    from swin2sr_ops_napari.painter import Painted

    viewer.add_image(spots(150, 150), name="spots")
    prepare(widget)
    widget.start_preview()
    preview = widget.preview
    qtbot.waitUntil(lambda: preview.finished, timeout=60_000)
    old, edition = preview._wish, preview._edition
    viewer.scene.camera.zoom *= 1.5
    preview._receive([Painted(old, edited=False)])
    assert not preview._memory._boxes  # what is out of sight may have been edited
    preview._receive([Painted(old, edited=True)])
    assert preview._edition == edition + 1
    qtbot.waitUntil(lambda: preview.finished, timeout=60_000)
    known = len(preview._memory._boxes)
    preview._receive([Painted(old, edited=True), Painted(old, edited=False)])  # of pixels that were replaced since
    assert preview._edition == edition + 1
    assert len(preview._memory._boxes) == known
