"""Pictures for the page: tiles of the result and of the source at the same place, as PNG."""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swin2sr_ops.io.base import Region
from swin2sr_ops.io.zarr.ngff import stored_axes
from swin2sr_ops.serve.image import RestoredImage

__all__ = ["TILE", "Shown", "View"]

#: Side of a picture, in pixels of its level.
TILE = 512
#: Planes of one colour image that are shown together.
_RGB = 3
#: Channels in one picture at most.
_CHANNELS = 32
WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Shown:
    """A channel of a picture: its number, the values that are black and full, and its colour."""

    channel: int
    low: float
    high: float
    color: tuple[int, int, int] = WHITE

    @classmethod
    def parse(cls, text: str) -> tuple[Shown, ...]:
        """Read ``"0:100:4000:4488FF,2:0:900:FF9933"``.

        Raises
        ------
        ValueError
            If it is not understood.
        """
        found = []
        for part in text.split(",")[:_CHANNELS] if text else []:
            channel, low, high, color = part.split(":")
            if len(color) != 6:
                raise ValueError(f"{color!r} is not a colour")
            limits = float(low), float(high)
            if not all(map(math.isfinite, limits)):
                raise ValueError(f"{part!r} has no finite limits")
            red, green, blue = bytes.fromhex(color)
            found.append(cls(int(channel), *limits, (red, green, blue)))
        return tuple(found)

    def scaled(self, block: NDArray[Any]) -> NDArray[np.float32]:
        """Return values from 0 to 1; NaN is black."""
        width = (self.high - self.low) or 1.0
        wide = np.nan_to_num((block.astype(np.float32) - self.low) / width, nan=0.0)
        return np.asarray(np.clip(wide, 0, 1), np.float32)


