"""Compute what an output stores beside the pixels: nodata flags, spread, half widths, trust."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.io.zarr.sides import SIDE_ARRAYS
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.pixels.intervals import Interval, contrast, read_calibration
from swin2sr_ops.pixels.nodata_flags import HOLE
from swin2sr_ops.pixels.trust import NO_VALUE, Trust
from swin2sr_ops.run.job import Job

__all__ = ["Sides", "interval_of"]

#: Arrays beside the pixels, by the sink's names.
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Sides:
    """Select the arrays beside the pixels.

    Attributes
    ----------
    context : bool
        Flags of the pixels near nodata; see `swin2sr_ops.pixels.nodata_flags`.
    spread : bool
        Standard deviation of the ensemble's passes.
    interval : Interval, optional
        Half widths of intervals.
    trust : Trust, optional
        Flags of the pixels that are not trusted.
    """

    context: bool = False
    spread: bool = False
    interval: Interval | None = None
    trust: Trust | None = None

    @classmethod
    def asked(cls, job: Job, output: Mapping[str, Any]) -> Sides:
        """Read the options of an output, and check that the models of ``job`` can provide these arrays.

        Raises
        ------
        RequestError
            If a spread is asked of a single pass, one of coverage and calibration is missing, the calibration
            belongs to another model, ensemble or consistency, or pixels cannot be tested.
        """
        spread = bool(output.get("spread"))
        if spread:
            job.restorer.placement.check_spread()
        interval = interval_of(job.restorers, output.get("interval"), output.get("calibration"))
        trust = Trust.of(
            output.get("limit"), output.get("noise"), interval=interval is not None,
            consistent=job.restorer.placement.consistent,
        )  # fmt: skip
        return cls(bool(output.get("context")), spread, interval, trust)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the selected arrays."""
        chosen = {"context": self.context, "spread": self.spread, "interval": self.interval is not None}
        chosen["not_trusted"] = self.trust is not None
        return tuple(name for name, wanted in chosen.items() if wanted)

    @property
    def flags(self) -> bool:
        """Whether nodata flags are needed."""
        return self.context or self.interval is not None or self.trust is not None

    def passes(self, restorer: Restorer) -> bool:
        """Return True if the spread of the restorer's passes is needed."""
        return self.spread or (self.interval is not None and restorer.placement.ensemble > 1)

    def of_opacity(self, shape: tuple[int, ...]) -> Arrays:
        """Return the arrays of an opacity band, which is not estimated: no spread, and intervals without width."""
        return {name: np.zeros(shape, SIDE_ARRAYS[name].dtype) for name in self.names if name != "context"}

    def of_pixels(
        self,
        result: NDArray[Any],
        given: NDArray[Any],
        spread: NDArray[np.float32] | None,
        ends: IntensityMap,
        order: AxisOrder,
    ) -> Arrays:
        """Return the arrays that follow from restored pixels and the spread of their passes, if there is one.

        ``given`` holds the input pixels that were restored.
        """
        found: Arrays = {}
        if self.spread and spread is not None:
            found["spread"] = spread
        if self.interval is not None:
            scale = result.shape[order.y] // given.shape[order.y]
            apart = contrast(result, scale, order.y, order.x) if spread is None else spread
            found["interval"] = self.interval.half_width(result, apart, ends)
        if self.trust is not None:
            half, axes = found.get("interval"), (order.y, order.x)
            found["not_trusted"] = self.trust.flags(result, given, half, axes, order.colour)
        return found

    def with_flags(self, arrays: Arrays, flags: NDArray[np.uint8]) -> Arrays:
        """Add the nodata flags; a hole has no interval, and no value to trust."""
        found = dict(arrays)
        if "interval" in found:
            found["interval"] = np.where(flags == HOLE, np.float32(np.nan), found["interval"])
        if "not_trusted" in found:
            found["not_trusted"] = np.where(flags == HOLE, np.uint8(NO_VALUE), found["not_trusted"])
        return found | {"context": flags} if self.context else found


def interval_of(
    restorers: Iterable[Restorer], coverage: float | None, calibration: str | os.PathLike[str] | None
) -> Interval | None:
    """Return the intervals that were asked for, if the calibration belongs to the models.

    Raises
    ------
    RequestError
        If one of coverage and calibration is missing, or the calibration belongs to another model, ensemble or
        consistency.
    """
    if coverage is None and calibration is None:
        return None
    if coverage is None or calibration is None:
        raise RequestError(
            "Intervals need a coverage and a calibration: give interval=90 (--interval 90) and calibration=FILE"
            " (--calibration FILE), which `swin2sr-ops evaluate --calibrate FILE` writes."
        )
    found = read_calibration(calibration)
    for restorer in restorers:
        asked = restorer.placement
        found.check_made_for(os.fspath(calibration), restorer.spec, asked.ensemble, asked.consistent)
    return Interval.of(found, float(coverage))
