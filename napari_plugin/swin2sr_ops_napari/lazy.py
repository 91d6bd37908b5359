"""A restored layer that computes what is looked at. No Qt here.

Each resolution level is restored from its own source level: levels that are made from the restored full-size one
would compute all of it as soon as napari draws a thumbnail.
"""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np

from swin2sr_ops import restore
from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.ranges import Maps
from swin2sr_ops_napari.request import Request

__all__ = ["lazy_levels", "source_levels"]

#: The smallest level is computed whole, for the thumbnail.
_SMALLEST = 256
#: Input pixels of a task: what napari waits for is small.
_TILE = 128


def source_levels(image: LayerImage) -> list[da.Array]:
    """The layer's levels as Dask arrays, with further ones, until the last is small."""
    chunks = {i: -1 if a == "S" else 1024 if a in "YX" else 1 for i, a in enumerate(image.axes)}
    levels = []
    for array in image.levels:
        whole = tuple(chunks.values())
        levels.append(array if isinstance(array, da.Array) else da.from_array(array, chunks=whole, asarray=False))
    y, x = image.axes.index("Y"), image.axes.index("X")
    while max(levels[-1].shape[y], levels[-1].shape[x]) > _SMALLEST:
        levels.append(_halved(levels[-1], (y, x)))
    return levels


def _halved(array: da.Array, axes: tuple[int, int]) -> da.Array:
    """Every other pixel of means of 2 x 2, as napari's levels are; a lone last row or column is left out."""
    even = array[tuple(slice(0, n - n % 2 or 1) if i in axes else slice(None) for i, n in enumerate(array.shape))]
    pairs = {i: 2 for i in axes if even.shape[i] > 1}
    mean = da.coarsen(np.mean, even.rechunk({i: _even(even.chunks[i]) for i in pairs}), pairs)
    return (mean.round() if array.dtype.kind in "iu" else mean).astype(array.dtype)


def _even(chunks: tuple[int, ...]) -> tuple[int, ...] | int:
    """Chunks with even edges."""
    return chunks if all(c % 2 == 0 for c in chunks) else max(max(chunks) // 2 * 2, 2)


def lazy_levels(image: LayerImage, request: Request, maps: Maps) -> list[da.Array]:
    """The restored levels; building them computes nothing."""
    return [_restored(level, image, request, maps) for level in source_levels(image)]


def _restored(array: da.Array, image: LayerImage, request: Request, maps: Maps) -> da.Array:
    order = image.order()
    options: dict[str, Any] = {
        "model": request.spec(image), "axes": image.axes, "halo": request.halo, "device": request.device,
        "precision": request.precision, "engine": request.engine, "tile": _TILE,
    }  # fmt: skip
    if order.channel is None or len(maps.maps) == 1:
        return restore(array, range=_pair(maps, 0), **options)
    axis = order.channel  # each channel has a range of its own
    parts = [array[(slice(None),) * axis + (slice(c, c + 1),)] for c in range(array.shape[axis])]
    return da.concatenate([restore(p, range=_pair(maps, c), **options) for c, p in enumerate(parts)], axis)


def _pair(maps: Maps, channel: int) -> tuple[float, float]:
    """What `restore` takes: two rising numbers, also for a channel of one value."""
    ends = maps.of(channel)
    return (ends.lo, ends.hi) if ends.lo < ends.hi else (ends.lo, ends.lo + 1.0)
