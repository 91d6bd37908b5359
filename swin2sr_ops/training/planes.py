"""Read stored planes for training, and map them to 0..1 as in restoration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import FormatError, Swin2SROpsError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.hooks.dispatch import open_source
from swin2sr_ops.io.base import ImageSource

__all__ = ["LUMA", "MOST", "Plane", "digest_of", "ends_of", "middle", "naming", "opened", "reduced", "stored", "unit"]

Plane = NDArray[np.float32]
#: Weights of red, green and blue in one channel.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
#: Most pixels to load of one file.
MOST = 64 * 2**20


@contextmanager
def naming(image: str) -> Iterator[None]:
    """Name the image in errors, with what to do.

    Raises
    ------
    FormatError
        In place of any error of this package.
    """
    try:
        yield
    except Swin2SROpsError as exc:
        raise FormatError(f"{image} cannot be used for training ({exc}): remove it from the training images.") from exc


def opened(image: Path | ImageSource) -> tuple[ImageSource, AxisOrder]:
    """Open an image; a C axis holds channels, S colour."""
    source = open_source(image) if isinstance(image, Path) else image
    return source, AxisOrder.of(source.info.shape, source.info.axes, last_c_is_colour=False)


def stored(source: ImageSource, order: AxisOrder, region: tuple[slice, ...], channels: int) -> NDArray[Any]:
    """Read the planes of a region as they are stored, ``(N, channels, H, W)``.

    One channel of colour is its luma, rounded where the image has integers; opacity is left out.
    """
    block = source.read(region).transpose(order.order)
    planes = block.reshape(-1, order.colours, *block.shape[-2:])[:, : 3 if order.colours > 2 else 1]
    planes = planes.astype(planes.dtype.newbyteorder("="), copy=False)
    if channels > 1 or planes.shape[1] == 1:
        return planes
    luma = np.einsum("c,nchw->nhw", LUMA, planes.astype(np.float32))[:, None]
    one: NDArray[Any] = (luma.round() if planes.dtype.kind in "iu" else luma).astype(planes.dtype)
    return one


def ends_of(image: str, planes: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """Return the values that become 0 and 1: the range of 8 bits, else the smallest and the largest value.

    Raises
    ------
    FormatError
        If a value is not finite: nothing can be learned from it.
    """
    if planes[0].dtype == np.uint8:
        return 0.0, 255.0
    # NumPy's end of all: Python's `min` skips NaN.
    low, high = (float(end([end(p) for p in planes])) for end in (np.min, np.max))
    if not np.isfinite((low, high)).all():
        raise FormatError(
            f"{image} has pixels that are not finite: set them to a number, or remove it from the training images."
        )
    return low, high


def middle(size: int, most: int, step: int = 1) -> slice:
    """Return an axis, or its middle where it is longer than ``most``: then between multiples of ``step``."""
    if size <= most:
        return slice(0, size)
    most = max(step, most // step * step)
    first = (size - most) // 2 // step * step
    return slice(first, first + most)


def reduced(part: slice, scale: int) -> slice:
    """Return the part of an input's axis that belongs to a part of its target's."""
    return slice(part.start // scale, part.stop // scale)


def unit(planes: NDArray[Any], ends: tuple[float, float]) -> Plane:
    """Map stored values to 0..1."""
    low, high = ends
    mapped: Plane = (planes.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-6))
    return mapped


def digest_of(images: Iterable[NDArray[Any] | None]) -> str:
    """Compute a digest of pixels and their order, about a gigabyte per second; a resumed run compares it."""
    digest = hashlib.blake2b(digest_size=16)
    for image in images:
        if image is None:
            continue
        digest.update(repr(image.shape).encode())
        for plane in image:  # a part of a stack is not contiguous: copy one plane at a time
            digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()
