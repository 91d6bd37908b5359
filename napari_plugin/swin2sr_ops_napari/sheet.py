"""Store the preview's finished boxes, and the canvas that a layer shows. No Qt here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from swin2sr_ops_napari.canvas import blank, paint
from swin2sr_ops_napari.view import Box, View

__all__ = ["Memory", "Sheet"]


class Memory:
    """Restored boxes, the least recently seen forgotten first, so that panning back costs nothing."""

    def __init__(self, budget: int = 256 << 20) -> None:
        self._budget, self._size = budget, 0
        self._boxes: OrderedDict[tuple[Any, ...], NDArray[Any]] = OrderedDict()

    def put(self, view: View, box: Box, pixels: NDArray[Any]) -> None:
        """Remember."""
        key = (view.plane, box)
        if key in self._boxes:
            self._size -= self._boxes.pop(key).nbytes
        self._boxes[key] = pixels
        self._size += pixels.nbytes
        while self._size > self._budget and len(self._boxes) > 1:
            self._size -= self._boxes.popitem(last=False)[1].nbytes

    def get(self, view: View, box: Box) -> NDArray[Any] | None:
        """The pixels of ``box``, or None."""
        key = (view.plane, box)
        if key not in self._boxes:
            return None
        self._boxes.move_to_end(key)
        return self._boxes[key]

    def clear(self) -> None:
        """Forget all: another image, model or range."""
        self._boxes.clear()
        self._size = 0


class Sheet:
    """An array that covers some boxes of a view, transparent where nothing is painted yet.

    Parameters
    ----------
    view : View
    boxes : iterable of Box
    scale : int
        The model's.
    """

    def __init__(self, view: View, boxes: Iterable[Box], scale: int, dtype: DTypeLike) -> None:
        found = list(boxes)
        self.view, self.scale = view, scale
        self.y0, self.x0 = min(b.y0 for b in found), min(b.x0 for b in found)
        height, width = max(b.y1 for b in found) - self.y0, max(b.x1 for b in found) - self.x0
        self.axes = view.image.axes
        order = view.order
        shape = [1] * len(self.axes)
        shape[order.y], shape[order.x] = height * scale, width * scale
        if order.colour is not None:
            shape[order.colour] = order.colours
        self.array = blank(tuple(shape), self.axes, dtype)

    def put(self, box: Box, pixels: NDArray[Any]) -> None:
        """Paint a box."""
        order, s = self.view.order, self.scale
        region = [slice(0, n) for n in self.array.shape]
        region[order.y] = slice((box.y0 - self.y0) * s, (box.y1 - self.y0) * s)
        region[order.x] = slice((box.x0 - self.x0) * s, (box.x1 - self.x0) * s)
        paint(self.array, tuple(region), pixels, self.axes)

    @property
    def box(self) -> Box:
        """All that the array covers, in pixels of the view."""
        y, x = self.view.order.y, self.view.order.x
        return Box(
            self.y0, self.y0 + self.array.shape[y] // self.scale, self.x0, self.x0 + self.array.shape[x] // self.scale
        )

    def fill(self, pixels: NDArray[Any]) -> None:
        """Put ``pixels``, which cover the whole array, where nothing is painted yet."""
        full = blank(pixels.shape, self.axes, pixels.dtype)
        paint(full, tuple(slice(0, n) for n in pixels.shape), pixels, self.axes)
        empty = self.array[..., 3:4] == 0 if "S" in self.axes else np.isnan(self.array)
        np.copyto(self.array, full, where=empty)

    @property
    def place(self) -> tuple[list[float], list[float]]:
        """Full-size pixels per pixel, and where the array begins in its own pixels, per axis of the layer."""
        view = self.view
        ratio, start = [1.0] * len(self.axes), [0.0] * len(self.axes)
        full, here = view.image.shape, view.image.levels[view.level].shape
        for axis, index in view.planes:
            ratio[axis], start[axis] = full[axis] / here[axis], float(index)
        for axis, length, first in zip((view.order.y, view.order.x), view.ratio, (self.y0, self.x0), strict=True):
            ratio[axis], start[axis] = length / self.scale, float(first * self.scale)
        kept = [i for i, a in enumerate(self.axes) if a != "S"]
        return [ratio[i] for i in kept], [start[i] for i in kept]
