"""Load noisy images for training without clean ones: sequences of planes that show the same place."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import FormatError, RequestError, Swin2SROpsError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.hooks.dispatch import open_source
from swin2sr_ops.training.images import find_images

__all__ = ["Sequence", "find_noisy", "load_sequences"]

#: Planes ``(N, channels, H, W)`` in 0..1 along time, depth or another axis; N is 1 for a single plane.
Sequence = NDArray[np.float32]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
#: Most pixels to load of one file: of larger ones the centre, and consecutive planes from the middle.
_MOST = 64 * 2**20


def find_noisy(data: Path) -> list[Path]:
    """List the images of a folder; a file or a Zarr archive is an image itself."""
    if data.is_file() or data.suffix.lower() == ".zarr":
        return [data]
    return find_images(data)


def load_sequences(path: Path, channels: int) -> list[Sequence]:
    """Load the sequences of an image, one for each channel and position; none if it has too few channels.

    A sequence runs along T if there is one, else along Z, else along the first other axis but C. Values are mapped
    as in restoration: 8 bits keep their range, other types run from the smallest to the largest value of a channel.

    Raises
    ------
    FormatError
        If the image cannot be read.
    """
    try:
        source = open_source(path)
        order = AxisOrder.of(source.info.shape, source.info.axes, last_c_is_colour=False)
        if order.model_channels < channels:
            return []
        along = _along(order)
        others = [i for i in order.planes if i != along]
        groups: dict[int, list[NDArray[np.generic]]] = {}
        for index in np.ndindex(*(order.shape[i] for i in others)):
            block = source.read(_region(order, along, dict(zip(others, index, strict=True)))).transpose(order.order)
            planes = block.reshape(-1, order.colours, *block.shape[-2:])
            planes = planes.astype(planes.dtype.newbyteorder("="), copy=False)[:, : 3 if order.colours > 2 else 1]
            if channels == 1 and planes.shape[1] == 3:
                planes = np.einsum("c,nchw->nhw", _LUMA, planes.astype(np.float32))[:, None].astype(planes.dtype)
            channel = 0 if order.channel is None or order.channel == along else index[others.index(order.channel)]
            groups.setdefault(channel, []).append(planes)
    except Swin2SROpsError as exc:
        raise FormatError(f"{path} cannot be used for training ({exc}): remove it from the training images.") from exc
    return [_unit(planes, group) for group in groups.values() for planes in group]


def _along(order: AxisOrder) -> int | None:
    """Return the position of the axis whose planes show the same place; None for single planes."""
    several = [i for i in order.planes if order.shape[i] > 1 and i != order.channel]
    named = {order.axes[i]: i for i in several}
    return named.get("T", named.get("Z", several[0] if several else None))


def _region(order: AxisOrder, along: int | None, others: dict[int, int]) -> tuple[slice, ...]:
    region = [slice(0, n) for n in order.shape]
    for position, i in others.items():
        region[position] = slice(i, i + 1)
    # A file's budget is shared by its channels and positions.
    share = _MOST // max(1, math.prod(order.shape[i] for i in others))
    side = max(256, math.isqrt(share // order.colours))
    for axis in (order.y, order.x):
        region[axis] = _middle(order.shape[axis], side)
    if along is not None:
        area = math.prod(region[a].stop - region[a].start for a in (order.y, order.x)) * order.colours
        region[along] = _middle(order.shape[along], max(2, share // area))
    return tuple(region)


def _middle(size: int, most: int) -> slice:
    first = max(0, (size - most) // 2)
    return slice(first, min(size, first + most))


def _unit(planes: NDArray[np.generic], group: list[NDArray[np.generic]]) -> Sequence:
    if planes.dtype == np.uint8:
        return planes.astype(np.float32) / np.float32(255)
    low, high = (float(end(f(p) for p in group)) for end, f in ((min, np.min), (max, np.max)))
    if not np.isfinite((low, high)).all():
        raise RequestError("An image for training has pixels that are not finite: set them to a number, or remove it.")
    return (planes.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-6))
