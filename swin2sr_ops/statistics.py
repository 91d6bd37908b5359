"""What an intensity range needs to know of all pixels: extremes and exact percentiles, in mergeable parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.values import IntensityMap, RangeRequest, invalid_pixels

__all__ = ["Statistics", "check_any_valid"]


@dataclass(frozen=True)
class Statistics:
    """Smallest and largest valid value and, for percentiles, histograms; one row per channel.

    Partial results of the parts of an image merge into that of the whole, in any order, to the
    same numbers: minima, maxima and counts do not round. Percentiles are exact (float64 counts as
    float32): a value's key (`_keys`) has 32 bits that sort as the values do; a first look counts the upper 16, a second
    look the lower 16 of the two bins found, however far an outlier is.
    """

    low: NDArray[np.float64]  # (channels,), +inf where no pixel was valid
    high: NDArray[np.float64]  # (channels,), -inf
    counts: NDArray[np.int64] | None = None  # (channels, 1 or 2, 65536)

    @classmethod
    def of(
        cls,
        block: NDArray[Any],
        channel: int | None,
        nodata: float | None = None,
        request: RangeRequest | None = None,
        first: Statistics | None = None,
    ) -> Statistics:
        """Look at one block.

        ``channel`` is its channel axis, if its channels count apart; ``first`` is the merged first
        look, for a second one.
        """
        rows = np.moveaxis(block, channel, 0) if channel is not None else block[None]
        low, high, counts = [], [], []
        for i, row in enumerate(rows):
            invalid = invalid_pixels(row, nodata)
            values = row.ravel() if invalid is None else row[~invalid]
            low.append(float(values.min()) if values.size else np.inf)
            high.append(float(values.max()) if values.size else -np.inf)
            if request is not None and request.kind == "percentile":
                bins = None if first is None else first._bins(i, request)[0]
                counts.append(_count(values, bins))
        return cls(np.array(low), np.array(high), np.array(counts) if counts else None)

    def __add__(self, other: Statistics) -> Statistics:
        """The statistics of both parts together."""
        counts = None if self.counts is None or other.counts is None else self.counts + other.counts
        return Statistics(np.minimum(self.low, other.low), np.maximum(self.high, other.high), counts)

    @staticmethod
    def merge(parts: Iterable[Statistics]) -> Statistics:
        """The statistics of all parts together."""
        return reduce(Statistics.__add__, parts)

    def maps(
        self, request: RangeRequest, dtype: DTypeLike, first: Statistics | None = None
    ) -> tuple[IntensityMap, ...]:
        """The intensity map of each channel; a channel without a valid pixel gets one that is never used."""
        return tuple(self._map(i, request, np.dtype(dtype), first) for i in range(len(self.low)))

    def _map(self, row: int, request: RangeRequest, dtype: np.dtype[Any], first: Statistics | None) -> IntensityMap:
        lo, hi = float(self.low[row]), float(self.high[row])
        if lo > hi:
            return IntensityMap(0.0, 1.0)
        if request.kind != "percentile":
            return IntensityMap(lo, hi)
        a, b = self._percentiles(row, request, dtype, first)
        if a == b and lo < hi:
            raise RequestError(
                f"The percentiles p{request.low:g} and p{request.high:g} are both {a:g}, while the image goes from "
                f"{lo:g} to {hi:g}: give wider percentiles, two values, or 'auto'."
            )
        return IntensityMap(a, b)

    def _percentiles(
        self, row: int, request: RangeRequest, dtype: np.dtype[Any], first: Statistics | None
    ) -> tuple[float, float]:
        """Values at the two ranks, as ``numpy.percentile(method="lower")`` gives them."""
        if first is None:
            bins, _ = self._bins(row, request)
            return _values(bins << 16, dtype)
        bins, ranks = first._bins(row, request)
        assert self.counts is not None
        fine = [
            int(np.searchsorted(np.cumsum(c), r, side="right")) for c, r in zip(self.counts[row], ranks, strict=True)
        ]
        return _values((bins.astype(np.uint32) << 16) | np.array(fine, np.uint32), dtype)

    def _bins(self, row: int, request: RangeRequest) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For both percentiles, the bin of the first look that holds it, and its rank inside that bin."""
        assert self.counts is not None
        total = np.cumsum(self.counts[row, 0])
        ranks = np.floor(np.array([request.low, request.high]) / 100 * (total[-1] - 1)).astype(np.int64)
        bins = np.minimum(np.searchsorted(total, ranks, side="right"), len(total) - 1)
        return bins, ranks - np.where(bins > 0, total[bins - 1], 0)


def check_any_valid(looks: Sequence[Statistics]) -> None:
    """Refuse an image in which no channel has a valid pixel."""
    if all((part.low > part.high).all() for part in looks):
        raise RequestError(
            "The image has no valid pixel to take its range from (all are NaN, infinite or nodata); "
            "there is nothing to restore."
        )


def _keys(values: NDArray[Any]) -> NDArray[np.uint32]:
    """32 bits per value that sort as the values do: 8 and 16-bit integers in the upper half, floats as float32."""
    if values.dtype.kind != "f":
        return (values.astype(np.int32) - int(np.iinfo(values.dtype).min)).astype(np.uint32) << np.uint32(16)
    bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)  # + 0: -0 and 0 are one value
    negative = bits >> 31 != 0
    return np.where(negative, ~bits, bits | np.uint32(0x80000000)).astype(np.uint32)


def _values(found: NDArray[np.int64], dtype: np.dtype[Any]) -> tuple[float, float]:
    """Back from two keys."""
    keys = found.astype(np.uint32)
    if dtype.kind != "f":
        low = int(np.iinfo(dtype).min)
        return float((int(keys[0]) >> 16) + low), float((int(keys[1]) >> 16) + low)
    bits = np.where(keys >> 31 != 0, keys & np.uint32(0x7FFFFFFF), ~keys)
    low_value, high_value = bits.astype(np.uint32).view(np.float32)
    return float(low_value), float(high_value)


def _count(values: NDArray[Any], bins: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Histogram of the keys' upper halves ``(1, 65536)``, or of the lower halves within two bins ``(2, 65536)``."""
    keys = _keys(values)
    upper = keys >> 16
    if bins is None:
        return np.bincount(upper, minlength=65536)[None]
    return np.stack([np.bincount(keys[upper == b] & 0xFFFF, minlength=65536) for b in bins])
