"""Load noisy images for training without clean ones: sequences of planes that show the same place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.io.base import ImageSource
from swin2sr_ops.training.images import find_images
from swin2sr_ops.training.planes import MOST, ends_of, naming, opened, stored, unit

__all__ = ["Sequence", "find_noisy", "is_image", "load_sequences", "read_sequences"]

#: Planes ``(N, channels, H, W)`` in 0..1 along time, depth or another axis; N is 1 for a single plane.
Sequence = NDArray[np.float32]

#: Files that make a folder a Zarr archive.
_ZARR = ("zarr.json", ".zgroup", ".zarray")


def is_image(data: Path) -> bool:
    """Return True for a file or a Zarr archive, and False for a folder of images."""
    return data.is_file() or data.suffix.lower() == ".zarr" or any((data / name).is_file() for name in _ZARR)


def find_noisy(data: Path, folders: Iterable[str]) -> list[Path]:
    """List the images of the ``folders`` in ``data``; a file or a Zarr archive is an image itself."""
    places = [data] if is_image(data) else [data / name for name in folders]
    return [path for place in places for path in ([place] if is_image(place) else find_images(place))]


def load_sequences(image: Path | ImageSource, channels: int) -> list[Sequence]:
    """Load the sequences of an image, one for each channel and position; none if it has too few channels.

    A sequence runs along T if there is one, else along Z, else along the first other axis but C. Values are mapped
    as in restoration: 8 bits keep their range, other types run from the smallest to the largest value of a channel.

    Raises
    ------
    FormatError
        If the image cannot be read, or a value is not finite.
    """
    groups = read_sequences(image, channels)
    ends = {channel: ends_of(_name(image), group) for channel, group in groups.items()}
    return [unit(planes, ends[channel]) for channel, group in groups.items() for planes in group]


def read_sequences(image: Path | ImageSource, channels: int, along: str = "") -> dict[int, list[NDArray[Any]]]:
    """Read the sequences of an image by channel, in stored units; ``along`` is the letter of another axis to follow.

    Raises
    ------
    FormatError
        If the image cannot be read.
    """
    groups: dict[int, list[NDArray[Any]]] = {}
    with naming(_name(image)):
        source, order = opened(image)
        if order.model_channels < channels:
            return {}
        follow = _along(order, along)
        others = [i for i in order.planes if i != follow]
        for index in np.ndindex(*(order.shape[i] for i in others)):
            region = _region(order, follow, dict(zip(others, index, strict=True)))
            channel = 0 if order.channel is None else index[others.index(order.channel)]
            groups.setdefault(channel, []).append(stored(source, order, region, channels))
    return groups


def _name(image: Path | ImageSource) -> str:
    return str(image) if isinstance(image, Path) else image.uri


def _along(order: AxisOrder, letter: str) -> int | None:
    """Return the position of the axis whose planes show the same place; None for single planes."""
    several = [i for i in order.planes if order.shape[i] > 1 and i != order.channel]
    named = {order.axes[i]: i for i in several}
    if letter:
        return named.get(letter)
    return named.get("T", named.get("Z", several[0] if several else None))


def _region(order: AxisOrder, along: int | None, others: dict[int, int]) -> tuple[slice, ...]:
    """Return the region of one sequence; of one larger than its share the centre, and planes from the middle."""
    region = [slice(0, n) for n in order.shape]
    for position, i in others.items():
        region[position] = slice(i, i + 1)
    # A file's budget is shared by its channels and positions.
    share = MOST // max(1, math.prod(order.shape[i] for i in others))
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
