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
from swin2sr_ops.devices import ITEMSIZE, check_precision, choose_device, choose_dtype, free_memory, is_out_of_memory
from swin2sr_ops.errors import RequestError, TileError
from swin2sr_ops.plan import Halo, Span, Tile, TilePlan, check_halo
from swin2sr_ops.plugins import build_network, resolve_model
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.tiling import fill_region, fit_tile, tile_size
from swin2sr_ops.values import IntensityMap, fill_invalid, invalid_pixels, range_limits, stored_nodata

if TYPE_CHECKING:
    import torch

    from swin2sr_ops.nets.engine import TileEngine
    from swin2sr_ops.overlap import BlockGrid

__all__ = ["Restorer"]

_log = logging.getLogger(__name__)
_engines: dict[tuple[Any, ...], TileEngine] = {}
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
    device, precision : str
        ``"auto"`` or a torch device; ``"auto"`` (float32), ``"float32"``, ``"float64"`` or ``"bfloat16"``.

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
    ) -> None:
        self.spec = resolve_model(model)
        check_halo(halo, self.spec)
        self.halo = halo
        self.device = device
        self.precision = check_precision(precision)
        self._too_large = sys.maxsize  # read pixels of the smallest tile that there was no memory for

    def __repr__(self) -> str:
        return f"Restorer({self.spec.name!r}, halo={self.halo!r}, device={self.device!r}, precision={self.precision!r})"

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return (type(self).__name__, self.spec.to_dict(), self.halo, self.device, self.precision)

    def bare(self) -> Restorer:
        """The same restorer without the model's history and figures: what tasks need to carry."""
        return Restorer(_without_history(self.spec), halo=self.halo, device=self.device, precision=self.precision)

    # --- planning ---------------------------------------------------------------------------

    def plan(self, height: int, width: int, tile: int | tuple[int, int] | None = None) -> TilePlan:
        """Cut a plane of ``height`` x ``width`` pixels, by default into tiles that fit the free memory."""
        if tile is None:
            free = free_memory(choose_device(self.device))
            tile = fit_tile(self.spec, (height, width), free, self.halo, self.precision)
        return TilePlan(self.spec, height, width, tile_size(tile), self.halo, ITEMSIZE[self.precision])

    # --- computing --------------------------------------------------------------------------

    def restore_tile(
        self,
        block: NDArray[Any],
        order: AxisOrder,
        tile: Tile,
        maps: Sequence[IntensityMap],
        nodata: float | None = None,
    ) -> NDArray[Any]:
        """Restore one tile of every plane in a block.

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

        Returns
        -------
        ndarray
            ``block``'s axes and dtype, ``rows scale`` x ``columns scale`` pixels.
        """
        planes = block.transpose(order.order)
        kept = planes.shape[: len(order.planes)]
        colours, rows, columns = order.colours, *planes.shape[-2:]
        planes = planes.reshape(-1, colours, rows, columns)
        channel = _channel_of_plane(order, kept)
        s = self.spec.scale
        out = np.empty((len(planes), colours, tile.shape[0] * s, tile.shape[1] * s), block.dtype)
        for i, plane in enumerate(planes):
            out[i] = self._plane(plane, tile, maps[channel[i] if len(maps) > 1 else 0], nodata)
        colour_axis = () if order.colour is None else (colours,)
        out = out.reshape(*kept, *colour_axis, *out.shape[-2:])
        return out.transpose(np.argsort(order.order))

    def _plane(self, plane: NDArray[Any], tile: Tile, ends: IntensityMap, nodata: float | None) -> NDArray[Any]:
        """``(colours, rows, columns)`` of the tile's region -> its restored pixels."""
        s = self.spec.scale
        out = np.empty((len(plane), *(n * s for n in tile.shape)), plane.dtype)
        groups = channel_groups(len(plane), self.spec.channels)
        for group in groups:
            pixels = plane[list(group)]
            invalid = invalid_pixels(pixels, nodata)
            if invalid is not None:
                rest = (ends.lo + ends.hi) / 2
                pixels = np.stack([fill_invalid(p, bad, rest) for p, bad in zip(pixels, invalid, strict=True)])
            result = self._group(pixels, tile, ends, nodata)
            if invalid is not None:
                self._return_holes(result, plane[list(group)], invalid, tile)
            out[list(group)] = result
        for i in sorted(set(range(len(plane))) - {i for group in groups for i in group}):
            # Opacity is no picture: each pixel's value is kept.
            out[i] = _owned(plane[i : i + 1], tile)[0].repeat(s, 0).repeat(s, 1)
        return out

    def _return_holes(self, result: NDArray[Any], stored: NDArray[Any], invalid: NDArray[np.bool_], tile: Tile) -> None:
        """Put NaN, infinity and nodata back where they were, each pixel enlarged to scale x scale."""
        s = self.spec.scale
        holes = _owned(invalid, tile).repeat(s, 1).repeat(s, 2)
        result[holes] = _owned(stored, tile).repeat(s, 1).repeat(s, 2)[holes]

    def _group(self, pixels: NDArray[Any], tile: Tile, ends: IntensityMap, nodata: float | None) -> NDArray[Any]:
        """Channels that enter the network together, filled -> restored, in storage type."""
        import torch

        device, dtype = choose_device(self.device), choose_dtype(self.precision)
        region = _network_region(pixels, tile)
        stored = torch.from_numpy(np.ascontiguousarray(region, region.dtype.newbyteorder("=")))
        # Stored types cross the bus, where the device knows them; Apple's knows no double.
        wide = torch.float64 if torch.float64 in (stored.dtype, dtype) else torch.float32
        x = stored.to(wide) if device.type == "mps" else stored.to(device).to(wide)
        x = (x - ends.lo) / (ends.width or 1.0)
        x = x.to(torch.promote_types(dtype, torch.float32)).to(device)
        lone = len(pixels) == 1 and self.spec.channels == 3
        with _device_lock(device):
            y = self._run(x.expand(self.spec.channels, -1, -1), tile)
        if not torch.isfinite(y).all():
            raise TileError(
                f"{self.spec.name} gave values that are not finite at {tile} in {self.precision} precision; "
                "use precision='float32'."
            )
        y = y.mean(0, keepdim=True) if lone else y
        y = y.cpu() if device.type == "mps" else y
        return _store(y.to(wide) * ends.width + ends.lo, pixels.dtype, nodata)

    def _run(self, x: torch.Tensor, tile: Tile) -> torch.Tensor:
        """The engine on one tile; where the device has no memory for it, on its two halves.

        What did not fit once is not tried again by this restorer.
        """
        area = (tile.y.read[1] - tile.y.read[0]) * (tile.x.read[1] - tile.x.read[0])
        smallest = max(tile.shape) < 2 * self.spec.window
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

    def engine(self) -> TileEngine:
        """The loaded network, shared by everyone in this process who wants it on this device."""
        from swin2sr_ops.nets.engine import TileEngine

        device, dtype = choose_device(self.device), choose_dtype(self.precision)
        key = (_without_history(self.spec), str(device), dtype)
        with _engines_lock:
            if key not in _engines:
                _engines[key] = TileEngine(build_network(self.spec).to(device=device, dtype=dtype))
            return _engines[key]

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
            span = Span.of(start, start + chunks[location[axis]], sum(chunks), self.spec, self.halo)
            first = start - (grid.depth if location[axis] else 0)  # map_overlap gives border blocks no halo outwards
            lo, hi = fill_region(span)
            region[axis] = slice(lo - first, hi - first)
            spans.append(span)
        return self.restore_tile(block[tuple(region)], order, Tile(*spans), grid.maps)


