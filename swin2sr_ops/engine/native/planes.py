"""Planes of numbers as the kernels read and write them: pixels that hold their channels side by side."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.engine.native.kernels import Box

__all__ = ["Borders", "Plane", "address", "aligned", "inside"]

_LINE = 16  # numbers in a line of the cache
Range = tuple[int, int]
#: Where the image begins and ends, along Y and X.
Borders = tuple[Range, Range]


class Plane:
    """A part of an image: its pixels, and where they lie.

    Parameters
    ----------
    data : ndarray
        ``(rows, columns, channels)``, float32, contiguous.
    top, left : int
        Row and column of the first pixel, counted from the image's first, at the plane's own resolution.
    """

    __slots__ = ("_first", "_pixel", "data", "left", "stride", "top")

    def __init__(self, data: NDArray[np.float32], top: int, left: int) -> None:
        self.data, self.top, self.left = data, top, left
        self._pixel = data.shape[2]
        self.stride = data.shape[1] * self._pixel
        self._first = address(data)

    def at(self, y: int, x: int) -> int:
        """Return the address of the pixel in row ``y`` and column ``x`` of the image."""
        found: int = self._first + 4 * ((y - self.top) * self.stride + (x - self.left) * self._pixel)
        return found

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """Return some rows of the image, a view."""
        return self.data[first - self.top : last - self.top]


def aligned(*shape: int) -> NDArray[np.float32]:
    """Return an array of undefined numbers that begins with a cache line: vectors that straddle two are slower."""
    size = prod(shape)
    room = np.empty(size + _LINE - 1, np.float32)
    first = -address(room) // room.itemsize % _LINE
    return room[first : first + size].reshape(shape)


def address(values: NDArray[Any]) -> int:
    """Return the address of the first number; the array must be contiguous, and outlive its use."""
    found: int = values.__array_interface__["data"][0]
    return found


def inside(borders: Borders, y: int, x: int, factor: int = 1) -> Box:
    """Return the image's rows and columns, counted from ``(y, x)``, where the plane is ``factor`` times as fine."""
    (top, bottom), (left, right) = borders
    return Box(top * factor - y, bottom * factor - y, left * factor - x, right * factor - x)
