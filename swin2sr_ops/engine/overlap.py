"""Compute the options of ``dask.array.map_overlap`` for scripts that call it themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.geometry.plan import receptive_halo
from swin2sr_ops.geometry.steps import Interval, cell_side
from swin2sr_ops.geometry.tiles import FILL_REACH
from swin2sr_ops.pixels.intensity import IntensityMap, RangeRequest, check_dtype
from swin2sr_ops.placement import Halo
from swin2sr_ops.spec import ModelSpec

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["BlockGrid", "block_in_image", "overlap_options"]


@dataclass(frozen=True)
class BlockGrid:
    """Positions of an array's chunks, for `Restorer` inside ``dask.array.map_overlap``."""

    order: AxisOrder  # of the whole array: a block alone does not show which axis is colour
    chunks: tuple[tuple[int, ...], ...]
    depth: int
    maps: tuple[IntensityMap, ...]


def overlap_options(
    spec: ModelSpec,
    halo: Halo,
    array: da.Array,
    axes: str | None,
    value_range: str | Sequence[float],
    margin: int = 0,
) -> dict[str, Any]:
    """Compute the options; see `swin2sr_ops.Restorer.map_overlap_options`. A consistency reads ``margin`` more."""
    if not hasattr(array, "chunks"):
        raise RequestError(
            f"map_overlap works on Dask arrays, not on a {type(array).__name__}: use swin2sr_ops.restore."
        )
    check_dtype(array.dtype)
    order = AxisOrder.of(array.shape, axes).banded(spec.channels)
    known = RangeRequest.parse(value_range).immediate(array.dtype)
    if known is None:
        raise RequestError(
            f"range={value_range!r} depends on all pixels of a {array.dtype} array, which map_overlap cannot "
            "read: give two values, 'dtype', or use swin2sr_ops.restore."
        )
    reach = receptive_halo(spec) if halo == "exact" else int(halo)
    # Chunks may start anywhere: add a window to start reads on the grid, and another to fill invalid pixels.
    depth = reach + 2 * spec.window
    if spec.reach is not None:  # whole cells are read
        depth = reach + cell_side(spec) + spec.window + FILL_REACH
    depth += margin
    for axis in (order.y, order.x):
        if len(array.chunks[axis]) > 1 and min(array.chunks[axis]) < depth:
            raise RequestError(
                f"Chunks {array.chunks[axis]} along {order.axes[axis]} are smaller than the halo of {depth} px that "
                f"{spec.name} needs: rechunk so that each has at least {depth}, or use swin2sr_ops.restore, which "
                "accepts any chunks."
            )
    if order.colour is not None and len(array.chunks[order.colour]) > 1:
        raise RequestError("The colour axis is cut into several chunks: rechunk it into one.")
    spatial = {order.y, order.x}
    chunks = tuple(tuple(n * spec.scale for n in c) if a in spatial else c for a, c in enumerate(array.chunks))
    return {
        "depth": {a: depth if a in spatial and len(c) > 1 else 0 for a, c in enumerate(array.chunks)},
        "boundary": "none",
        "trim": False,
        "allow_rechunk": False,
        "chunks": chunks,
        "dtype": array.dtype,
        "meta": np.empty((0,) * array.ndim, array.dtype),
        "grid": BlockGrid(order, array.chunks, depth, (known,)),
    }


def block_in_image(
    block: NDArray[Any], grid: BlockGrid | None, block_info: Mapping[int, Mapping[str, Any]] | None
) -> tuple[Callable[[tuple[slice, ...]], NDArray[Any]], AxisOrder, Interval, Interval, tuple[IntensityMap, ...]]:
    """Return the arguments of `Restorer.restore_region` for a block that carries its overlap.

    Raises
    ------
    RequestError
        If the block's position is unknown, or the options were made for another array.
    """
    if grid is None or not block_info:
        raise RequestError(
            "A Restorer is called by dask.array.map_overlap with the options of `map_overlap_options`; without them "
            "a block's position is unknown. For a whole array use swin2sr_ops.restore(array)."
        )
    order, info = grid.order, block_info[0]
    place = info["chunk-location"]
    _check_made_for(grid, info, block.shape)
    box, first = [], [0] * block.ndim
    for axis in (order.y, order.x):
        start = sum(grid.chunks[axis][: place[axis]])
        box.append((start, start + grid.chunks[axis][place[axis]]))
        first[axis] = start - (grid.depth if place[axis] else 0)  # blocks at a border have no overlap beyond it

    def read(region: tuple[slice, ...]) -> NDArray[Any]:
        index = [slice(None)] * block.ndim  # all planes of the block
        for axis in (order.y, order.x):
            index[axis] = slice(region[axis].start - first[axis], region[axis].stop - first[axis])
        return block[tuple(index)]

    return read, order, box[0], box[1], grid.maps


def _check_made_for(grid: BlockGrid, info: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    """Reject options made for another array: block positions, and so pixels, would be wrong."""
    counts = tuple(map(len, grid.chunks))
    place, found = tuple(info["chunk-location"]), tuple(info["num-chunks"])
    expected = None
    if found == counts:
        spatial = {a for a in (grid.order.y, grid.order.x) if counts[a] > 1}
        expected = tuple(
            chunks[i] + grid.depth * ((i > 0) + (i < len(chunks) - 1) if a in spatial else 0)
            for a, (chunks, i) in enumerate(zip(grid.chunks, place, strict=True))
        )
    if expected != shape:
        made = " x ".join(str(sum(c)) for c in grid.chunks)
        raise RequestError(
            f"The options of this map_overlap were made for an array of {made} px in chunks {grid.chunks}, but the"
            f" block at {place} has {' x '.join(map(str, shape))} px: call `map_overlap_options` with the array that"
            " is mapped, after its last rechunk."
        )
