"""Restore planes of a tile: fill holes, group channels, run the passes of an ensemble, keep the input's means.

The only module where NumPy meets torch, for engines that need torch. Blocks are copied to the device in storage type;
everything else is computed there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.engine.arrays import rounded, stored_units, to_unit_range, wide_type
from swin2sr_ops.engine.devices import choose_device, torch_device
from swin2sr_ops.engine.ensemble import Average, turn_back
from swin2sr_ops.engine.runner import Network, exclusive_gpu
from swin2sr_ops.engine.transfers import to_host, to_network, to_storage, to_units
from swin2sr_ops.geometry.axes import channel_groups
from swin2sr_ops.geometry.back_projection import blur_of
from swin2sr_ops.geometry.orientations import turns
from swin2sr_ops.geometry.plan import Tile
from swin2sr_ops.pixels.back_projection import blur_consistent
from swin2sr_ops.pixels.consistency import mean_consistent
from swin2sr_ops.pixels.holes import fill_invalid, invalid_pixels, keep_valid
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.pixels.planes import Tally, enlarged, network_region, own_part, owned
from swin2sr_ops.placement import Consistency, Placement
from swin2sr_ops.spec import ModelSpec

__all__ = ["PlaneRestorer"]


@dataclass(frozen=True)
class PlaneRestorer:
    """Restore single planes with a network.

    Attributes
    ----------
    spec : ModelSpec
    placement : Placement
    network : Network
    skipped : Tally
        Number of planes in this process without a valid pixel, which did not enter the network.
    """

    spec: ModelSpec
    placement: Placement
    network: Network
    skipped: Tally = field(default_factory=Tally, compare=False)

    def restore(
        self,
        planes: Sequence[NDArray[Any]],
        tile: Tile,
        ends: IntensityMap,
        nodata: float | None,
        valid: Sequence[NDArray[np.bool_] | None],
        spread: NDArray[np.float32] | None,
    ) -> NDArray[Any]:
        """Restore a plane of a tile's region.

        Parameters
        ----------
        planes : sequence of ndarray
            Stored pixels, ``(colours, rows, columns)`` each: the plane, and the neighbours that enter with it. Their
            invalid pixels take the plane's own values.
        tile : Tile
        ends : IntensityMap
        nodata : float, optional
        valid : sequence of ndarray of bool or None
            Valid pixels of each, of its shape; None if all are valid.
        spread : ndarray, optional
            Receives the standard deviation of the ensemble's passes; of the result's shape.

        Returns
        -------
        ndarray
            ``(colours, rows scale, columns scale)``, in storage type.
        """
        s, plane = self.spec.scale, planes[0]
        out = np.empty((len(plane), *(n * s for n in tile.shape)), plane.dtype)
        kept = set(range(len(plane)))
        for group in channel_groups(len(plane), self.spec.channels):
            pixels = plane[list(group)]
            invalid = _invalid(pixels, group, nodata, valid[0])
            if invalid is not None and owned(invalid, tile).all():
                if spread is not None:
                    spread[list(group)] = np.nan
                continue
            kept -= set(group)
            if invalid is not None:
                rest = ends.lo / 2 + ends.hi / 2  # the sum of the largest numbers is infinite
                pixels = np.stack([fill_invalid(p, bad, rest) for p, bad in zip(pixels, invalid, strict=True)])
            entering = [pixels]
            for other, known in zip(planes[1:], valid[1:], strict=True):
                beside = other[list(group)]
                missing = _invalid(beside, group, nodata, known)
                entering.append(beside if missing is None else np.where(missing, pixels, beside))
            result, apart = self._group(entering, tile, ends, nodata, spread is not None)
            if invalid is not None:
                holes = enlarged(owned(invalid, tile), s)
                result[holes] = enlarged(owned(plane[list(group)], tile), s)[holes]
                if apart is not None:
                    apart[holes] = np.nan
            out[list(group)] = result
            if spread is not None and apart is not None:
                spread[list(group)] = apart
        # Keep stored values of opacity, and of tiles without a valid pixel.
        stored = sorted(kept)
        out[stored] = enlarged(owned(plane[stored], tile), s)
        self.skipped.add(len(stored) == len(plane))
        return out

    def _group(
        self, entering: Sequence[NDArray[Any]], tile: Tile, ends: IntensityMap, nodata: float | None, spread: bool
    ) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """Restore channels that enter the network together, in storage type; also return the passes' spread.

        ``entering`` holds those of the plane, and of its neighbours.
        """
        pixels = entering[0]
        bound = Consistency.parse(self.placement.consistent)
        dtype = pixels.dtype if bound is None else None
        compute = self._arrays if self.network.on_arrays else self._tensors
        given = pixels if len(entering) == 1 else np.concatenate(entering)
        result, apart = compute(given, tile.network, ends, dtype, spread)
        blur = blur_of(self.placement.consistent, self.spec.scale)
        if bound is None:
            keep_valid(result, nodata)
        elif blur is None:
            given = owned(pixels, tile)
            result = mean_consistent(result, given, self.spec.scale, nodata=nodata, noise=bound.noise)
        else:
            given = owned(pixels, tile.network)
            result = blur_consistent(result, given, blur, tile, nodata=nodata, noise=bound.noise)
            apart = None if apart is None else own_part(apart, tile, self.spec.scale)
        return result, apart

    def _arrays(
        self, pixels: NDArray[Any], tile: Tile, ends: IntensityMap, dtype: np.dtype[Any] | None, spread: bool
    ) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """Compute without torch: the result in stored units, rounded to ``dtype`` if there is one; and the spread."""
        passes, average, wide = turns(self.placement.ensemble), Average(spread), wide_type(pixels.dtype)
        for turn in passes:
            x = to_unit_range(network_region(pixels, tile, turn), ends, wide)
            average.add(turn_back(self.network.run(x, turn.tile(tile)), turn), len(passes))
        y, apart = stored_units(average.mean, ends, wide), average.spread
        result = y if dtype is None else rounded(y, dtype)
        return result, None if apart is None else (apart * float(ends.width)).astype(np.float32)

    def _tensors(
        self, pixels: NDArray[Any], tile: Tile, ends: IntensityMap, dtype: np.dtype[Any] | None, spread: bool
    ) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """Compute with torch; as `_arrays`."""
        import torch

        device = torch_device(choose_device(self.placement.device))
        precision = self.network.precision
        wide = torch.float64 if "float64" in (pixels.dtype.name, precision) else torch.float32
        passes, average = turns(self.placement.ensemble), Average(spread)
        inputs = (to_network(network_region(pixels, tile, turn), ends, device, wide, precision) for turn in passes)
        first = next(inputs)  # prepare it while another tile's network runs
        with exclusive_gpu(device):
            for turn, x in zip(passes, chain([first], inputs), strict=True):
                average.add(turn_back(self.network.run(x, turn.tile(tile)), turn), len(passes))
            y, apart = to_units(average.mean, ends, wide), average.spread
            stored = to_host(y if dtype is None else to_storage(y, dtype))
            deviation = None if apart is None else to_host(apart)
        result = stored().numpy()
        result = result if dtype is None else result.astype(dtype, copy=False)
        return result, None if deviation is None else (deviation().double() * ends.width).float().numpy()


def _invalid(
    pixels: NDArray[Any], group: tuple[int, ...], nodata: float | None, valid: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    """Return the invalid pixels of a group of colours; ``valid`` is that of all colours."""
    return invalid_pixels(pixels, nodata, None if valid is None else valid[list(group)])
