"""Bring a layer into the viewer, and take it out, in steps that do not hold up the window."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QMainWindow

__all__ = ["bring", "take_away"]

_PAUSE = 10  # ms, between the making of a layer and its first drawing
_DRAWN = 200  # ms, until a layer that was hidden has been drawn again


def bring(viewer: Any, window: QMainWindow | None, data: Any, **said: Any) -> Any:
    """Add an image layer and return it; the selection stays as it was.

    napari takes some 70 ms to make a layer and 40 ms to draw it for the first time. The canvas waits for a moment
    between the two, and the window answers there.
    """
    chosen = set(viewer.layers.selection)
    canvas = None if window is None else window.findChild(QOpenGLWidget)
    if canvas is not None:
        canvas.setUpdatesEnabled(False)
    try:
        added = viewer.add_image(data, **said)
        viewer.layers.selection = {layer for layer in chosen if layer in viewer.layers}
    finally:
        if canvas is not None:
            QTimer.singleShot(_PAUSE, lambda: _draw(canvas))
    return added


def _draw(canvas: QOpenGLWidget) -> None:
    with suppress(RuntimeError):  # the window was closed
        canvas.setUpdatesEnabled(True)


def take_away(viewer: Any, layer: Any) -> None:
    """Remove ``layer``, if it is there.

    A hidden one is shown first, fully transparent, for a moment: with napari 0.9.2 and Mesa's software OpenGL, the
    process ends with a segmentation fault when a hidden image is removed and another one added.
    """
    if layer is None or layer not in viewer.layers:
        return
    if layer.visible:
        viewer.layers.remove(layer)
        return
    layer.opacity = 0
    layer.visible = True
    QTimer.singleShot(_DRAWN, lambda: viewer.layers.remove(layer) if layer in viewer.layers else None)
