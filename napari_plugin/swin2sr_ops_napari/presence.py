"""Bring a layer into the viewer, and take it out, in steps that do not hold up the window."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QMainWindow

__all__ = ["bring", "drawn", "make_current", "take_away"]

_PAUSE = 10  # ms, between the making of a layer and its first drawing


def bring(viewer: Any, window: QMainWindow | None, data: Any, above: Any = None, **said: Any) -> Any:
    """Add an image layer, directly ``above`` another one if that is there, and return it; the selection stays.

    napari takes some 70 ms to make a layer and 40 ms to draw it for the first time. The canvas waits for a moment
    between the two, and the window answers there.
    """
    chosen, before = set(viewer.layers.selection), list(viewer.layers)
    canvas = _canvas(window)
    if canvas is not None:
        canvas.setUpdatesEnabled(False)
    try:
        added = viewer.add_image(data, **said)
        if above in before[:-1]:
            viewer.layers.move(len(viewer.layers) - 1, viewer.layers.index(above) + 1)
        viewer.layers.selection = {layer for layer in chosen if layer in viewer.layers}
    except BaseException:  # another plugin's slot may raise when the layer is there already
        for layer in [layer for layer in viewer.layers if layer not in before]:
            viewer.layers.remove(layer)
        raise
    finally:
        if canvas is not None:
            QTimer.singleShot(_PAUSE, lambda: _draw(canvas))
    return added


def _draw(canvas: QOpenGLWidget) -> None:
    with suppress(RuntimeError):  # the window was closed
        canvas.setUpdatesEnabled(True)


def drawn(window: QMainWindow | None) -> bool:
    """Return True if the canvas waits for no layer that was brought."""
    canvas = _canvas(window)
    return canvas is None or canvas.updatesEnabled()


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
