"""Compute the visible part of a layer, and its order. Integers, and one function that computes. No Qt."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops import Restorer
from swin2sr_ops.hosting import CELL_WINDOWS, AxisOrder, Region, halve
from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.ranges import Maps

__all__ = ["Box", "View", "boxes", "compute", "level_for", "read_view", "source_pixels", "visible"]

#: Cells along the side of a tile of the preview, and of the first one.
_CELLS, _FIRST = 4, 2


@dataclass(frozen=True, order=True)
class Box:
    """Rows and columns of a level, ``[y0, y1)`` and ``[x0, x1)``."""

    y0: int
    y1: int
    x0: int
    x1: int

    def distance(self, centre: tuple[float, float]) -> float:
        """Return the distance of the box's centre from ``centre``."""
        return math.hypot((self.y0 + self.y1) / 2 - centre[0], (self.x0 + self.x1) / 2 - centre[1])

    def holds(self, centre: tuple[float, float]) -> bool:
        """Return True if ``centre`` lies inside."""
        return self.y0 <= centre[0] < self.y1 and self.x0 <= centre[1] < self.x1


@dataclass(frozen=True)
class View:
    """A visible part, at the displayed resolution.

    Attributes
    ----------
    image : LayerImage
    level : int
        Resolution level that is displayed.
    step : int
        Of an image without small enough levels, means of ``step`` x ``step`` pixels are restored.
    planes : tuple of (int, int)
        Axis and index of what is not displayed.
    window : Box
        The visible part, in pixels of the level, ``step`` times coarser.
    centre : (float, float)
    """

    image: LayerImage
    level: int
    step: int
    planes: tuple[tuple[int, int], ...]
    window: Box
    centre: tuple[float, float]

    @cached_property
    def order(self) -> AxisOrder:
        """Axes of the level, ``step`` times coarser."""
        shape = [
            -(-n // self.step) if a in "YX" else n
            for n, a in zip(self.image.levels[self.level].shape, self.image.axes, strict=True)
        ]
        return AxisOrder.of(shape, self.image.axes, last_c_is_colour=False)

    @property
    def plane(self) -> tuple[Any, ...]:
        """Key of this view's plane and level."""
        return self.level, self.step, self.planes

    @property
    def ratio(self) -> tuple[float, float]:
        """Full-size pixels per pixel of the view, along Y and X."""
        full, here = self.image.shape, self.image.levels[self.level].shape
        y, x = self.order.y, self.order.x
        return full[y] / here[y] * self.step, full[x] / here[x] * self.step

    def read(self, region: tuple[slice, ...]) -> NDArray[Any]:
        """Read pixels of the view: the level's, or their means, as a further level would have them."""
        array, axes = self.image.levels[self.level], self.image.axes
        fine = tuple(
            slice(part.start * self.step, min(part.stop * self.step, n)) if a in "YX" else part
            for part, n, a in zip(region, array.shape, axes, strict=True)
        )
        block = np.asarray(array[fine])
        for _ in range(self.step.bit_length() - 1):
            block = halve(block, axes)
        return block


def visible(
    image: LayerImage, level: int, corners: NDArray[np.float64], point: Sequence[float], zoom: float
) -> View | None:
    """The view of a layer, or None where nothing of it is visible.

    Parameters
    ----------
    image : LayerImage
    level : int
        The displayed one.
    corners : ndarray
        ``(n, 2)`` corners of the canvas, as row and column of the full-size level (pixel centres).
    point : sequence of float
        Where the sliders stand, as full-size pixel index per axis of the data (that of Y and X is not looked at).
    zoom : float
        Screen pixels per full-size pixel.
    """
    full, here = image.shape, image.levels[level].shape
    order = image.order(level)
    sides = (order.y, order.x)
    factor = np.array([full[a] / here[a] for a in sides])
    step = _coarser(float(factor.max()) * zoom)
    ratio = factor * step
    size = [-(-here[a] // step) for a in sides]
    at = (np.asarray(corners) - (ratio - 1) / 2) / ratio + 0.5  # edges, not centres
    low, high = np.floor(at.min(0)).astype(int), np.ceil(at.max(0)).astype(int)
    low, high = np.maximum(low, 0), np.minimum(high, size)
    if (low >= high).any():
        return None
    planes = []
    for axis in order.planes:
        index = round(float(point[axis]) * here[axis] / full[axis])
        if not -0.5 <= float(point[axis]) <= full[axis] - 0.5:
            return None
        planes.append((axis, min(max(index, 0), here[axis] - 1)))
    centre = np.clip(at.mean(0), low, high - 1e-6)
    window = Box(int(low[0]), int(high[0]), int(low[1]), int(high[1]))
    return View(image, level, step, tuple(planes), window, (float(centre[0]), float(centre[1])))


def level_for(image: LayerImage, zoom: float, *, all_planes: bool = False) -> int:
    """Return the coarsest level that has a pixel for each screen pixel, as napari chooses it.

    Parameters
    ----------
    image : LayerImage
    zoom : float
        Screen pixels per full-size pixel.
    all_planes : bool
        Only levels that have all planes: a model that takes neighbours knows them at the full-size level's distance.
    """
    order = image.order()
    best = 0
    for level, array in enumerate(image.levels):
        factor = max(image.shape[a] / array.shape[a] for a in (order.y, order.x))
        if factor * zoom <= 1 + 1e-6 and (image.has_all_planes(level) or not all_planes):
            best = level
    return best


def _coarser(screen: float) -> int:
    """Return the power of two of level pixels per screen pixel, if a level pixel has ``screen`` screen pixels."""
    return 2 ** max(math.floor(math.log2(1 / screen) + 1e-6), 0) if screen > 0 else 1


def boxes(view: View, window: int) -> list[Box]:
    """Tiles on a grid fixed at the image's first pixel, the one at the centre first and in quarters, outwards.

    Parameters
    ----------
    view : View
    window : int
        The model's.
    """
    side = _CELLS * CELL_WINDOWS * window
    height, width = view.order.shape[view.order.y], view.order.shape[view.order.x]
    v = view.window
    found = []
    for y in range(v.y0 // side * side, v.y1, side):
        for x in range(v.x0 // side * side, v.x1, side):
            box = Box(y, min(y + side, height), x, min(x + side, width))
            found += _quarters(box, _FIRST * CELL_WINDOWS * window) if box.holds(view.centre) else [box]
    return sorted(found, key=lambda box: (not box.holds(view.centre), box.distance(view.centre)))


def _quarters(box: Box, side: int) -> list[Box]:
    return [
        Box(y, min(y + side, box.y1), x, min(x + side, box.x1))
        for y in range(box.y0, box.y1, side)
        for x in range(box.x0, box.x1, side)
    ]


def compute(
    view: View, box: Box, restorer: Restorer, maps: Maps, read: Callable[[Region], NDArray[Any]] | None = None
) -> NDArray[Any]:
    """The restored pixels of ``box``: where ``step`` is 1, those of a run of the level.

    ``read`` replaces `View.read`.
    """
    order = view.order
    chosen = {axis: slice(index, index + 1) for axis, index in view.planes}
    channel = 0 if order.channel is None else chosen[order.channel].start
    return restorer.restore_region(
        read or view.read, order, (box.y0, box.y1), (box.x0, box.x1), [maps.of(channel)], planes=chosen
    )


def source_pixels(view: View, box: Box, scale: int) -> NDArray[Any]:
    """Return the pixels of ``box`` as the source has them, each repeated ``scale`` times along Y and X."""
    return read_view(view, box).repeat(scale, view.order.y).repeat(scale, view.order.x)


def read_view(view: View, box: Box) -> NDArray[Any]:
    """Return the pixels of ``box`` as the source has them."""
    region: list[slice] = [slice(0, n) for n in view.order.shape]
    for axis, index in view.planes:
        region[axis] = slice(index, index + 1)
    region[view.order.y], region[view.order.x] = slice(box.y0, box.y1), slice(box.x0, box.x1)
    return view.read(tuple(region))
