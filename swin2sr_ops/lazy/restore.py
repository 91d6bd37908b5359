"""Restore a Dask array to a lazy Dask array, with one task per tile.

Building the graph computes nothing and loads no model: shapes and chunks follow from the plan,
and an intensity range that needs the pixels is computed in a small part of the graph.
"""

from __future__ import annotations

from builtins import range as range_of  # `range` is a keyword of the public functions
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from operator import getitem
from os import PathLike, fsdecode
from typing import Any, Literal, Unpack, overload

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from numpy.typing import NDArray

from swin2sr_ops.calls import suggest_keywords
from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder, Region
from swin2sr_ops.geometry.neighbours import Depth
from swin2sr_ops.geometry.plan import Tile, TilePlan
from swin2sr_ops.geometry.tiles import LARGEST_TILE, fit_tile, tile_region, tile_size
from swin2sr_ops.hooks.dispatch import resolve_model
from swin2sr_ops.lazy.ranges import map_graph
from swin2sr_ops.pixels.arrays import readable, readable_block
from swin2sr_ops.pixels.intensity import IntensityMap, RangeRequest
from swin2sr_ops.pixels.nodata_flags import plane_flags
from swin2sr_ops.pixels.planes import own_pixels
from swin2sr_ops.placement import Halo
from swin2sr_ops.request import ArrayKeywords, RestoreRequest
from swin2sr_ops.run.finished_range import resolved_range
from swin2sr_ops.run.sides import Sides, interval_of
from swin2sr_ops.spec import ModelSpec

__all__ = ["restore"]

#: Memory for which tiles of lazy arrays are sized: a constant, since the machine that computes them is unknown.
LAZY_MEMORY = 4 << 30


