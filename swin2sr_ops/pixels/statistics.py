"""Compute the statistics behind an intensity range, extremes and exact percentiles, in mergeable parts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.pixels.holes import invalid_pixels
from swin2sr_ops.pixels.intensity import IntensityMap, RangeRequest, check_width

__all__ = ["Bins", "Statistics", "check_any_valid", "note_constant"]

#: Per channel, the bins of a first pass that a second pass refines.
Bins = tuple[tuple[int, ...], ...]

#: Values that are counted at a time, to keep temporary arrays small.
_COUNTED = 1 << 20

#: Channels that a note names.
_NAMED = 8


@dataclass(frozen=True)
class Statistics:
    """Smallest and largest valid value and, for percentiles, histograms; one row per channel.

    Statistics of the parts of an image merge, in any order, into the same numbers as those of the
    whole: minima, maxima and counts do not round. Percentiles are exact (float64 counts as float32): a
    value's key (`_keys`) has 32 bits that sort like the values. A first pass counts the upper 16 bits, a
    second pass the lower 16 bits within the bins of the first (`bins`), however far an outlier is.
    """

    low: NDArray[np.float64]  # (channels,), +inf where no pixel was valid
    high: NDArray[np.float64]  # (channels,), -inf
    counts: NDArray[np.int64] | None = None  # (channels, 1 or the refined bins, 65536)

    @classmethod
    def of(
        cls,
        block: NDArray[Any],
        channel: int | None,
        nodata: float | None = None,
        request: RangeRequest | None = None,
        first: Statistics | None = None,
        *,
        bins: Bins | None = None,
        valid: NDArray[np.bool_] | None = None,
    ) -> Statistics:
        """Compute the statistics of one block.

        Parameters
        ----------
        block : ndarray
        channel : int or None
            Its channel axis, if channels are counted separately.
        nodata : float, optional
        request : RangeRequest, optional
            Adds histograms if it asks for percentiles.
        first : Statistics, optional
            The merged first pass, for a second pass.
        bins : optional
            The bins of ``first``, to give instead of it: they are smaller to send than histograms.
        valid : ndarray of bool, optional
            With the block's shape; False for a masked pixel.
        """
        rows = block[None] if channel is None else np.moveaxis(block, channel, 0)
        masks = valid if valid is None else valid[None] if channel is None else np.moveaxis(valid, channel, 0)
        if first is not None and request is not None:
            bins = first.bins(request)
        low, high, counts = [], [], []
        for i, row in enumerate(rows):
            invalid = invalid_pixels(row, nodata, None if masks is None else masks[i])
            values = row.ravel() if invalid is None else row[~invalid]
            low.append(float(values.min()) if values.size else np.inf)
            high.append(float(values.max()) if values.size else -np.inf)
            if request is not None and request.kind == "percentile":
                counts.append(_count(values, None if bins is None else bins[i]))
        return cls(np.array(low), np.array(high), np.array(counts) if counts else None)

    def __add__(self, other: Statistics) -> Statistics:
        """Merge the statistics of two parts."""
        counts = None if self.counts is None or other.counts is None else self.counts + other.counts
        return Statistics(np.minimum(self.low, other.low), np.maximum(self.high, other.high), counts)

    @staticmethod
    def merge(parts: Iterable[Statistics]) -> Statistics:
        """Merge the statistics of all parts."""
        return reduce(Statistics.__add__, parts)

    @property
    def valid(self) -> int:
        """Number of values that a first pass has counted."""
        assert self.counts is not None
        return int(self.counts[:, 0].sum())

    @property
    def extremes(self) -> Statistics:
        """The same statistics without the histograms, which are large."""
        return Statistics(self.low, self.high)

    def row(self, i: int) -> Statistics:
        """Return the statistics of one channel."""
        chosen = slice(i, i + 1)
        return Statistics(self.low[chosen], self.high[chosen], None if self.counts is None else self.counts[chosen])

    def within(self, bins: slice) -> Statistics:
        """Return the part of a second pass that refined some of the bins."""
        return Statistics(self.low, self.high, None if self.counts is None else self.counts[:, bins])

    def bins(self, request: RangeRequest) -> Bins:
        """Return, per channel, the bins of this first pass that hold the two percentiles."""
        return tuple(tuple(int(b) for b in self._find(i, request)[0]) for i in range(len(self.low)))

    def maps(
        self, request: RangeRequest, dtype: DTypeLike, first: Statistics | None = None
    ) -> tuple[IntensityMap, ...]:
        """Build the intensity map of each channel; a channel without a valid pixel gets a placeholder."""
        if request.kind == "percentile":
            found = self.percentiles(request, dtype, first)
            return tuple(check_width(self._map(i, request, *pair), dtype) for i, pair in enumerate(found.tolist()))
        ends = zip(self.low.tolist(), self.high.tolist(), strict=True)
        maps = (IntensityMap(lo, hi) if lo <= hi else IntensityMap(0.0, 1.0) for lo, hi in ends)
        return tuple(check_width(found, dtype) for found in maps)

    def _map(self, row: int, request: RangeRequest, a: float, b: float) -> IntensityMap:
        lo, hi = float(self.low[row]), float(self.high[row])
        if lo > hi:
            return IntensityMap(0.0, 1.0)
        if not np.isfinite([a, b]).all():
            raise RequestError(
                f"The percentiles p{request.low:g} and p{request.high:g} lie beyond what float32 holds (the image goes "
                f"from {lo:g} to {hi:g}): give two values, or mark such pixels as nodata."
            )
        if a == b and lo < hi:
            raise RequestError(
                f"The percentiles p{request.low:g} and p{request.high:g} are both {a:g}, while the image goes from "
                f"{lo:g} to {hi:g}: give wider percentiles, two values, or 'auto'."
            )
        return IntensityMap(a, b)

    def percentiles(
        self, request: RangeRequest, dtype: DTypeLike, first: Statistics | None = None
    ) -> NDArray[np.float64]:
        """Return ``(channels, 2)`` values at the two ranks, equal to ``numpy.percentile(method="lower")``.

        A channel without a valid pixel gets NaN.
        """
        empty = (self.low > self.high).tolist()
        nothing = (np.nan, np.nan)
        rows = range(len(self.low))
        return np.array([nothing if empty[i] else self._ranked(i, request, np.dtype(dtype), first) for i in rows])

    def _ranked(
        self, row: int, request: RangeRequest, dtype: np.dtype[Any], first: Statistics | None
    ) -> tuple[float, float]:
        if first is None:
            bins, _ = self._find(row, request)
            return _values(bins << 16, dtype)
        bins, ranks = first._find(row, request)
        assert self.counts is not None
        fine = [
            int(np.searchsorted(np.cumsum(c), r, side="right")) for c, r in zip(self.counts[row], ranks, strict=True)
        ]
        return _values((bins.astype(np.uint32) << 16) | np.array(fine, np.uint32), dtype)

    def _find(self, row: int, request: RangeRequest) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find, for both percentiles, the bin of the first pass that holds it and its rank inside that bin."""
        assert self.counts is not None
        total = np.cumsum(self.counts[row, 0])
        ranks = np.floor(np.array([request.low, request.high]) / 100 * (total[-1] - 1)).astype(np.int64)
        bins = np.minimum(np.searchsorted(total, ranks, side="right"), len(total) - 1)
        return bins, ranks - np.where(bins > 0, total[bins - 1], 0)


