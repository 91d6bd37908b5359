"""What a lazy layer shows: the restored pixels of each level of its source. No Qt here.

Each resolution level is restored from its own source level: levels that are made from the restored full-size one
would compute all of it as soon as napari draws a thumbnail.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from swin2sr_ops import Restorer
from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.ranges import Maps
from swin2sr_ops_napari.served import Field, Server
from swin2sr_ops_napari.view import Box, View, compute

__all__ = ["Restored", "serve", "source_levels"]

#: The smallest level is computed whole, for the thumbnail.
_SMALLEST = 256


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
class Restored:
    """The restored pixels of an image, as a `swin2sr_ops_napari.served.Field`.

    Attributes
    ----------
    image : LayerImage
    restorer : Restorer
    maps : Maps
    """

    image: LayerImage
    restorer: Restorer
    maps: Maps

    @property
    def scale(self) -> int:
        """New pixels per pixel."""
        return self.restorer.spec.scale

    @property
    def axes(self) -> str:
        """Axes of the image."""
        return self.image.axes

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the image."""
        return self.image.dtype

    def compute(self, view: View, box: Box) -> NDArray[Any]:
        """Restore ``box``."""
        return compute(view, box, self.restorer, self.maps)


def serve(image: LayerImage, field: Field) -> Server:
    """Serve a field at all levels of a layer; nothing is computed yet."""
    return Server(replace(image, levels=tuple(source_levels(image))), field)
