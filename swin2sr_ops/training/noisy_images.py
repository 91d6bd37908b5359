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
from swin2sr_ops.training.planes import MOST, ends_of, middle, naming, opened, stored, unit

__all__ = ["Sequence", "Window", "extent", "find_noisy", "is_image", "load_sequences", "read_sequences"]

#: Planes ``(N, channels, H, W)`` in 0..1 along time, depth or another axis; N is 1 for a single plane.
Sequence = NDArray[np.float32]

#: Planes of a sequence, their rows and their columns.
Window = tuple[slice, slice, slice]

#: Files that make a folder a Zarr archive.
_ZARR = ("zarr.json", ".zgroup", ".zarray")


def is_image(data: Path) -> bool:
    """Return True for a file or a Zarr archive, and False for a folder of images."""
    return data.is_file() or data.suffix.lower() == ".zarr" or any((data / name).is_file() for name in _ZARR)


def find_noisy(data: Path, folders: Iterable[str]) -> list[Path]:
    """List the images of the ``folders`` in ``data``; a file or a Zarr archive is an image itself."""
    places = [data] if is_image(data) else [data / name for name in folders]
    return [path for place in places for path in ([place] if is_image(place) else find_images(place))]


def load_sequences(image: Path | ImageSource, channels: int, along: str = "") -> list[Sequence]:
    """Load the sequences of an image, one for each channel and position; none if it has too few channels.

    A sequence runs along the axis of the letter ``along``; by default T if there is one, else Z, else the first other
    axis but C. Values are mapped
    as in restoration: 8 bits keep their range, other types run from the smallest to the largest value of a channel.

    Raises
    ------
    FormatError
        If the image cannot be read, or a value is not finite.
    """
    groups = read_sequences(image, channels, along)
    ends = {channel: ends_of(_name(image), group) for channel, group in groups.items()}
    return [unit(planes, ends[channel]) for channel, group in groups.items() for planes in group]


def extent(image: Path | ImageSource, along: str, step: int) -> tuple[tuple[int, int, int], Window]:
    """Return the size of an image's sequences, and the part of each that is read.

    The part is the whole, or the centre and the middle planes of a sequence larger than its share of the file's budget;
    then its rows and columns are multiples of ``step``.
    """
    with naming(_name(image)):
        _, order = opened(image)
        follow = _along(order, along)
    planes = 1 if follow is None else order.shape[follow]
    return (planes, order.shape[order.y], order.shape[order.x]), _window(order, follow, step)


def read_sequences(
    image: Path | ImageSource, channels: int, along: str = "", window: Window | None = None
) -> dict[int, list[NDArray[Any]]]:
    """Read the sequences of an image by channel, in stored units.

    Parameters
    ----------
    image : path or ImageSource
    channels : int
        Channels of the model.
    along : str
        Letter of another axis to follow.
    window : tuple of slice, optional
        Planes, rows and columns to read; by default those of `extent`.

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
        window = _window(order, follow) if window is None else window
        others = [i for i in order.planes if i != follow]
        for index in np.ndindex(*(order.shape[i] for i in others)):
            region = _region(order, follow, dict(zip(others, index, strict=True)), window)
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


def _window(order: AxisOrder, along: int | None, step: int = 1) -> Window:
    # A file's budget is shared by its channels and positions.
    share = MOST // max(1, math.prod(order.shape[i] for i in order.planes if i != along))
    side = max(256, math.isqrt(share // order.colours))
    rows, columns = (middle(order.shape[axis], side, step) for axis in (order.y, order.x))
    area = (rows.stop - rows.start) * (columns.stop - columns.start) * order.colours
    return middle(1 if along is None else order.shape[along], max(2, share // area)), rows, columns


def _region(order: AxisOrder, along: int | None, others: dict[int, int], window: Window) -> tuple[slice, ...]:
    """Return the region of a window of one sequence."""
    region = [slice(0, n) for n in order.shape]
    for position, i in others.items():
        region[position] = slice(i, i + 1)
    planes, region[order.y], region[order.x] = window
    if along is not None:
        region[along] = planes
    return tuple(region)