@overload
def restore(
    array: Any, *, spread: Literal[False] = ..., interval: None = ..., **request: Unpack[ArrayKeywords]
) -> da.Array: ...
@overload
def restore(
    array: Any, *, spread: Literal[True], interval: None = ..., **request: Unpack[ArrayKeywords]
) -> tuple[da.Array, da.Array]: ...
@overload
def restore(
    array: Any,
    *,
    spread: bool = ...,
    interval: float,
    calibration: str | PathLike[str],
    **request: Unpack[ArrayKeywords],
) -> tuple[da.Array, ...]: ...
@suggest_keywords
def restore(
    array: Any,
    *,
    model: str | PathLike[str] | ModelSpec = "auto",
    axes: str | None = None,
    scale: int | None = None,
    halo: Halo = "exact",
    tile: int | tuple[int, int] | None = None,
    range: str | Sequence[float] = "auto",
    device: str = "auto",
    precision: str = "auto",
    nodata: float | None = None,
    ensemble: int = 1,
    engine: str = "auto",
    consistent: str | None = None,
    along: str | None = None,
    spread: bool = False,
    interval: float | None = None,
    calibration: str | PathLike[str] | None = None,
) -> da.Array | tuple[da.Array, ...]:
    """Restore an array lazily: super-resolution, denoising or JPEG clean-up, depending on the model.

    Parameters
    ----------
    array : dask.array.Array or array_like
        2-D to 5-D, uint8, uint16, int8, int16 or float, in any chunks.
    model : str, path or ModelSpec
        ``"fast"``, ``"good"`` (the same as ``"auto"``) or ``"best"`` (eight views averaged): a shipped model for the
        array's channels; or a name from `swin2sr_ops.list_models`, a checkpoint file or folder, or a spec.
    axes : str, optional
        One letter per dimension, such as ``"YX"``, ``"YXC"`` or ``"TCZYX"``. ``S``, and a last ``C``
        of length 3 or 4, are colour; any other ``C`` is channels, restored separately. By default the last
        axes are Y and X, or Y, X and colour if the last has length 3 or 4.
    scale : int, optional
        Scale along Y and X that the model must have.
    halo : "exact" or int
        ``"exact"``: the result does not depend on chunks or tiles. A multiple of the window (16,
        24, 32): the network sees only that many pixels around a tile, which is faster with a small error.
    tile : int or (int, int), optional
        Input pixels that one task owns along Y and X; by default as many as fit the memory.
    range : str or pair
        Stored values that the network sees as 0 and 1: ``"auto"`` (the type's range for 8-bit
        images, else smallest to largest value, per channel), ``"dtype"``, ``(lo, hi)``, percentiles such as
        ``"p1,p99.8"``, or those of a finished output, ``"like:x2.ome.zarr"``. Values outside the range are kept, not
        clipped.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; resolved where the tasks run.
    precision : str
        ``"float32"``, ``"float64"``, ``"bfloat16"``, or ``"auto"``: bfloat16 on a CUDA GPU with fast bfloat16, else
        float32. If workers differ in this, give one of them.
    nodata : float, optional
        Stored value that marks invalid pixels; NaN always does.
    ensemble : int
        8: the image is also restored mirrored and rotated, and the eight results are averaged. Slightly
        better at eight times the cost; as independent of chunks and tiles as a single pass.
    engine : str
        ``"native"``: kernels of this package for the CPU, faster than torch's; the wheel brings them, or a
        compiler builds them for the processor once, in a few seconds. ``"triton"``: kernels of this package for CUDA
        GPUs. ``"openvino"``: Swin blocks compiled by OpenVINO (extra ``openvino``). ``"torch"`` runs everywhere.
        ``"auto"`` is native on a CPU with its kernels, Triton on a CUDA GPU, else torch; resolved where tasks run.
        All engines give the same pixels except for the last bits, for any tiling.
    consistent : str, optional
        ``"mean"``: the mean of the ``scale`` x ``scale`` new pixels of a pixel is that pixel, to the digit in integer
        types, so sums, photon counts and indices such as NDVI do not change at the old resolution.
        ``"psf=SIGMA"``: the result, blurred by a Gaussian of SIGMA input pixels and averaged over each pixel's area,
        gives the input (two steps of back-projection); ``"kernel=1/4/4/1"``, or a text file of such weights: blurred
        by them along each axis. With ``",noise=N"`` behind it a value may be off by N stored units. For models that
        enlarge.
    along : str, optional
        For a model whose `ModelSpec.planes` is 3 or more: the axis whose neighbouring planes or frames enter with each
        plane, such as ``"Z"`` or ``"T"``; by default the axis of its training. At both ends of the stack planes are
        reflected without repeating the end: before plane 0 lies plane 1.
    spread : bool
        With ``ensemble=8``: also return the standard deviation of the eight results.
    interval : float, optional
        Also return half widths of intervals that hold this percentage of the true values, such as 90.
    calibration : path, optional
        With ``interval``: a file that ``swin2sr-ops evaluate --calibrate`` wrote for this model.

    Returns
    -------
    dask.array.Array, or a tuple of them
        Lazy, with ``array``'s axes and dtype and ``scale`` times its Y and X. With ``spread`` or ``interval`` a tuple
        of arrays: this one, the deviations if asked for, and the half widths if asked for, both in the same unit,
        float32, NaN for invalid pixels. If they are computed together (``dask.compute``), the network runs once.

    Raises
    ------
    RequestError, ModelError, PlanError
        If array, model or tile do not fit; the message says what to do.

    Examples
    --------
    >>> import numpy as np, swin2sr_ops
    >>> stack = np.zeros((2, 40, 50), "uint16")
    >>> lazy = swin2sr_ops.restore(stack, axes="ZYX")
    >>> lazy.shape, lazy.dtype
    ((2, 80, 100), dtype('uint16'))
    """
    asked = RestoreRequest(
        model=model, axes=axes, scale=scale, halo=halo, tile=tile, range=range, device=device,
        precision=precision, nodata=nodata, ensemble=ensemble, engine=engine,
        consistent=consistent, along=along,
    ).validated()  # fmt: skip
    if spread:
        asked.placement.check_spread()
    array, order = _as_dask(array, axes)
    spec = resolve_model(model, scale=scale, channels=order.model_channels)
    order = order.banded(spec.channels)
    restorer = Restorer.at(spec, asked.placement)
    restorer.check_axes(order)
    sides = Sides(spread=spread, interval=interval_of([restorer], interval, calibration))
    plan = restorer.plan(order.shape[order.y], order.shape[order.x], _tile_size(array, order, restorer, tile))
    request = resolved_range(RangeRequest.parse(range))
    token = tokenize(array.name, restorer, order, plan.tile, request, nodata, sides)
    maps, graph = map_graph(array, order, request, nodata, token)
    name = f"swin2sr-restore-{token}"
    # One small value that all tiles share; it is sent once to every worker.
    setup = f"swin2sr-setup-{token}"
    graph[setup] = (_Setup(restorer.bare(), order, array.dtype, nodata, sides),)
    graph.update(_tile_graph(name, array, order, restorer, plan, (setup, maps)))
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[array])
    chunks = _out_chunks(order, plan)
    if not sides.names:
        return da.Array(layers, name, chunks=chunks, meta=np.empty((0,) * array.ndim, array.dtype))
    names = [(f"swin2sr-{one}-{token}", np.dtype(np.float32)) for one in sides.names]
    return tuple(
        da.Array(_taken(layers, name, one, i), one, chunks=chunks, meta=np.empty((0,) * array.ndim, dtype))
        for i, (one, dtype) in enumerate([(f"swin2sr-image-{token}", array.dtype), *names])
    )


