"""How far each pixel of a restored image can be trusted: three measures, computed box by box. No Qt here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops import Restorer
from swin2sr_ops.errors import RequestError
from swin2sr_ops.hosting import Interval, contrast, fidelity_map, tile_region
from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.ranges import Maps
from swin2sr_ops_napari.view import Box, View, compute, read_view

__all__ = ["Stored", "Trust", "interval_for", "name_of", "report"]

#: Pixels around a box that decide how the result looks when it is reduced again: the bicubic kernel reaches two.
_AROUND = 3
#: Share of pixels, in percent, that intervals hold; a calibration may have others only.
_COVERAGE = 90.0


@dataclass(frozen=True)
class Trust:
    """A map of doubt in stored units, as a `swin2sr_ops_napari.served.Field`: large values deserve little trust.

    With a calibration it holds half widths of intervals. Without one it holds the standard deviation of the eight
    views of an ensemble, or of a single view the fidelity: the difference between the image and the result that is
    reduced to its size again. Of colours it holds the largest value, of the fidelity the mean.

    Attributes
    ----------
    image : LayerImage
    restorer : Restorer
    maps : Maps
    interval : Interval, optional
    """

    image: LayerImage
    restorer: Restorer
    maps: Maps
    interval: Interval | None = None

    @property
    def kind(self) -> str:
        """``interval``, ``views`` or ``fidelity``."""
        if self.interval is not None:
            return "interval"
        return "views" if self.restorer.placement.ensemble > 1 else "fidelity"

    @property
    def scale(self) -> int:
        """New pixels per pixel: fidelity is known at the image's own pixels."""
        return 1 if self.kind == "fidelity" else self.restorer.spec.scale

    @property
    def axes(self) -> str:
        """Axes of the image without colour."""
        return self.image.axes.replace("S", "")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the map."""
        return np.dtype(np.float32)

    def compute(self, view: View, box: Box) -> NDArray[Any]:
        """Return the map of ``box``."""
        if self.kind != "fidelity":
            return self.arranged(view, self._apart(view, box))
        return self._with_planes(self._fidelity(view, box))

    def arranged(self, view: View, block: NDArray[Any]) -> NDArray[Any]:
        """Return a map with the axes of the field from one with the image's: the largest value of its colours."""
        pixels = _pixels(view, block)
        return self._with_planes(pixels if pixels.ndim == 2 else pixels.max(-1))

    def _with_planes(self, flat: NDArray[Any]) -> NDArray[Any]:
        y, x = self.axes.index("Y"), self.axes.index("X")
        planes = tuple(i for i in range(len(self.axes)) if i not in (y, x))
        return np.expand_dims(np.asarray(flat if y < x else flat.T, np.float32), planes)

    def _fidelity(self, view: View, box: Box) -> NDArray[Any]:
        order, scale = view.order, self.restorer.spec.scale
        around = _AROUND if scale > 1 else 0
        height, width = order.shape[order.y], order.shape[order.x]
        wide = Box(
            max(box.y0 - around, 0), min(box.y1 + around, height), max(box.x0 - around, 0), min(box.x1 + around, width)
        )
        result = compute(view, wide, self.restorer, self.maps)
        found = fidelity_map(_pixels(view, result), _pixels(view, read_view(view, wide)), scale)
        return found[box.y0 - wide.y0 : box.y1 - wide.y0, box.x0 - wide.x0 : box.x1 - wide.x0]

    def _apart(self, view: View, box: Box) -> NDArray[Any]:
        order = view.order
        chosen = {axis: slice(index, index + 1) for axis, index in view.planes}
        channel = 0 if order.channel is None else chosen[order.channel].start
        ends = self.maps.of(channel)
        tile = self.restorer.tile(order, (box.y0, box.y1), (box.x0, box.x1), chosen)
        block = view.read(tile_region(order, tile, chosen))
        if self.restorer.placement.ensemble > 1:
            result, apart = self.restorer.restore_tile_with_spread(block, order, tile, [ends])
        else:
            result = self.restorer.restore_tile(block, order, tile, [ends])
            apart = contrast(result, self.restorer.spec.scale, order.y, order.x)
        return apart if self.interval is None else self.interval.half_width(result, apart, ends)


