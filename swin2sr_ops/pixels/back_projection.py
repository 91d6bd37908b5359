"""Bind a restored image to its input through a blur: the result, blurred and sampled, gives the input.

Each step compares the blurred result with the input, divides the gap by what the blur and its transpose make of it,
and adds it to the new pixels: the smallest change of the result, by least squares, that closes the gap. All sums run
in one order and no value depends on the tile, so tiles together give the whole image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.geometry.back_projection import STEPS, Blur
from swin2sr_ops.geometry.plan import Tile
from swin2sr_ops.pixels.holes import keep_valid
from swin2sr_ops.pixels.intensity import range_limits

__all__ = ["blur_consistent", "blurred"]

#: Along Y and X: does the array end at the image's border, at its start and at its end?
Ends = tuple[tuple[bool, bool], tuple[bool, bool]]
#: An array that is the whole image.
WHOLE: Ends = ((True, True), (True, True))


def blur_consistent(
    values: NDArray[Any],
    given: NDArray[Any],
    blur: Blur,
    tile: Tile,
    *,
    nodata: float | None = None,
    noise: float = 0.0,
) -> NDArray[Any]:
    """Move the new pixels so that the image, blurred and sampled, gives the input.

    After the steps a gap of any frequency is at most 0.04 % of what it was; rounding to integers adds half a level. A
    larger gap remains around values that met the limit of the type: an input may be sharper than the blur allows.

    Parameters
    ----------
    values : ndarray
        Restored pixels in stored units, as floats, of the pixels that the network computed for ``tile``:
        ``(channels, rows * scale, columns * scale)``.
    given : ndarray
        Input pixels of the same region in storage type, ``(channels, rows, columns)``.
    blur : Blur
    tile : Tile
        Its spans say which of these pixels it owns, and where the image ends.
    nodata : float, optional
        No pixel of the result has this value.
    noise : float
        Allowed gap in stored units: gaps are closed down to it.

    Returns
    -------
    ndarray
        Of ``given``'s type: the new pixels that ``tile`` owns.
    """
    dtype = given.dtype
    low, high = range_limits(dtype) if dtype.kind != "f" else (float(np.finfo(dtype).min), float(np.finfo(dtype).max))
    spans = tile.y, tile.x
    ends: Ends = tuple((s.network.start == 0, s.network.stop == s.size) for s in spans)  # type: ignore[assignment]
    wanted, image = given.astype(np.float64), np.clip(values.astype(np.float64), low, high)
    for _ in range(STEPS):
        again = blurred(image, blur, ends)
        wanted = _inner(wanted, blur.reach, ends)
        gap = wanted - again
        gap -= np.clip(gap, -noise, noise)
        more = _spread(_sharpened(gap, blur, ends), blur, ends)
        rest = len(blur.inverse) - 1 + blur.reach
        wanted = _inner(wanted, rest, ends)
        image = np.clip(_inner(image, (blur.reach + rest) * blur.scale, ends) + more, low, high)
    result = _owned(image, blur, tile)
    result = (np.rint(result) if dtype.kind != "f" else result).astype(dtype)
    keep_valid(result, nodata)
    return result


def blurred(image: NDArray[Any], blur: Blur, ends: Ends = WHOLE) -> NDArray[np.float64]:
    """Blur and sample ``(..., rows * scale, columns * scale)``; beyond its borders an image is its mirror image.

    The result lacks ``blur.reach`` pixels at each end that is not a border.
    """
    s, reach, result = blur.scale, blur.reach, image.astype(np.float64)
    first = reach * s - (len(blur.weights) - s) // 2
    for axis, borders in zip((-2, -1), ends, strict=True):
        wide = _mirrored(result, axis, reach * s, borders)
        count = wide.shape[axis] // s - 2 * reach
        parts = (_along(wide, axis, first + i, count, s) for i in range(len(blur.weights)))
        result = _sum(blur.weights, parts)
    return result


def _sharpened(gap: NDArray[np.float64], blur: Blur, ends: Ends) -> NDArray[np.float64]:
    """Apply the inverse along both axes."""
    far = len(blur.inverse) - 1
    weights = (*reversed(blur.inverse[1:]), *blur.inverse)
    for axis, borders in zip((-2, -1), ends, strict=True):
        wide = _mirrored(gap, axis, far, borders)
        count = wide.shape[axis] - 2 * far
        gap = _sum(weights, (_along(wide, axis, i, count, 1) for i in range(len(weights))))
    return gap


def _spread(change: NDArray[np.float64], blur: Blur, ends: Ends) -> NDArray[np.float64]:
    """Apply the transpose of the blur: from input pixels to new ones."""
    s, reach = blur.scale, blur.reach
    before = (len(blur.weights) - s) // 2
    for axis, borders in zip((-2, -1), ends, strict=True):
        wide = _mirrored(change, axis, reach, borders)
        count = wide.shape[axis] - 2 * reach
        phases = []
        for phase in range(s):  # the new pixel ``phase`` of a block has this weight in the block ``k`` away
            known = {k: before + phase - k * s for k in range(-reach, reach + 1)}
            known = {k: i for k, i in known.items() if 0 <= i < len(blur.weights)}
            weights = tuple(blur.weights[i] for i in known.values())
            phases.append(_sum(weights, (_along(wide, axis, reach + k, count, 1) for k in known)))
        change = _woven(phases, axis)
    return change


def _woven(phases: list[NDArray[np.float64]], axis: int) -> NDArray[np.float64]:
    """Weave arrays along an axis: the first entry of each, then the second of each, and so on."""
    shape = list(phases[0].shape)
    shape[axis] *= len(phases)
    result = np.empty(shape)
    for i, part in enumerate(phases):
        _along(result, axis, i, part.shape[axis], len(phases))[...] = part
    return result


def _sum(weights: tuple[float, ...], parts: Any) -> NDArray[np.float64]:
    """Sum weighted parts in their order."""
    total: NDArray[np.float64] | None = None
    for weight, part in zip(weights, parts, strict=True):
        total = weight * part if total is None else total + weight * part
    assert total is not None
    return total


def _along(array: NDArray[Any], axis: int, first: int, count: int, step: int) -> NDArray[Any]:
    """Return a view of ``count`` entries along an axis, each ``step`` after the last."""
    index = [slice(None)] * array.ndim
    index[axis] = slice(first, first + step * (count - 1) + 1, step)
    taken: NDArray[Any] = array[tuple(index)]
    return taken


def _mirrored(array: NDArray[Any], axis: int, more: int, borders: tuple[bool, bool]) -> NDArray[Any]:
    """Add the mirror image at borders."""
    widths = [(0, 0)] * array.ndim
    widths[axis] = (more * borders[0], more * borders[1])
    return np.pad(array, widths, mode="symmetric") if more and any(borders) else array


def _inner(array: NDArray[Any], less: int, ends: Ends) -> NDArray[Any]:
    """Take ``less`` rows and columns off each end that is not a border."""
    index: list[Any] = [...]
    for axis, (start, stop) in zip((-2, -1), ends, strict=True):
        size = array.shape[axis]
        index.append(slice(0 if start else less, size if stop else size - less))
    taken: NDArray[Any] = array[tuple(index)]
    return taken


def _owned(image: NDArray[Any], blur: Blur, tile: Tile) -> NDArray[Any]:
    """Crop what is left after all steps to the tile's own new pixels."""
    index: list[Any] = [...]
    for span in (tile.y, tile.x):
        first = 0 if span.network.start == 0 else span.network.start + blur.margin
        index.append(slice((span.start - first) * blur.scale, (span.stop - first) * blur.scale))
    owned: NDArray[Any] = image[tuple(index)]
    return owned
