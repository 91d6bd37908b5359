"""Crop, pad and enlarge a tile's planes: the pixels that enter the network, and those that the tile owns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.geometry.neighbours import Depth
from swin2sr_ops.geometry.orientations import STRAIGHT, Turn
from swin2sr_ops.geometry.plan import Tile
from swin2sr_ops.geometry.tiles import source_interval

__all__ = [
    "Tally",
    "channel_of_plane",
    "enlarged",
    "network_region",
    "own_part",
    "own_pixels",
    "owned",
    "owned_planes",
]

Index = tuple[int, ...]


class Tally:
    """A counter that several threads share; its copy in another process starts at zero."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Tally], tuple[()]]:
        return Tally, ()

    def add(self, more: int) -> None:
        """Add ``more`` to the count."""
        with self._lock:
            self.count += more


def owned(pixels: NDArray[Any], tile: Tile) -> NDArray[Any]:
    """Crop ``(n, rows, columns)`` of the tile's region to the pixels that it owns."""
    (top, _), (left, _) = (source_interval(span) for span in (tile.y, tile.x))
    return pixels[:, tile.y.start - top : tile.y.stop - top, tile.x.start - left : tile.x.stop - left]


def enlarged(pixels: NDArray[Any], scale: int) -> NDArray[Any]:
    """Repeat each pixel of ``(n, rows, columns)`` ``scale`` x ``scale`` times."""
    return pixels.repeat(scale, 1).repeat(scale, 2)


def own_part(result: NDArray[Any], tile: Tile, scale: int) -> NDArray[Any]:
    """Crop ``(n, rows, columns)`` that the network computed for a tile to the new pixels that the tile owns."""
    y, x = (slice((s.start - s.network.start) * scale, (s.stop - s.network.start) * scale) for s in (tile.y, tile.x))
    return result[:, y, x]


def own_pixels(block: NDArray[Any], order: AxisOrder, tile: Tile, scale: int = 1) -> NDArray[Any]:
    """Crop a tile's region, all axes of the image, to the pixels that it owns, each ``scale`` x ``scale`` times."""
    if tile.depth is not None:
        block = block[(slice(None),) * tile.depth.axis + (tile.depth.owned,)]
    for axis, span in ((order.y, tile.y), (order.x, tile.x)):
        first = span.start - source_interval(span)[0]
        block = block.take(range(first, first + span.stop - span.start), axis).repeat(scale, axis)
    return block


def network_region(pixels: NDArray[Any], tile: Tile, turn: Turn = STRAIGHT) -> NDArray[Any]:
    """Turn, crop the filling margin and pad the image's right and bottom border: `Span.source` -> `Span.read`."""
    for axis, span, flipped in ((1, tile.y, turn.rows), (2, tile.x, turn.columns)):
        first, last = source_interval(span)
        read = span
        if flipped and span.mirrored is not None:
            pixels, first, read = np.flip(pixels, axis), span.size - last, span.mirrored
        offset = read.source[0] - first
        pixels = pixels.take([offset + i for i in read.padding], axis=axis)
    return pixels.swapaxes(1, 2) if turn.swap else pixels


def owned_planes(
    shape: Sequence[int], order: AxisOrder, depth: Depth | None
) -> tuple[tuple[int, ...], Callable[[Index], list[Index]]]:
    """Return the shape of a block's owned planes, and a function to the planes of the block that enter with one.

    Without a depth all planes are owned, and each enters alone.
    """
    kept = [shape[axis] for axis in order.planes]
    if depth is None:
        return tuple(kept), lambda index: [index]
    at = order.planes.index(depth.axis)
    kept[at] = depth.stop - depth.start
    return tuple(kept), lambda index: [(*index[:at], z, *index[at + 1 :]) for z in depth.entering(index[at])]


def channel_of_plane(order: AxisOrder, kept: tuple[int, ...]) -> NDArray[np.int64]:
    """Return each flattened plane's index along the channel axis; zeros without such an axis."""
    index = np.zeros(kept, np.int64)
    if order.channel is not None:
        position = order.planes.index(order.channel)
        shape = [1] * len(kept)
        shape[position] = kept[position]
        index = index + np.arange(kept[position]).reshape(shape)
    return index.ravel()
