"""A model at work on a device: the only place where NumPy meets torch.

A haloed block of stored pixels goes in, the restored pixels of its tile come out, in the same
storage type. Copies to the device are made in storage type, everything else happens there.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.axes import AxisOrder, channel_groups
from swin2sr_ops.devices import (
    ITEMSIZE,
    auto_precision,
    check_precision,
    choose_device,
    choose_dtype,
    free_memory,
    is_out_of_memory,
)
from swin2sr_ops.engines import check_engine, choose_engine, why_engine
from swin2sr_ops.ensemble import Average, check_ensemble, turns
from swin2sr_ops.errors import RequestError, TileError
from swin2sr_ops.layers import GROUP_CELLS, cell_side
from swin2sr_ops.masks import block_valid
from swin2sr_ops.plan import Halo, Span, Tile, TilePlan, check_halo, within
from swin2sr_ops.planes import Tally, channel_of_plane, enlarged, network_region, owned
from swin2sr_ops.plugins import build_network, resolve_model
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.tiling import fill_region, fit_tile, tile_size
from swin2sr_ops.values import IntensityMap, fill_invalid, invalid_pixels, range_limits, stored_nodata

if TYPE_CHECKING:
    import torch

    from swin2sr_ops.nets.engine import TileEngine
    from swin2sr_ops.nets.foreign import CellEngine
    from swin2sr_ops.overlap import BlockGrid

__all__ = ["Restorer"]

_log = logging.getLogger(__name__)
_engines: dict[tuple[Any, ...], TileEngine | CellEngine] = {}
_engines_lock = threading.Lock()
_device_locks: dict[str, threading.Lock] = {}


class Restorer:
    """A loaded model on a device.

    Pickles as its model's spec and settings; every process loads a model once per device.

    Parameters
    ----------
    model : str, path or ModelSpec
        Catalogue name, ``"auto"`` (the shipped model for three channels, x2), a checkpoint, or a spec.
    halo : "exact" or int
        See `swin2sr_ops.restore`.
    ensemble : int
        8: the image is also restored mirrored and rotated, and the eight results averaged.
    device, precision : str
        ``"auto"`` or a torch device; ``"float32"``, ``"float64"``, ``"bfloat16"``, or ``"auto"``: bfloat16 on CUDA GPUs
        that are made for it, else float32; decided where it first computes, or where a run of files begins, for
        all of its workers.
    engine : str
        See `swin2sr_ops.restore`. ``"auto"`` is decided where it first computes, or where a run of files begins, for
        all of its workers that have a device of that kind.

    Examples
    --------
    >>> restorer = Restorer("tiny-x2-rgb")  # doctest: +SKIP
    >>> options = restorer.map_overlap_options(array, axes="YXC")  # doctest: +SKIP
    >>> result = dask.array.map_overlap(restorer, array, **options)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | PathLike[str] | ModelSpec = "auto",
        *,
        halo: Halo = "exact",
        device: str = "auto",
        precision: str = "auto",
        ensemble: int = 1,
        engine: str = "auto",
    ) -> None:
        spec = resolve_model(model)
        check_halo(halo, spec)
        self.spec = within(spec, halo)
        self.halo = halo
        self.device = device
        self.asked_precision = self._settled = check_precision(precision)
        self.ensemble = check_ensemble(ensemble)
        self.engine_name = check_engine(engine, precision, foreign=spec.reach is not None)
        self._engines: dict[str, str] = {}  # chosen for a kind of device
        self._too_large = sys.maxsize  # read pixels of the smallest tile that there was no memory for
        self._skipped = Tally()

    def __repr__(self) -> str:
        told = f"halo={self.halo!r}, device={self.device!r}, precision={self.asked_precision!r}"
        told += ", ensemble=8" if self.ensemble > 1 else ""
        told += f", engine={self.engine_name!r}" if self.engine_name not in ("auto", "torch") else ""
        return f"Restorer({self.spec.name!r}, {told})"

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        way = self.halo, self.device, self.asked_precision, self.ensemble, self.engine_name
        return (type(self).__name__, self.spec.to_dict(), *way)

    @property
    def precision(self) -> str:
        """What it computes in; of ``"auto"``, what that was where it was first asked."""
        if self._settled == "auto":
            self._settled = auto_precision(self.device, foreign=self.spec.reach is not None)
        return self._settled

    def bare(self) -> Restorer:
        """The same restorer without the model's history and figures: what tasks need to carry."""
        return Restorer(
            _without_history(self.spec),
            halo=self.halo,
            device=self.device,
            precision=self.asked_precision,
            ensemble=self.ensemble,
            engine=self.engine_name,
        )

    @property
    def skipped(self) -> int:
        """Tiles of planes, in this process, that had no valid pixel and did not enter the network."""
        return self._skipped.count

    # --- planning ---------------------------------------------------------------------------

    def plan(
        self, height: int, width: int, tile: int | tuple[int, int] | None = None, memory: int | None = None
    ) -> TilePlan:
        """Cut a plane of ``height`` x ``width`` pixels, by default into tiles that fit ``memory``, or what is free."""
        if tile is None:
            device = choose_device(self.device)
            free = free_memory(device) if memory is None else memory
            cells = 1 if device.type == "cpu" else GROUP_CELLS
            tile = fit_tile(self.spec, (height, width), free, self.halo, self.precision, self.ensemble, cells)
        sizes = height, width, tile_size(tile)
        return TilePlan(self.spec, *sizes, self.halo, ITEMSIZE[self.asked_precision], self.ensemble)

    # --- computing --------------------------------------------------------------------------

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

        Pixels that are none (NaN, infinity, ``nodata``, not ``valid``) come back as they are stored, each
        ``scale`` x ``scale`` times. Where a tile owns no others, the network does not run.

        Parameters
        ----------
        block : ndarray
            Stored pixels of `tile_region`, all axes of the image in their order.
        order : AxisOrder
            Axes of the image; its shape is not looked at except for the colour axis.
        tile : Tile
            The spans along Y and X.
        maps : sequence of IntensityMap
            One for the image, or one per channel of the block.
        nodata : float, optional
            Stored value that means "no pixel here".
        valid : ndarray of bool, optional
            Of the same region: False where there is no pixel, whatever is stored. It has the block's
            axes, each of the block's length or 1 (``(1, rows, columns)`` for all planes of a stack,
            ``(channels, rows, columns)`` for each its own), or it is ``(rows, columns)`` for all planes of
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
        """`restore_tile`, and the standard deviation of the ensemble's passes in stored units, float32.

        It is NaN where there is no pixel, and zero for opacity.
        """
        check_ensemble(self.ensemble, spread=True)
        s = self.spec.scale
        shape = list(block.shape)
        shape[order.y], shape[order.x] = tile.shape[0] * s, tile.shape[1] * s
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
        """Restore a tile, and write into ``spread``, of the result's shape, where it is given."""
        planes = block.transpose(order.order)
        kept, colours = planes.shape[: len(order.planes)], order.colours
        planes = planes.reshape(-1, colours, *planes.shape[-2:])
        known = None if valid is None else block_valid(valid, block.shape, order).transpose(order.order)
        channel = channel_of_plane(order, kept)
        s = self.spec.scale
        out = np.empty((len(planes), colours, tile.shape[0] * s, tile.shape[1] * s), block.dtype)
        wide = None if spread is None else spread.transpose(order.order)  # a view: what is written there stays
        for i, index in enumerate(np.ndindex(kept)):
            mask = None if known is None else known[index].reshape(planes.shape[1:])
            ends = maps[channel[i] if len(maps) > 1 else 0]
            one = None if wide is None else wide[index].reshape(out.shape[1:])
            out[i] = self._plane(planes[i], tile, ends, nodata, mask, one)
            if wide is not None and one is not None:
                wide[index] = one.reshape(wide[index].shape)
        colour_axis = () if order.colour is None else (colours,)
        out = out.reshape(*kept, *colour_axis, *out.shape[-2:])
        return out.transpose(np.argsort(order.order))

    def _plane(
        self,
        plane: NDArray[Any],
        tile: Tile,
        ends: IntensityMap,
        nodata: float | None,
        valid: NDArray[np.bool_] | None,
        spread: NDArray[np.float32] | None,
    ) -> NDArray[Any]:
        """``(colours, rows, columns)`` of the tile's region -> its restored pixels."""
        s = self.spec.scale
        out = np.empty((len(plane), *(n * s for n in tile.shape)), plane.dtype)
        kept = set(range(len(plane)))
        for group in channel_groups(len(plane), self.spec.channels):
            pixels = plane[list(group)]
            invalid = invalid_pixels(pixels, nodata, None if valid is None else valid[list(group)])
            if invalid is not None and owned(invalid, tile).all():
                if spread is not None:
                    spread[list(group)] = np.nan
                continue
            kept -= set(group)
            if invalid is not None:
                rest = (ends.lo + ends.hi) / 2
                pixels = np.stack([fill_invalid(p, bad, rest) for p, bad in zip(pixels, invalid, strict=True)])
            result, apart = self._group(pixels, tile, ends, nodata, spread is not None)
            if invalid is not None:
                holes = enlarged(owned(invalid, tile), s)
                result[holes] = enlarged(owned(plane[list(group)], tile), s)[holes]
                if apart is not None:
                    apart[holes] = np.nan
            out[list(group)] = result
            if spread is not None and apart is not None:
                spread[list(group)] = apart
        # Opacity is no picture, nor is a tile without a valid pixel: each pixel's value is kept.
        stored = sorted(kept)
        out[stored] = enlarged(owned(plane[stored], tile), s)
        self._skipped.add(len(stored) == len(plane))
        return out

    def _group(
        self, pixels: NDArray[Any], tile: Tile, ends: IntensityMap, nodata: float | None, spread: bool
    ) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """Channels that enter the network together, filled -> restored, in storage type; and the passes' spread."""
        import torch

        device, dtype = choose_device(self.device), choose_dtype(self.precision)
        wide = torch.float64 if "float64" in (pixels.dtype.name, self.precision) else torch.float32
        passes, average = turns(self.ensemble), Average(spread)
        for turn in passes:
            region, turned = network_region(pixels, tile, turn), turn.tile(tile)
            stored = torch.from_numpy(np.ascontiguousarray(region, region.dtype.newbyteorder("=")))
            # Stored types cross the bus, where the device knows them; Apple's knows no double.
            x = stored.to(wide) if device.type == "mps" else stored.to(device).to(wide)
            x = (x - ends.lo) / (ends.width or 1.0)
            y = self._pass(x.to(torch.promote_types(dtype, torch.float32)).to(device), turned, device)
            average.add(turn.back(y), len(passes))
        y, apart = average.mean, average.spread
        y = y.cpu() if device.type == "mps" else y
        told = None if apart is None else (apart.cpu().double() * ends.width).float().numpy()
        return _store(y.to(wide) * ends.width + ends.lo, pixels.dtype, nodata), told

    def _pass(self, x: torch.Tensor, tile: Tile, device: torch.device) -> torch.Tensor:
        """``(1 or C, rows, columns)`` of the network's region -> as many channels of the tile."""
        import torch

        with _device_lock(device):
            y = self._run(x.expand(self.spec.channels, -1, -1), tile)
        if not torch.isfinite(y).all():
            raise TileError(
                f"{self.spec.name} gave values that are not finite at {tile} in {self.precision} precision; "
                "use precision='float32'."
            )
        return y.mean(0, keepdim=True) if len(x) < self.spec.channels else y

    def _run(self, x: torch.Tensor, tile: Tile) -> torch.Tensor:
        """The engine on one tile; where the device has no memory for it, on its two halves.

        What did not fit once is not tried again by this restorer.
        """
        area = (tile.y.read[1] - tile.y.read[0]) * (tile.x.read[1] - tile.x.read[0])
        smallest = max(tile.shape) < (2 * self.spec.window if self.spec.reach is None else 2 * cell_side(self.spec))
        if area < self._too_large or smallest:
            try:
                return self.engine().run(x, tile)["image"]
            except (RuntimeError, MemoryError) as exc:
                if not is_out_of_memory(exc):
                    raise TileError(f"{self.spec.name} failed at {tile}, block {tuple(x.shape)}: {exc}") from exc
                if smallest:
                    raise TileError(
                        f"Not even a tile of {tile.shape[0]} x {tile.shape[1]} px of {self.spec.name} fits the memory "
                        f"of device {self.device!r} ({exc}). Free some, or use device='cpu'."
                    ) from exc
            # Out of the `except`: the error holds the failed attempt's tensors as long as it lives.
            _log.warning("no memory for a tile of %d x %d px of %s: going on in halves", *tile.shape, self.spec.name)
            self._too_large = area
            gc.collect()
            if x.device.type == "cuda":
                import torch

                torch.cuda.empty_cache()
        return self._run_halves(x, tile)

    def _run_halves(self, x: torch.Tensor, tile: Tile) -> torch.Tensor:
        import torch

        rows = tile.shape[0] >= tile.shape[1]
        longer = tile.y if rows else tile.x
        parts = []
        for span in longer.split(self.spec, self.halo):
            lo, hi = (edge - longer.read[0] for edge in span.read)
            part = x[:, lo:hi] if rows else x[:, :, lo:hi]
            parts.append(self._run(part, Tile(span, tile.x) if rows else Tile(tile.y, span)))
        return torch.cat(parts, 1 if rows else 2)

    def engine(self) -> TileEngine | CellEngine:
        """The loaded network, shared by everyone in this process who wants it on this device."""
        from swin2sr_ops.nets.foreign import engine_of

        device, dtype, engine = self.place()
        key = (_without_history(self.spec), str(device), dtype, engine)
        with _engines_lock:
            if key not in _engines:
                net = build_network(self.spec).to(device)
                _engines[key] = engine_of(net, self.spec, dtype=dtype, kernels=engine.split()[0])
            return _engines[key]

    def place(self) -> tuple[torch.device, torch.dtype, str]:
        """Device, precision and engine that this process computes with.

        An engine that was chosen once stays, also for the workers to which this is sent, on devices of that kind.
        """
        device, dtype = choose_device(self.device), choose_dtype(self.precision)
        asked = self._engines.get(device.type, self.engine_name)
        engine = choose_engine(asked, device, dtype, self.spec)
        self._engines[device.type] = engine.split()[0]
        return device, dtype, engine

    def why(self) -> str:
        """Why it is computed by that engine."""
        device, dtype = choose_device(self.device), choose_dtype(self.precision)
        return why_engine(self.engine_name, device, dtype, self.spec)

    def release(self) -> None:
        """Let go of the network, in this process; it is loaded again when it is needed."""
        device, dtype, engine = self.place()
        with _engines_lock:
            _engines.pop((_without_history(self.spec), str(device), dtype, engine), None)
        if device.type == "cuda":
            import torch

            torch.cuda.empty_cache()

    # --- dask.array.map_overlap ---------------------------------------------------------------

    def map_overlap_options(
        self,
        array: Any,
        *,
        axes: str | None = None,
        range: str | Sequence[float] = "dtype",
    ) -> dict[str, Any]:
        """Keyword arguments with which ``dask.array.map_overlap(restorer, array, **options)`` is right.

        Parameters
        ----------
        array : dask.array.Array
            Its chunks along Y and X must be at least as large as the returned ``depth``.
        axes : str, optional
            One letter per dimension.
        range : str or pair
            ``"dtype"`` or two values; what needs a look at the pixels (``"auto"`` beyond 8 bits,
            percentiles) is `swin2sr_ops.restore`'s.

        Raises
        ------
        RequestError
            If chunks are smaller than the halo (the sentence says to which size to rechunk).
        """
        from swin2sr_ops.overlap import overlap_options

        return overlap_options(self.spec, self.halo, array, axes, range)

    def __call__(
        self,
        block: NDArray[Any],
        grid: BlockGrid | None = None,
        block_info: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> NDArray[Any]:
        """Restore a block that carries its halo, as ``dask.array.map_overlap`` passes it."""
        if grid is None or not block_info:
            raise RequestError(
                "A Restorer is called by dask.array.map_overlap with the options of `map_overlap_options`: a block "
                "does not say where it lies. For a whole array use swin2sr_ops.restore(array)."
            )
        order = grid.order
        location = block_info[0]["chunk-location"]
        spans, region = [], [slice(None)] * block.ndim
        for axis in (order.y, order.x):
            chunks = grid.chunks[axis]
            start = sum(chunks[: location[axis]])
            stop, mirror = start + chunks[location[axis]], self.ensemble > 1
            span = Span.of(start, stop, sum(chunks), self.spec, self.halo, mirror=mirror)
            first = start - (grid.depth if location[axis] else 0)  # map_overlap gives border blocks no halo outwards
            lo, hi = fill_region(span)
            region[axis] = slice(lo - first, hi - first)
            spans.append(span)
        return self.restore_tile(block[tuple(region)], order, Tile(*spans), grid.maps)


def _without_history(spec: ModelSpec) -> ModelSpec:
    """What decides the result, and nothing that is long."""
    return replace(spec, provenance={}, quality={}, halo_error={}, advice="")


def _store(y: torch.Tensor, dtype: np.dtype[Any], nodata: float | None) -> NDArray[Any]:
    """Round and clip to the storage type; a valid pixel becomes neither nodata nor infinite."""
    import torch

    limits = (float(np.finfo(dtype).min), float(np.finfo(dtype).max)) if dtype.kind == "f" else range_limits(dtype)
    y = y.clamp(*limits) if dtype.kind == "f" else y.round().clamp(*limits)
    name = "float32" if dtype.name == "float16" else dtype.name
    kind: torch.dtype = getattr(torch, name)
    result: NDArray[Any] = y.to(kind).cpu().numpy().astype(dtype, copy=False)
    hole = stored_nodata(nodata, dtype)
    if hole is not None:
        up = bool(hole < limits[1])
        beyond = np.array(limits[1] if up else limits[0], dtype)
        near = np.nextafter(hole, beyond) if dtype.kind == "f" else (hole + 1 if up else hole - 1)
        result[result == hole] = near
    return result


def _device_lock(device: torch.device) -> threading.Lock:
    """One network at a time per device: kernels use all of it, and memory is planned for one tile."""
    with _engines_lock:
        return _device_locks.setdefault(str(device), threading.Lock())
