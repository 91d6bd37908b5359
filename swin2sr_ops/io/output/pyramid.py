"""Compute smaller copies of an image for viewers: each level is the mean of 2 x 2 pixels of the previous one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.io.base import Region

__all__ = ["RegionArray", "fill_region", "halve", "level_shapes", "regions"]

_SMALLEST = 512  # a level that fits a viewer's canvas needs no smaller one
_STRIP = 1024  # rows that are read at a time
_BAND = 64  # rows that are halved at a time, so that they stay in the processor's cache


class RegionArray(Protocol):
    """Array that a level is read from and written to: Zarr's or NumPy's."""

    def __getitem__(self, region: Region, /) -> Any: ...

    def __setitem__(self, region: Region, block: Any, /) -> None: ...


def level_shapes(shape: tuple[int, ...], axes: str) -> list[tuple[int, ...]]:
    """Return the shapes of all levels, full size first, until both Y and X are at most 512."""
    shapes = [shape]
    while max(n for n, a in zip(shapes[-1], axes, strict=True) if a in "YX") > _SMALLEST:
        shapes.append(tuple(-(-n // 2) if a in "YX" else n for n, a in zip(shapes[-1], axes, strict=True)))
    return shapes


def regions(shape: tuple[int, ...], unit: tuple[int, ...]) -> Iterator[Region]:
    """Cut ``shape`` into regions of at most ``unit``, in C order."""
    starts = (range(0, n, step) for n, step in zip(shape, unit, strict=True))
    for corner in product(*starts):
        yield tuple(slice(i, min(i + step, n)) for i, step, n in zip(corner, unit, shape, strict=True))


def fill_region(
    fine: RegionArray,
    region: Region,
    *,
    fine_shape: tuple[int, ...],
    axes: str,
    nodata: float | None = None,
) -> NDArray[Any]:
    """Compute ``region`` of the level after ``fine``; read strip by strip, since the input may be four shards."""
    y = axes.index("Y")
    chunks = getattr(fine, "chunks", None)
    chunk = chunks[y] if chunks else 1
    step = -(-_STRIP // chunk) * chunk  # whole rows of chunks, so that each is decoded once
    step += step % 2 * chunk
    wide = tuple(
        slice(2 * part.start, min(2 * part.stop, n)) if a in "YX" else part
        for part, n, a in zip(region, fine_shape, axes, strict=True)
    )
    strips = []
    for top in range(wide[y].start, wide[y].stop, step):
        strip = (*wide[:y], slice(top, min(top + step, wide[y].stop)), *wide[y + 1 :])
        strips.append(halve(np.asarray(fine[strip]), axes, nodata=nodata))
    return strips[0] if len(strips) == 1 else np.concatenate(strips, y)


def halve(block: NDArray[Any], axes: str, *, nodata: float | None = None) -> NDArray[Any]:
    """Compute the mean of 2 x 2 pixels along Y and X, in the dtype of ``block``.

    An odd last row or column is repeated, so the distance between pixels is twice the old one
    everywhere. NaN and ``nodata`` do not count in a mean, and result only if all four pixels are
    invalid. Integers round half to even: always rounding up would brighten every level.
    """
    for axis in (axes.index("Y"), axes.index("X")):
        if block.shape[axis] % 2:  # repeat the last one, so that its weight is right
            block = np.concatenate([block, block.take([-1], axis)], axis)
    if block.dtype.kind in "iu" and block.dtype.itemsize <= 2 and nodata is None:
        return _mean_of_short(block, axes)
    parts = [block[_corner(axes, dy, dx)] for dy, dx in product((0, 1), repeat=2)]
    if block.dtype == bool:
        return _mean_of_integers([p.astype(np.uint8) for p in parts]).astype(bool)
    if block.dtype.kind in "iu" and nodata is None:
        return _mean_of_integers(parts)
    return _mean_of_valid(np.stack(parts), nodata)


def _corner(axes: str, dy: int, dx: int) -> Region:
    return tuple(slice(dy, None, 2) if a == "Y" else slice(dx, None, 2) if a == "X" else slice(None) for a in axes)


def _mean_of_short(block: NDArray[Any], axes: str) -> NDArray[Any]:
    """Compute the mean of four integers of up to 16 bits, half to even, in 32 bits: three times as fast."""
    y = axes.index("Y")
    top, bottom, left, right = (
        _corner_of(axes, axis, first) for axis, first in (("Y", 0), ("Y", 1), ("X", 0), ("X", 1))
    )
    shape = tuple(n // 2 if a in "YX" else n for n, a in zip(block.shape, axes, strict=True))
    halved = np.empty(shape, block.dtype)
    for start in range(0, shape[y], _BAND):
        two = block[(slice(None),) * y + (slice(2 * start, 2 * (start + _BAND)),)]
        rows = np.add(two[top], two[bottom], dtype=f"{block.dtype.kind}4")
        total = rows[left] + rows[right]
        # A remainder of 3 always rounds up, 2 if the quotient is odd, 0 and 1 never.
        odd = total >> 2
        odd &= 1
        total += odd
        total += 1
        total >>= 2
        halved[(slice(None),) * y + (slice(start, start + _BAND),)] = total
    return halved


def _corner_of(axes: str, axis: str, first: int) -> Region:
    return tuple(slice(first, None, 2) if a == axis else slice(None) for a in axes)


def _mean_of_integers(parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Compute the mean of four, half to even, without a wider integer: sum quotients and remainders separately."""
    two, three = parts[0].dtype.type(2), parts[0].dtype.type(3)
    rest = sum((p & three for p in parts[1:]), start=parts[0] & three)  # 0 to 12
    mean = sum((p >> two for p in parts[1:]), start=parts[0] >> two) + (rest >> two)
    rest &= three
    up = (rest == 3) | ((rest == 2) & ((mean & 1) == 1))
    return np.asarray(mean + up.astype(mean.dtype))


def _mean_of_valid(stack: NDArray[Any], nodata: float | None) -> NDArray[Any]:
    dtype = stack.dtype
    valid = ~np.isnan(stack)
    if nodata is not None:
        # Compare floats in the image's own precision: float32's -3.4e38 is not float64's.
        valid &= stack != (dtype.type(nodata) if dtype.kind == "f" else nodata)
    count = valid.sum(axis=0)
    wide = np.result_type(dtype, np.float64)  # the sum of four float16 may overflow; complex stays complex
    total = np.where(valid, stack, 0).sum(axis=0, dtype=wide)
    mean = total / np.maximum(count, 1)
    if dtype.kind in "iu":
        mean = np.rint(mean)
    halved: NDArray[Any] = np.where(count > 0, mean.astype(dtype), stack[0])
    return halved
