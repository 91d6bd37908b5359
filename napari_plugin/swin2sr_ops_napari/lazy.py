"""A restored layer that computes what is looked at. No Qt here.

Each resolution level is restored from its own source level: levels that are made from the restored full-size one
would compute all of it as soon as napari draws a thumbnail.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from swin2sr_ops import Restorer
from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.ranges import Maps
from swin2sr_ops_napari.request import Request
from swin2sr_ops_napari.view import Box, View, compute

__all__ = ["RestoredLevel", "lazy_levels", "source_levels"]

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


@dataclass(frozen=True)
class RestoredLevel:
    """One level, restored where it is read: what Dask slices.

    A graph of one task per tile would take a minute to build for a large image; Dask describes the slices of an
    array like this one without listing them.

    Attributes
    ----------
    view : View
        The level of the source; its planes are not fixed.
    restorer : Restorer
    maps : Maps
    """

    view: View
    restorer: Restorer
    maps: Maps

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the restored level."""
        return self.view.order.scaled(self.restorer.spec.scale)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the source."""
        return self.view.image.dtype

    def __getitem__(self, region: tuple[slice, ...]) -> NDArray[Any]:
        order, scale = self.view.order, self.restorer.spec.scale
        bounds = [part.indices(n)[:2] for part, n in zip(region, self.shape, strict=True)]
        (y0, y1), (x0, x1) = bounds[order.y], bounds[order.x]
        box = Box(y0 // scale, -(-y1 // scale), x0 // scale, -(-x1 // scale))
        result = np.empty([stop - start for start, stop in bounds], self.dtype)
        for index in product(*(range(*bounds[axis]) for axis in order.planes)):
            planes = tuple(zip(order.planes, index, strict=True))
            pixels = compute(replace(self.view, planes=planes), box, self.restorer, self.maps)
            target = [slice(None)] * self.ndim
            for axis, at in planes:
                target[axis] = slice(at - bounds[axis][0], at - bounds[axis][0] + 1)
            crop = [slice(None)] * self.ndim
            crop[order.y] = slice(y0 - box.y0 * scale, y1 - box.y0 * scale)
            crop[order.x] = slice(x0 - box.x0 * scale, x1 - box.x0 * scale)
            result[tuple(target)] = pixels[tuple(crop)]
        return result


def lazy_levels(image: LayerImage, request: Request, maps: Maps) -> list[da.Array]:
    """Return the restored levels as Dask arrays; building them computes nothing."""
    levels = source_levels(image)
    restorer = request.restorer(image)
    return [_restored(replace(image, levels=(level,)), restorer, maps) for level in levels]


def _restored(image: LayerImage, restorer: Restorer, maps: Maps) -> da.Array:
    whole = Box(0, image.shape[image.axes.index("Y")], 0, image.shape[image.axes.index("X")])
    level = RestoredLevel(View(image, 0, 1, (), whole, (0.0, 0.0)), restorer, maps)
    side = _TILE * restorer.spec.scale
    chunks = tuple(
        n if a == "S" else min(n, side) if a in "YX" else 1 for n, a in zip(level.shape, image.axes, strict=True)
    )
    return da.from_array(
        level,
        chunks=chunks,
        name=f"swin2sr-layer-{uuid.uuid4().hex}",
        asarray=False,
        meta=np.empty((0,) * level.ndim, level.dtype),
    )