def _without_history(spec: ModelSpec) -> ModelSpec:
    """What decides the result, and nothing that is long."""
    return replace(spec, provenance={}, quality={}, halo_error={}, advice="")


def _owned(pixels: NDArray[Any], tile: Tile) -> NDArray[Any]:
    """``(n, rows, columns)`` of the tile's region -> the pixels it owns."""
    (top, _), (left, _) = (fill_region(span) for span in (tile.y, tile.x))
    return pixels[:, tile.y.start - top : tile.y.stop - top, tile.x.start - left : tile.x.stop - left]


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


def _network_region(pixels: NDArray[Any], tile: Tile) -> NDArray[Any]:
    """Crop the filling margin and pad the image's right and bottom border: `Span.source` -> `Span.read`."""
    for axis, span in ((1, tile.y), (2, tile.x)):
        first = fill_region(span)[0]
        offset = span.source[0] - first
        pixels = pixels.take([offset + i for i in span.padding], axis=axis)
    return pixels


def _channel_of_plane(order: AxisOrder, kept: tuple[int, ...]) -> NDArray[np.int64]:
    """Index along the channel axis of each flattened plane; zeros without such an axis."""
    index = np.zeros(kept, np.int64)
    if order.channel is not None:
        position = order.planes.index(order.channel)
        shape = [1] * len(kept)
        shape[position] = kept[position]
        index = index + np.arange(kept[position]).reshape(shape)
    return index.ravel()


def _device_lock(device: torch.device) -> threading.Lock:
    """One network at a time per device: kernels use all of it, and memory is planned for one tile."""
    with _engines_lock:
        return _device_locks.setdefault(str(device), threading.Lock())
