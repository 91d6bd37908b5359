"""Flag the restored pixels whose receptive field holds a hole; the flags do not depend on the tiles.

A network has a wide receptive field. If it contains nodata, NaN or a masked pixel, the network saw a
filled value. Such pixels are flagged, so that measurements can leave them out.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.geometry.plan import Span, Tile, TilePlan, sight
from swin2sr_ops.geometry.tiles import source_interval
from swin2sr_ops.pixels.holes import invalid_pixels
from swin2sr_ops.pixels.masks import block_valid, shown_pixels
from swin2sr_ops.pixels.planes import owned_planes
from swin2sr_ops.placement import Halo
from swin2sr_ops.spec import ModelSpec

__all__ = ["CLEAN", "HOLE", "SAW_HOLE", "context_flags", "plane_flags"]

#: Every pixel of the receptive field is as it was stored.
CLEAN = 0
#: A pixel that the network may have seen was filled.
SAW_HOLE = 1
#: The pixel itself is a hole.
HOLE = 2


def context_flags(invalid: NDArray[np.bool_], tile: Tile, spec: ModelSpec, halo: Halo) -> NDArray[np.uint8]:
    """Flag each restored pixel of a tile by its receptive field: clean, with a hole, or a hole itself.

    The receptive field of a pixel is the interval that `Span.of` reads for that pixel alone. It depends
    on the pixel's position in the image and on the window grid, not on the tile, so the tiles together
    give the flags of the whole image. `CLEAN` is a guarantee with ``halo="exact"``: the values in the
    holes cannot have changed such a pixel. With ``halo=N`` it is as good as that halo: the inner pixels
    of a tile see further than N, by no more than the halo leaves out (`TilePlan.expected_error`).

    Parameters
    ----------
    invalid : ndarray of bool
        ``(rows, columns)`` of the tile's region (`tiling.tile_region`); True for a hole.
    tile : Tile
    spec : ModelSpec
    halo : "exact" or int
        The tile's own.

    Returns
    -------
    ndarray of uint8
        `CLEAN`, `SAW_HOLE` or `HOLE`, ``rows scale`` x ``columns scale`` as the tile writes them.
    """
    spans = tile.y, tile.x
    regions = [source_interval(span) for span in spans]
    expected = tuple(hi - lo for lo, hi in regions)
    if invalid.shape != expected:
        raise RequestError(f"invalid has the shape {invalid.shape}, the region of tile {tile} has {expected}.")
    flags = np.zeros(tile.shape, np.uint8)
    if invalid.any():
        # Counts of invalid pixels above and left of each corner: four of them give any rectangle's count.
        corner = np.zeros((expected[0] + 1, expected[1] + 1), np.int32)
        np.cumsum(invalid, 1, np.int32, corner[1:, 1:])
        for above, below in pairwise(corner):  # row by row: NumPy's own sum runs down each column, which is slow
            np.add(above, below, out=below)
        (top, bottom), (left, right) = (
            _seen(span, spec, halo) - first for span, (first, _) in zip(spans, regions, strict=True)
        )
        strips = corner[bottom] - corner[top]
        flags[strips[:, right] != strips[:, left]] = SAW_HOLE
        inside = tuple(slice(s.start - lo, s.stop - lo) for s, (lo, _) in zip(spans, regions, strict=True))
        flags[invalid[inside]] = HOLE
    return flags.repeat(spec.scale, 1).repeat(spec.scale, 0)


def plane_flags(
    block: NDArray[Any],
    order: AxisOrder,
    tile: Tile,
    plan: TilePlan,
    nodata: float | None = None,
    valid: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Compute `context_flags` for every plane of a block, with the parameters of `Restorer.restore_tile`.

    Returns
    -------
    ndarray of uint8
        With the restored block's shape. All colours of a pixel have the same flag: a pixel is a hole
        if one of its colours is missing or its opacity is 0.
    """
    seen = block[order.without_alpha]
    known = shown_pixels(block, order, None if valid is None else block_valid(valid, block.shape, order))
    known = None if known is None else np.broadcast_to(known, block.shape)[order.without_alpha]
    invalid = invalid_pixels(seen, nodata, known)
    invalid = np.zeros(seen.shape, bool) if invalid is None else invalid
    planes, opaque, colours = invalid.transpose(order.order), 1, 1
    kept, entering = owned_planes(block.shape, order, tile.depth)
    if order.colour is not None:
        opaque, colours = seen.shape[order.colour], block.shape[order.colour]

    def flags_of(index: tuple[int, ...]) -> NDArray[np.uint8]:
        holes = (planes[z].reshape(opaque, *planes.shape[-2:]).any(0) for z in entering(index))
        own, *beside = (context_flags(hole, tile, plan.spec, plan.placement.halo) for hole in holes)
        for other in beside:  # a hole of a neighbouring plane is one that the network saw
            own[(own == 0) & (other != 0)] = SAW_HOLE
        return own

    flags = np.stack([flags_of(index) for index in np.ndindex(kept)])
    out = flags[:, None].repeat(colours, 1)
    colour_axis = () if order.colour is None else (colours,)
    return out.reshape(*kept, *colour_axis, *out.shape[-2:]).transpose(np.argsort(order.order))


def _seen(span: Span, spec: ModelSpec, halo: Halo) -> NDArray[np.int64]:
    """Return the first and last (exclusive) pixel of the image that the network sees per pixel of a span: ``(2, n)``.

    Padding mirrors pixels that the network sees anyway.
    """
    if span.wide is not None:  # a step behind the network reads its neighbours; the interval moves with the pixel
        wide, at = _seen(span.wide, spec, halo), np.arange(span.start, span.stop) - span.wide.start
        last = wide.shape[1] - 1
        return np.stack([wide[0, np.maximum(at - span.margin, 0)], wide[1, np.minimum(at + span.margin, last)]])
    at = np.arange(span.start, span.stop)
    reach = np.array(_reach(spec, halo), np.int64)[:, at % spec.window]
    seen: NDArray[np.int64] = np.clip(at // spec.window * spec.window + reach, 0, span.size)
    if span.mirrored is None:
        return seen
    other = span.size - _seen(span.mirrored, spec, halo)[::-1, ::-1]
    return np.stack([np.minimum(seen[0], other[0]), np.maximum(seen[1], other[1])])


@lru_cache(maxsize=64)
def _reach(spec: ModelSpec, halo: Halo) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the receptive field of each pixel of a window far from borders, from the window's first pixel."""
    seen = sight(spec, halo)
    return tuple(lo for lo, _ in seen), tuple(hi for _, hi in seen)
