"""Pictures for the page: tiles of the result and of the source at the same place, as PNG."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swin2sr_ops.io.base import Region
from swin2sr_ops.io.zarr.ngff import stored_axes
from swin2sr_ops.serve.image import RestoredImage

__all__ = ["TILE", "View", "describe"]

#: Side of a picture, in pixels of its level.
TILE = 512
#: Planes of one colour image that are shown together.
_RGB = 3


@dataclass(frozen=True)
class View:
    """One picture: which level and tile of it, at which place along the other axes, shown in which range.

    Attributes
    ----------
    level, row, column : int
    planes : dict
        Index along each axis that is neither Y, X nor colour.
    low, high : float
        Values that are black and white.
    """

    level: int
    row: int
    column: int
    planes: dict[str, int]
    low: float
    high: float

    def region(self, image: RestoredImage) -> Region | None:
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
                part = slice(self.planes.get(axis, 0), self.planes.get(axis, 0) + 1)
            if not 0 <= part.start < part.stop <= n:
                return None
            region.append(part)
        return tuple(region)

    async def result(self, image: RestoredImage, *, urgent: bool = True) -> bytes | None:
        """Return the restored pixels; None outside of the image."""
        region = self.region(image)
        if region is None:
            return None
        block = await image.block(self.level, region, urgent=urgent)
        return await image.aside(self._result, block, stored_axes(image.info.axes))

    def _result(self, block: NDArray[Any], axes: str) -> bytes:
        return _png(self._shown(block, axes))

    async def source(self, image: RestoredImage) -> bytes | None:
        """Return the source's pixels at the same place, as large as the restored ones."""
        region = self.region(image)
        return None if region is None else await image.aside(self._source, image, region)

    def _source(self, image: RestoredImage, region: Region) -> bytes:
        scale, axes = image.job.plan.spec.scale, stored_axes(image.info.axes)
        level = max(math.floor(math.log2(2**self.level / scale)), 0)
        source = image.source_levels.level(level)
        ratio = 2.0 ** (self.level - level) / scale  # pixels of the source's level for each of ours
        wanted, box = [], {}
        for axis, n in zip(source.info.axes, source.info.shape, strict=True):
            part = region[axes.index(axis)]
            if axis in "YX":
                first = min(math.floor(part.start * ratio), n - 1)
                last = max(min(math.ceil(part.stop * ratio), n), first + 1)
                box[axis] = part.start * ratio - first, min(part.stop * ratio - first, last - first)
                part = slice(first, last)
            wanted.append(part)
        shown = Image.fromarray(self._shown(source.read(tuple(wanted)), source.info.axes))
        size = tuple(region[axes.index(a)].stop - region[axes.index(a)].start for a in "XY")
        (top, bottom), (left, right) = box["Y"], box["X"]
        how = Image.Resampling.NEAREST if ratio <= 1 else Image.Resampling.BOX
        return _png(np.asarray(shown.resize((size[0], size[1]), how, (left, top, right, bottom))))

    def _shown(self, block: NDArray[Any], axes: str) -> NDArray[np.uint8]:
        """One plane, or colours, as 8 bits."""
        kept = "YXS" if "S" in axes else "YX"
        index = tuple(slice(None) if a in kept else 0 for a in axes)
        left = "".join(a for a in axes if a in kept)
        plane = block[index].transpose([left.index(a) for a in kept])
        if plane.ndim == _RGB and plane.shape[2] != _RGB:
            plane = plane[:, :, :_RGB] if plane.shape[2] > _RGB else plane[:, :, 0]
        width = (self.high - self.low) or 1.0
        wide = np.nan_to_num((plane.astype(np.float32) - self.low) / width, nan=0.0)
        return np.asarray(np.clip(wide, 0, 1) * 255 + 0.5).astype(np.uint8)


def _png(plane: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(plane).save(out, "PNG", compress_level=1)
    return out.getvalue()


def describe(image: RestoredImage) -> dict[str, Any]:
    """Say what the page needs to know of an image, JSON-ready."""
    info, job, axes = image.info, image.job, stored_axes(image.info.axes)
    labels = [str(channel.get("label") or "") for channel in info.channels]
    maps = [{"low": m.lo, "high": m.hi} for m in image.maps]
    numbers = [job.map_of(c) if len(maps) > 1 else 0 for c in range(info.size("C"))]
    return {
        "axes": axes,
        "shape": list(image.codec.shapes[0]),
        "dtype": str(info.dtype),
        "scale": job.plan.spec.scale,
        "model": image.key.settings["model"],
        "engine": job.restorer.network.placed().engine,
        "device": job.restorer.network.placed().device,
        "fingerprint": image.fingerprint,
        "tile": TILE,
        "levels": [
            {"height": shape[axes.index("Y")], "width": shape[axes.index("X")], "exact": image.restorer.is_exact(k)}
            for k, shape in enumerate(image.codec.shapes)
        ],
        "sliders": [
            {"axis": a, "size": n} for a, n in zip(axes, image.codec.shapes[0], strict=True) if a not in "YXS" and n > 1
        ],
        "channels": labels,
        "ranges": [maps[n] for n in numbers] or maps,
        "pixel_size": info.pixel_size.get("X"),
        "unit": info.units.get("X", ""),
        "source": {"axes": job.order.axes, "shape": list(job.source.info.shape), "format": job.source.info.format},
        "plan": str(job.plan),
    }
