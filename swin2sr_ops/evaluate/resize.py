"""Resize bicubically like MATLAB's ``imresize``, which made the published test sets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.pixels.intensity import range_limits

__all__ = ["imresize", "reduce_by"]

_WIDTH = 4.0  # width of the cubic kernel, in pixels of the coarser grid


def imresize(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize the first two axes: bicubic (A = -0.5), antialiased when the image becomes smaller.

    Integers are rounded after the rows and again after the columns, as in MATLAB: the reduced images
    of Set5 (x2, x3, x4) are reproduced without a single differing value.

    Parameters
    ----------
    image : ndarray
        ``(H, W)`` or ``(H, W, C)``.
    size : (int, int)
        Rows and columns of the result.

    Returns
    -------
    ndarray
        Has the image's type; floats are neither rounded nor clipped.

    Examples
    --------
    >>> imresize(np.array([[0, 0, 100, 100]] * 4, "u1"), (2, 2)).tolist()
    [[0, 100], [0, 100]]
    """
    if min(size) < 1 or image.ndim < 2 or 0 in image.shape:
        raise RequestError(f"An image of shape {image.shape} cannot be resized to {size}: both need rows and columns.")
    kind = image.dtype if image.dtype.kind == "f" else np.dtype(np.float64)
    out = image.astype(kind)
    for axis, length in enumerate(size):
        out = _along(out, axis, length)
        if image.dtype.kind != "f":
            out = np.floor(out + 0.5).clip(*range_limits(image.dtype))  # round half up, like MATLAB
    return out.astype(image.dtype)


def reduce_by(image: NDArray[Any], scale: int) -> NDArray[Any]:
    """Reduce with `imresize` by ``scale``; rows and columns must be multiples of it."""
    return imresize(image, (image.shape[0] // scale, image.shape[1] // scale))


def _along(x: NDArray[Any], axis: int, length: int) -> NDArray[Any]:
    places, weights = _taps(x.shape[axis], length)
    moved = np.moveaxis(x, axis, 0)
    shape = (-1,) + (1,) * (moved.ndim - 1)
    total = np.zeros((length, *moved.shape[1:]), x.dtype)
    for place, weight in zip(places.T, weights.T.astype(x.dtype), strict=True):
        total += weight.reshape(shape) * moved[place]
    return np.moveaxis(total, 0, axis)


def _taps(n: int, m: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Compute, for each of ``m`` output pixels, its input pixels and their weights."""
    narrow = min(m / n, 1.0)  # stretch the kernel when the image becomes smaller
    centre = (np.arange(m) + 0.5) * n / m - 0.5
    first = np.floor(centre - _WIDTH / narrow / 2).astype(np.intp)
    places = first[:, None] + np.arange(int(np.ceil(_WIDTH / narrow)) + 2)
    weights = _cubic(narrow * (centre[:, None] - places))
    weights /= weights.sum(1, keepdims=True)
    mirrored = places % (2 * n)  # the edge is repeated: ... 1 0 | 0 1 ... n-1 | n-1 ...
    return np.where(mirrored >= n, 2 * n - 1 - mirrored, mirrored), weights


def _cubic(t: NDArray[np.float64]) -> NDArray[np.float64]:
    t = np.abs(t)
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t <= 2, far, 0.0))
