"""Fit a mask of valid pixels to a block, and take the block's own opacity into account.

A mask marks each pixel of a plane as valid or not, whatever value is stored: regions that a scanner
left out, clouds, the corners of a rotated scene. An invalid pixel is treated like nodata: it is
filled before the network, keeps its stored value and is not counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.axes import AxisOrder

__all__ = ["block_valid", "mask_along", "shown_pixels"]


def block_valid(valid: NDArray[np.bool_], shape: tuple[int, ...], order: AxisOrder) -> NDArray[np.bool_]:
    """Return a view of ``valid`` with a block's ``shape``.

    ``valid`` has the block's axes, of full length or 1; or it is ``(rows, columns)`` for all planes of
    a block with more axes than two.

    Raises
    ------
    RequestError
        If it fits the block in neither way.
    """
    valid = np.asarray(valid, bool)
    rows, columns = shape[order.y], shape[order.x]
    if valid.ndim == 2 and len(shape) > 2 and valid.shape == (rows, columns):
        valid = mask_along(valid, order)
    fits = valid.ndim == len(shape) and all(n in (1, full) for n, full in zip(valid.shape, shape, strict=True))
    if not fits:
        raise RequestError(
            f"valid has the shape {valid.shape}, the block {shape} (axes {order.axes}): give one flag per row and "
            f"column, {(rows, columns)}, or an array with the block's axes, of the same length or 1."
        )
    return np.broadcast_to(valid, shape)


def shown_pixels(
    block: NDArray[Any], order: AxisOrder, valid: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_] | None:
    """Remove the pixels that the block's own opacity hides from ``valid``; None if every pixel is valid.

    Editors and mosaics store arbitrary colours where opacity is 0.

    Parameters
    ----------
    block : ndarray
        The pixels with all their colours.
    order : AxisOrder
        Names the colour that is opacity, if there is one.
    valid : ndarray of bool, optional
        With the block's axes, of the same length or 1.
    """
    if order.colour is None or order.alpha is None:
        return valid
    index = [slice(None)] * block.ndim
    index[order.colour] = slice(order.alpha, order.alpha + 1)
    shown: NDArray[np.bool_] = np.asarray(block[tuple(index)] != 0)
    if shown.all():
        return valid
    return shown if valid is None else valid & shown


def mask_along(plane: NDArray[np.bool_], order: AxisOrder, bands: int | None = None) -> NDArray[np.bool_]:
    """Map ``([bands,] rows, columns)`` to the image's axes; ``bands`` is the image's axis of the first, if any."""
    axes = (order.y, order.x) if bands is None else (bands, order.y, order.x)
    others = tuple(a for a in range(len(order.axes)) if a not in axes)
    placed: NDArray[np.bool_] = np.expand_dims(plane.transpose(np.argsort(axes)), others)
    return placed
