"""Bring a layer into the viewer, and take it out, in steps that do not hold up the window."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QMainWindow

__all__ = ["bring", "make_current", "take_away"]

_PAUSE = 10  # ms, between the making of a layer and its first drawing


def bring(viewer: Any, window: QMainWindow | None, data: Any, **said: Any) -> Any:
    """Add an image layer and return it; the selection stays as it was.

    napari takes some 70 ms to make a layer and 40 ms to draw it for the first time. The canvas waits for a moment
    between the two, and the window answers there.
    """
    chosen = set(viewer.layers.selection)
    canvas = _canvas(window)
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


def make_current(window: QMainWindow | None) -> None:
    """Make the canvas's OpenGL context the current one; called before a layer is removed.

    napari deletes the OpenGL objects of a removed layer in whichever context is current: outside a drawing that is
    another one. Mesa then ends the process with a segmentation fault in a later drawing.
    """
    canvas = _canvas(window)
    if canvas is not None:
        canvas.makeCurrent()


def take_away(viewer: Any, layer: Any) -> None:
    """Remove ``layer``, if it is there."""
    if layer is not None and layer in viewer.layers:
        viewer.layers.remove(layer)


def _canvas(window: QMainWindow | None) -> QOpenGLWidget | None:
    return None if window is None else window.findChild(QOpenGLWidget)
