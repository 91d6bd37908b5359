"""Read uncompressed TIFF pixels directly from the file, without decoding."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.io.base import Region

__all__ = ["RawPlanes", "raw_planes"]


@dataclass(frozen=True)
class RawPlanes:
    """Pixels that are stored as in memory except for byte order; they are read without decoding.

    Attributes
    ----------
    files, offsets
        File and offset of the first byte, per plane.
    shape : tuple of int
        Shape of one plane; the image's leading axes count the planes.
    dtype : str
        Type with byte order.
    """

    files: tuple[str, ...]
    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str

    def read(self, region: Region, image_shape: tuple[int, ...]) -> NDArray[Any]:
        """Copy ``region`` of an image of ``image_shape`` out of the file.

        The memory map exists only during the copy; otherwise its pages would count as memory in use.
        """
        leading = len(image_shape) - len(self.shape)
        counts, inner = image_shape[:leading], region[leading:]
        out = np.empty([r.stop - r.start for r in region], np.dtype(self.dtype).newbyteorder("="))
        for where in product(*(range(r.start, r.stop) for r in region[:leading])):
            plane = int(np.ravel_multi_index(where, counts)) if where else 0
            pixels = np.memmap(self.files[plane], self.dtype, "r", self.offsets[plane], self.shape)
            out[tuple(i - r.start for i, r in zip(where, region[:leading], strict=True))] = pixels[inner]
        return out


def raw_planes(series: Any, shape: tuple[int, ...]) -> RawPlanes | None:
    """Locate the pixels of a `tifffile.TiffPageSeries` if they are stored uncompressed, else return None."""
    page = series.keyframe
    if not page.is_final or not page.parent.filehandle.is_file:
        return None
    dtype = np.dtype(series.dtype).newbyteorder(page.parent.byteorder)
    first = page.parent.filehandle.path
    if series.dataoffset:
        return RawPlanes((first,), (series.dataoffset,), shape, dtype.str)
    plane = tuple(n for n in page.shape)
    leading = len(shape) - len(plane)
    if leading < 0 or shape[leading:] != plane or prod(shape[:leading]) != len(series.pages):
        return None
    pages = list(series.pages)
    if not all(p.is_final and len(p.dataoffsets) and p.dataoffsets[0] for p in pages):  # 0: never written
        return None
    files = tuple(p.parent.filehandle.path for p in pages)
    return RawPlanes(files, tuple(int(p.dataoffsets[0]) for p in pages), plane, dtype.str)
