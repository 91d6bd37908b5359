"""Bind a restored image to its input: the mean of the new pixels of a pixel is that pixel.

The rule works on each input pixel alone. So it needs no halo, and its result does not depend on tiles.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.pixels.holes import keep_valid, stored_nodata
from swin2sr_ops.pixels.intensity import range_limits

__all__ = ["mean_consistent"]


def mean_consistent(
    values: NDArray[Any], given: NDArray[Any], scale: int, *, nodata: float | None = None, noise: float = 0.0
) -> NDArray[Any]:
    """Shift the ``scale`` x ``scale`` new pixels of each input pixel, so that their mean is the input pixel.

    In integer types the mean is exact: the sum of the new pixels is ``scale * scale`` times the old one. All new
    pixels of a block move alike; those that meet the limit of the type stay there, and the others move on. The sum is
    reached by the largest remainder: of the shifted values, rounded down, those that lost most get one level more;
    among equals the upper row comes first, then the left column. In float types the mean is that of the shifted
    values before they are rounded to the type.

    Parameters
    ----------
    values : ndarray
        Restored pixels in stored units, as floats, ``(..., rows * scale, columns * scale)``.
    given : ndarray
        Input pixels in storage type, ``(..., rows, columns)``.
    scale : int
        New pixels per old one along each axis.
    nodata : float, optional
        No pixel of the result has this value.
    noise : float
        How far the mean may be from the input pixel, in stored units: the restored mean is kept within.

    Returns
    -------
    ndarray
        Of ``given``'s type and ``values``' shape.

    Examples
    --------
    >>> mean_consistent(np.array([[3.4, 3.4], [3.4, 9.0]]), np.array([[5]], "uint8"), 2)
    array([[4, 4],
           [3, 9]], dtype=uint8)
    """
    dtype, blocks = given.dtype, _blocks(values, scale)
    result: NDArray[Any]
    if dtype.kind == "f":
        result = _floats(blocks, given.reshape(-1).astype(np.float64), noise, dtype)
    else:
        result = _integers(blocks, given.reshape(-1).astype(np.int64), noise, dtype, nodata)
    restored = _image(result.astype(dtype), values.shape, scale)
    keep_valid(restored, nodata)
    return restored


def _blocks(values: NDArray[Any], scale: int) -> NDArray[np.float64]:
    """``(..., rows * scale, columns * scale)`` -> one row per input pixel, with its new pixels in raster order."""
    rows, columns = (n // scale for n in values.shape[-2:])
    split = values.reshape(-1, rows, scale, columns, scale).swapaxes(2, 3)
    return split.reshape(-1, scale * scale).astype(np.float64)


def _image(blocks: NDArray[Any], shape: tuple[int, ...], scale: int) -> NDArray[Any]:
    """The inverse of `_blocks`."""
    rows, columns = (n // scale for n in shape[-2:])
    return blocks.reshape(-1, rows, columns, scale, scale).swapaxes(2, 3).reshape(shape)


def _total(blocks: NDArray[Any]) -> NDArray[Any]:
    """Sum of each row, always in the same order: NumPy's own order depends on the length and on the machine."""
    total = blocks[:, 0].copy()
    for i in range(1, blocks.shape[1]):
        total += blocks[:, i]
    return total


def _floats(
    blocks: NDArray[np.float64], given: NDArray[np.float64], noise: float, dtype: np.dtype[Any]
) -> NDArray[np.float64]:
    mean = _total(blocks) / blocks.shape[1]
    with np.errstate(invalid="ignore"):  # NaN and infinity are no pixels: the caller keeps what is stored there
        shift = np.clip(mean, given - noise, given + noise) - mean
        limit = float(np.finfo(dtype).max)
        return np.asarray(np.clip(blocks + shift[:, None], -limit, limit))


def _integers(
    blocks: NDArray[np.float64],
    given: NDArray[np.int64],
    noise: float,
    dtype: np.dtype[Any],
    nodata: float | None,
) -> NDArray[np.int64]:
    count = blocks.shape[1]
    low, high = (int(limit) for limit in range_limits(dtype))
    hole = stored_nodata(nodata, dtype)
    hole = None if hole is None else int(hole)
    low, high = low + (hole == low), high - (hole == high)
    # A hole's block, which the caller replaces, may lie outside the limits.
    target = np.clip(given, low, high) * count
    if noise:
        reach = math.floor(Fraction(noise) * count)  # a product of floats may round up
        total = np.rint(np.clip(_total(blocks), low * count, high * count)).astype(np.int64)
        target = np.clip(total, np.maximum(target - reach, low * count), np.minimum(target + reach, high * count))
    shifted = _within(blocks, target, low, high)
    whole = np.floor(shifted).astype(np.int64)
    missing = target - _total(whole)
    order = np.argsort(whole - shifted, axis=1, kind="stable")  # the largest remainder first
    gets = np.empty(order.shape, bool)
    np.put_along_axis(gets, order, np.arange(count) < missing[:, None], 1)
    whole += gets
    if hole is not None and low < hole < high:
        _leave(whole, hole, low, high, given != hole)
    return whole


def _within(blocks: NDArray[np.float64], target: NDArray[np.int64], low: int, high: int) -> NDArray[np.float64]:
    """Shift each row to the sum ``target``, between ``low`` and ``high``; a pixel at a limit lets the others move."""
    count = blocks.shape[1]
    blocks = np.clip(blocks, 2 * low - high, 2 * high - low)  # no value is so far out that digits are lost
    shifted: NDArray[np.float64] = np.clip(blocks + ((target - _total(blocks)) / count)[:, None], low, high)
    for _ in range(count):
        missing = target - _total(shifted)
        rows = np.flatnonzero(np.abs(missing) > 1e-6)
        if not rows.size:
            break
        part, up = shifted[rows], missing[rows] > 0
        free = np.where(up[:, None], part < high, part > low)
        step = missing[rows] / np.maximum(_total(free.astype(np.int64)), 1)
        shifted[rows] = np.clip(np.where(free, part + step[:, None], part), low, high)
    return shifted


def _leave(whole: NDArray[np.int64], hole: int, low: int, high: int, valid: NDArray[np.bool_]) -> None:
    """Move pixels off ``hole``, in place: one level up or down, and another pixel of the block the other way."""
    for i in range(whole.shape[1]):
        rows = np.flatnonzero((whole[:, i] == hole) & valid)
        if not rows.size:
            continue
        part = whole[rows]
        others = np.arange(whole.shape[1]) != i
        down, up = (part > low) & (part != hole + 1) & others, (part < high) & (part != hole - 1) & others
        goes_up = down.any(1)  # then another pixel goes down
        partner = np.where(goes_up, down.argmax(1), up.argmax(1))
        step = np.where(goes_up, 1, -1)
        whole[rows, i] += step
        whole[rows, partner] -= step
