"""Pixel values: one invertible intensity map per image (law 3), and pixels that are no pixels.

A network expects 0..1. The map from stored values to 0..1 is affine, decided once for the whole
image, the same for every tile, and inverted on the way out; nothing is clipped but at the limits
of the storage type. NaN, infinities and nodata are filled from valid neighbours before the
network, so that nothing rings, and come back where they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from swin2sr_ops.errors import RequestError

__all__ = [
    "FILL_REACH",
    "IntensityMap",
    "RangeRequest",
    "Statistics",
    "check_dtype",
    "fill_invalid",
    "invalid_pixels",
    "range_limits",
]

#: Pixels that a hole is filled from its rim: bounded, so that a tile fills it as the whole image would.
FILL_REACH = 8

_BINS = 65536
_SUPPORTED = ("uint8", "uint16", "int8", "int16", "float16", "float32", "float64")


def check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return ``dtype`` as NumPy's, or refuse what cannot be restored without loss."""
    found = np.dtype(dtype)
    if found.name not in _SUPPORTED:
        raise RequestError(
            f"Pixels of type {found.name} cannot be restored: float32 arithmetic would lose their values or "
            f"their meaning. Supported are {', '.join(_SUPPORTED)}; convert first."
        )
    return found


def range_limits(dtype: DTypeLike) -> tuple[float, float]:
    """The range of a storage type: its limits for integers, 0..1 for floats."""
    found = np.dtype(dtype)
    if found.kind == "f":
        return 0.0, 1.0
    info = np.iinfo(found)
    return float(info.min), float(info.max)


@dataclass(frozen=True)
class IntensityMap:
    """Stored value v <-> network value (v - lo) / (hi - lo); ``lo == hi`` maps everything to ``lo``."""

    lo: float
    hi: float

    @property
    def width(self) -> float:
        """hi - lo."""
        return self.hi - self.lo

    def to_dict(self) -> dict[str, float]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class RangeRequest:
    """What the user asked of the intensity range.

    ``kind`` is ``auto``, ``dtype``, ``fixed`` or ``percentile``; ``low`` and ``high`` are values or
    percentages for the last two.
    """

    kind: str
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def parse(cls, value: str | Sequence[float] | RangeRequest) -> RangeRequest:
        """Read ``"auto"``, ``"dtype"``, ``(lo, hi)``, ``"lo,hi"`` or percentiles as in ``"p1,p99.8"``."""
        if isinstance(value, RangeRequest):
            return value
        if value in ("auto", "dtype"):
            return cls(str(value))
        parts = value.split(",") if isinstance(value, str) else [str(v) for v in value]
        percent = all(p.strip().lower().startswith("p") for p in parts)
        try:
            low, high = (float(p.strip().lower().removeprefix("p") if percent else p) for p in parts)
        except ValueError:
            low = high = np.nan
        if not low < high or (percent and not 0 <= low < high <= 100):
            raise RequestError(
                f"range={value!r} is not understood: give 'auto', 'dtype', two rising numbers such as "
                "0,4095, or two percentiles such as p1,p99.8."
            )
        return cls("percentile" if percent else "fixed", low, high)

    def immediate(self, dtype: DTypeLike) -> IntensityMap | None:
        """The map if it can be had without looking at pixels, else None.

        ``auto`` is the range of the type for 8-bit images, which are stretched already, and the
        smallest to the largest value of the image for all others.
        """
        if self.kind == "fixed":
            return IntensityMap(self.low, self.high)
        if self.kind == "dtype" or (self.kind == "auto" and np.dtype(dtype).itemsize == 1):
            return IntensityMap(*range_limits(dtype))
        return None


def invalid_pixels(block: NDArray[Any], nodata: float | None) -> NDArray[np.bool_] | None:
    """Where ``block`` holds NaN, infinity or nodata; None where it does nowhere."""
    invalid = ~np.isfinite(block) if block.dtype.kind == "f" else None
    if nodata is not None and not np.isnan(nodata):
        same = block == nodata
        invalid = same if invalid is None else invalid | same
    return invalid if invalid is not None and invalid.any() else None


