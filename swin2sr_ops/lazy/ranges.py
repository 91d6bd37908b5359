"""Compute the intensity range of a lazy array in a small part of its graph: no pixel is read before compute."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.pixels.arrays import readable_block
from swin2sr_ops.pixels.intensity import IntensityMap, RangeRequest
from swin2sr_ops.pixels.masks import shown_pixels
from swin2sr_ops.pixels.statistics import Statistics, check_any_valid, note_constant

__all__ = ["map_graph"]


@dataclass(frozen=True)
class _Look:
    """Compute the statistics of one chunk; a second pass takes the merged statistics of the first."""

    order: AxisOrder
    dtype: np.dtype[Any]
    nodata: float | None
    request: RangeRequest

    def __call__(self, block: NDArray[Any], first: Statistics | None = None) -> Statistics:
        block = readable_block(block, self.dtype)
        valid = shown_pixels(block, self.order)
        if valid is not None:
            valid = np.broadcast_to(valid, block.shape)[self.order.without_alpha]
        block = block[self.order.without_alpha]
        return Statistics.of(block, self.order.channel, self.nodata, self.request, first, valid=valid)


@dataclass(frozen=True)
class _Decide:
    """Compute the maps of all channels from the statistics of the chunks along the channel axis."""

    request: RangeRequest
    dtype: np.dtype[Any]

    def __call__(self, last: list[Statistics], first: list[Statistics]) -> tuple[IntensityMap, ...]:
        check_any_valid(last)
        rows = [part.extremes.row(i) for part in last for i in range(len(part.low))]
        note_constant(dict(enumerate(rows)))
        earlier: list[Statistics | None] = [*first] or [None] * len(last)
        return tuple(m for a, b in zip(last, earlier, strict=True) for m in a.maps(self.request, self.dtype, b))


def map_graph(
    array: da.Array, order: AxisOrder, request: RangeRequest, nodata: float | None, token: str
) -> tuple[str, dict[Any, Any]]:
    """Create the graph that computes the maps; return the key of the maps, and the graph."""
    if request.sample:
        raise RequestError(
            "Percentiles of a sample are for stored images: swin2sr_ops.restore reads all pixels of an array, in its"
            " graph. Omit ':sample', give two values, or use swin2sr_ops.restore_image."
        )
    decided = f"swin2sr-range-{token}"
    known = request.known_maps(array.dtype, 1 if order.channel is None else order.shape[order.channel])
    if known is not None:
        return decided, {decided: (_Constant(known),)}
    graph: dict[Any, Any] = {}
    look = _Look(order, array.dtype, nodata, request)
    tops: tuple[list[str], list[str]] = ([], [])
    for c in range(array.numblocks[order.channel] if order.channel is not None else 1):
        keys = [
            (array.name, *index)
            for index in product(*(range(n) for n in array.numblocks))
            if order.channel is None or index[order.channel] == c
        ]
        earlier: tuple[str, ...] = ()
        if request.looks(array.dtype) == 2:
            tops[0].append(_tree(graph, f"{decided}-first", c, [(look, key) for key in keys]))
            earlier = (tops[0][-1],)
        tops[1].append(_tree(graph, f"{decided}-last", c, [(look, key, *earlier) for key in keys]))
    graph[decided] = (_Decide(request, array.dtype), tops[1], tops[0])
    return decided, graph


def _tree(graph: dict[Any, Any], name: str, group: int, tasks: list[Any], fan_in: int = 16) -> Any:
    """Add ``tasks`` and merge their results, ``fan_in`` at a time; return the key of the merged result."""
    level = 0
    keys = []
    for i, task in enumerate(tasks):
        keys.append(f"{name}-{group}-{level}-{i}")
        graph[keys[-1]] = task
    while len(keys) > 1:
        level += 1
        merged = [f"{name}-{group}-{level}-{i}" for i in range(-(-len(keys) // fan_in))]
        for i, key in enumerate(merged):
            graph[key] = (Statistics.merge, keys[i * fan_in : (i + 1) * fan_in])
        keys = merged
    return keys[0]


@dataclass(frozen=True)
class _Constant:
    """A constant in a graph that Dask does not mistake for a key or a task."""

    value: tuple[IntensityMap, ...]

    def __call__(self) -> tuple[IntensityMap, ...]:
        return self.value
