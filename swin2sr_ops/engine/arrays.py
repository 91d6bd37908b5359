"""Stored pixels to the network's values and back, where an engine takes and gives NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.pixels.intensity import IntensityMap, range_limits

__all__ = ["rounded", "storage_limits", "stored_units", "to_unit_range", "wide_type"]

Wide = type[np.float32] | type[np.float64]


def wide_type(dtype: np.dtype[Any]) -> Wide:
    """Return the arithmetic in which pixels of ``dtype`` are mapped: float64's own, float32 for all others."""
    return np.float64 if dtype.name == "float64" else np.float32


def to_unit_range(region: NDArray[Any], ends: IntensityMap, wide: Wide) -> NDArray[np.float32]:
    """Map stored pixels to 0..1 in ``wide`` arithmetic."""
    x: NDArray[np.floating[Any]] = region.astype(wide)
    x -= float(ends.lo)
    x /= float(ends.width) or 1.0
    return x.astype(np.float32, copy=False)


def stored_units(y: NDArray[Any], ends: IntensityMap, wide: Wide) -> NDArray[Any]:
    """Map the network's values back to stored units, in ``wide`` arithmetic."""
    units: NDArray[np.floating[Any]] = y.astype(wide)
    units *= float(ends.width)
    units += float(ends.lo)
    return units


def rounded(y: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Round and clip values in stored units to ``dtype``."""
    whole = y if dtype.kind == "f" else np.rint(y)
    found: NDArray[Any] = np.clip(whole, *storage_limits(dtype)).astype(dtype, copy=False)
    return found


def storage_limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the smallest and largest finite number of a storage type."""
    return (float(np.finfo(dtype).min), float(np.finfo(dtype).max)) if dtype.kind == "f" else range_limits(dtype)
