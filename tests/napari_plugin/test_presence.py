"""Layers come and go without ending the process, whatever OpenGL draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari")

from swin2sr_ops_napari.presence import _canvas, bring
from swin2sr_ops_napari.viewport import main_window


def test_layers_are_removed_in_the_canvas_own_context(drawn: None, widget: Any, viewer: Any, qtbot: Any) -> None:
    """napari deletes their OpenGL programs in the current context: in another one, Mesa crashes at a later drawing."""
    from qtpy.QtGui import QOpenGLContext

    canvas = _canvas(main_window(widget))
    assert canvas is not None
    qtbot.waitUntil(lambda: canvas.context() is not None, timeout=60_000)
    layer, found = viewer.add_image(np.zeros((4, 4)), name="a"), []
    viewer.layers.events.removed.connect(lambda _event: found.append(QOpenGLContext.currentContext()))
    canvas.doneCurrent()
    assert QOpenGLContext.currentContext() != canvas.context()
    viewer.layers.remove(layer)
    assert found == [canvas.context()]


def test_the_canvas_is_drawn_again_after_an_error(widget: Any, viewer: Any, qtbot: Any) -> None:
    canvas = _canvas(main_window(widget))
    assert canvas is not None
    with pytest.raises(ValueError, match=r".+"):
        bring(viewer, main_window(widget), np.zeros((4, 4)), scale=(1, 1, 1, 1, 1))
    qtbot.waitUntil(canvas.updatesEnabled, timeout=60_000)
    chosen = set(viewer.layers.selection)
    bring(viewer, main_window(widget), np.zeros((4, 4)))
    assert not canvas.updatesEnabled()
    assert set(viewer.layers.selection) == chosen
    qtbot.waitUntil(canvas.updatesEnabled, timeout=60_000)


def test_a_layer_whose_adding_failed_is_taken_away() -> None:
    class Layers(list[str]):
        selection: frozenset[str] = frozenset()

    class Viewer:
        layers = Layers(["a"])

        def add_image(self, data: str) -> None:
            self.layers.append(data)
            raise ValueError("the slot of another plugin")

    with pytest.raises(ValueError, match="another plugin"):
        bring(Viewer(), None, "b")
    assert Viewer.layers == ["a"]