@dataclass(frozen=True)
class View:
    """One picture: which level and tile of it, at which place along the other axes, which channels in which colours.

    Attributes
    ----------
    level, row, column : int
    planes : dict
        Index along each axis that is neither Y, X, channel nor colour.
    shown : tuple of Shown
        The channels, whose colours are added; of a colour image, one that stands for all.
    """

    level: int
    row: int
    column: int
    planes: Mapping[str, int]
    shown: tuple[Shown, ...]

    def __str__(self) -> str:
        planes = ",".join(f"{axis}{index}" for axis, index in sorted(self.planes.items()))
        return f"{self.level}/{self.row}/{self.column} {planes} {self.shown}"

    def region(self, image: RestoredImage, channel: int = 0) -> Region | None:
        """Return the pixels of the level, axes in the order of the file; None outside of the image."""
        if not 0 <= self.level < image.levels:
            return None
        region = []
        for axis, n in zip(stored_axes(image.info.axes), image.codec.shapes[self.level], strict=True):
            if axis in "YX":
                start = (self.row if axis == "Y" else self.column) * TILE
                part = slice(start, min(start + TILE, n))
            elif axis == "S":
                part = slice(0, n)
            else:
                at = channel if axis == "C" else self.planes.get(axis, 0)
                part = slice(at, at + 1)
            if not 0 <= part.start < part.stop <= n:
                return None
            region.append(part)
        return tuple(region)

    def _regions(self, image: RestoredImage) -> list[Region] | None:
        """The region of each channel; None if one of them is outside."""
        found = [region for one in self.shown if (region := self.region(image, one.channel)) is not None]
        return found if len(found) == len(self.shown) and self.region(image) is not None else None

    async def result(self, image: RestoredImage, *, urgent: bool = True) -> bytes | None:
        """Return the restored pixels; None outside of the image."""
        regions = self._regions(image)
        if regions is None:
            return None
        tasks = [asyncio.ensure_future(image.block(self.level, region, urgent=urgent)) for region in regions]
        try:
            blocks = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        return await image.aside(self._png, image, [(block, stored_axes(image.info.axes)) for block in blocks])

    async def source(self, image: RestoredImage) -> bytes | None:
        """Return the source's pixels at the same place, as large as the restored ones."""
        regions = self._regions(image)
        return None if regions is None else await image.aside(self._source, image, regions)

    def _png(self, image: RestoredImage, blocks: list[tuple[NDArray[Any], str]]) -> bytes:
        region = self.region(image)
        assert region is not None
        axes = stored_axes(image.info.axes)
        size = tuple(region[axes.index(a)].stop - region[axes.index(a)].start for a in "YX")
        return _png(self._blended([_plane(*block) for block in blocks], size))

    def _blended(self, planes: list[NDArray[Any]], size: tuple[int, ...]) -> NDArray[np.uint8]:
        """Add the planes in their colours; gray alone stays one plane."""
        if planes and (planes[0].ndim == _RGB or (len(planes) == 1 and self.shown[0].color == WHITE)):
            return _bytes(self.shown[0].scaled(planes[0]))
        total = np.zeros((*size, _RGB), np.float32)
        for one, plane in zip(self.shown, planes, strict=True):
            total += one.scaled(plane)[:, :, None] * (np.array(one.color, np.float32) / 255)
        return _bytes(np.clip(total, 0, 1))

    def state(self, image: RestoredImage, which: str) -> str:
        """Return what identifies the picture beside the run's fingerprint and its place: smaller images behind it."""
        if not 0 <= self.level < image.levels:
            return ""
        if which == "source":
            return image.source_levels.state(self._source_level(image))
        return image.restorer.state_of(self.level)

    def _source_level(self, image: RestoredImage) -> int:
        return max(math.floor(math.log2(2**self.level / image.job.plan.spec.scale)), 0)

    def _source(self, image: RestoredImage, regions: list[Region]) -> bytes:
        scale, axes = image.job.plan.spec.scale, stored_axes(image.info.axes)
        level = self._source_level(image)
        source = image.source_levels.level(level)
        ratio = 2.0 ** (self.level - level) / scale  # pixels of the source's level for each of ours
        window = self.region(image)
        assert window is not None
        box, parts = {}, {}
        for axis in "YX":
            part, n = window[axes.index(axis)], source.info.shape[source.info.axes.index(axis)]
            first = min(math.floor(part.start * ratio), n - 1)
            last = max(min(math.ceil(part.stop * ratio), n), first + 1)
            box[axis] = part.start * ratio - first, min(part.stop * ratio - first, last - first)
            parts[axis] = slice(first, last)
        planes = []
        for region in regions:
            wanted = tuple(parts.get(a, region[axes.index(a)]) for a in source.info.axes)
            planes.append(_plane(source.read(wanted), source.info.axes))
        image.guard.check()
        sides = tuple(parts[a].stop - parts[a].start for a in "YX")
        shown = Image.fromarray(self._blended(planes, sides))
        size = tuple(window[axes.index(a)].stop - window[axes.index(a)].start for a in "XY")
        (top, bottom), (left, right) = box["Y"], box["X"]
        how = Image.Resampling.NEAREST if ratio <= 1 else Image.Resampling.BOX
        return _png(np.asarray(shown.resize((size[0], size[1]), how, (left, top, right, bottom))))


def _plane(block: NDArray[Any], axes: str) -> NDArray[Any]:
    """One plane, or its three colours."""
    kept = "YXS" if "S" in axes else "YX"
    index = tuple(slice(None) if a in kept else 0 for a in axes)
    left = "".join(a for a in axes if a in kept)
    plane = block[index].transpose([left.index(a) for a in kept])
    if plane.ndim == _RGB and plane.shape[2] != _RGB:
        plane = plane[:, :, :_RGB] if plane.shape[2] > _RGB else plane[:, :, 0]
    return plane


def _bytes(shown: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(shown * 255 + 0.5).astype(np.uint8)


def _png(plane: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(plane).save(out, "PNG", compress_level=1)
    return out.getvalue()