@dataclass(frozen=True)
class Statistics:
    """Smallest and largest valid value and, if asked for, a histogram; one row per channel.

    Partial results of the parts of an image merge into that of the whole, in any order, to the
    same numbers: minima, maxima and counts do not round.
    """

    low: NDArray[np.float64]  # (channels,), +inf where no pixel was valid
    high: NDArray[np.float64]  # (channels,), -inf
    counts: NDArray[np.int64] | None = None  # (channels, bins)
    edges: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    @classmethod
    def of(
        cls,
        block: NDArray[Any],
        channel: int | None,
        nodata: float | None = None,
        edges: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    ) -> Statistics:
        """Look at one block; ``channel`` is its channel axis; ``edges`` the histogram's ends, per channel."""
        rows = np.moveaxis(block, channel, 0) if channel is not None else block[None]
        low, high, counts = [], [], []
        for i, row in enumerate(rows):
            invalid = invalid_pixels(row, nodata)
            values = row.ravel() if invalid is None else row[~invalid]
            low.append(float(values.min()) if values.size else np.inf)
            high.append(float(values.max()) if values.size else -np.inf)
            if edges is not None:
                counts.append(_histogram(values, edges[0][i], edges[1][i]))
        return cls(np.array(low), np.array(high), np.array(counts) if edges is not None else None, edges)

    @staticmethod
    def merge(parts: Iterable[Statistics]) -> Statistics:
        """The statistics of all parts together."""
        found = list(parts)
        counts = [p.counts for p in found if p.counts is not None]
        return Statistics(
            np.minimum.reduce([p.low for p in found]),
            np.maximum.reduce([p.high for p in found]),
            np.add.reduce(counts) if counts else None,
            found[0].edges,
        )

    def maps(self, request: RangeRequest) -> tuple[IntensityMap, ...]:
        """The intensity map of each channel."""
        if not np.isfinite(self.low).all():
            raise RequestError(
                "The image has no valid pixel to take its range from (all are NaN, infinite or nodata); "
                "there is nothing to restore."
            )
        if request.kind == "percentile":
            ends = [self._percentiles(i, request) for i in range(len(self.low))]
        else:
            ends = list(zip(self.low.tolist(), self.high.tolist(), strict=True))
        return tuple(IntensityMap(*pair) for pair in ends)

    def _percentiles(self, row: int, request: RangeRequest) -> tuple[float, float]:
        """Percentiles from the histogram: exact for 8 and 16-bit integers, else within one bin of 65536."""
        assert self.counts is not None
        assert self.edges is not None
        lo, hi = float(self.edges[0][row]), float(self.edges[1][row])
        step = (hi - lo) / (_BINS - 1)
        total = np.cumsum(self.counts[row])
        wanted = np.array([request.low, request.high]) / 100 * (total[-1] - 1)
        first, last = (lo + step * np.searchsorted(total, wanted, side="right")).tolist()
        return first, last


def _histogram(values: NDArray[Any], lo: float, hi: float) -> NDArray[np.int64]:
    # _BINS bins centred on lo, lo + step, ..., hi: one per value for 16-bit integers.
    step = (hi - lo) / (_BINS - 1) or 1.0
    index = np.rint((values.astype(np.float64) - lo) / step).astype(np.int64)
    return np.bincount(np.clip(index, 0, _BINS - 1), minlength=_BINS)


def fill_invalid(plane: NDArray[np.floating[Any]], invalid: NDArray[np.bool_], rest: float) -> NDArray[Any]:
    """Fill invalid pixels of ``(H, W)`` from their valid neighbours, rim by rim, `FILL_REACH` deep.

    Each pass gives the pixels that touch valid ones the mean of their valid 3 x 3 neighbours.
    What is deeper inside gets ``rest``. The result at a pixel depends on its `FILL_REACH`
    surroundings alone.
    """
    values = np.where(invalid, 0, plane).astype(np.float64)
    known = ~invalid
    for _ in range(FILL_REACH):
        if known.all():
            break
        total, count = _neighbour_sum(values), _neighbour_sum(known.astype(np.float64))
        rim = ~known & (count > 0)
        values[rim] = total[rim] / count[rim]
        known = known | rim
    values[~known] = rest
    # Valid pixels keep their very value: they do not go through float64.
    return np.where(invalid, values.astype(plane.dtype), plane)


def _neighbour_sum(x: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.pad(x, 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total: NDArray[np.float64] = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return total
