"""Restore tiles with a model on a device: plan them, cut blocks into planes, adapt ``dask.array.map_overlap``.

The input is a block of stored pixels with a halo, the output the restored pixels of its tile, in the same
storage type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.calls import suggest_keywords
from swin2sr_ops.engine.devices import choose_device, free_memory
from swin2sr_ops.engine.overlap import BlockGrid, block_in_image, overlap_options
from swin2sr_ops.engine.parallel import usable_cores
from swin2sr_ops.engine.plane_restorer import PlaneRestorer
from swin2sr_ops.engine.runner import Network, without_history
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.geometry.back_projection import margin_of
from swin2sr_ops.geometry.neighbours import depth_of, neighbour_axis
from swin2sr_ops.geometry.plan import Span, Tile, TilePlan, check_halo, within
from swin2sr_ops.geometry.steps import GROUP_CELLS, Interval
from swin2sr_ops.geometry.tiles import fit_tile, tile_region, tile_size
from swin2sr_ops.hooks.dispatch import resolve_model
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.pixels.masks import block_valid, shown_pixels
from swin2sr_ops.pixels.planes import channel_of_plane, owned_planes
from swin2sr_ops.placement import Halo, Placement
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.qualities import views_of

__all__ = ["Restorer"]


class Restorer:
    """A loaded model on a device.

    Pickles as its model's spec and settings; every process loads a model once per device.

    Parameters
    ----------
    model : str, path or ModelSpec
        ``"fast"``, ``"good"`` (the same as ``"auto"``) or ``"best"``: a shipped x2 model for three channels; a
        catalogue name, a checkpoint, or a spec.
    halo : "exact" or int
        See `swin2sr_ops.restore`.
    ensemble : int
        8: the image is also restored mirrored and rotated, and the eight results are averaged.
    device, precision : str
        ``"auto"`` or a torch device; ``"float32"``, ``"float64"``, ``"bfloat16"``, or ``"auto"``: bfloat16 on CUDA GPUs
        with fast bfloat16, else float32; resolved at the first computation, or at the start of a run of files for
        all of its workers.
    consistent, along : str, optional
        See `swin2sr_ops.restore`.
    engine : str
        See `swin2sr_ops.restore`. ``"auto"`` is resolved at the first computation, or at the start of a run of files
        for all of its workers with a device of that kind.

    Examples
    --------
    >>> restorer = Restorer("tiny-x2-rgb")  # doctest: +SKIP
    >>> options = restorer.map_overlap_options(array, axes="YXC")  # doctest: +SKIP
    >>> result = dask.array.map_overlap(restorer, array, **options)  # doctest: +SKIP
    """

    @suggest_keywords
    def __init__(
        self,
        model: str | PathLike[str] | ModelSpec = "auto",
        *,
        halo: Halo = "exact",
        device: str = "auto",
        precision: str = "auto",
        ensemble: int = 1,
        engine: str = "auto",
        consistent: str | None = None,
        along: str | None = None,
    ) -> None:
        spec = resolve_model(model)
        asked = Placement(device, precision, engine, halo, ensemble, consistent, along)
        self.placement = asked.with_views(views_of(model))
        if consistent is not None and spec.scale == 1:
            raise RequestError(
                f"consistent={consistent!r} binds the new pixels of each pixel, and {spec.name!r} makes one of one:"
                " leave it out, or choose a model that enlarges."
            )
        if along is not None and spec.planes == 1:
            raise RequestError(
                f"along={along!r} is the axis of neighbouring planes, and {spec.name!r} restores each plane alone:"
                " leave it out, or choose a model of several planes."
            )
        check_halo(halo, spec)
        self.spec, self.margin = within(spec, halo), margin_of(self.placement.consistent, spec.scale)
        self.network = Network(self.spec, self.placement)
        self._planes = PlaneRestorer(self.spec, self.placement, self.network)

    @classmethod
    def at(cls, spec: ModelSpec, placement: Placement) -> Restorer:
        """Return a restorer of a resolved model with this placement."""
        return cls(spec, **vars(placement))

    def __repr__(self) -> str:
        asked = self.placement
        shown = f"halo={asked.halo!r}, device={asked.device!r}, precision={asked.precision!r}"
        shown += ", ensemble=8" if asked.ensemble > 1 else ""
        shown += f", consistent={asked.consistent!r}" if asked.consistent is not None else ""
        shown += f", along={asked.along!r}" if asked.along is not None else ""
        shown += f", engine={asked.engine!r}" if asked.engine not in ("auto", "torch") else ""
        return f"Restorer({self.spec.name!r}, {shown})"

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        asked = self.placement
        settings = asked.halo, asked.device, asked.precision, asked.ensemble, asked.engine, asked.consistent
        return (type(self).__name__, self.spec.to_dict(), *settings, asked.along)

    @property
    def precision(self) -> str:
        """Precision of the computation; ``"auto"`` keeps the value of its first resolution."""
        return self.network.precision

    def bare(self) -> Restorer:
        """Copy the restorer without the model's history and figures, for use in tasks."""
        return Restorer.at(without_history(self.spec), self.placement)

    @property
    def skipped(self) -> int:
        """Number of plane tiles in this process without a valid pixel, which did not enter the network."""
        return self._planes.skipped.count

    # --- planning ---------------------------------------------------------------------------

    def plan(
        self,
        height: int,
        width: int,
        tile: int | tuple[int, int] | None = None,
        memory: int | None = None,
        *,
        in_order: bool = False,
    ) -> TilePlan:
        """Plan tiles for a plane of ``height`` x ``width`` pixels; by default they fit ``memory``, or the free memory.

        ``in_order`` declares that this process will restore all tiles in the plan's order, one channel group each:
        then, on a CPU, nothing is computed twice along Y.
        """
        streamed = in_order and self.network.can_stream and self.placement.ensemble == 1 and not self.margin
        if tile is None:
            free = free_memory(choose_device(self.placement.device)) if memory is None else memory
            cells = 1 if self.network.kind == "cpu" else GROUP_CELLS
            resolved = replace(self.placement, precision=self.precision)
            tile = fit_tile(self.spec, (height, width), free, resolved, cells, streamed, usable_cores())
        return TilePlan(self.spec, height, width, tile_size(tile), self.placement, streamed)

    def check_axes(self, order: AxisOrder) -> None:
        """Raise an error if the image lacks the axis whose neighbouring planes the model takes.

        Raises
        ------
        RequestError
            See `swin2sr_ops.geometry.neighbours.neighbour_axis`.
        """
        neighbour_axis(order, self.spec, self.placement.along)

    # --- computing --------------------------------------------------------------------------

    def tile(
        self, order: AxisOrder, rows: Interval, columns: Interval, planes: Mapping[int, slice] | None = None
    ) -> Tile:
        """Create the tile of a box of the image: what to read around it, compute and write.

        Parameters
        ----------
        order : AxisOrder
            Axes of the image.
        rows, columns : (int, int)
            Start and stop along Y and X, in input pixels.
        planes : mapping, optional
            Slices along axes that are not spatial; by default all planes.
        """
        return self.with_planes(self.flat_tile(order, rows, columns), order, planes)

    def flat_tile(self, order: AxisOrder, rows: Interval, columns: Interval) -> Tile:
        """Create the tile of a box as `tile` does, but without planes: `with_planes` adds them."""
        mirror = self.placement.ensemble > 1
        y, x = (
            Span.of(start, stop, order.shape[axis], self.spec, self.placement.halo, mirror=mirror, margin=self.margin)
            for axis, (start, stop) in ((order.y, rows), (order.x, columns))
        )
        return Tile(y, x)

    def with_planes(self, tile: Tile, order: AxisOrder, planes: Mapping[int, slice] | None = None) -> Tile:
        """Return ``tile`` for these planes: with their neighbours, if the model takes them."""
        if self.spec.planes == 1:
            return tile
        return replace(tile, depth=depth_of(order, self.spec, self.placement.along, planes))

    def restore_region(
        self,
        read: Callable[[tuple[slice, ...]], NDArray[Any]],
        order: AxisOrder,
        rows: Interval,
        columns: Interval,
        maps: Sequence[IntensityMap],
        *,
        planes: Mapping[int, slice] | None = None,
        nodata: float | None = None,
    ) -> NDArray[Any]:
        """Restore a box of the image: the pixels of one pass over the whole image.

        Parameters
        ----------
        read : callable
            Returns the stored pixels of a region, one slice with start and stop per axis of the image.
        order, rows, columns
            As in `tile`.
        maps : sequence of IntensityMap
            One map, or one per channel.
        planes : mapping, optional
            Slices along axes that are not spatial; by default all planes.
        nodata : float, optional
            See `restore_tile`.

        Returns
        -------
        ndarray
            With the image's axes, in storage type; ``scale`` times as many rows and columns as the box.
        """
        tile = self.tile(order, rows, columns, planes)
        return self.restore_tile(read(tile_region(order, tile, planes)), order, tile, maps, nodata)

    def restore_tile(
        self,
        block: NDArray[Any],
        order: AxisOrder,
        tile: Tile,
        maps: Sequence[IntensityMap],
        nodata: float | None = None,
        valid: NDArray[np.bool_] | None = None,
    ) -> NDArray[Any]:
        """Restore one tile of every plane in a block.

        Invalid pixels (NaN, infinity, ``nodata``, not ``valid``, opacity 0) are returned with their stored values, each
        ``scale`` x ``scale`` times. If a tile owns only invalid pixels, the network does not run.

        Parameters
        ----------
        block : ndarray
            Stored pixels of `tile_region`, all axes of the image in their order.
        order : AxisOrder
            Axes of the image; only the length of its colour axis is used.
        tile : Tile
            The spans along Y and X; its depth says which planes of the block are owned.
        maps : sequence of IntensityMap
            One for the image, or one per channel of the block.
        nodata : float, optional
            Stored value that marks invalid pixels.
        valid : ndarray of bool, optional
            Valid pixels of the same region, independent of stored values. It has the block's axes, each
            of the block's length or 1 (``(1, rows, columns)`` for all planes of a stack,
            ``(channels, rows, columns)`` for separate masks), or it is ``(rows, columns)`` for all planes of
            a block with more than two axes.

        Returns
        -------
        ndarray
            ``block``'s axes and dtype, ``rows scale`` x ``columns scale`` pixels.
        """
        return self._restore(block, order, tile, maps, nodata, valid, None)

    def restore_tile_with_spread(
        self,
        block: NDArray[Any],
        order: AxisOrder,
        tile: Tile,
        maps: Sequence[IntensityMap],
        nodata: float | None = None,
        valid: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Run `restore_tile`; also return the standard deviation of the ensemble's passes in stored units, float32.

        It is NaN for invalid pixels, and zero for opacity.
        """
        self.placement.check_spread()
        s = self.spec.scale
        shape = list(block.shape)
        shape[order.y], shape[order.x] = tile.shape[0] * s, tile.shape[1] * s
        if tile.depth is not None:
            shape[tile.depth.axis] = tile.depth.stop - tile.depth.start
        spread = np.zeros(shape, np.float32)
        return self._restore(block, order, tile, maps, nodata, valid, spread), spread

    def _restore(
        self,
        block: NDArray[Any],
        order: AxisOrder,
        tile: Tile,
        maps: Sequence[IntensityMap],
        nodata: float | None,
        valid: NDArray[np.bool_] | None,
        spread: NDArray[np.float32] | None,
    ) -> NDArray[Any]:
        """Restore a tile; also write into ``spread``, which has the result's shape, if it is given."""
        planes, colours = block.transpose(order.order), order.colours
        kept, entering = owned_planes(block.shape, order, tile.depth)
        valid = shown_pixels(block, order, None if valid is None else block_valid(valid, block.shape, order))
        known = None if valid is None else np.broadcast_to(valid, block.shape).transpose(order.order)
        channel = channel_of_plane(order, kept)
        s = self.spec.scale
        out = np.empty((math.prod(kept), colours, tile.shape[0] * s, tile.shape[1] * s), block.dtype)
        wide = None if spread is None else spread.transpose(order.order)  # a view: writing to it fills ``spread``
        for i, index in enumerate(np.ndindex(kept)):
            given = [planes[z].reshape(colours, *planes.shape[-2:]) for z in entering(index)]
            masks = [None if known is None else known[z].reshape(given[0].shape) for z in entering(index)]
            ends = maps[channel[i] if len(maps) > 1 else 0]
            one = None if wide is None else wide[index].reshape(out.shape[1:])
            out[i] = self._planes.restore(given, tile, ends, nodata, masks, one)
            if wide is not None and one is not None:
                wide[index] = one.reshape(wide[index].shape)
        colour_axis = () if order.colour is None else (colours,)
        out = out.reshape(*kept, *colour_axis, *out.shape[-2:])
        return out.transpose(np.argsort(order.order))

    # --- dask.array.map_overlap ---------------------------------------------------------------

    @suggest_keywords
    def map_overlap_options(
        self,
        array: Any,
        *,
        axes: str | None = None,
        range: str | Sequence[float] = "dtype",
    ) -> dict[str, Any]:
        """Return the keyword arguments for ``dask.array.map_overlap(restorer, array, **options)``.

        Parameters
        ----------
        array : dask.array.Array
            Its chunks along Y and X must be at least as large as the returned ``depth``.
        axes : str, optional
            One letter per dimension.
        range : str or pair
            ``"dtype"`` or two values. The default differs from that of `swin2sr_ops.restore`: a block does not know
            the image, and ranges that depend on all pixels (``"auto"`` beyond 8 bits, percentiles) need `restore`.

        Raises
        ------
        RequestError
            If chunks are smaller than the halo (the message states the size to rechunk to).
        """
        return overlap_options(self.spec, self.placement, array, axes, range, self.margin)

    def __call__(
        self,
        block: NDArray[Any],
        grid: BlockGrid | None = None,
        block_info: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> NDArray[Any]:
        """Restore a block that carries its halo, as ``dask.array.map_overlap`` passes it."""
        read, order, rows, columns, maps, planes = block_in_image(block, grid, block_info)
        return self.restore_region(read, order, rows, columns, maps, planes=planes)
