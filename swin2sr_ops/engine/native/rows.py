"""Convolutions one behind another, a few rows at a time.

A head holds its features at output resolution, which for a whole tile would take more memory than all else. So its
last layer asks for some rows, and each layer asks the one before for those that it reads. A row is computed once:
what the next rows need of it is kept.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.engine.native.planes import Borders, Plane, Range, address, inside
from swin2sr_ops.engine.native.weights import Conv, Norm

__all__ = ["Bicubic", "Convolved", "Layer", "Normal", "Stored", "convolve"]


def convolve(
    kernels: ctypes.CDLL, conv: Conv, source: Plane, target: Plane, rows: Range, columns: Range, borders: Borders,
    resolution: int = 1, added: Plane | None = None,
) -> None:  # fmt: skip
    """Convolve ``rows`` and ``columns`` of ``source``, which has ``resolution`` times the image's.

    Parameters
    ----------
    kernels : CDLL
    conv : Conv
    source, target : Plane
        The target is as many times finer as the convolution makes it.
    rows, columns : (int, int)
        At the source's resolution.
    borders : Borders
        At the image's; outside the target becomes zero.
    resolution : int
        Of the source.
    added : Plane, optional
        Is added to the result; it may be the target.
    """
    (y, bottom), (x, right), factor = rows, columns, conv.factor
    plus = (None, 0) if added is None else (added.at(y, x), added.stride)
    goes = target.at(y * factor, x * factor), target.stride
    size = bottom - y, right - x, ctypes.byref(inside(borders, y, x, resolution))
    packed = ctypes.byref(conv.packed)
    if not conv.bias:
        kernels.swin_convolve(packed, source.at(y, x), source.stride, *plus, *goes, *size)
        return
    scratch = np.empty(3 * ((right - x + 2) * conv.packed.outputs + 4), np.float32)
    kernels.swin_thin(
        packed, conv.outputs, conv.bias, source.at(y, x), source.stride, *plus, *goes, *size, address(scratch)
    )


class Layer(ABC):
    """Source of a plane's rows.

    Attributes
    ----------
    resolution : int
        Its pixels for one of the image, along each axis.
    """

    resolution = 1

    @abstractmethod
    def upto(self, first: int, last: int) -> Plane:
        """Return a plane with rows ``[first, last)``; rows before ``first`` are not asked for again."""


class Stored(Layer):
    """A plane that is there."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane

    def upto(self, first: int, last: int) -> Plane:
        return self.plane


class _Computed(Layer):
    """Rows that are computed from those of another layer, ``factor`` for each of its own.

    Parameters
    ----------
    columns : (int, int)
        Columns that a later layer reads, at its own resolution.
    """

    def __init__(self, kernels: ctypes.CDLL, borders: Borders, columns: Range, channels: int, factor: int) -> None:
        self._kernels, self._borders, self._channels, self._factor = kernels, borders, channels, factor
        self.columns = columns[0] // factor, -(-columns[1] // factor)  # at the source's resolution
        self._plane: Plane | None = None
        self._made = 0  # the row behind the last one that is computed

    def upto(self, first: int, last: int) -> Plane:
        factor = self._factor
        first, last = first // factor * factor, -(-last // factor) * factor
        plane = self._room(first, last)
        if self._made < last:
            self._compute(plane, (self._made // factor, last // factor))
            self._made = last
        return plane

    def _room(self, first: int, last: int) -> Plane:
        """Keep the rows from ``first`` on that are there, in a plane that holds those up to ``last``."""
        before = self._plane
        if before is None or self._made <= first:
            kept: NDArray[Any] | None = None
            self._made = first
        else:
            kept = before.rows(first, self._made)
        if before is not None and len(before.data) >= last - first:
            data = before.data
        else:
            width = (self.columns[1] - self.columns[0]) * self._factor
            data = np.empty((last - first, width, self._channels), np.float32)
        if kept is not None and kept.size:
            data[: len(kept)] = kept
        self._plane = Plane(data, first, self.columns[0] * self._factor)
        return self._plane

    @abstractmethod
    def _compute(self, plane: Plane, rows: Range) -> None:
        """Fill the rows that come from ``rows`` of the source."""


class Convolved(_Computed):
    """A convolution of another layer, to which a second one may be added.

    Parameters
    ----------
    make : callable
        Gives the layer that is convolved, with the columns that are read of it.
    """

    def __init__(
        self, kernels: ctypes.CDLL, borders: Borders, conv: Conv, columns: Range, make: Any, plus: Any = None
    ) -> None:
        super().__init__(kernels, borders, columns, conv.outputs, conv.factor)
        self._conv, reach = conv, conv.reach
        self._source: Layer = make((self.columns[0] - reach, self.columns[1] + reach))
        self._added: Layer | None = plus and plus(columns)
        self.resolution = self._source.resolution * conv.factor

    def _compute(self, plane: Plane, rows: Range) -> None:
        reach, (first, last) = self._conv.reach, rows
        source = self._source.upto(first - reach, last + reach)
        added = None if self._added is None else self._added.upto(first, last)
        convolve(
            self._kernels, self._conv, source, plane, rows, self.columns, self._borders, self._source.resolution, added
        )


class Normal(_Computed):
    """The LayerNorm of a plane."""

    def __init__(self, kernels: ctypes.CDLL, borders: Borders, norm: Norm, columns: Range, source: Plane) -> None:
        super().__init__(kernels, borders, columns, norm.size, 1)
        self._norm, self._source = norm, source

    def _compute(self, plane: Plane, rows: Range) -> None:
        normalise(self._kernels, self._norm, self._source, plane, rows, self.columns, self._borders)


def normalise(
    kernels: ctypes.CDLL, norm: Norm, source: Plane, target: Plane, rows: Range, columns: Range, borders: Borders
) -> None:
    """Normalise pixels of ``source``, which may be the target."""
    (y, bottom), (x, right) = rows, columns
    kernels.swin_norm(
        norm.size, norm.eps, norm.gain, norm.offset, source.at(y, x), source.stride, target.at(y, x), target.stride,
        bottom - y, right - x, ctypes.byref(inside(borders, y, x)),
    )  # fmt: skip


class Bicubic(_Computed):
    """The image enlarged ``factor`` times by cubic convolution."""

    def __init__(self, kernels: ctypes.CDLL, borders: Borders, factor: int, columns: Range, image: Plane) -> None:
        super().__init__(kernels, borders, columns, image.data.shape[2], factor)
        self._image, self.resolution = image, factor
        self._weights = bicubic_weights(factor)

    def _compute(self, plane: Plane, rows: Range) -> None:
        (y, bottom), (x, right), factor, channels = rows, self.columns, self._factor, self._channels
        scratch = np.empty((right - x + 8) * channels, np.float32)
        self._kernels.swin_bicubic(
            address(self._weights), factor, channels, self._image.at(y, x), self._image.stride,
            plane.at(y * factor, x * factor), plane.stride, 0, 0, (bottom - y) * factor, (right - x) * factor,
            ctypes.byref(inside(self._borders, y, x)), address(scratch),
        )  # fmt: skip


def bicubic_weights(factor: int) -> NDArray[np.float32]:
    """Return the weights of the five neighbours -2..2 for each of ``factor`` phases (A = -0.75, half-pixel centres)."""
    phase = (np.arange(factor) + 0.5) / factor - 0.5
    distance = np.abs(np.arange(-2, 3)[None, :] - phase[:, None])
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0)).astype(np.float32)
