"""The intensity range of a lazy array, as a small part of its graph: no pixel is looked at before compute."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.axes import AxisOrder
from swin2sr_ops.values import IntensityMap, RangeRequest, Statistics, range_limits

__all__ = ["map_graph"]


@dataclass(frozen=True)
class _Look:
    """Statistics of one chunk; ``edges`` come from a first look where the type does not give them."""

    channel: int | None
    nodata: float | None
    histogram: bool

    def __call__(self, block: NDArray[Any], first: Statistics | None = None) -> Statistics:
        block = np.asarray(block)
        edges = None
        if self.histogram:
            rows = 1 if self.channel is None else block.shape[self.channel]
            low, high = range_limits(block.dtype)
            edges = (np.full(rows, low), np.full(rows, high)) if first is None else (first.low, first.high)
        return Statistics.of(block, self.channel, self.nodata, edges)


@dataclass(frozen=True)
class _Decide:
    """The maps of all channels, from the statistics of each chunk along the channel axis."""

    request: RangeRequest

    def __call__(self, parts: list[Statistics]) -> tuple[IntensityMap, ...]:
        return tuple(m for part in parts for m in part.maps(self.request))


def map_graph(
    array: da.Array, order: AxisOrder, request: RangeRequest, nodata: float | None, token: str
) -> tuple[Any, dict[Any, Any]]:
    """What tile tasks take as their maps (a value, or a key), and the graph that makes it."""
    known = request.immediate(array.dtype)
    if known is not None:
        return (_Constant((known,)),), {}
    percentile = request.kind == "percentile"
    graph: dict[Any, Any] = {}
    decided = f"swin2sr-range-{token}"
    tops = []
    numbers = range(array.numblocks[order.channel] if order.channel is not None else 1)
    for c in numbers:
        keys = [
            (array.name, *index)
            for index in product(*(range(n) for n in array.numblocks))
            if order.channel is None or index[order.channel] == c
        ]
        first = None
        if (percentile and array.dtype.itemsize > 2) or (percentile and array.dtype.kind == "f"):
            first = _tree(graph, f"{decided}-ends", c, [(_Look(order.channel, nodata, False), k) for k in keys])
        look = _Look(order.channel, nodata, percentile)
        tasks: list[Any] = [(look, k) if first is None else (look, k, first) for k in keys]
        tops.append(_tree(graph, f"{decided}-look", c, tasks))
    graph[decided] = (_Decide(request), tops)
    return decided, graph


def _tree(graph: dict[Any, Any], name: str, group: int, tasks: list[Any], fan_in: int = 16) -> Any:
    """Add ``tasks`` and merge their results, ``fan_in`` at a time; return the key of the last."""
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
    """A value in a graph that is no key and no task."""

    value: tuple[IntensityMap, ...]

    def __call__(self) -> tuple[IntensityMap, ...]:
        return self.value
