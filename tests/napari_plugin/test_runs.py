"""Runs of several layers, runs that are disturbed, and what a person sees of them."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from swin2sr_ops_napari.presence import drawn as canvas_drawn
from swin2sr_ops_napari.viewport import main_window

from tests.napari_plugin.conftest import finish, prepare, spots


def names(viewer: Any) -> list[str]:
    return [layer.name for layer in viewer.layers]


def ended(widget: Any, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)


def thawed(qtbot: Any) -> None:
    qtbot.waitUntil(lambda: gc.get_freeze_count() == 0, timeout=60_000)
    gc.collect()


def channels(viewer: Any, dtype: str = "uint16") -> None:
    viewer.add_image(np.stack([spots(80, 80, dtype=dtype)] * 3), channel_axis=0, name=["r", "g", "b"])
    viewer.layers.selection = set(viewer.layers)


def test_results_of_channels_keep_their_order(widget: Any, viewer: Any, qtbot: Any) -> None:
    """The lowest channel covers what is below it: above the others it would hide them."""
    channels(viewer)
    prepare(widget, "memory")
    widget.restore()
    qtbot.waitUntil(lambda: widget.running is None and len(viewer.layers) == 6, timeout=60_000)
    assert names(viewer) == ["r", "r x2", "g", "g x2", "b", "b x2"]
    assert str(viewer.layers["r x2"].blending) == "translucent_no_depth"
    widget.compare(show_source=True)
    assert [layer.visible for layer in viewer.layers] == [True, False] * 3
    widget.compare(show_source=False)
    assert [layer.visible for layer in viewer.layers] == [True, True, False, True, False, True]


def test_layers_that_were_removed_are_not_restored(widget: Any, viewer: Any, qtbot: Any) -> None:
    channels(viewer)
    prepare(widget, "memory")
    widget.restore()
    viewer.layers.remove("b")
    qtbot.waitUntil(lambda: widget.running is None and "g x2" in viewer.layers, timeout=60_000)
    assert names(viewer) == ["r", "r x2", "g", "g x2"]


def test_an_error_among_several_layers_says_which(widget: Any, viewer: Any, qtbot: Any) -> None:
    viewer.add_image(np.full((40, 40), np.nan), name="nothing", contrast_limits=(0, 1))
    viewer.add_image(spots(40, 40), name="spots")
    viewer.layers.selection = set(viewer.layers)
    prepare(widget, "memory")
    widget.restore()
    ended(widget, qtbot)
    assert widget.status.text().startswith("'nothing': The image has no valid pixel")
    assert widget.status.text().endswith("(1 more not begun)")


@pytest.fixture
def told(widget: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The errors that the widget shows."""
    found: list[str] = []
    monkeypatch.setattr(widget, "tell", lambda error: found.append(str(error)))
    return found


def refuse(*_args: Any, **_said: Any) -> None:
    """Stands for napari where another plugin's slot fails."""
    raise ValueError("another plugin")


def test_an_error_while_the_growing_layer_is_added_ends_the_run(
    widget: Any, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    viewer.add_image(spots(80, 80), name="spots")
    prepare(widget, "memory")
    with monkeypatch.context() as patch:
        patch.setattr("swin2sr_ops_napari.results.bring", refuse)
        widget.restore()
        ended(widget, qtbot)
    assert told == ["another plugin"]
    assert names(viewer) == ["spots"]
    thawed(qtbot)
    finish(widget, qtbot, "memory")
    assert names(viewer) == ["spots", "spots x2"]
    thawed(qtbot)


def test_an_error_while_the_preview_is_added_ends_it(
    widget: Any, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    viewer.add_image(spots(80, 80), name="spots")
    monkeypatch.setattr("swin2sr_ops_napari.live.bring", refuse)
    widget.start_preview()
    qtbot.waitUntil(lambda: not widget.preview.running, timeout=60_000)
    qtbot.wait(1200)  # two looks
    assert told == ["another plugin"]
    thawed(qtbot)


def test_other_data_during_the_run_do_not_lose_the_result(widget: Any, viewer: Any, qtbot: Any) -> None:
    layer = viewer.add_image(spots(300, 300), name="spots", scale=(0.5, 0.5))
    prepare(widget, "memory")
    widget.restore()
    qtbot.waitUntil(lambda: "spots x2 (growing)" in viewer.layers, timeout=60_000)
    layer.data = np.zeros((3, 40, 40), "uint16")
    ended(widget, qtbot)
    assert names(viewer) == ["spots", "spots x2"]
    np.testing.assert_allclose(viewer.layers["spots x2"].scale[-2:], 0.25)


def test_the_growing_layer_is_not_chosen(widget: Any, viewer: Any, qtbot: Any) -> None:
    viewer.add_image(spots(300, 300), name="a")
    chosen = viewer.add_image(spots(300, 300), name="b")
    prepare(widget, "memory")
    widget.restore()
    qtbot.waitUntil(lambda: "b x2 (growing)" in viewer.layers, timeout=60_000)
    viewer.layers.selection = {viewer.layers["b x2 (growing)"]}
    assert widget.form.layer == chosen
    ended(widget, qtbot)
    assert widget.form.layer == chosen


def test_results_have_the_opacity_of_their_source(widget: Any, viewer: Any, qtbot: Any) -> None:
    viewer.add_image(spots(40, 40), name="spots", opacity=0.4)
    assert finish(widget, qtbot, "memory").opacity == pytest.approx(0.4)


@pytest.mark.parametrize("output", ["memory", "disk"])
def test_cancel_before_the_first_tile(widget: Any, viewer: Any, qtbot: Any, tmp_path: Any, output: str) -> None:
    viewer.add_image(spots(300, 300), name="spots")
    prepare(widget, output, path=tmp_path / "x.ome.zarr")
    widget.restore()
    widget.cancel()
    ended(widget, qtbot)
    assert names(viewer) == ["spots"]
    assert widget.status.text() in (
        "Cancelled. No tile was finished, so no layer was made.",
        "Cancelled before a tile was finished: nothing new was written.",
    )


@pytest.mark.parametrize("what", ["restore", "trust", "choose"])
def test_cancel_counts_where_work_looks_at_no_tile(widget: Any, viewer: Any, qtbot: Any, what: str) -> None:
    viewer.add_image(spots(80, 80, dtype="uint8"), name="spots")
    prepare(widget, "lazy")
    getattr(widget, what)()
    widget.cancel()
    ended(widget, qtbot)
    assert names(viewer) == ["spots"]
    assert widget.status.text().startswith("Cancelled.")


def test_waiting_ends_when_all_is_drawn(widget: Any, viewer: Any) -> None:
    viewer.add_image(spots(40, 40), name="spots")
    prepare(widget, "memory")
    widget.restore()
    widget.wait(60)
    assert widget.running is None
    assert canvas_drawn(main_window(widget))
    assert names(viewer) == ["spots", "spots x2"]
