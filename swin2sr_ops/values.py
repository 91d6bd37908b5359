"""Pixel values: one invertible intensity map per image (law 3), and pixels that are no pixels.

A network expects 0..1. The map from stored values to 0..1 is affine, decided once for the whole
image, the same for every tile, and inverted on the way out; nothing is clipped but at the limits
of the storage type. NaN, infinities and nodata are filled from valid neighbours before the
network, so that nothing rings, and come back where they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from swin2sr_ops.errors import RequestError

__all__ = [
    "FILL_REACH",
    "IntensityMap",
    "RangeRequest",
    "check_dtype",
    "fill_invalid",
    "invalid_pixels",
    "range_limits",
    "stored_nodata",
]

#: Pixels that a hole is filled from its rim: bounded, so that a tile fills it as the whole image would.
FILL_REACH = 8

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
        if isinstance(value, str) and value in ("auto", "dtype"):
            return cls(value)
        try:
            parts = [str(p).strip().lower() for p in (value.split(",") if isinstance(value, str) else value)]
            percent = all(p.startswith("p") for p in parts)
            low, high = (float(p.removeprefix("p") if percent else p) for p in parts)
        except (ValueError, TypeError):  # not numbers, not two, or nothing that can be looped over
            low, high, percent = np.nan, np.nan, False
        if not (np.isfinite([low, high]).all() and low < high) or (percent and not 0 <= low < high <= 100):
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

    def looks(self, dtype: DTypeLike) -> int:
        """How often the pixels must be looked at: not at all, once, or twice (percentiles of floats)."""
        if self.immediate(dtype) is not None:
            return 0
        return 2 if self.kind == "percentile" and np.dtype(dtype).kind == "f" else 1


def stored_nodata(nodata: float | None, dtype: DTypeLike) -> Any:
    """``nodata`` as a pixel of ``dtype`` would hold it, or None if no pixel can (or it is NaN, which always counts).

    A float32 image's -3.4e38 is not the float64 number of the same text.
    """
    if nodata is None or np.isnan(nodata):
        return None
    found = np.dtype(dtype)
    if found.kind == "f":
        with np.errstate(over="ignore"):
            return np.array(nodata, found)[()]
    low, high = range_limits(found)
    return np.array(int(nodata), found)[()] if float(nodata).is_integer() and low <= nodata <= high else None


def invalid_pixels(block: NDArray[Any], nodata: float | None) -> NDArray[np.bool_] | None:
    """Where ``block`` holds NaN, infinity or nodata; None where it does nowhere."""
    invalid = ~np.isfinite(block) if block.dtype.kind == "f" else None
    hole = stored_nodata(nodata, block.dtype)
    if hole is not None:
        same = block == hole
        invalid = same if invalid is None else invalid | same
    return invalid if invalid is not None and invalid.any() else None


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
    if plane.dtype.kind != "f":
        values = np.rint(values).clip(*range_limits(plane.dtype))
    # Valid pixels keep their very value: they do not go through float64.
    return np.where(invalid, values.astype(plane.dtype), plane)


def _neighbour_sum(x: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.pad(x, 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total: NDArray[np.float64] = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return total
