"""Compute the options of ``dask.array.map_overlap`` for scripts that call it themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.calls import with_article
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder, Region
from swin2sr_ops.geometry.neighbours import neighbour_axis
from swin2sr_ops.geometry.plan import receptive_halo
from swin2sr_ops.geometry.steps import Interval, cell_side
from swin2sr_ops.geometry.tiles import FILL_REACH
from swin2sr_ops.pixels.arrays import readable, readable_block
from swin2sr_ops.pixels.intensity import IntensityMap, RangeRequest
from swin2sr_ops.placement import Placement
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
    dtype: np.dtype[Any]
    neighbours: tuple[int, int] | None = None  # axis of neighbouring planes, and how many on either side

    def overlap(self, axis: int) -> int:
        """Return the overlap along an axis if it is cut."""
        if self.neighbours is not None and axis == self.neighbours[0]:
            return self.neighbours[1]
        return self.depth if axis in (self.order.y, self.order.x) else 0


def overlap_options(
    spec: ModelSpec,
    placement: Placement,
    array: da.Array,
    axes: str | None,
    value_range: str | Sequence[float],
    margin: int = 0,
) -> dict[str, Any]:
    """Compute the options; see `swin2sr_ops.Restorer.map_overlap_options`. A consistency reads ``margin`` more."""
    if not hasattr(array, "chunks"):
        raise RequestError(
            f"map_overlap works on Dask arrays, not on {with_article(array)}: use swin2sr_ops.restore, or "
            "dask.array.from_array first."
        )
    array = readable(array)
    order = AxisOrder.of(array.shape, axes).banded(spec.channels)
    known = RangeRequest.parse(value_range).immediate(array.dtype)
    if known is None:
        raise RequestError(
            f"range={value_range!r} depends on all pixels of a {array.dtype} array, which map_overlap cannot "
            "read: give two values, 'dtype', or use swin2sr_ops.restore."
        )
    halo = placement.halo
    reach = receptive_halo(spec) if halo == "exact" else int(halo)
    # Chunks may start anywhere: add a window to start reads on the grid, and another to fill invalid pixels.
    depth = reach + 2 * spec.window
    if spec.reach is not None:  # whole cells are read
        depth = reach + cell_side(spec) + spec.window + FILL_REACH
    depth += margin
    axis = neighbour_axis(order, spec, placement.along)
    around = None if axis is None else (axis, spec.planes // 2)
    grid = BlockGrid(order, array.chunks, depth, (known,), array.dtype, around)
    space = f" (its halo of {reach} px, and space to meet its windows)"
    for axis, cut in enumerate(array.chunks):
        if len(cut) > 1 and min(cut) < grid.overlap(axis):
            unit, least = "px" if axis in (order.y, order.x) else "planes", grid.overlap(axis)
            raise RequestError(
                f"Chunks {_short(cut)} along {order.axes[axis]} do not all have the depth of {least} {unit} that "
                f"{spec.name} needs{space if unit == 'px' else ''}: call array.rechunk({{{axis}: "
                f"{_fitting_chunk(cut, least)}}}), or use swin2sr_ops.restore, which accepts any chunks."
            )
    if order.colour is not None and len(array.chunks[order.colour]) > 1:
        raise RequestError("The colour axis is cut into several chunks: rechunk it into one.")
    spatial = {order.y, order.x}
    chunks = tuple(tuple(n * spec.scale for n in c) if a in spatial else c for a, c in enumerate(array.chunks))
    return {
        "depth": {a: grid.overlap(a) if len(c) > 1 else 0 for a, c in enumerate(array.chunks)},
        "boundary": "none",
        "trim": False,
        "allow_rechunk": False,
        "chunks": chunks,
        "dtype": array.dtype,
        "meta": np.empty((0,) * array.ndim, array.dtype),
        "grid": grid,
    }


def _short(chunks: tuple[int, ...], most: int = 6) -> str:
    """Return the chunks of an axis for a message, without those in the middle where there are many."""
    if len(chunks) <= most:
        return str(chunks)
    return f"({', '.join(map(str, chunks[: most - 2]))}, ..., {chunks[-1]})"


def _fitting_chunk(chunks: tuple[int, ...], depth: int) -> int:
    """Return the smallest chunk from the largest present one on that leaves no remainder below ``depth``."""
    size, first = sum(chunks), max(depth, *chunks)
    return next(n for n in range(first, size + 1) if size % n == 0 or size % n >= depth) if first < size else size


def block_in_image(
    block: NDArray[Any], grid: BlockGrid | None, block_info: Mapping[int, Mapping[str, Any]] | None
) -> tuple[Callable[[Region], NDArray[Any]], AxisOrder, Interval, Interval, tuple[IntensityMap, ...], dict[int, slice]]:
    """Return the arguments of `Restorer.restore_region` for a block that carries its overlap.

    Raises
    ------
    RequestError
        If the block's position is unknown, the options were made for another array, or the block has another type.
    """
    if grid is None or not block_info:
        raise RequestError(
            "A Restorer is called by dask.array.map_overlap with the options of `map_overlap_options`; without them "
            "a block's position is unknown. For a whole array use swin2sr_ops.restore(array)."
        )
    block = readable_block(block, grid.dtype)
    order, info = grid.order, block_info[0]
    place = info["chunk-location"]
    _check_made_for(grid, info, block.shape)
    cut = [order.y, order.x] + ([grid.neighbours[0]] if grid.neighbours else [])
    box, first = {}, {}
    for axis in cut:
        start = sum(grid.chunks[axis][: place[axis]])
        box[axis] = start, start + grid.chunks[axis][place[axis]]
        first[axis] = start - (grid.overlap(axis) if place[axis] else 0)  # no overlap beyond the image's border

    def read(region: Region) -> NDArray[Any]:
        index = [slice(None)] * block.ndim  # all planes of the block along the other axes
        for axis in cut:
            index[axis] = slice(region[axis].start - first[axis], region[axis].stop - first[axis])
        return block[tuple(index)]

    planes = {axis: slice(*box[axis]) for axis in cut[2:]}
    return read, order, box[order.y], box[order.x], grid.maps, planes


def _check_made_for(grid: BlockGrid, info: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    """Reject options made for another array: block positions, and so pixels, would be wrong."""
    counts = tuple(map(len, grid.chunks))
    place, found = tuple(info["chunk-location"]), tuple(info["num-chunks"])
    expected = None
    if found == counts:
        expected = tuple(
            chunks[i] + grid.overlap(a) * ((i > 0) + (i < len(chunks) - 1))
            for a, (chunks, i) in enumerate(zip(grid.chunks, place, strict=True))
        )
    if expected != shape:
        made = " x ".join(str(sum(c)) for c in grid.chunks)
        raise RequestError(
            f"The options of this map_overlap were made for an array of {made} px in chunks {grid.chunks}, but the"
            f" block at {place} has {' x '.join(map(str, shape))} px: call `map_overlap_options` with the array that"
            " is mapped, after its last rechunk."
        )