def _taken(layers: HighLevelGraph, name: str, one: str, position: int) -> HighLevelGraph:
    """Add a layer to ``layers`` that takes one entry of each tuple in the layer ``name``."""
    keys = [key for key in layers.layers[name] if key[0] == name]
    taken = {(one, *key[1:]): (getitem, key, position) for key in keys}
    return HighLevelGraph({**layers.layers, one: taken}, {**layers.dependencies, one: {name}})


def _as_dask(array: Any, axes: str | None) -> tuple[da.Array, AxisOrder]:
    """Validate the array before anything is built, and wrap it if it is not a Dask array."""
    if isinstance(array, (str, bytes, PathLike)):
        raise RequestError(f"{fsdecode(array)!r} is a path, and restore takes an array: use swin2sr_ops.restore_image.")
    array = readable(array)
    order = AxisOrder.of(array.shape, axes)
    whole = (order.colour,)
    if not isinstance(array, da.Array):
        side = {order.y: LARGEST_TILE, order.x: LARGEST_TILE}
        array = da.from_array(array, chunks=tuple(-1 if a in whole else side.get(a, 1) for a in range_of(array.ndim)))
    elif order.colour is not None and len(array.chunks[order.colour]) > 1:
        array = array.rechunk({order.colour: -1})
    return array, order


