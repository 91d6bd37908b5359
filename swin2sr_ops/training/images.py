"""Load training images: pictures, TIFF stacks and Zarr archives as planes in 0..1, alone or in pairs."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.evaluate.data import find_cases, walk
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.io.base import ImageSource
from swin2sr_ops.training.planes import (
    LUMA,
    MOST,
    Plane,
    ends_of,
    middle,
    naming,
    opened,
    reduced,
    stored,
    unit,
)

__all__ = ["Pair", "find_images", "load_images", "load_pairs"]

#: An input (None if it is made from the target) and the target: ``(C, H, W)`` and ``(C, H scale, W scale)``.
Pair = tuple[Plane | None, Plane]

#: Rows and columns.
_Window = tuple[slice, slice]
_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}


def find_images(folder: Path) -> list[Path]:
    """List all images below ``folder``, Zarr archives included, in a stable order."""
    return sorted(walk(folder, _SUFFIXES)) if folder.is_dir() else []


def load_images(path: Path, channels: int) -> list[Plane]:
    """Load the planes of an image as ``(channels, H, W)`` in 0..1; none if it has too few channels.

    8-bit images keep their range. Others are mapped from their smallest to their largest value per
    channel, as ``range="auto"`` does in restoration. One channel of a colour image is its luma.

    Raises
    ------
    FormatError
        If it cannot be read, or has a shape that no model accepts.
    """
    if channels not in (1, 3):
        return _bands(path, channels)
    pixels = _picture(path)
    if pixels is None:
        return [plane for group in _stack(path, channels) for plane in _mapped(path, group)]
    (x,) = _mapped(path, [pixels])
    if channels == 1:
        # Not `@`: its last bits depend on the processor, and a run may be resumed on another one.
        return [(np.einsum("hwc,c->hw", x[..., :3], LUMA) if x.ndim == 3 else x)[None]]
    return [] if x.ndim == 2 else [np.ascontiguousarray(x[..., :3].transpose(2, 0, 1))]


def load_pairs(folder: Path, channels: int, scale: int) -> list[Pair]:
    """Load inputs and targets found by `swin2sr_ops.evaluate.data.find_cases`, both mapped by the input's range.

    Raises
    ------
    RequestError
        If a folder has no pairs, the two images of a pair do not fit, or the model has several bands.
    """
    if channels not in (1, 3):
        raise RequestError(f"Pairs train models of 1 or 3 channels, and this one has {channels}: omit paired.")
    pairs: list[Pair] = []
    for case in find_cases(folder, scale):
        if case.given is None or case.truth is None:
            raise RequestError(
                f"{str(folder)!r} has no pairs: expected folders such as clean/ and noisy/, or HR/ and LR/X{scale}/, "
                "or names such as 1_gt.tif and 1_noisy.tif."
            )
        given, truth = (_Stack.of(path, channels) for path in (case.given, case.truth))
        if given.sizes(scale) != truth.sizes():
            raise RequestError(
                f"The pair {case.name!r} does not fit a model of scale {scale}: the input has {given}, and the target"
                f" {truth}."
            )
        pairs += _read_pairs(given, truth, scale)
    return pairs


@dataclass(frozen=True)
class _Stack:
    """The planes of a file, to be read for a model of ``channels`` channels."""

    path: Path
    source: ImageSource
    order: AxisOrder
    channels: int

    @classmethod
    def of(cls, path: Path, channels: int) -> _Stack:
        with naming(str(path)):
            source, order = opened(path)
            if order.model_channels < channels:
                raise RequestError(f"it has {order.model_channels} channel(s), and the model {channels}")
        return cls(path, source, order, channels)

    def __str__(self) -> str:
        groups, *shape = self.sizes()
        return f"{sum(groups)} planes of {' x '.join(map(str, shape))} px in {len(groups)} channel(s)"

    def sizes(self, scale: int = 1) -> tuple[tuple[int, ...], int, int]:
        """Return the numbers of planes of all channels, and their rows and columns, ``scale`` times as many."""
        height, width = (self.order.shape[axis] * scale for axis in (self.order.y, self.order.x))
        return tuple(map(len, self.groups().values())), height, width

    def groups(self) -> dict[int, list[tuple[int, ...]]]:
        """Return the indices of all planes by channel."""
        groups: dict[int, list[tuple[int, ...]]] = {}
        for index in np.ndindex(*(self.order.shape[i] for i in self.order.planes)):
            groups.setdefault(_channel(self.order, index), []).append(index)
        return groups

    def read(self, indices: list[tuple[int, ...]], window: _Window) -> list[NDArray[Any]]:
        """Read stored planes ``(channels, H, W)``."""
        with naming(str(self.path)):
            regions = [_region(self.order, index, window) for index in indices]
            return [plane for region in regions for plane in stored(self.source, self.order, region, self.channels)]


def _read_pairs(given: _Stack, truth: _Stack, scale: int) -> list[Pair]:
    """Read the same planes and places of both: those for which the larger one, the target, has room."""
    pairs: list[Pair] = []
    window = _window(truth.order, scale)
    chosen, inputs = set(_chosen(truth.order)), given.groups()
    for channel, indices in truth.groups().items():
        numbers = [i for i, index in enumerate(indices) if index in chosen]
        if not numbers:
            continue
        rows, columns = (reduced(part, scale) for part in window)
        a = given.read([inputs[channel][i] for i in numbers], (rows, columns))
        b = truth.read([indices[i] for i in numbers], window)
        ends = ends_of(str(given.path), a)  # in restoration, the range is known from the input only
        ends_of(str(truth.path), b)  # refuses values that are not finite
        pairs += [(unit(x, ends), unit(y, ends)) for x, y in zip(a, b, strict=True)]
    return pairs


def _picture(path: Path) -> NDArray[Any] | None:
    """Read the pixels of a one-plane image, ``(H, W)`` or ``(H, W, 3 or 4)``; None for a stack or an archive."""
    if path.is_dir():
        return None
    try:
        pixels = _decode(path)
    except (OSError, ValueError, SyntaxError, struct.error) as exc:  # errors of tifffile and Pillow for damaged files
        raise FormatError(f"{path} cannot be read as an image ({exc}): remove it from the training images.") from exc
    return pixels


def _decode(path: Path) -> NDArray[Any] | None:
    if path.suffix.lower() in (".tif", ".tiff"):
        import tifffile

        with tifffile.TiffFile(path) as file:
            shape = file.series[0].shape
            flat = len(shape) == 2 or (len(shape) == 3 and shape[-1] in (3, 4))
            return np.asarray(file.asarray()) if flat else None
    with Image.open(path) as picture:
        palette = picture.mode in ("P", "CMYK", "LA", "PA")
        return np.asarray(picture.convert("RGB") if palette else picture)


def _stack(path: Path, channels: int) -> list[list[NDArray[Any]]]:
    """Read stored planes ``(channels, H, W)``, grouped by channel."""
    groups: dict[int, list[NDArray[Any]]] = {}
    with naming(str(path)):
        source, order = opened(path)
        if order.model_channels < channels:
            return []
        window = _window(order)
        for index in _chosen(order):
            planes = stored(source, order, _region(order, index, window), channels)
            groups.setdefault(_channel(order, index), []).extend(planes)
    return list(groups.values())


def _channel(order: AxisOrder, index: tuple[int, ...]) -> int:
    return 0 if order.channel is None else index[order.planes.index(order.channel)]


def _bands(path: Path, bands: int) -> list[Plane]:
    """Load the planes of an image of ``bands`` channels, all with one range; none of an image with another number."""
    with naming(str(path)):
        source, order = opened(path)
        position = order.colour if order.colour is not None else order.channel
        if position is None or order.shape[position] != bands:
            return []
        order = order.banded(bands)
        window = _window(order)
        read = [source.read(_region(order, index, window)).transpose(order.order) for index in _chosen(order)]
    return _mapped(path, [p.reshape(bands, *p.shape[-2:]).astype(p.dtype.newbyteorder("="), copy=False) for p in read])


def _chosen(order: AxisOrder) -> list[tuple[int, ...]]:
    """Select the planes to load: all, or as many evenly spaced ones as `MOST` pixels allow."""
    every = list(np.ndindex(*(order.shape[i] for i in order.planes)))
    area = order.shape[order.y] * order.shape[order.x] * order.colours
    most = max(1, MOST // area)
    return every if len(every) <= most else [every[i * len(every) // most] for i in range(most)]


def _window(order: AxisOrder, step: int = 1) -> _Window:
    """Return the rows and columns to load: all, or the centre of a plane larger than `MOST`, at multiples of a step."""
    height, width = order.shape[order.y], order.shape[order.x]
    fits = height * width * order.colours <= MOST
    side = max(height, width) if fits else math.isqrt(MOST // order.colours)
    return middle(height, side, step), middle(width, side, step)


def _region(order: AxisOrder, index: tuple[int, ...], window: _Window) -> tuple[slice, ...]:
    """Return the region of a window of one plane."""
    region = [slice(0, n) for n in order.shape]
    for position, i in zip(order.planes, index, strict=True):
        region[position] = slice(i, i + 1)
    region[order.y], region[order.x] = window
    return tuple(region)


def _mapped(path: Path, planes: list[NDArray[Any]]) -> list[Plane]:
    ends = ends_of(str(path), planes)
    return [unit(plane, ends) for plane in planes]
