"""Read a VRT that resamples its sources, such as bands of 10 and 20 m on one grid, alike in every window.

GDAL computes the weights of its kernels from the window that is read: with floating-point pixels and a ratio of 3,
the last bit of a pixel depends on where the window starts (measured with GDAL 3: one unit in the last place). So such
a raster is always read in the same blocks, on a grid fixed at its first pixel.
"""

from __future__ import annotations

from itertools import product
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.geometry.axes import Region

__all__ = ["is_resampled", "read_blocks"]

#: Side of a block in pixels: small enough to waste little, large enough for few calls.
_BLOCK = 256


def is_resampled(dataset: Any) -> bool:
    """Return True for a VRT with a source whose pixels have another size than the VRT's."""
    if dataset.driver != "VRT":
        return False
    text = "".join(dataset.tags(ns="xml:VRT").values())
    try:
        parts = list(ElementTree.fromstring(text).iter()) if text else []  # noqa: S314  # GDAL has read it
    except ElementTree.ParseError:  # blocks are the cautious choice
        return True
    nested = any(str(part.text).strip().lower().endswith(".vrt") for part in parts if part.tag == "SourceFilename")
    return nested or any(_sizes(part, "SrcRect") != _sizes(part, "DstRect") for part in parts)


def _sizes(source: Any, name: str) -> tuple[float, ...] | None:
    found = source.find(name)
    return None if found is None else tuple(float(found.get(key, 0)) for key in ("xSize", "ySize"))


def read_blocks(dataset: Any, bands: range, region: Region) -> NDArray[Any]:
    """Read ``bands`` of a region along Y and X, block by block; each band in the type that holds all."""
    from rasterio.windows import Window

    rows, columns = region
    shape = len(bands), rows.stop - rows.start, columns.stop - columns.start
    out = np.empty(shape, np.result_type(*(dataset.dtypes[b - 1] for b in bands)))
    for y, x in product(_starts(rows), _starts(columns)):
        size = min(_BLOCK, dataset.height - y), min(_BLOCK, dataset.width - x)
        block = dataset.read(list(bands), window=Window(x, y, size[1], size[0]))
        (own_y, to_y), (own_x, to_x) = _common(y, size[0], rows), _common(x, size[1], columns)
        out[:, to_y, to_x] = block[:, own_y, own_x]
    return out


def _starts(part: slice) -> range:
    return range(part.start // _BLOCK * _BLOCK, part.stop, _BLOCK)


def _common(start: int, size: int, part: slice) -> tuple[slice, slice]:
    """Return what a block and a part have in common, counted from the start of each."""
    first, last = max(start, part.start), min(start + size, part.stop)
    return slice(first - start, last - start), slice(first - part.start, last - part.start)
