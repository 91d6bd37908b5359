"""Find invalid pixels (NaN, infinity, nodata, masked), and fill them before a network sees them.

They are filled from valid neighbours, so that they cause no ringing. After the network, their stored values return to
their positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from swin2sr_ops.geometry.tiles import FILL_REACH
from swin2sr_ops.pixels.intensity import range_limits

__all__ = ["fill_invalid", "invalid_pixels", "keep_valid", "nodata_pixels", "stored_nodata"]

#: GDAL treats a float as nodata if it differs from the nodata value by less than this fraction of it.
_SAME = 4 * float(np.finfo(np.float32).eps)


def stored_nodata(nodata: float | None, dtype: DTypeLike) -> Any:
    """Return ``nodata`` as a pixel of ``dtype`` stores it; None if no pixel can, or if it is NaN (always invalid).

    The -3.4e38 of a float32 image is not the float64 number with the same text.
    """
    if nodata is None or np.isnan(nodata):
        return None
    found = np.dtype(dtype)
    if found.kind == "f":
        with np.errstate(over="ignore"):
            return np.array(nodata, found)[()]
    low, high = range_limits(found)
    return np.array(int(nodata), found)[()] if float(nodata).is_integer() and low <= nodata <= high else None


def nodata_pixels(block: NDArray[Any], nodata: float | None) -> NDArray[np.bool_] | None:
    """Find the ``nodata`` pixels of ``block``, compared like GDAL; None if no pixel of its dtype can hold it.

    Floats within `_SAME` of the value, relative to it, are equal: many files write their nodata
    value with fewer digits than their pixels have.
    """
    hole = stored_nodata(nodata, block.dtype)
    if hole is None:
        return None
    if block.dtype.kind != "f" or hole == 0 or np.isinf(hole):
        return np.asarray(block == hole)
    low, high = _around_nodata(hole, 1)
    return np.asarray((block > low) & (block < high) | (block == hole))


def keep_valid(pixels: NDArray[Any], nodata: float | None, valid: NDArray[np.bool_] | None = None) -> None:
    """Move valid pixels off ``nodata``, to a value beside it, in place, so that none becomes a hole.

    Parameters
    ----------
    pixels : ndarray
    nodata : float or None
    valid : ndarray of bool, optional
        Marks the valid pixels; by default all are.
    """
    same = nodata_pixels(pixels, nodata)
    if same is None:
        return
    if valid is not None:
        same &= valid
    pixels[same] = _beside_nodata(stored_nodata(nodata, pixels.dtype), pixels.dtype)


def _around_nodata(hole: Any, times: int) -> tuple[Any, Any]:
    """Return the open interval of floats that count as ``hole``, ``times`` as wide."""
    reach = abs(float(hole)) * _SAME * times
    with np.errstate(over="ignore"):
        low, high = (np.array(float(hole) + step, hole.dtype)[()] for step in (-reach, reach))
    return low, high


def _beside_nodata(hole: Any, dtype: np.dtype[Any]) -> Any:
    """Return the nearest value that does not count as ``hole``."""
    if dtype.kind != "f":
        return hole + 1 if hole < np.iinfo(dtype).max else hole - 1
    highest = np.finfo(dtype).max
    up = bool(hole < highest / 2)
    near = np.nextafter(hole, np.array(highest if up else -highest, dtype))
    if np.isinf(hole):
        return near
    low, high = _around_nodata(hole, 2)
    return max(near, high) if up else min(near, low)


def invalid_pixels(
    block: NDArray[Any], nodata: float | None, valid: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_] | None:
    """Find the invalid pixels of ``block``: NaN, infinity, nodata or masked; None if there are none.

    ``valid`` broadcasts against ``block``; False masks a pixel, whatever value it stores.
    """
    invalid = ~np.isfinite(block) if block.dtype.kind == "f" else None
    same = nodata_pixels(block, nodata)
    if same is not None:
        invalid = same if invalid is None else invalid | same
    if valid is not None:
        outside = np.broadcast_to(~valid, block.shape)
        invalid = outside if invalid is None else invalid | outside
    return invalid if invalid is not None and invalid.any() else None


def fill_invalid(plane: NDArray[Any], invalid: NDArray[np.bool_], rest: float) -> NDArray[Any]:
    """Fill invalid pixels of ``(H, W)`` from their valid neighbours, rim by rim, `FILL_REACH` deep.

    Each pass gives the pixels that touch valid ones the mean of their valid 3 x 3 neighbours.
    Deeper pixels get ``rest``. The result at a pixel depends only on the `FILL_REACH` pixels
    around it.
    """
    filled = plane.copy()
    box = _around(invalid)  # only valid pixels on the rim of a hole fill anything
    if box is not None:
        filled[box] = _fill(plane[box], invalid[box], rest)
    return filled


def _around(invalid: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Return the smallest rectangle that holds all invalid pixels and their neighbours."""
    rows, columns = (np.flatnonzero(invalid.any(axis)) for axis in (1, 0))
    if not rows.size:
        return None
    return slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)


def _fill(plane: NDArray[Any], invalid: NDArray[np.bool_], rest: float) -> NDArray[Any]:
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
    # Valid pixels keep their exact value: they do not pass through float64.
    return np.where(invalid, values.astype(plane.dtype), plane)


def _neighbour_sum(x: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.pad(x, 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total: NDArray[np.float64] = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return total