def _tile_size(
    array: da.Array, order: AxisOrder, restorer: Restorer, tile: int | Sequence[int] | None
) -> tuple[int, int]:
    """Return the given tile size, or one by model and chunks only: the same call has the same keys on any machine."""
    if tile is not None:
        return tile_size(tile)
    size = order.shape[order.y], order.shape[order.x]
    fit = fit_tile(restorer.spec, size, LAZY_MEMORY, restorer.placement)
    chunk = max(array.chunks[order.y]), max(array.chunks[order.x])
    rows, columns = (t // c * c if 32 <= c <= t else t for t, c in zip(fit, chunk, strict=True))
    return rows, columns


def _out_chunks(order: AxisOrder, plan: TilePlan) -> tuple[tuple[int, ...], ...]:
    chunks: list[tuple[int, ...]] = [(1,) * n for n in order.shape]
    for axis, spans in ((order.y, plan.rows), (order.x, plan.columns)):
        chunks[axis] = tuple(span.write[1] - span.write[0] for span in spans)
    if order.colour is not None:
        chunks[order.colour] = (order.colours,)
    return tuple(chunks)


@dataclass(frozen=True)
class _Setup:
    """Values that all tasks of one call share."""

    restorer: Restorer
    order: AxisOrder
    dtype: np.dtype[Any]
    nodata: float | None
    sides: Sides = field(default_factory=Sides)

    def __call__(self) -> _Setup:
        return self


@dataclass(frozen=True)
class _TileTask:
    """Assemble one tile's region from source chunks and restore it.

    ``owned`` is ``(y0, y1, x0, x1)``; ``pieces`` holds, for each source chunk, the target slices in the
    region and the slices of the chunk; ``depth`` the planes, if neighbours enter with each.
    """

    owned: tuple[int, int, int, int]
    shape: tuple[int, ...]
    pieces: tuple[tuple[Region, Region], ...]
    channel: int
    depth: Depth | None = None

    def __call__(self, blocks: list[NDArray[Any]], setup: _Setup, maps: tuple[IntensityMap, ...]) -> Any:
        region = np.empty(self.shape, setup.dtype)
        for (target, part), block in zip(self.pieces, blocks, strict=True):
            region[target] = _piece(readable_block(block, setup.dtype), target, part)
        restorer, order = setup.restorer, setup.order
        y0, y1, x0, x1 = self.owned
        tile = replace(restorer.flat_tile(order, (y0, y1), (x0, x1)), depth=self.depth)
        ends = maps[self.channel if len(maps) > 1 else 0]
        sides, spread = setup.sides, None
        if not sides.passes(restorer):
            result = restorer.restore_tile(region, order, tile, [ends], setup.nodata)
        else:
            result, spread = restorer.restore_tile_with_spread(region, order, tile, [ends], setup.nodata)
        if not sides.names:
            return result
        beside = sides.of_pixels(result, own_pixels(region, order, tile), spread, ends, order)
        if sides.flags:
            size = order.shape[order.y], order.shape[order.x]
            plan = TilePlan(restorer.spec, *size, size, restorer.placement)
            beside = sides.with_flags(beside, plane_flags(region, order, tile, plan, setup.nodata))
        return (result, *(beside[name] for name in sides.names))


def _piece(block: NDArray[Any], target: Region, part: Region) -> NDArray[Any]:
    """Return the part of a chunk that belongs at ``target``; an array of one row would be repeated there."""
    piece = block[part]
    if piece.shape != tuple(one.stop - one.start for one in target):
        raise RequestError(
            f"A chunk of the array has the shape {block.shape}, which is smaller than the array declares: correct the"
            " shape in the Dask function that makes it, or call array.compute_chunk_sizes() first."
        )
    return piece


def _tile_graph(
    name: str, array: da.Array, order: AxisOrder, restorer: Restorer, plan: TilePlan, shared: tuple[str, str]
) -> dict[Any, Any]:
    """Create one task per tile and plane."""
    starts = [np.concatenate(([0], np.cumsum(c))).tolist() for c in array.chunks]
    graph: dict[Any, Any] = {}
    planes = list(product(*(range_of(order.shape[a]) for a in order.planes)))
    for (i, y), (j, x) in product(enumerate(plan.rows), enumerate(plan.columns)):
        for plane in planes:
            chosen = {a: slice(p, p + 1) for a, p in zip(order.planes, plane, strict=True)}
            tile = restorer.with_planes(Tile(y, x), order, chosen)
            region = tile_region(order, tile, chosen)
            keys, pieces = _cover(array.name, starts, region)
            channel = 0 if order.channel is None else chosen[order.channel].start
            shape = tuple(s.stop - s.start for s in region)
            task = _TileTask((y.start, y.stop, x.start, x.stop), shape, pieces, channel, tile.depth)
            index = {order.y: i, order.x: j, **{a: s.start for a, s in chosen.items()}}
            graph[(name, *(index.get(a, 0) for a in range_of(array.ndim)))] = (task, keys, *shared)
    return graph


def _cover(name: str, starts: list[list[int]], region: Region) -> tuple[list[Any], tuple[tuple[Region, Region], ...]]:
    """Find the source chunks that overlap ``region``, with target and source slices of each overlap."""
    per_axis = []
    for edges, wanted in zip(starts, region, strict=True):
        first = int(np.searchsorted(edges, wanted.start, side="right")) - 1
        found = []
        while edges[first] < wanted.stop:
            lo, hi = max(edges[first], wanted.start), min(edges[first + 1], wanted.stop)
            if lo < hi:
                target = slice(lo - wanted.start, hi - wanted.start)
                found.append((first, target, slice(lo - edges[first], hi - edges[first])))
            first += 1
            if first == len(edges) - 1:
                break
        per_axis.append(found)
    keys, pieces = [], []
    for chunk in product(*per_axis):
        keys.append((name, *(c[0] for c in chunk)))
        pieces.append((tuple(c[1] for c in chunk), tuple(c[2] for c in chunk)))
    return keys, tuple(pieces)
