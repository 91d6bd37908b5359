"""Take a layer out of the viewer."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QTimer

__all__ = ["take_away"]

_DRAWN = 200  # ms, until a layer that was hidden has been drawn again


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
