"""Combine the valid pixels of a source: its own mask bands, and a mask that the user gives.

A mask marks each pixel of a plane as valid or not, whatever value is stored: regions that a scanner
left out, clouds, the corners of a rotated scene. See `swin2sr_ops.pixels.masks` for blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.geometry.axes import AxisOrder, Region
from swin2sr_ops.io.base import ImageInfo, ImageSource, MaskedSource, OpacitySource
from swin2sr_ops.pixels.masks import mask_along

__all__ = ["EnlargedMask", "check_mask", "has_mask", "valid_pixels"]


def check_mask(info: ImageInfo, order: AxisOrder) -> tuple[int, int]:
    """Validate a mask; return how many rows and columns of the image one of its pixels covers.

    Parameters
    ----------
    info : ImageInfo
        The mask's: Y and X, and no other axis longer than 1.
    order : AxisOrder
        Axes of the image.

    Raises
    ------
    RequestError
        If the mask has planes or channels, or a size that is neither the image's nor a whole part of
        it (the last row or column of a smaller mask may cover fewer).
    """
    others = {a: n for a, n in zip(info.axes, info.shape, strict=True) if a not in "YX" and n != 1}
    mask, image = (info.size("Y"), info.size("X")), (order.shape[order.y], order.shape[order.x])
    if others:
        raise RequestError(
            f"The mask has the axes {info.axes} with lengths {info.shape}: one plane of Y and X is expected, which "
            "counts for all planes and channels. Select one first."
        )
    factors = tuple(-(-n // m) for n, m in zip(image, mask, strict=True))
    if tuple(-(-n // f) for n, f in zip(image, factors, strict=True)) != mask:
        raise RequestError(
            f"The mask has {mask[0]} x {mask[1]} px, the image {image[0]} x {image[1]} px: a mask has the image's "
            "size, or one that is smaller by a whole factor along each axis. Resample it by nearest neighbour."
        )
    return factors[0], factors[1]


def has_mask(source: ImageSource) -> bool:
    """Return True if ``source`` has masks of its own."""
    return isinstance(source, MaskedSource) and source.valid_mask((slice(0, 1), slice(0, 1))) is not None


def valid_pixels(
    source: ImageSource, mask: ImageSource | None, order: AxisOrder, region: Region, *, opacity: bool = True
) -> NDArray[np.bool_] | None:
    """Find the valid pixels of ``region`` by the source's own masks and by ``mask``.

    Parameters
    ----------
    source : ImageSource
        Its own masks count if it is a `MaskedSource` or an `OpacitySource`.
    mask : ImageSource, optional
        One plane, `check_mask`; what is not zero (nor NaN) is valid.
    order : AxisOrder
        Axes of the image.
    region : tuple of slice
        Region of the image, one slice with start and stop per axis.
    opacity : bool
        Whether the band of opacity counts.

    Returns
    -------
    ndarray of bool or None
        With the image's axes, of length 1 where all along an axis is the same: as `Restorer.restore_tile`
        takes it. None if every pixel is valid.
    """
    window = region[order.y], region[order.x]
    valid = None
    masks = [source.valid_mask(window)] if isinstance(source, MaskedSource) else []
    if opacity and isinstance(source, OpacitySource):
        masks.append(source.shown(window))
    for found in masks:
        if found is not None:
            placed = _placed(np.asarray(found, bool), order, region, source.uri)
            valid = placed if valid is None else valid & placed
    if mask is not None:
        given = _placed(_enlarged(mask, check_mask(mask.info, order), window), order, region, mask.uri)
        valid = given if valid is None else valid & given
    return None if valid is None or valid.all() else valid


@dataclass(frozen=True)
class EnlargedMask:
    """Valid pixels of the restored image: its rows and columns -> bool, each flag ``scale`` x ``scale`` times.

    A pixel is valid if it is valid in all planes and bands.
    """

    source: ImageSource
    mask: ImageSource | None
    order: AxisOrder
    scale: int

    def __call__(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        region = [slice(0, n) for n in self.order.shape]
        for axis, part in ((self.order.y, rows), (self.order.x, columns)):
            region[axis] = slice(part.start // self.scale, -(-part.stop // self.scale))
        found = valid_pixels(self.source, self.mask, self.order, tuple(region), opacity=False)
        if found is None:
            return np.ones((rows.stop - rows.start, columns.stop - columns.start), bool)
        others = tuple(a for a in range(found.ndim) if a not in (self.order.y, self.order.x))
        plane: NDArray[np.bool_] = np.asarray(found.all(others))
        plane = plane if self.order.y < self.order.x else plane.T
        index = [np.arange(p.start, p.stop) // self.scale - p.start // self.scale for p in (rows, columns)]
        large: NDArray[np.bool_] = plane[index[0]][:, index[1]]
        return large


def _placed(found: NDArray[np.bool_], order: AxisOrder, region: Region, uri: str) -> NDArray[np.bool_]:
    """Map ``(rows, columns)`` or ``(bands, rows, columns)`` of ``region`` to the image's axes."""
    size = tuple(part.stop - part.start for part in (region[order.y], region[order.x]))
    if found.ndim == 2 and found.shape == size:
        return mask_along(found, order)
    for axis in (order.channel, order.colour):
        if axis is not None and found.shape == (order.shape[axis], *size):
            return mask_along(found[region[axis]], order, axis)
    raise FormatError(
        f"The mask of {uri!r} has the shape {found.shape} for {size[0]} rows and {size[1]} columns of an image with "
        f"axes {order.axes} and shape {order.shape}: one flag per pixel is expected, or one per band and pixel."
    )


def _enlarged(mask: ImageSource, factors: tuple[int, int], window: tuple[slice, slice]) -> NDArray[np.bool_]:
    """Enlarge the mask to the image's size by nearest neighbour: ``(rows, columns)`` of ``window``."""
    axes = mask.info.axes
    region = [slice(0, 1)] * len(axes)
    index = []
    for letter, part, factor in zip("YX", window, factors, strict=True):
        first = part.start // factor
        region[axes.index(letter)] = slice(first, -(-part.stop // factor))
        index.append(np.arange(part.start, part.stop) // factor - first)
    read = mask.read(tuple(region))
    known = np.isfinite(read) & (read != 0) if read.dtype.kind == "f" else read != 0
    others = tuple(a for a, letter in enumerate(axes) if letter not in "YX")
    plane = known.squeeze(others)
    plane = plane if axes.index("Y") < axes.index("X") else plane.T
    large: NDArray[np.bool_] = plane[index[0]][:, index[1]]
    return large