def check_any_valid(looks: Sequence[Statistics]) -> None:
    """Reject an image in which no channel has a valid pixel."""
    if all((part.low > part.high).all() for part in looks):
        raise RequestError(
            "The image has no valid pixel to take its range from (all are NaN, infinite, nodata or masked); "
            "there is nothing to restore."
        )


def note_constant(found: Mapping[int, Statistics], *, sampled: bool = False) -> None:
    """Warn of channels whose valid pixels all have one value: files whose pixels are not found read so.

    Parameters
    ----------
    found : mapping
        Extremes, one row each, by the number of the channel.
    sampled : bool
        Whether they are of a sample.
    """
    seen = {n: (float(part.low[0]), float(part.high[0])) for n, part in found.items() if part.low[0] <= part.high[0]}
    values = {n: low for n, (low, high) in seen.items() if low == high}
    if not values:
        return
    names = ", ".join(map(str, sorted(values)[:_NAMED])) + (", ..." if len(values) > _NAMED else "")
    where = f"channel{'s' if len(values) > 1 else ''} {names}" if len(values) < len(seen) else "the image"
    one = {f"{value:g}" for value in values.values()}
    what = f"the value {one.pop()}" if len(one) == 1 else "one value in each channel"
    warnings.warn(
        f"All {'sampled' if sampled else 'valid'} pixels of {where} have {what}, so the output will be constant there:"
        " check that the input is complete.",
        stacklevel=3,
    )


def _keys(values: NDArray[Any]) -> NDArray[np.uint32]:
    """Map values to 32-bit keys that sort like them: 8 and 16-bit integers in the upper half, floats as float32."""
    if values.dtype.kind != "f":
        return (values.astype(np.int32) - int(np.iinfo(values.dtype).min)).astype(np.uint32) << np.uint32(16)
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, which sorts correctly
        bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32)  # + 0: -0 and 0 are one value
    negative = bits >> 31 != 0
    return np.where(negative, ~bits, bits | np.uint32(0x80000000)).astype(np.uint32)


def _values(found: NDArray[np.int64], dtype: np.dtype[Any]) -> tuple[float, float]:
    """Map two keys back to values."""
    keys = found.astype(np.uint32)
    if dtype.kind != "f":
        low = int(np.iinfo(dtype).min)
        return float((int(keys[0]) >> 16) + low), float((int(keys[1]) >> 16) + low)
    bits = np.where(keys >> 31 != 0, keys & np.uint32(0x7FFFFFFF), ~keys)
    low_value, high_value = bits.astype(np.uint32).view(np.float32)
    return float(low_value), float(high_value)


def _count(values: NDArray[Any], bins: Sequence[int] | None) -> NDArray[np.int64]:
    """Count the keys' upper halves ``(1, 65536)``, or the lower halves within bins ``(bins, 65536)``."""
    counts = np.zeros((1 if bins is None else len(bins), 65536), np.int64)
    for start in range(0, values.size, _COUNTED):
        keys = _keys(values[start : start + _COUNTED])
        upper = keys >> 16
        chosen = [upper] if bins is None else [keys[upper == b] & 0xFFFF for b in bins]
        counts += np.stack([np.bincount(found, minlength=65536) for found in chosen])
    return counts
