"""Compute the part of a layer that the canvas shows, in the layer's own pixels, from napari's public objects only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QMainWindow, QWidget

from swin2sr_ops.errors import RequestError
from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.view import View, level_for, visible

__all__ = ["camera_of", "canvas_size", "look", "main_window", "pixel_ratio"]


def main_window(widget: QWidget) -> QMainWindow | None:
    """The window that ``widget`` is docked in, or floats over."""
    at: QWidget | None = widget
    while at is not None and not isinstance(at, QMainWindow):
        at = at.parentWidget()
    return at


def camera_of(viewer: Any) -> Any:
    """The camera, which napari has moved in 0.9."""
    return getattr(viewer, "scene", viewer).camera


def canvas_size(window: QMainWindow | None) -> tuple[int, int]:
    """Height and width of the canvas on the screen."""
    canvas = None if window is None else window.findChild(QOpenGLWidget)
    return (800, 800) if canvas is None else (canvas.height(), canvas.width())


def pixel_ratio(window: QMainWindow | None) -> float:
    """Device pixels per logical pixel of the canvas: 2 on many screens."""
    canvas = None if window is None else window.findChild(QOpenGLWidget)
    return 1.0 if canvas is None else float(canvas.devicePixelRatioF())


def look(
    viewer: Any, layer: Any, image: LayerImage, size: tuple[int, int], ratio: float = 1.0, *, all_planes: bool = False
) -> View | None:
    """Return what is visible of ``layer``; None where nothing is.

    Parameters
    ----------
    viewer, layer, image
    size : (int, int)
        Height and width of the canvas, in logical pixels.
    ratio : float
        Device pixels per logical pixel: the view has a pixel for each device pixel.
    all_planes : bool
        See `swin2sr_ops_napari.view.level_for`.

    Raises
    ------
    RequestError
        The viewer shows something that is not a plane along Y and X.
    """
    shown = _shown(viewer, layer, image)
    point = np.asarray(viewer.dims.point, float)
    corners = []
    camera = camera_of(viewer)
    centre, zoom = np.asarray(camera.center, float)[-2:], float(camera.zoom)
    half = np.asarray(size, float) / (2 * zoom)
    for sign in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        world = point.copy()
        world[list(viewer.dims.displayed)] = centre + half * sign
        corners.append(np.asarray(layer.world_to_data(world), float)[shown])
    at = np.asarray(layer.world_to_data(point), float)
    indices = list(at) + [0.0] * ("S" in image.axes)
    # napari chooses the level for logical pixels, and for visible layers only.
    screen = zoom * ratio * _world_size(layer, shown)
    return visible(image, level_for(image, screen, all_planes=all_planes), np.array(corners), indices, screen)


def _shown(viewer: Any, layer: Any, image: LayerImage) -> list[int]:
    """Positions of Y and X among the layer's axes, when these are what the canvas shows."""
    if viewer.dims.ndisplay != 2:
        raise RequestError("The preview follows planes: switch the viewer to 2D (the cube below the layer list).")
    spatial = image.axes.replace("S", "")
    shown = [spatial.index("Y"), spatial.index("X")]
    if [d - (viewer.dims.ndim - layer.ndim) for d in viewer.dims.displayed] != shown:
        raise RequestError(
            "The viewer does not show the plane of Y and X of this layer: turn the axes back (the button below the"
            " layer list), or name Y and X in the box 'Axes' under Advanced."
        )
    return shown


def _world_size(layer: Any, shown: list[int]) -> float:
    """Side of a pixel in world units, the mean of both."""
    origin: NDArray[np.float64] = np.zeros(layer.ndim)
    sides = []
    for axis in shown:
        step = origin.copy()
        step[axis] = 1
        sides.append(np.linalg.norm(np.subtract(layer.data_to_world(step), layer.data_to_world(origin))))
    return float(np.mean(sides))