@dataclass(frozen=True)
class Stored:
    """A map of doubt whose full-size level was written by the run; smaller levels are computed.

    Attributes
    ----------
    trust : Trust
    array : dask.array.Array
        The stored map, with the image's axes.
    """

    trust: Trust
    array: Any

    @property
    def scale(self) -> int:
        """New pixels per pixel."""
        return self.trust.scale

    @property
    def axes(self) -> str:
        """Axes of the map."""
        return self.trust.axes

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the map."""
        return self.trust.dtype

    def compute(self, view: View, box: Box) -> NDArray[Any]:
        """Return the map of ``box``: read at full size, else computed."""
        if view.level:
            return self.trust.compute(view, box)
        order, s = view.order, self.scale
        region = [slice(0, n) for n in self.array.shape]
        for axis, index in view.planes:
            region[axis] = slice(index, index + 1)
        region[order.y], region[order.x] = slice(box.y0 * s, box.y1 * s), slice(box.x0 * s, box.x1 * s)
        return self.trust.arranged(view, np.asarray(self.array[tuple(region)]))


def _pixels(view: View, block: NDArray[Any]) -> NDArray[Any]:
    """One plane as rows and columns, with a last axis of colours where there are some; opacity is left out."""
    order = view.order
    plane = block.transpose(order.order)
    plane = plane.reshape(-1, *plane.shape[-2:])
    if order.alpha is not None:
        plane = plane[: order.alpha]
    return plane[0] if len(plane) == 1 else np.moveaxis(plane, 0, -1)


def name_of(field: Trust, layer: str) -> str:
    """Name of the layer of a map."""
    if field.interval is not None:
        return f"{layer}: off by ({field.interval.coverage} %)"
    return f"{layer}: {'views differ' if field.kind == 'views' else 'contradiction'}"


def report(field: Trust, contrast_width: float, values: NDArray[Any] | None = None) -> str:
    """Say what a map shows, and what it does not prove.

    Parameters
    ----------
    field : Trust
    contrast_width : float
        Difference of the image's contrast limits.
    values : ndarray, optional
        The whole map: with its numbers.
    """
    known = None if values is None else values[np.isfinite(values)]
    numbers = ""
    if known is not None and known.size:
        half, most = np.percentile(known, [50, 99])
        share = f"{100 * most / (contrast_width or 1.0):.2g} % of the displayed contrast"
        numbers = f" In half of the pixels it is at most {half:.3g}, in 99 % at most {most:.3g} ({share})."
    if field.interval is not None:
        covered, images = field.interval.coverage, field.interval.calibration.data or "its pairs"
        return (
            f"The trust layer shows by how much a pixel may be off, in the image's units.{numbers} The true value lies"
            f" within in {covered} % of the pixels, for images like those of the calibration ({images})."
        )
    if field.kind == "views":
        return (
            f"The trust layer shows how much the eight views differ, in the image's units.{numbers} Where they differ"
            " the network is unsure. Where they agree it can still be wrong."
        )
    if field.restorer.spec.scale == 1:
        return (
            f"The trust layer shows what was removed, in the image's units.{numbers} It should look like noise:"
            " shapes in it are details that were lost."
        )
    return (
        "The trust layer shows how much the result differs from the original when it is made smaller again, in the"
        f" image's units.{numbers} Bright places contradict the original. Dark places prove no details."
    )


def interval_for(path: str, restorer: Restorer) -> Interval | None:
    """Return the intervals of a calibration file, or None without one.

    Raises
    ------
    FormatError, RequestError
        It is no calibration, or one for another model.
    """
    from swin2sr_ops.hosting import read_calibration

    if not path:
        return None
    found = read_calibration(path)
    asked = restorer.placement
    if (restorer.spec.sha256, asked.ensemble, asked.consistent) != (found.weights, found.ensemble, found.consistent):
        views = {1: "one view", 8: "eight views"}
        bound = "measured intensities kept" if found.consistent else "measured intensities not kept"
        raise RequestError(
            f"{path!r} was made for {found.model!r} with {views.get(found.ensemble, found.ensemble)} and {bound}:"
            " choose the same, or empty the box 'Calibration' under Advanced."
        )
    known = sorted(found.scale, key=float)
    if not known:
        raise RequestError(f"{path!r} lacks coverages: calibrate with more images, or empty the box 'Calibration'.")
    best = min(known, key=lambda text: abs(float(text) - _COVERAGE))
    return Interval.of(found, float(best))
