"""What every format gives and takes: image metadata, sources and sinks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["ImageInfo", "ImageSink", "ImageSource", "Region"]

Region = tuple[slice, ...]


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """An n-D image without its pixels.

    Attributes
    ----------
    shape, axes, dtype
        One letter per dimension, as NGFF and tifffile name them: ``T C Z Y X``, and ``S`` for
        colour samples (red, green, blue, alpha) stored together; other leading axes keep their
        letter. Y and X are always there.
    chunks : tuple of int
        What is decoded together, one number per axis.
    pixel_size, origin, units : dict
        Per axis letter, where known: distance between pixel centres, coordinate of the *centre*
        of the first pixel (as NGFF, OME-TIFF and napari count), unit name (``"micrometer"``).
    channels : tuple of dict
        Per channel what is known, in the words of NGFF's ``omero``: ``label``, ``color``,
        ``window`` (``start end min max``), ``active``.
    nodata : float or None
        The value that means "no pixel here".
    name, format : str
        The image's own name, and its format for people ("OME-Zarr 0.5", "ImageJ TIFF").
    levels : int
        Resolution levels in the file, the full one included.
    extra : dict
        What else is worth carrying, JSON-ready.
    """

    shape: tuple[int, ...]
    axes: str
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    pixel_size: dict[str, float] = field(default_factory=dict)
    origin: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    channels: tuple[dict[str, Any], ...] = ()
    nodata: float | None = None
    name: str = ""
    format: str = ""
    levels: int = 1
    extra: dict[str, Any] = field(default_factory=dict)

    def size(self, axis: str) -> int:
        """Length along ``axis``; 1 where there is no such axis."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels, not compressed."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def scaled(self, scale: int) -> ImageInfo:
        """The same place with ``scale`` times finer pixels along Y and X (law 4).

        Pixel size p becomes p / s. The centre of the first pixel moves by -p/2 (1 - 1/s), so that
        the corner of the image stays where it is.
        """
        shape = tuple(n * scale if a in "YX" else n for n, a in zip(self.shape, self.axes, strict=True))
        size, origin = dict(self.pixel_size), dict(self.origin)
        for axis in "YX":
            p = self.pixel_size.get(axis, 1.0)
            size[axis] = p / scale
            origin[axis] = self.origin.get(axis, 0.0) - p / 2 * (1 - 1 / scale)
        return replace(self, shape=shape, pixel_size=size, origin=origin, levels=1)


@runtime_checkable
class ImageSource(Protocol):
    """An image that can be read by regions; travels to workers as a path and a key."""

    uri: str

    @property
    def info(self) -> ImageInfo: ...

    def read(self, region: Region) -> NDArray[Any]:
        """Decode ``region`` (one slice with start and stop per axis, step 1) in storage dtype."""
        ...


@runtime_checkable
class ImageSink(Protocol):
    """Where restored blocks go: created once by the client, filled by whoever holds a tile.

    ``write_unit`` is, per axis, what one writer must own whole (a chunk, or a shard): regions
    start at its multiples and end there or at the image's end. Until `finish`, nothing at the
    destination looks finished.
    """

    uri: str
    parallel: bool
    write_unit: tuple[int, ...]

    def __setitem__(self, region: Region, block: NDArray[Any]) -> None: ...

    def finish(self, provenance: dict[str, Any]) -> None:
        """Write what depends on all pixels (pyramid, metadata) and make the output appear."""
        ...

    def abort(self) -> None:
        """Remove what was written."""
        ...
